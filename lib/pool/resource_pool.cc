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

ReservedAmount slots_of(int32_t sequences, double reserve) {
  const bool keeps_some = reserve > 0 && sequences > 1;
  return {sequences, keeps_some ? std::max<int64_t>(1, part_of(reserve, sequences)) : 0};
}

}  // namespace

int32_t all_sequences(std::span<const PoolPart> parts) {
  int32_t sum = 0;
  for (const PoolPart& part : parts) sum += part.sequences;
  return sum;
}

PoolPart largest_of(std::span<const PoolPart> parts) {
  PARKD_CHECK(!parts.empty(), "a pool has a part");
  return *std::max_element(parts.begin(), parts.end(), [](const PoolPart& a, const PoolPart& b) {
    return std::pair(a.blocks, a.sequences) < std::pair(b.blocks, b.sequences);
  });
}

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

void Charge::release() {
  if (pool_ == nullptr) return;
  std::exchange(pool_, nullptr)->give_back(*this);
  blocks_ = {};
  sequences_ = {};
}

ResourcePool::ResourcePool(const PoolSize& size) {
  PARKD_CHECK(!size.parts.empty(), "a pool has a part");
  PARKD_CHECK(size.reserve >= 0 && size.reserve <= 0.5, "a reserve of more than half");
  for (const PoolPart& part : size.parts) {
    PARKD_CHECK(part.sequences > 0, "a part without slots");
    parts_.push_back({{part.blocks.count, part_of(size.reserve, part.blocks.count)},
                      slots_of(part.sequences, size.reserve)});
    capacity_ += part.blocks;
  }
}

ResourcePool::~ResourcePool() {
  PARKD_CHECK(in_use_.count == 0 && sequences().in_use().sum() == 0,
              "a pool went away before its charges");
}

std::optional<Charge> ResourcePool::try_charge(Blocks blocks, int32_t sequences, Purse purse) {
  const std::optional<int32_t> part = emptiest(purse, sequences);
  if (!part) return std::nullopt;
  const auto taken = take(*part, blocks, purse);
  if (!taken) return std::nullopt;
  const auto slots = parts_[static_cast<size_t>(*part)].sequences.take(sequences, purse);
  return Charge(this, *part, *taken, *slots);
}

// The first of equals.
std::optional<int32_t> ResourcePool::emptiest(Purse purse, int32_t sequences) const {
  std::optional<int32_t> found;
  int64_t most = -1;
  for (size_t i = 0; i < parts_.size(); ++i) {
    const int64_t n_free = parts_[i].blocks.free(purse);
    if (parts_[i].sequences.free(purse) < sequences || n_free <= most) continue;
    most = n_free;
    found = static_cast<int32_t>(i);
  }
  return found;
}

Blocks ResourcePool::free(Purse purse, int32_t sequences) const {
  const std::optional<int32_t> part = emptiest(purse, sequences);
  return part ? Blocks{parts_[static_cast<size_t>(*part)].blocks.free(purse)} : Blocks{};
}

int32_t ResourcePool::free_sequences(Purse purse) const {
  int64_t most = 0;
  for (const Part& part : parts_) most = std::max(most, part.sequences.free(purse));
  return static_cast<int32_t>(most);
}

ReservedAmount ResourcePool::sequences() const {
  ReservedAmount all(0, 0);
  for (const Part& part : parts_) all += part.sequences;
  return all;
}

Blocks ResourcePool::reserve() const {
  int64_t sum = 0;
  for (const Part& part : parts_) sum += part.blocks.reserve();
  return {sum};
}

Blocks ResourcePool::reserve_in_use() const {
  int64_t sum = 0;
  for (const Part& part : parts_) sum += part.blocks.in_use().reserved;
  return {sum};
}

bool ResourcePool::is_wide(Blocks blocks, int32_t sequences) const {
  return std::all_of(parts_.begin(), parts_.end(), [&](const Part& part) {
    return blocks.count > part.blocks.capacity() - part.blocks.reserve() ||
           sequences > part.sequences.capacity() - part.sequences.reserve();
  });
}

std::optional<ReservedAmount::Taken> ResourcePool::take(int32_t part, Blocks blocks, Purse purse) {
  const auto taken = parts_[static_cast<size_t>(part)].blocks.take(blocks.count, purse);
  if (!taken) return std::nullopt;
  in_use_ += blocks;
  peak_ = std::max(peak_, in_use_);
  return taken;
}

void ResourcePool::give_back(const Charge& charge) {
  Part& part = parts_[static_cast<size_t>(charge.part_)];
  part.blocks.give_back(charge.blocks_);
  part.sequences.give_back(charge.sequences_);
  in_use_ -= charge.blocks();
}

}  // namespace parkd
