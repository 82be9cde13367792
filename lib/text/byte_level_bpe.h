// ByteLevelBpe: the merge loop of byte-pair encoding on the bytes of one word (Sennrich et al.
// 2016, "Neural machine translation of rare words with subword units", algorithm 1): of all
// neighbours that the merge list knows, the pair of lowest rank, leftmost first, becomes one token,
// until none is left. A heap over a linked list makes that O(n log n): a word may be 64 KB long.
// Filled once, then immutable and shared between threads.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "lib/base/sampling.h"

namespace parkd {

// The bytes that GPT-2's printable alphabet spells ("Ġ" is a space); empty when `text` holds a
// character outside of it. Source: openai/gpt-2, encoder.py, bytes_to_unicode.
std::optional<std::string> bytes_of_byte_level_text(std::string_view text);
// The other way round.
std::string byte_level_text_of(std::string_view bytes);

class ByteLevelBpe {
 public:
  ByteLevelBpe();

  // A token of one byte. A byte that has none is left out of the text.
  void add_byte(uint8_t byte, TokenId token) { byte_tokens_[byte] = token; }
  // Makes `left` `right` one token `merged`. The first merge added has rank 0. Returns false when
  // the pair is there already.
  bool add_merge(TokenId left, TokenId right, TokenId merged);

  // Appends the tokens of one word. Returns how many merge candidates were looked at, at most three
  // a byte: the number the loop's time grows with.
  int64_t encode_word(std::string_view word, std::vector<TokenId>& tokens) const;

 private:
  struct Merge {
    int32_t rank = 0;
    TokenId merged = 0;
  };

  std::array<TokenId, 256> byte_tokens_;
  std::unordered_map<uint64_t, Merge> merges_;  // by (left << 32 | right)
};

}  // namespace parkd
