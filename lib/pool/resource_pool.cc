#include "lib/pool/resource_pool.h"

#include <algorithm>
#include <utility>

#include "lib/base/check.h"

namespace parkd {

Charge::Charge(Charge&& other) noexcept
    : pool_(std::exchange(other.pool_, nullptr)), blocks_(std::exchange(other.blocks_, {})) {}

Charge& Charge::operator=(Charge&& other) noexcept {
  if (this != &other) {
    release();
    pool_ = std::exchange(other.pool_, nullptr);
    blocks_ = std::exchange(other.blocks_, {});
  }
  return *this;
}

bool Charge::try_extend(Blocks more) {
  PARKD_CHECK(pool_ != nullptr, "an empty charge cannot grow");
  if (!pool_->take(more)) return false;
  blocks_ += more;
  return true;
}

void Charge::release() {
  if (pool_ == nullptr) return;
  std::exchange(pool_, nullptr)->give_back(std::exchange(blocks_, {}));
}

ResourcePool::ResourcePool(Blocks capacity) : capacity_(capacity) {
  PARKD_CHECK(capacity.count >= 0, "a pool of negative capacity");
}

ResourcePool::~ResourcePool() {
  PARKD_CHECK(in_use_.count == 0, "a pool went away before its charges");
}

std::optional<Charge> ResourcePool::try_charge(Blocks blocks) {
  if (!take(blocks)) return std::nullopt;
  return Charge(this, blocks);
}

bool ResourcePool::take(Blocks blocks) {
  PARKD_CHECK(blocks.count >= 0, "a charge of negative blocks");
  if (blocks > free()) return false;  // compared this way round, nothing can overflow
  in_use_ += blocks;
  peak_ = std::max(peak_, in_use_);
  return true;
}

void ResourcePool::give_back(Blocks blocks) {
  PARKD_CHECK(blocks <= in_use_, "more blocks came back than were taken");
  in_use_ -= blocks;
}

}  // namespace parkd
