#include "lib/engine/kv_cache.h"

#include <string>

#include "lib/base/check.h"

namespace parkd {

BlockTable& BlockTable::operator=(BlockTable&& other) noexcept {
  if (this != &other) {
    release();
    cache_ = std::exchange(other.cache_, nullptr);
    charged_ = std::exchange(other.charged_, Blocks{});
    blocks_ = std::exchange(other.blocks_, {});
  }
  return *this;
}

void BlockTable::cover(int64_t n_tokens) {
  PARKD_CHECK(cache_ != nullptr, "an empty BlockTable cannot grow");
  const int64_t wanted_blocks = ceil_div(n_tokens, cache_->block_size_tokens());
  const int64_t missing_blocks = wanted_blocks - static_cast<int64_t>(blocks_.size());
  if (missing_blocks <= 0) return;
  PARKD_CHECK(wanted_blocks <= charged_.count,
              "a sequence wants block " + std::to_string(wanted_blocks) + " of a charge of " +
                  std::to_string(charged_.count));
  cache_->take(missing_blocks, blocks_);
}

void BlockTable::release() {
  if (cache_ == nullptr) return;
  cache_->give_back(blocks_, charged_);
  cache_ = nullptr;
  charged_ = {};
  blocks_.clear();
}

KvCache::KvCache(Blocks capacity, int32_t block_size_tokens)
    : capacity_(capacity), block_size_tokens_(block_size_tokens) {
  PARKD_CHECK(capacity.count > 0 && block_size_tokens > 0, "a KV cache has blocks");
  free_.reserve(static_cast<size_t>(capacity.count));
  for (int64_t id = capacity.count - 1; id >= 0; --id) free_.push_back(static_cast<int32_t>(id));
  is_taken_.resize(static_cast<size_t>(capacity.count), false);
}

KvCache::~KvCache() {
  PARKD_CHECK(in_use_blocks_ == 0 && charged_blocks_ == 0, "a BlockTable outlives its KvCache");
}

BlockTable KvCache::reserve(Blocks charge) {
  const std::lock_guard lock(mutex_);
  const int64_t charged = charged_blocks_.load(std::memory_order_relaxed) + charge.count;
  PARKD_CHECK(charge.count >= 0 && charged <= capacity_.count,
              "the engine was given " + std::to_string(charged) + " blocks of work and has " +
                  std::to_string(capacity_.count));
  charged_blocks_.store(charged, std::memory_order_relaxed);
  return BlockTable(this, charge);
}

void KvCache::take(int64_t n_blocks, std::vector<int32_t>& into) {
  const std::lock_guard lock(mutex_);
  PARKD_CHECK(n_blocks <= static_cast<int64_t>(free_.size()),
              "charges add up to at most the capacity, so a charged block is free");
  for (int64_t i = 0; i < n_blocks; ++i) {
    const int32_t id = free_.back();
    free_.pop_back();
    is_taken_[static_cast<size_t>(id)] = true;
    into.push_back(id);
  }
  in_use_blocks_.fetch_add(n_blocks, std::memory_order_relaxed);
}

void KvCache::give_back(std::span<const int32_t> blocks, Blocks charge) {
  const std::lock_guard lock(mutex_);
  for (size_t i = blocks.size(); i > 0; --i) {
    const int32_t id = blocks[i - 1];
    PARKD_CHECK(is_taken_[static_cast<size_t>(id)], "a block is given back once");
    is_taken_[static_cast<size_t>(id)] = false;
    free_.push_back(id);
  }
  in_use_blocks_.fetch_sub(static_cast<int64_t>(blocks.size()), std::memory_order_relaxed);
  charged_blocks_.fetch_sub(charge.count, std::memory_order_relaxed);
}

}  // namespace parkd
