// KvCache: the block allocator of one model on one device, shared by the model's workers.
//
// It hands out block ids; the memory behind them belongs to the Backend. It never says no:
// ResourcePool alone admits (DESIGN.md, I2), so asking for more than was reserved, or reserving
// more than there is, is a bug and CHECKs.
//
// Blocks are shared: one that a finished step has filled is published under the tokens it holds,
// and a sequence of the same root that starts with the same tokens takes it instead of computing
// them (I7: it would have computed the same bits). A published block stays when no sequence holds
// it any more, until its memory is wanted: the longest unused goes first, the tail of a prefix
// before its head. Each holder is charged for a shared block, so sharing saves work and never makes
// room.
//
// The one deliberately mutex-guarded object: a free block is wanted by whichever worker needs one
// next, in the middle of its step. A message to an owner thread would put a round trip into every
// step that crosses a block border; the lock is held for a few pushes and pops, and never across a
// call out. One worker's last read or write of a block comes before another's first: a block is
// given back, and published, only when the steps that use it were collected.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <span>
#include <utility>
#include <vector>

#include "lib/base/thread_safety.h"
#include "lib/base/units.h"
#include "lib/engine/block_queue.h"
#include "lib/engine/prefix_index.h"
#include "lib/engine/prefix_root.h"

namespace parkd {

class KvCache;

// A sequence's charge in the cache and the blocks it holds of it, by position. Gives everything
// back when it goes. Owned by one worker; must not outlive its KvCache.
class BlockTable {
 public:
  BlockTable() = default;
  ~BlockTable() { release(); }
  BlockTable(BlockTable&& other) noexcept { *this = std::move(other); }
  BlockTable& operator=(BlockTable&& other) noexcept;
  BlockTable(const BlockTable&) = delete;
  BlockTable& operator=(const BlockTable&) = delete;

  // Of a table that holds nothing but what this call gave it: takes the published blocks of its
  // root that hold the prompt's first tokens, all but the last at most. Returns how many tokens it
  // now holds so.
  int64_t share_prefix(std::span<const TokenId> prompt);

  // Takes blocks until the table covers `n_tokens` positions. Requires that many to be charged.
  void cover(int64_t n_tokens);

  // The table's first positions hold K and V of `tokens`, written by steps that were collected:
  // lets others of its root share the blocks that are full.
  void publish(std::span<const TokenId> tokens);

  // Gives the blocks and the charge back; the table is empty afterwards.
  void release();

  std::span<const int32_t> blocks() const { return blocks_; }
  Blocks charged() const { return charged_; }

 private:
  friend class KvCache;
  BlockTable(KvCache* cache, Blocks charged, const PrefixRoot& root)
      : cache_(cache), charged_(charged), root_(root) {}

  KvCache* cache_ = nullptr;
  Blocks charged_;
  PrefixRoot root_;
  std::vector<int32_t> blocks_;
  int64_t n_published_ = 0;  // of blocks_, from the first on: shared ones and its own
  PrefixId published_ = 0;   // what they complete
};

class KvCache {
 public:
  // Without `share_prefixes` nothing is published.
  KvCache(Blocks capacity, int32_t block_size_tokens, bool share_prefixes);
  // Every BlockTable must have gone: CHECKs (I8).
  ~KvCache();
  KvCache(const KvCache&) = delete;
  KvCache& operator=(const KvCache&) = delete;

  // An empty table with `charge` blocks to its name, whose tokens stand behind `root`. Any thread.
  // Requires the caller to have been admitted for them: the sum of all charges stays <= capacity.
  BlockTable reserve(Blocks charge, const PrefixRoot& root);

  Blocks capacity() const { return capacity_; }
  int32_t block_size_tokens() const { return block_size_tokens_; }
  bool shares_prefixes() const { return share_prefixes_; }
  // Any thread, without the lock: for stats.
  Blocks in_use() const { return {in_use_blocks_.load(std::memory_order_relaxed)}; }
  // Not held, but published: they count as free.
  Blocks cached() const { return {cached_blocks_.load(std::memory_order_relaxed)}; }
  Blocks charged() const { return {charged_blocks_.load(std::memory_order_relaxed)}; }

 private:
  friend class BlockTable;
  void share_prefix(std::span<const TokenId> prompt, BlockTable& table);
  void publish(std::span<const TokenId> tokens, BlockTable& table);
  void take(int64_t n_blocks, std::vector<int32_t>& into);
  int32_t take_one() PARKD_REQUIRES(mutex_);
  void give_back(std::span<const int32_t> blocks, Blocks charge);
  void count_blocks() PARKD_REQUIRES(mutex_);

  const Blocks capacity_;
  const int32_t block_size_tokens_;
  const bool share_prefixes_;

  std::mutex mutex_;
  // Hold nothing; used from the back, so a warm block comes first.
  std::vector<int32_t> free_ PARKD_GUARDED_BY(mutex_);
  BlockQueue unused_ PARKD_GUARDED_BY(mutex_);  // published, not held; the longest unused first
  PrefixIndex prefixes_ PARKD_GUARDED_BY(mutex_);
  std::vector<int32_t> n_holders_ PARKD_GUARDED_BY(mutex_);  // (capacity)

  std::atomic<int64_t> in_use_blocks_{0};   // written under mutex_
  std::atomic<int64_t> cached_blocks_{0};   // written under mutex_
  std::atomic<int64_t> charged_blocks_{0};  // written under mutex_
};

}  // namespace parkd
