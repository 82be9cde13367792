// ParkingLot: the bounded place where claimed, priced jobs wait for blocks and sequence slots.
//
// Owned and used by the dispatcher's thread alone. It decides who starts next and holds nothing but
// the order: jobs are named by a ticket of the owner's. Time comes in as an argument.
//
// Order: critical first, then order_key, then id. A job that does not fit may be overtaken by later
// ones that do, but only for `overtake_max` from the moment it first was in the way; then the lot
// lets nobody past it until it fits. Every running job ends, so it does: no job starves.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <tuple>
#include <unordered_map>

#include "lib/base/clock.h"
#include "lib/base/units.h"
#include "lib/pool/resource_pool.h"

namespace parkd {

struct ParkedJob {
  uint64_t ticket = 0;  // the owner's name for it, unique in the lot
  uint64_t id = 0;      // of the job; equal order_keys go by it
  bool critical = false;
  WallTime order_key{};
  Blocks cost;            // <= the pool's capacity: the owner refuses the rest
  int32_t sequences = 1;  // slots it takes while it runs
};

struct Admission {
  ParkedJob job;
  Charge charge;
};

class ParkingLot {
 public:
  // Requires: places >= 1.
  ParkingLot(int32_t places, Micros overtake_max);

  int32_t places() const { return places_; }
  int32_t size() const { return static_cast<int32_t>(jobs_.size()); }
  bool empty() const { return jobs_.empty(); }

  // Requires: a free place, a ticket that is not parked.
  void park(const ParkedJob& job);

  // Takes a job out without starting it (cancel, deadline, drain). False when it is not here.
  bool remove(uint64_t ticket);

  // Takes out the next job that may start, charged; empty when none may. Call again until empty.
  [[nodiscard]] std::optional<Admission> admit_next(ResourcePool& pool, int32_t free_sequences,
                                                    SteadyTime now);

  // Why a parked job did not start at the last admit_next, for people: "needs 40 units, 12 free".
  std::string why_waiting(uint64_t ticket, const ResourcePool& pool, int32_t free_sequences) const;

 private:
  using Key =
      std::tuple<bool, WallTime, uint64_t, uint64_t>;  // not critical, order_key, id, ticket
  struct Place {
    ParkedJob job;
    std::optional<SteadyTime> in_the_way_since;  // it was looked at and did not fit
  };
  static Key key_of(const ParkedJob& job);

  const int32_t places_;
  const Micros overtake_max_;
  std::map<Key, Place> jobs_;
  std::unordered_map<uint64_t, Key> keys_;  // by ticket
  std::optional<uint64_t> holder_;          // the job that was let nobody past at the last look
};

}  // namespace parkd
