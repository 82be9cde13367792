// ResourcePool: a model's KV blocks and sequence slots, and the only one who says yes to a job
// (DESIGN.md, I2). Both lie in one part for each device of the model; what a job takes is all of
// one part: of those that have slots for it, the one with the most free blocks. So jobs spread over
// devices by what is free.
//
// A fraction of each part's blocks and slots may be kept for callers that wait. A charge remembers
// what it took of that, and gives it back there.
//
// Owned and used by the dispatcher's thread alone. A Charge is the receipt for what was taken; it
// gives it back when it goes. The pool must outlive its charges. Nothing here waits: what does
// not fit goes to the ParkingLot.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "lib/base/units.h"
#include "lib/pool/reserved_amount.h"

namespace parkd {

class ResourcePool;

// Blocks and slots taken from a pool. Move-only; empty after release() or a move.
class Charge {
 public:
  Charge(Charge&& other) noexcept;
  Charge& operator=(Charge&& other) noexcept;
  Charge(const Charge&) = delete;
  Charge& operator=(const Charge&) = delete;
  ~Charge() { release(); }

  Blocks blocks() const { return {blocks_.sum()}; }
  int32_t part() const { return part_; }
  bool uses_reserve() const { return blocks_.reserved > 0 || sequences_.reserved > 0; }

  // Gives everything back. Idempotent.
  void release();

 private:
  friend class ResourcePool;
  using Taken = ReservedAmount::Taken;
  Charge(ResourcePool* pool, int32_t part, Taken blocks, Taken sequences)
      : pool_(pool), part_(part), blocks_(blocks), sequences_(sequences) {}

  ResourcePool* pool_ = nullptr;
  int32_t part_ = 0;
  Taken blocks_;
  Taken sequences_;
};

struct PoolPart {
  Blocks blocks;
  int32_t sequences = 0;  // slots

  friend bool operator==(const PoolPart&, const PoolPart&) = default;
};
// The sum of their slots.
int32_t all_sequences(std::span<const PoolPart> parts);
// The one with the most blocks, of equals with the most slots: what fits there can run.
PoolPart largest_of(std::span<const PoolPart> parts);

struct PoolSize {
  std::vector<PoolPart> parts;  // at least one, with blocks >= 0 and slots > 0
  // 0 .. 0.5: of each part's blocks, and of its slots one at least, if not the only.
  double reserve = 0;
};

class ResourcePool {
 public:
  // Requires: what PoolSize says.
  explicit ResourcePool(const PoolSize& size);
  ~ResourcePool();  // CHECKs that every charge has come back
  ResourcePool(const ResourcePool&) = delete;
  ResourcePool& operator=(const ResourcePool&) = delete;

  // Both from that purse. Empty when no part has both free now.
  // Requires: nothing negative.
  [[nodiscard]] std::optional<Charge> try_charge(Blocks blocks, int32_t sequences,
                                                 Purse purse = Purse::common);

  Blocks capacity() const { return capacity_; }
  Blocks in_use() const { return in_use_; }
  Blocks peak() const { return peak_; }  // the most that was ever in use
  ReservedAmount sequences() const;      // of all parts
  Blocks reserve() const;                // kept, of all parts
  Blocks reserve_in_use() const;         // of that

  // The most that one charge can have now: of blocks beside so many slots, and of slots alone.
  Blocks free(Purse purse = Purse::common, int32_t sequences = 0) const;
  int32_t free_sequences(Purse purse = Purse::common) const;
  // Whether it can start only where nothing else runs: it needs some of what is kept.
  bool is_wide(Blocks blocks, int32_t sequences) const;

 private:
  friend class Charge;
  struct Part {
    ReservedAmount blocks;
    ReservedAmount sequences;
  };
  // With so many slots free; empty: none has.
  std::optional<int32_t> emptiest(Purse purse, int32_t sequences) const;
  std::optional<ReservedAmount::Taken> take(int32_t part, Blocks blocks, Purse purse);
  void give_back(const Charge& charge);

  std::vector<Part> parts_;
  Blocks capacity_;
  Blocks in_use_;
  Blocks peak_;
};

}  // namespace parkd
