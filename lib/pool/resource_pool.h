// ResourcePool: a model's KV blocks, and the only one who says yes to a job (DESIGN.md, I2).
//
// Owned and used by the dispatcher's thread alone. A Charge is the receipt for blocks taken; it
// gives them back when it goes. The pool must outlive its charges. Nothing here waits: what does
// not fit goes to the ParkingLot.
#pragma once

#include <optional>

#include "lib/base/units.h"

namespace parkd {

class ResourcePool;

// Blocks taken from a pool. Move-only; empty after release() or a move.
class Charge {
 public:
  Charge(Charge&& other) noexcept;
  Charge& operator=(Charge&& other) noexcept;
  Charge(const Charge&) = delete;
  Charge& operator=(const Charge&) = delete;
  ~Charge() { release(); }

  Blocks blocks() const { return blocks_; }

  // Takes `more` from the same pool, all or nothing. Requires: not empty, more >= 0.
  [[nodiscard]] bool try_extend(Blocks more);

  // Gives everything back. Idempotent.
  void release();

 private:
  friend class ResourcePool;
  Charge(ResourcePool* pool, Blocks blocks) : pool_(pool), blocks_(blocks) {}

  ResourcePool* pool_ = nullptr;
  Blocks blocks_;
};

class ResourcePool {
 public:
  // Requires: capacity >= 0.
  explicit ResourcePool(Blocks capacity);
  ~ResourcePool();  // CHECKs that every charge has come back
  ResourcePool(const ResourcePool&) = delete;
  ResourcePool& operator=(const ResourcePool&) = delete;

  // Requires: blocks >= 0. Empty when they are not free now.
  [[nodiscard]] std::optional<Charge> try_charge(Blocks blocks);

  Blocks capacity() const { return capacity_; }
  Blocks in_use() const { return in_use_; }
  Blocks free() const { return capacity_ - in_use_; }
  Blocks peak() const { return peak_; }  // the most that was ever in use

 private:
  friend class Charge;
  bool take(Blocks blocks);
  void give_back(Blocks blocks);

  const Blocks capacity_;
  Blocks in_use_;
  Blocks peak_;
};

}  // namespace parkd
