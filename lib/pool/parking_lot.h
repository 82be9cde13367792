// ParkingLot: the bounded place where claimed, priced jobs wait for blocks and sequence slots.
//
// Owned and used by the dispatcher's thread alone. It decides who starts next and holds nothing but
// the order: jobs are named by a ticket of the owner's. Time comes in as an argument.
//
// Order: critical jobs first; then tenants by start-time fair queueing (Goyal, Vin, Cheng 1996) of
// the need tokens of the jobs they start; inside a tenant order_key, then id. Over any interval in
// which two tenants both wait, the work started for them differs by one largest job of each at
// most, beside what overtaking lets pass. Running jobs are not preempted.
//
// The first job in this order that does not fit is held: later ones that fit may pass it, at most
// one pool capacity of units in all and only for `overtake_max`; then nobody behind it starts
// before it. One job is held at a time. Every running job ends, so it starts: no job starves.
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
  std::string tenant;
  WallTime order_key{};
  Blocks cost;              // <= the pool's capacity: the owner refuses the rest
  int64_t need_tokens = 0;  // of all its choices: what its tenant is charged when it starts
  int32_t sequences = 1;    // slots it takes while it runs
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
  // Jobs of a tenant that are parked here.
  int32_t size_of(const std::string& tenant) const;

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
  using Key = std::tuple<WallTime, uint64_t, uint64_t>;  // order_key, id, ticket
  using Order = std::map<Key, ParkedJob>;
  // The parked jobs of a tenant, and where its next one starts in virtual time. Kept while it is
  // ahead of the lot's virtual time, so that who comes back has no credit.
  struct TenantOrder {
    Order jobs;
    int64_t tag = 0;
  };
  // A look at the jobs in the order of the header, over a job's place at most once.
  class Walk;

  static Key key_of(const ParkedJob& job);
  const ParkedJob& job_of(uint64_t ticket) const;
  Order& order_of(const ParkedJob& job);
  bool may_pass(const ParkedJob& job, const ResourcePool& pool, SteadyTime now) const;
  Admission start(uint64_t ticket, Charge charge);
  void take_out(uint64_t ticket);

  const int32_t places_;
  const Micros overtake_max_;
  Order critical_;
  std::map<std::string, TenantOrder> tenants_;
  int64_t virtual_time_ = 0;  // start tag of the job that started last
  struct Where {
    bool critical = false;
    std::string tenant;
    Key key;
  };
  std::unordered_map<uint64_t, Where> jobs_;  // by ticket

  // What has passed a job since it first was the first that did not fit. It may cease to be the
  // first when others come before it, and keeps this until it starts.
  struct Hold {
    SteadyTime since{};
    Blocks passed{};
  };
  std::unordered_map<uint64_t, Hold> holds_;  // by ticket
  std::optional<uint64_t> held_;  // ticket of the first that did not fit at the last look
  bool blocks_ = false;           // it let somebody not past then
};

}  // namespace parkd
