// Bpe: the merge loop of byte-pair encoding on the symbols of one word (Sennrich et al. 2016,
// "Neural machine translation of rare words with subword units", algorithm 1): of all neighbours
// that may merge, the pair of lowest rank, leftmost first, becomes one token, until none is left. A
// heap over a linked list makes that O(n log n): a word may be megabytes long.
//
// Which pairs may merge is either a list of pairs, or every pair whose concatenation is a word that
// has a rank (SentencePiece's scores, tiktoken's ids). Filled once, then immutable and shared
// between threads.
#pragma once

#include <cstdint>
#include <limits>
#include <span>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "lib/base/sampling.h"

namespace parkd {

// What merging starts from: a token, or bytes that are none yet (-1).
struct BpeSymbol {
  TokenId token = -1;
  uint32_t begin = 0;  // of the word
  uint32_t size = 0;   // in bytes
};

class Bpe {
 public:
  // By pairs. Makes `left` `right` one token `merged`; the first merge added has rank 0. Returns
  // false when the pair is there already.
  bool add_merge(TokenId left, TokenId right, TokenId merged);
  void reserve_merges(size_t n) { merges_.reserve(n); }

  // By words: whatever two neighbours spell together, if it is a word. `text` must outlive this. Of
  // a word that is added twice the first is kept.
  void add_word(std::string_view text, int32_t rank, TokenId token);

  // Merges `symbols`, neighbours in `word` in this order, and leaves the tokens and what became
  // none. Returns how many candidates were looked at, at most three a symbol: the number that the
  // loop's time grows with, times its logarithm.
  int64_t merge(std::string_view word, std::vector<BpeSymbol>& symbols) const;

 private:
  struct Merge {
    int32_t rank = 0;
    TokenId merged = 0;
  };
  template <class Find>
  static int64_t run(std::vector<BpeSymbol>& symbols, const Find& find);

  std::unordered_map<uint64_t, Merge> merges_;  // by (left << 32 | right)
  std::unordered_map<std::string_view, Merge> words_;
  size_t longest_word_ = 0;
};

}  // namespace parkd
