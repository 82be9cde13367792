#include "lib/text/bpe.h"

#include <algorithm>
#include <queue>

namespace parkd {
namespace {

uint64_t pair_key(TokenId left, TokenId right) {
  return uint64_t{static_cast<uint32_t>(left)} << 32 | static_cast<uint32_t>(right);
}

// A symbol in a list linked by index; a merge keeps the left one and drops the right.
struct Link {
  int32_t previous = -1;
  int32_t next = -1;  // -1: last
};

// A pair that could be merged. Stale when the two are no longer of that size: sizes only grow.
struct Candidate {
  int32_t rank = 0;
  int32_t left = 0;  // index of the left symbol
  uint32_t size = 0;
  TokenId merged = 0;
};

struct LaterMerge {
  bool operator()(const Candidate& a, const Candidate& b) const {
    return a.rank != b.rank ? a.rank > b.rank : a.left > b.left;
  }
};

}  // namespace

bool Bpe::add_merge(TokenId left, TokenId right, TokenId merged) {
  const auto rank = static_cast<int32_t>(merges_.size());
  return merges_.emplace(pair_key(left, right), Merge{rank, merged}).second;
}

void Bpe::add_word(std::string_view text, int32_t rank, TokenId token) {
  words_.emplace(text, Merge{rank, token});
  longest_word_ = std::max(longest_word_, text.size());
}

int64_t Bpe::merge(std::string_view word, std::vector<BpeSymbol>& symbols) const {
  if (words_.empty()) {
    return run(symbols, [&](const BpeSymbol& left, const BpeSymbol& right) -> const Merge* {
      const auto found = merges_.find(pair_key(left.token, right.token));
      return found == merges_.end() ? nullptr : &found->second;
    });
  }
  return run(symbols, [&](const BpeSymbol& left, const BpeSymbol& right) -> const Merge* {
    const size_t size = size_t{left.size} + right.size;
    if (size > longest_word_) return nullptr;
    const auto found = words_.find(word.substr(left.begin, size));
    return found == words_.end() ? nullptr : &found->second;
  });
}

template <class Find>
int64_t Bpe::run(std::vector<BpeSymbol>& symbols, const Find& find) {
  const auto n_symbols = static_cast<int32_t>(symbols.size());
  if (n_symbols < 2) return 0;
  std::vector<Link> links(symbols.size());
  std::priority_queue<Candidate, std::vector<Candidate>, LaterMerge> candidates;
  int64_t n_steps = 0;
  const auto symbol = [&](int32_t index) -> BpeSymbol& {
    return symbols[static_cast<size_t>(index)];
  };
  const auto link = [&](int32_t index) -> Link& { return links[static_cast<size_t>(index)]; };
  const auto consider = [&](int32_t left) {
    if (left < 0 || link(left).next < 0) return;
    ++n_steps;
    const BpeSymbol& right = symbol(link(left).next);
    const Merge* merge = find(symbol(left), right);
    if (merge == nullptr) return;
    candidates.push({merge->rank, left, symbol(left).size + right.size, merge->merged});
  };

  for (int32_t i = 0; i < n_symbols; ++i) link(i) = {i - 1, i + 1 < n_symbols ? i + 1 : -1};
  for (int32_t i = 0; i + 1 < n_symbols; ++i) consider(i);
  while (!candidates.empty()) {
    const Candidate best = candidates.top();
    candidates.pop();
    BpeSymbol& left = symbol(best.left);
    const int32_t right_index = link(best.left).next;
    if (left.size == 0 || right_index < 0) continue;  // size 0: dropped
    BpeSymbol& right = symbol(right_index);
    if (left.size + right.size != best.size) continue;

    left.token = best.merged;
    left.size = best.size;
    right.size = 0;
    link(best.left).next = link(right_index).next;
    if (link(best.left).next >= 0) link(link(best.left).next).previous = best.left;
    consider(link(best.left).previous);
    consider(best.left);
  }
  std::erase_if(symbols, [](const BpeSymbol& each) { return each.size == 0; });
  return n_steps;
}

}  // namespace parkd
