// KvCache: the block allocator of one model on one device, shared by the model's workers.
//
// It hands out block ids; the memory behind them belongs to the Backend. It never says no:
// ResourcePool alone admits (DESIGN.md, I2), so asking for more than was reserved, or reserving
// more than there is, is a bug and CHECKs.
//
// The one deliberately mutex-guarded object: a free block is wanted by whichever worker needs one
// next, in the middle of its step. A message to an owner thread would put a round trip into every
// step that crosses a block border; the lock is held for a few pushes and pops, and never across a
// call out. The same lock orders one worker's last read of a block before another's first write.
//
// The prefix cache will live here too: blocks by the hash of the tokens they hold, matchable only
// after the step that wrote them has completed, evictable while no BlockTable holds them.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <span>
#include <utility>
#include <vector>

#include "lib/base/units.h"

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

  // Takes blocks until the table covers `n_tokens` positions. Requires that many to be charged.
  void cover(int64_t n_tokens);

  // Gives the blocks and the charge back; the table is empty afterwards.
  void release();

  std::span<const int32_t> blocks() const { return blocks_; }
  Blocks charged() const { return charged_; }

 private:
  friend class KvCache;
  BlockTable(KvCache* cache, Blocks charged) : cache_(cache), charged_(charged) {}

  KvCache* cache_ = nullptr;
  Blocks charged_;
  std::vector<int32_t> blocks_;
};

class KvCache {
 public:
  KvCache(Blocks capacity, int32_t block_size_tokens);
  // Every BlockTable must have gone: CHECKs (I8).
  ~KvCache();
  KvCache(const KvCache&) = delete;
  KvCache& operator=(const KvCache&) = delete;

  // An empty table with `charge` blocks to its name. Any thread. Requires the caller to have been
  // admitted for them: the sum of all charges stays <= capacity.
  BlockTable reserve(Blocks charge);

  Blocks capacity() const { return capacity_; }
  int32_t block_size_tokens() const { return block_size_tokens_; }
  // Any thread, without the lock: for stats.
  Blocks in_use() const { return {in_use_blocks_.load(std::memory_order_relaxed)}; }
  Blocks charged() const { return {charged_blocks_.load(std::memory_order_relaxed)}; }

 private:
  friend class BlockTable;
  void take(int64_t n_blocks, std::vector<int32_t>& into);
  void give_back(std::span<const int32_t> blocks, Blocks charge);

  const Blocks capacity_;
  const int32_t block_size_tokens_;

  std::mutex mutex_;
  std::vector<int32_t> free_;  // guarded by mutex_; used from the back, so a warm block comes first
  std::vector<bool> is_taken_;  // guarded by mutex_; (capacity): catches a block given back twice

  std::atomic<int64_t> in_use_blocks_{0};   // written under mutex_
  std::atomic<int64_t> charged_blocks_{0};  // written under mutex_
};

}  // namespace parkd
