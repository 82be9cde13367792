#include "lib/engine/kv_cache.h"

#include <string>

#include "lib/base/check.h"

namespace parkd {

BlockTable& BlockTable::operator=(BlockTable&& other) noexcept {
  if (this != &other) {
    release();
    cache_ = std::exchange(other.cache_, nullptr);
    charged_ = std::exchange(other.charged_, Blocks{});
    root_ = other.root_;
    blocks_ = std::exchange(other.blocks_, {});
    n_published_ = std::exchange(other.n_published_, 0);
    published_ = std::exchange(other.published_, 0);
  }
  return *this;
}

int64_t BlockTable::share_prefix(std::span<const TokenId> prompt) {
  PARKD_CHECK(cache_ != nullptr, "an empty BlockTable cannot grow");
  PARKD_CHECK(n_published_ == static_cast<int64_t>(blocks_.size()),
              "a sequence shares before it computes");
  cache_->share_prefix(prompt, *this);
  return n_published_ * cache_->block_size_tokens();
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

void BlockTable::publish(std::span<const TokenId> tokens) {
  PARKD_CHECK(cache_ != nullptr, "an empty BlockTable holds nothing");
  const int64_t n_full = static_cast<int64_t>(tokens.size()) / cache_->block_size_tokens();
  PARKD_CHECK(n_full <= static_cast<int64_t>(blocks_.size()), "tokens are published with blocks");
  if (n_full > n_published_) cache_->publish(tokens, *this);
}

void BlockTable::release() {
  if (cache_ == nullptr) return;
  cache_->give_back(blocks_, charged_);
  cache_ = nullptr;
  charged_ = {};
  blocks_.clear();
  n_published_ = 0;
  published_ = 0;
}

KvCache::KvCache(Blocks capacity, int32_t block_size_tokens, bool share_prefixes)
    : capacity_(capacity),
      block_size_tokens_(block_size_tokens),
      share_prefixes_(share_prefixes),
      unused_(capacity.count),
      prefixes_(capacity.count),
      n_holders_(static_cast<size_t>(capacity.count), 0) {
  PARKD_CHECK(capacity.count > 0 && block_size_tokens > 0, "a KV cache has blocks");
  free_.reserve(static_cast<size_t>(capacity.count));
  for (int64_t id = capacity.count - 1; id >= 0; --id) free_.push_back(static_cast<int32_t>(id));
}

KvCache::~KvCache() {
  PARKD_CHECK(in_use_blocks_ == 0 && charged_blocks_ == 0, "a BlockTable outlives its KvCache");
}

BlockTable KvCache::reserve(Blocks charge, const PrefixRoot& root) {
  const std::lock_guard lock(mutex_);
  const int64_t charged = charged_blocks_.load(std::memory_order_relaxed) + charge.count;
  PARKD_CHECK(charge.count >= 0 && charged <= capacity_.count,
              "the engine was given " + std::to_string(charged) + " blocks of work and has " +
                  std::to_string(capacity_.count));
  charged_blocks_.store(charged, std::memory_order_relaxed);
  return BlockTable(this, charge, root);
}

void KvCache::share_prefix(std::span<const TokenId> prompt, BlockTable& table) {
  if (!share_prefixes_) return;
  const std::lock_guard lock(mutex_);
  // The last token is computed in any case: its logits are wanted.
  const int64_t n_blocks_max = (static_cast<int64_t>(prompt.size()) - 1) / block_size_tokens_;
  while (table.n_published_ < n_blocks_max) {
    const auto first = static_cast<size_t>(table.n_published_ * block_size_tokens_);
    const int32_t id = prefixes_.find(table.root_, table.published_,
                                      prompt.subspan(first, size_t(block_size_tokens_)));
    if (id == PrefixIndex::kUnknown) break;
    if (n_holders_[static_cast<size_t>(id)]++ == 0) unused_.remove(id);
    table.blocks_.push_back(id);
    table.published_ = prefixes_.prefix_of(id);
    ++table.n_published_;
  }
  count_blocks();
}

void KvCache::publish(std::span<const TokenId> tokens, BlockTable& table) {
  if (!share_prefixes_) return;
  const std::lock_guard lock(mutex_);
  const int64_t n_full = static_cast<int64_t>(tokens.size()) / block_size_tokens_;
  for (; table.n_published_ < n_full; ++table.n_published_) {
    const auto at = static_cast<size_t>(table.n_published_);
    table.published_ =
        prefixes_.add(table.root_, table.published_,
                      tokens.subspan(at * size_t(block_size_tokens_), size_t(block_size_tokens_)),
                      table.blocks_[at]);
  }
}

void KvCache::take(int64_t n_blocks, std::vector<int32_t>& into) {
  const std::lock_guard lock(mutex_);
  for (int64_t i = 0; i < n_blocks; ++i) {
    const int32_t id = take_one();
    n_holders_[static_cast<size_t>(id)] = 1;
    into.push_back(id);
  }
  count_blocks();
}

int32_t KvCache::take_one() {
  if (!free_.empty()) {
    const int32_t id = free_.back();
    free_.pop_back();
    return id;
  }
  PARKD_CHECK(!unused_.empty(),
              "charges add up to at most the capacity, so a charged block is free");
  const int32_t id = unused_.pop_front();
  prefixes_.forget(id);
  return id;
}

void KvCache::give_back(std::span<const int32_t> blocks, Blocks charge) {
  const std::lock_guard lock(mutex_);
  for (size_t i = blocks.size(); i > 0; --i) {
    const int32_t id = blocks[i - 1];
    int32_t& n_holders = n_holders_[static_cast<size_t>(id)];
    PARKD_CHECK(n_holders > 0, "a block is given back once by each holder");
    if (--n_holders > 0) continue;
    if (prefixes_.prefix_of(id) != 0) {
      unused_.push_back(id);
    } else {
      free_.push_back(id);
    }
  }
  count_blocks();
  charged_blocks_.fetch_sub(charge.count, std::memory_order_relaxed);
}

void KvCache::count_blocks() {
  const auto n_unused = unused_.size();
  const auto n_free = static_cast<int64_t>(free_.size());
  cached_blocks_.store(n_unused, std::memory_order_relaxed);
  in_use_blocks_.store(capacity_.count - n_free - n_unused, std::memory_order_relaxed);
}

}  // namespace parkd
