#include "lib/text/normalizer.h"

#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <utility>

#include "lib/text/unicode.h"

namespace parkd {
namespace {

// Tokenizers' NFC has the tables of Unicode 9, utf8proc (2.8 in Debian 12) those of 15. These code
// points came between, and reorder or compose: to the reference each is a character that nothing is
// done to, and that ends what stands before it. tests/golden compares all code points.
using Range = std::pair<char32_t, char32_t>;
constexpr std::array kNewer = {
    Range{0x7fd, 0x7fd},     Range{0x898, 0x89f},     Range{0x8ca, 0x8d3},
    Range{0x9fe, 0x9fe},     Range{0xc3c, 0xc3c},     Range{0xd3b, 0xd3c},
    Range{0xeba, 0xeba},     Range{0xece, 0xece},     Range{0x1715, 0x1715},
    Range{0x1abf, 0x1ace},   Range{0x1df6, 0x1dfa},   Range{0xa82c, 0xa82c},
    Range{0x10d24, 0x10d27}, Range{0x10eab, 0x10eac}, Range{0x10efd, 0x10eff},
    Range{0x10f46, 0x10f50}, Range{0x10f82, 0x10f85}, Range{0x11070, 0x11070},
    Range{0x1133b, 0x1133b}, Range{0x1145e, 0x1145e}, Range{0x11839, 0x1183a},
    Range{0x11930, 0x11930}, Range{0x11938, 0x11938}, Range{0x1193d, 0x1193e},
    Range{0x11943, 0x11943}, Range{0x119e0, 0x119e0}, Range{0x11a34, 0x11a34},
    Range{0x11a47, 0x11a47}, Range{0x11a99, 0x11a99}, Range{0x11d42, 0x11d42},
    Range{0x11d44, 0x11d45}, Range{0x11d97, 0x11d97}, Range{0x11f41, 0x11f42},
    Range{0x16ff0, 0x16ff1}, Range{0x1e08f, 0x1e08f}, Range{0x1e130, 0x1e136},
    Range{0x1e2ae, 0x1e2ae}, Range{0x1e2ec, 0x1e2ef}, Range{0x1e4ec, 0x1e4ef},
};

bool is_newer(char32_t code) {
  const auto* range =
      std::upper_bound(kNewer.begin(), kNewer.end(), code,
                       [](char32_t value, const Range& each) { return value < each.first; });
  return range != kNewer.begin() && code <= (range - 1)->second;
}

bool is_ascii(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return (c & 0x80) == 0; });
}

struct Free {
  void operator()(utf8proc_uint8_t* text) const { std::free(text); }  // NOLINT: malloc's
};

Status append_nfc(std::string_view text, std::string& out) {
  if (text.empty()) return {};
  utf8proc_uint8_t* made = nullptr;
  const utf8proc_ssize_t size =
      utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                   static_cast<utf8proc_ssize_t>(text.size()), &made,
                   static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
  const std::unique_ptr<utf8proc_uint8_t, Free> owned(made);
  if (size == UTF8PROC_ERROR_NOMEM) return unavailable("no memory left to normalise a text");
  if (size < 0) {
    return invalid(std::string("the text cannot be normalised: ") + utf8proc_errmsg(size));
  }
  out.append(reinterpret_cast<const char*>(made), static_cast<size_t>(size));
  return {};
}

Result<std::string> nfc(std::string text) {
  if (is_ascii(text)) return text;
  std::string out;
  size_t begin = 0;
  for (size_t at = 0; at < text.size(); at += utf8_length(text[at])) {
    if ((text[at] & 0x80) == 0 || !is_newer(first_code_point(std::string_view(text).substr(at)))) {
      continue;
    }
    PARKD_RETURN_IF_ERROR(append_nfc(std::string_view(text).substr(begin, at - begin), out));
    begin = at + utf8_length(text[at]);
    out.append(text, at, begin - at);
  }
  PARKD_RETURN_IF_ERROR(append_nfc(std::string_view(text).substr(begin), out));
  return out;
}

std::string replaced(std::string_view text, std::string_view from, std::string_view to) {
  std::string out;
  for (;;) {
    const size_t at = text.find(from);
    out += text.substr(0, at);
    if (at == std::string_view::npos) return out;
    out += to;
    text.remove_prefix(at + from.size());
  }
}

}  // namespace

Result<std::string> Normalizer::apply(std::string text) const {
  for (const Step& step : steps_) {
    if (step.nfc) {
      PARKD_ASSIGN_OR_RETURN(text, nfc(std::move(text)));
    } else {
      text = replaced(text, step.from, step.to);
    }
  }
  return text;
}

}  // namespace parkd
