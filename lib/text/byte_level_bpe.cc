#include "lib/text/byte_level_bpe.h"

#include <algorithm>
#include <queue>

#include "lib/base/check.h"

namespace parkd {
namespace {

// Bytes that GPT-2's alphabet shows as themselves; the others become U+0100 and on, in order.
constexpr bool is_printable(int byte) {
  return (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
}

struct Alphabet {
  std::array<uint16_t, 256> character_of_byte{};
  std::array<int16_t, 0x180> byte_of_character{};
};

Alphabet make_alphabet() {
  Alphabet alphabet;
  alphabet.byte_of_character.fill(-1);
  uint16_t next = 0x100;
  for (int byte = 0; byte < 256; ++byte) {
    const auto character = is_printable(byte) ? static_cast<uint16_t>(byte) : next++;
    alphabet.character_of_byte[static_cast<size_t>(byte)] = character;
    alphabet.byte_of_character[character] = static_cast<int16_t>(byte);
  }
  return alphabet;
}

const Alphabet kAlphabet = make_alphabet();

uint64_t pair_key(TokenId left, TokenId right) {
  return uint64_t{static_cast<uint32_t>(left)} << 32 | static_cast<uint32_t>(right);
}

// A token of the word, in a list linked by index; a merge keeps the left one and drops the right.
struct Symbol {
  TokenId token = 0;
  int32_t previous = -1;
  int32_t next = -1;  // -1: last
  bool dropped = false;
};

// A pair that could be merged. Stale when one of its tokens has changed since.
struct Candidate {
  int32_t rank = 0;
  int32_t left = 0;  // index of the left symbol
  TokenId left_token = 0;
  TokenId right_token = 0;
  TokenId merged = 0;
};

struct LaterMerge {
  bool operator()(const Candidate& a, const Candidate& b) const {
    return a.rank != b.rank ? a.rank > b.rank : a.left > b.left;
  }
};

}  // namespace

std::optional<std::string> bytes_of_byte_level_text(std::string_view text) {
  std::string bytes;
  bytes.reserve(text.size());
  for (size_t i = 0; i < text.size();) {
    const auto first = static_cast<uint8_t>(text[i]);
    uint32_t character = first;
    size_t length = 1;
    if (first >= 0xc2 && first <= 0xdf && i + 1 < text.size()) {  // the alphabet ends below U+0180
      const auto second = static_cast<uint8_t>(text[i + 1]);
      if (second < 0x80 || second > 0xbf) return std::nullopt;
      character = (first & 0x1fu) << 6 | (second & 0x3fu);
      length = 2;
    } else if (first >= 0x80) {
      return std::nullopt;
    }
    if (character >= kAlphabet.byte_of_character.size()) return std::nullopt;
    const int16_t byte = kAlphabet.byte_of_character[character];
    if (byte < 0) return std::nullopt;
    bytes += static_cast<char>(byte);
    i += length;
  }
  return bytes;
}

std::string byte_level_text_of(std::string_view bytes) {
  std::string text;
  for (const char c : bytes) {
    const uint16_t character = kAlphabet.character_of_byte[static_cast<uint8_t>(c)];
    if (character < 0x80) {
      text += static_cast<char>(character);
    } else {
      text += static_cast<char>(0xc0 | character >> 6);
      text += static_cast<char>(0x80 | (character & 0x3f));
    }
  }
  return text;
}

ByteLevelBpe::ByteLevelBpe() {
  byte_tokens_.fill(-1);
}

bool ByteLevelBpe::add_merge(TokenId left, TokenId right, TokenId merged) {
  const auto rank = static_cast<int32_t>(merges_.size());
  return merges_.emplace(pair_key(left, right), Merge{rank, merged}).second;
}

int64_t ByteLevelBpe::encode_word(std::string_view word, std::vector<TokenId>& tokens) const {
  std::vector<Symbol> symbols;
  symbols.reserve(word.size());
  for (const char c : word) {
    const TokenId token = byte_tokens_[static_cast<uint8_t>(c)];
    if (token < 0) continue;
    const auto index = static_cast<int32_t>(symbols.size());
    if (index > 0) symbols.back().next = index;
    symbols.push_back({token, index - 1, -1, false});
  }

  std::priority_queue<Candidate, std::vector<Candidate>, LaterMerge> candidates;
  int64_t n_steps = 0;
  const auto symbol = [&](int32_t index) -> Symbol& { return symbols[static_cast<size_t>(index)]; };
  const auto consider = [&](int32_t left) {
    if (left < 0 || symbol(left).next < 0) return;
    ++n_steps;
    const TokenId left_token = symbol(left).token;
    const TokenId right_token = symbol(symbol(left).next).token;
    const auto merge = merges_.find(pair_key(left_token, right_token));
    if (merge == merges_.end()) return;
    candidates.push({merge->second.rank, left, left_token, right_token, merge->second.merged});
  };

  for (int32_t i = 0; i + 1 < static_cast<int32_t>(symbols.size()); ++i) consider(i);
  while (!candidates.empty()) {
    const Candidate best = candidates.top();
    candidates.pop();
    Symbol& left = symbol(best.left);
    if (left.dropped || left.token != best.left_token || left.next < 0) continue;
    Symbol& right = symbol(left.next);
    if (right.token != best.right_token) continue;

    left.token = best.merged;
    right.dropped = true;
    left.next = right.next;
    if (left.next >= 0) symbol(left.next).previous = best.left;
    consider(left.previous);
    consider(best.left);
  }

  for (const Symbol& each : symbols) {
    if (!each.dropped) tokens.push_back(each.token);
  }
  return n_steps;
}

}  // namespace parkd
