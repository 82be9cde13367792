#include "lib/pool/resource_pool.h"

#include <algorithm>
#include <utility>

#include "lib/base/check.h"

namespace parkd {

Charge::Charge(Charge&& other) noexcept
    : pool_(std::exchange(other.pool_, nullptr)),
      part_(other.part_),
      blocks_(std::exchange(other.blocks_, {})) {}

Charge& Charge::operator=(Charge&& other) noexcept {
  if (this != &other) {
    release();
    pool_ = std::exchange(other.pool_, nullptr);
    part_ = other.part_;
    blocks_ = std::exchange(other.blocks_, {});
  }
  return *this;
}

bool Charge::try_extend(Blocks more) {
  PARKD_CHECK(pool_ != nullptr, "an empty charge cannot grow");
  if (!pool_->take(part_, more)) return false;
  blocks_ += more;
  return true;
}

void Charge::release() {
  if (pool_ == nullptr) return;
  std::exchange(pool_, nullptr)->give_back(part_, std::exchange(blocks_, {}));
}

ResourcePool::ResourcePool(std::vector<Blocks> parts) {
  PARKD_CHECK(!parts.empty(), "a pool has a part");
  for (const Blocks capacity : parts) {
    PARKD_CHECK(capacity.count >= 0, "a pool of negative capacity");
    parts_.push_back({capacity, {}});
    capacity_ += capacity;
  }
}

ResourcePool::~ResourcePool() {
  PARKD_CHECK(in_use_.count == 0, "a pool went away before its charges");
}

std::optional<Charge> ResourcePool::try_charge(Blocks blocks) {
  const int32_t part = emptiest();
  if (!take(part, blocks)) return std::nullopt;
  return Charge(this, part, blocks);
}

// The first of equals.
int32_t ResourcePool::emptiest() const {
  const auto most =
      std::max_element(parts_.begin(), parts_.end(),
                       [](const Part& a, const Part& b) { return a.free() < b.free(); });
  return static_cast<int32_t>(most - parts_.begin());
}

Blocks ResourcePool::free() const {
  return parts_[static_cast<size_t>(emptiest())].free();
}

Blocks ResourcePool::capacity_of_largest() const {
  Blocks largest;
  for (const Part& part : parts_) largest = std::max(largest, part.capacity);
  return largest;
}

bool ResourcePool::take(int32_t part, Blocks blocks) {
  PARKD_CHECK(blocks.count >= 0, "a charge of negative blocks");
  Part& from = parts_[static_cast<size_t>(part)];
  if (blocks > from.free()) return false;  // compared this way round, nothing can overflow
  from.in_use += blocks;
  in_use_ += blocks;
  peak_ = std::max(peak_, in_use_);
  return true;
}

void ResourcePool::give_back(int32_t part, Blocks blocks) {
  Part& to = parts_[static_cast<size_t>(part)];
  PARKD_CHECK(blocks <= to.in_use, "more blocks came back than were taken");
  to.in_use -= blocks;
  in_use_ -= blocks;
}

}  // namespace parkd
