#include "tests/golden/tokenizer_texts.h"

#include <boost/json.hpp>
#include <fstream>
#include <iterator>
#include <stdexcept>

namespace parkd::testing {
namespace {

namespace json = boost::json;

// SplitMix64 (Steele, Lea, Flood 2014).
class Random {
 public:
  explicit Random(uint64_t state) : state_(state) {}
  uint64_t below(uint64_t n) {
    state_ += 0x9e3779b97f4a7c15;
    uint64_t z = state_;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return (z ^ (z >> 31)) % n;
  }
  template <class T>
  const T& pick(const std::vector<T>& choices) {
    return choices[below(choices.size())];
  }

 private:
  uint64_t state_;
};

void append_utf8(std::string& out, uint64_t code) {
  const auto put = [&](uint64_t bits) { out += static_cast<char>(bits); };
  if (code < 0x80) return put(code);
  if (code < 0x800) {
    put(0xc0 | code >> 6);
  } else if (code < 0x10000) {
    put(0xe0 | code >> 12);
    put(0x80 | (code >> 6 & 0x3f));
  } else {
    put(0xf0 | code >> 18);
    put(0x80 | (code >> 12 & 0x3f));
    put(0x80 | (code >> 6 & 0x3f));
  }
  put(0x80 | (code & 0x3f));
}

// What part() of tokenizer_texts.py does, in the same order of draws.
void append_part(const GoldenTokenizers& all, Random& r, std::string& out) {
  const uint64_t kind = r.below(16);
  const auto several = [&](uint64_t most, const auto& append) {
    for (uint64_t n = 1 + r.below(most); n > 0; --n) append();
  };
  if (kind < 4) {
    if (r.below(4) != 0) out += ' ';
    out += r.pick(all.words);
  } else if (kind == 4) {
    const uint64_t n = 1 + r.below(10);
    const uint64_t upper = r.below(3);
    for (uint64_t i = 0; i < n; ++i) {
      const bool is_upper = upper == 0 || (upper == 1 && i == 0);
      out += static_cast<char>((is_upper ? 65 : 97) + r.below(26));
    }
  } else if (kind == 5) {
    several(8, [&] { out += static_cast<char>(48 + r.below(10)); });
  } else if (kind == 6) {
    several(4, [&] { out += r.pick(all.spaces); });
  } else if (kind == 7) {
    const std::string& space = r.pick(all.spaces);
    several(20, [&] { out += space; });
  } else if (kind == 8) {
    several(4, [&] { out += all.punctuation[r.below(all.punctuation.size())]; });
  } else if (kind == 9 || kind == 10) {
    const auto [first, last] = r.pick(all.scripts);
    several(6, [&] { append_utf8(out, first + r.below(last - first + 1)); });
  } else if (kind == 11) {
    several(2, [&] { out += r.pick(all.emoji); });
  } else if (kind == 12) {
    append_utf8(out, r.below(2) != 0 ? 1 + r.below(0x1f) : 0x7f + r.below(0x21));
  } else if (kind == 13) {
    if (r.below(2) != 0) {
      out += static_cast<char>(97 + r.below(26));
    } else {
      const uint64_t i = r.below(all.emoji.size() + all.odd.size());
      out += i < all.emoji.size() ? all.emoji[i] : all.odd[i - all.emoji.size()];
    }
    several(3, [&] { append_utf8(out, r.pick(all.marks)); });
  } else if (kind == 14) {
    out += r.pick(all.code);
  } else {
    const uint64_t code = r.below(0x110000);
    const std::string& odd = r.pick(all.odd);
    if (code == 0 || (code >= 0xd800 && code < 0xe000) || r.below(2) != 0) {
      out += odd;
    } else {
      append_utf8(out, code);
    }
  }
}

}  // namespace

std::string GoldenTokenizers::text(uint64_t index) const {
  Random r(seed * 1'000'003 + index);
  std::string out;
  for (uint64_t n = 1 + r.below(10); n > 0; --n) append_part(*this, r, out);
  return out;
}

std::string golden_tokenizers_folder() {
  return PARKD_SOURCE_DIR "/tests/golden/tokenizers";
}

GoldenTokenizers load_golden_tokenizers() {
  const std::string path = golden_tokenizers_folder() + "/goldens.json";
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error("cannot open " + path);
  const json::value root = json::parse(
      std::string(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()));
  GoldenTokenizers all;
  const auto texts = [&](const char* name) {
    return json::value_to<std::vector<std::string>>(root.at(name));
  };
  all.words = texts("words");
  all.code = texts("code");
  all.emoji = texts("emoji");
  all.spaces = texts("spaces");
  all.odd = texts("odd");
  all.picked = texts("picked");
  all.scripts = json::value_to<std::vector<std::pair<uint32_t, uint32_t>>>(root.at("scripts"));
  all.marks = json::value_to<std::vector<uint32_t>>(root.at("marks"));
  all.punctuation = json::value_to<std::string>(root.at("punctuation"));
  all.seed = root.at("seed").to_number<uint64_t>();
  all.n_texts = root.at("n_texts").to_number<size_t>();
  all.block = root.at("block").to_number<size_t>();
  for (const json::value& each : root.at("kinds").as_array()) {
    GoldenTokenizers::Kind kind;
    kind.name = json::value_to<std::string>(each.at("name"));
    for (const std::string& hash : json::value_to<std::vector<std::string>>(each.at("hashes"))) {
      kind.hashes.push_back(std::stoull(hash, nullptr, 16));
    }
    kind.ids = json::value_to<std::vector<std::vector<TokenId>>>(each.at("ids"));
    kind.decoded = each.at("decoded").to_number<uint64_t>();
    all.kinds.push_back(std::move(kind));
  }
  return all;
}

}  // namespace parkd::testing
