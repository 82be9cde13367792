// ResourcePool: a model's KV blocks, and the only one who says yes to a job (DESIGN.md, I2). They
// lie in one part for each device of the model; a job's blocks are all of one part, the one with
// the most free: so jobs spread over devices by what is free.
//
// Owned and used by the dispatcher's thread alone. A Charge is the receipt for blocks taken; it
// gives them back when it goes. The pool must outlive its charges. Nothing here waits: what does
// not fit goes to the ParkingLot.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

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
  int32_t part() const { return part_; }

  // Takes `more` from the same part, all or nothing. Requires: not empty, more >= 0.
  [[nodiscard]] bool try_extend(Blocks more);

  // Gives everything back. Idempotent.
  void release();

 private:
  friend class ResourcePool;
  Charge(ResourcePool* pool, int32_t part, Blocks blocks)
      : pool_(pool), part_(part), blocks_(blocks) {}

  ResourcePool* pool_ = nullptr;
  int32_t part_ = 0;
  Blocks blocks_;
};

class ResourcePool {
 public:
  // One part. Requires: capacity >= 0.
  explicit ResourcePool(Blocks capacity) : ResourcePool(std::vector<Blocks>{capacity}) {}
  // Requires: at least one part, none negative.
  explicit ResourcePool(std::vector<Blocks> parts);
  ~ResourcePool();  // CHECKs that every charge has come back
  ResourcePool(const ResourcePool&) = delete;
  ResourcePool& operator=(const ResourcePool&) = delete;

  // Requires: blocks >= 0. Empty when no part has them free now.
  [[nodiscard]] std::optional<Charge> try_charge(Blocks blocks);

  Blocks capacity() const { return capacity_; }
  Blocks in_use() const { return in_use_; }
  Blocks capacity_of_largest() const;  // the most that one charge can ever have
  Blocks in_use_of(int32_t part) const { return parts_[static_cast<size_t>(part)].in_use; }
  Blocks free() const;                   // the most that one charge can have now
  Blocks peak() const { return peak_; }  // the most that was ever in use

 private:
  friend class Charge;
  struct Part {
    Blocks capacity;
    Blocks in_use;
    Blocks free() const { return capacity - in_use; }
  };
  int32_t emptiest() const;
  bool take(int32_t part, Blocks blocks);
  void give_back(int32_t part, Blocks blocks);

  std::vector<Part> parts_;
  Blocks capacity_;
  Blocks in_use_;
  Blocks peak_;
};

}  // namespace parkd
