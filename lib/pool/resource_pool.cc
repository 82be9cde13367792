#include "lib/pool/resource_pool.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "lib/base/check.h"

namespace parkd {

namespace {

int64_t part_of(double fraction, int64_t whole) {
  return static_cast<int64_t>(std::floor(fraction * static_cast<double>(whole)));
}

ReservedAmount slots_of(const PoolSize& size) {
  const bool keeps_some = size.reserve > 0 && size.sequences > 1;
  return {size.sequences,
          keeps_some ? std::max<int64_t>(1, part_of(size.reserve, size.sequences)) : 0};
}

}  // namespace

Charge::Charge(Charge&& other) noexcept
    : pool_(std::exchange(other.pool_, nullptr)),
      part_(other.part_),
      blocks_(std::exchange(other.blocks_, {})),
      sequences_(std::exchange(other.sequences_, {})) {}

Charge& Charge::operator=(Charge&& other) noexcept {
  if (this != &other) {
    release();
    pool_ = std::exchange(other.pool_, nullptr);
    part_ = other.part_;
    blocks_ = std::exchange(other.blocks_, {});
    sequences_ = std::exchange(other.sequences_, {});
  }
  return *this;
}

bool Charge::try_extend(Blocks more) {
  PARKD_CHECK(pool_ != nullptr, "an empty charge cannot grow");
  const auto taken = pool_->take(part_, more, Purse::common);
  if (!taken) return false;
  blocks_.common += taken->common;
  blocks_.reserved += taken->reserved;
  return true;
}

void Charge::release() {
  if (pool_ == nullptr) return;
  std::exchange(pool_, nullptr)->give_back(*this);
  blocks_ = {};
  sequences_ = {};
}

ResourcePool::ResourcePool(const PoolSize& size) : sequences_(slots_of(size)) {
  PARKD_CHECK(!size.parts.empty(), "a pool has a part");
  PARKD_CHECK(size.reserve >= 0 && size.reserve <= 0.5, "a reserve of more than half");
  for (const Blocks capacity : size.parts) {
    parts_.emplace_back(capacity.count, part_of(size.reserve, capacity.count));
    capacity_ += capacity;
  }
}

ResourcePool::~ResourcePool() {
  PARKD_CHECK(in_use_.count == 0 && sequences_.in_use().sum() == 0,
              "a pool went away before its charges");
}

std::optional<Charge> ResourcePool::try_charge(Blocks blocks, int32_t sequences, Purse purse) {
  const auto slots = sequences_.take(sequences, purse);
  if (!slots) return std::nullopt;
  const int32_t part = emptiest(purse);
  const auto taken = take(part, blocks, purse);
  if (!taken) {
    sequences_.give_back(*slots);
    return std::nullopt;
  }
  return Charge(this, part, *taken, *slots);
}

// The first of equals.
int32_t ResourcePool::emptiest(Purse purse) const {
  const auto most = std::max_element(parts_.begin(), parts_.end(),
                                     [purse](const ReservedAmount& a, const ReservedAmount& b) {
                                       return a.free(purse) < b.free(purse);
                                     });
  return static_cast<int32_t>(most - parts_.begin());
}

Blocks ResourcePool::free(Purse purse) const {
  return {parts_[static_cast<size_t>(emptiest(purse))].free(purse)};
}

Blocks ResourcePool::capacity_of_largest() const {
  int64_t largest = 0;
  for (const ReservedAmount& part : parts_) largest = std::max(largest, part.capacity());
  return {largest};
}

Blocks ResourcePool::reserve() const {
  int64_t sum = 0;
  for (const ReservedAmount& part : parts_) sum += part.reserve();
  return {sum};
}

Blocks ResourcePool::reserve_in_use() const {
  int64_t sum = 0;
  for (const ReservedAmount& part : parts_) sum += part.in_use().reserved;
  return {sum};
}

bool ResourcePool::is_wide(Blocks blocks, int32_t sequences) const {
  if (sequences > sequences_.capacity() - sequences_.reserve()) return true;
  return std::all_of(parts_.begin(), parts_.end(), [&](const ReservedAmount& part) {
    return blocks.count > part.capacity() - part.reserve();
  });
}

std::optional<ReservedAmount::Taken> ResourcePool::take(int32_t part, Blocks blocks, Purse purse) {
  const auto taken = parts_[static_cast<size_t>(part)].take(blocks.count, purse);
  if (!taken) return std::nullopt;
  in_use_ += blocks;
  peak_ = std::max(peak_, in_use_);
  return taken;
}

void ResourcePool::give_back(const Charge& charge) {
  parts_[static_cast<size_t>(charge.part_)].give_back(charge.blocks_);
  sequences_.give_back(charge.sequences_);
  in_use_ -= charge.blocks();
}

}  // namespace parkd
