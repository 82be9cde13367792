// PrefixIndex: which KV block holds which tokens, and after which prefix of which root.
//
// K and V of a token depend on it and all tokens before it, so a block is known by the prefix it
// completes: its own tokens behind the prefix of the block before it, and the first block's behind
// its root. Roots and tokens are compared, not only hashed: no two prefixes are ever taken for each
// other. A prefix's id is never used again, so what is known behind a block that was forgotten
// cannot be found any more.
//
// Owned by KvCache and guarded by its lock. Source of the idea: Kwon et al., "Efficient Memory
// Management for Large Language Model Serving with PagedAttention", 2023, section 4.4.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

#include "lib/base/sampling.h"
#include "lib/engine/prefix_root.h"

namespace parkd {

// A prefix of whole blocks; 0 is the empty one, of every root.
using PrefixId = uint64_t;

class PrefixIndex {
 public:
  static constexpr int32_t kUnknown = -1;

  explicit PrefixIndex(int64_t n_blocks);

  // The block that holds `tokens` behind `prefix` of `root`, or kUnknown.
  int32_t find(const PrefixRoot& root, PrefixId prefix, std::span<const TokenId> tokens) const;

  // `block` holds `tokens` behind `prefix` of `root`. Returns the prefix that they complete; where
  // another block is known for it, that one stays.
  PrefixId add(const PrefixRoot& root, PrefixId prefix, std::span<const TokenId> tokens,
               int32_t block);

  // The prefix that a known block completes; 0 for a block that is not known.
  PrefixId prefix_of(int32_t block) const { return completes_[static_cast<size_t>(block)]; }

  // `block` will hold something else. Nothing for one that is not known.
  void forget(int32_t block);

 private:
  struct View {
    PrefixRoot root;
    PrefixId prefix;
    std::span<const TokenId> tokens;
  };
  struct Key {
    PrefixRoot root;
    PrefixId prefix;
    std::vector<TokenId> tokens;
    View view() const { return {root, prefix, tokens}; }
  };
  struct Hash {
    using is_transparent = void;
    size_t operator()(const View& view) const;
    size_t operator()(const Key& key) const { return (*this)(key.view()); }
  };
  struct Equal {
    using is_transparent = void;
    static bool same(const View& a, const View& b);
    bool operator()(const Key& a, const Key& b) const { return same(a.view(), b.view()); }
    bool operator()(const View& a, const Key& b) const { return same(a, b.view()); }
    bool operator()(const Key& a, const View& b) const { return same(a.view(), b); }
  };
  using Known = std::unordered_map<Key, int32_t, Hash, Equal>;

  Known blocks_;
  std::vector<Known::const_iterator> known_as_;  // by block, where completes_ is not 0
  std::vector<PrefixId> completes_;              // by block
  PrefixId last_id_ = 0;
};

}  // namespace parkd
