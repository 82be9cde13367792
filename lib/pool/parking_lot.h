// ParkingLot: the bounded place where claimed, priced jobs wait for blocks and sequence slots.
//
// Owned and used by the dispatcher's thread alone. It decides who starts next and holds nothing but
// the order: jobs are named by a ticket of the owner's. Time comes in as an argument.
//
// Order: critical jobs first; then tenants by start-time fair queueing (Goyal, Vin, Cheng 1996) of
// the need tokens of the jobs they start, over their weight; inside a tenant order_key, then id.
//
// The first job in this order that does not fit is held: later ones that fit may pass it, at most
// one pool capacity of units in all (where it lacks sequences: of sequences) and only for
// `overtake_max`; then no job behind it starts before it. One job is held at a time. Every running
// job ends, so it starts: no job starves.
//
// A tenant passes held jobs only while it is at most one pool capacity C (in tokens) ahead of the
// tenant that is furthest behind. So over any interval in which tenants f and m both wait
// |W_f/w_f - W_m/w_m| <= (L_f + C)/w_f + (L_m + C)/w_m (W the work started, in tokens, w the
// weight, L the largest job), however many jobs are held meanwhile. One whose jobs are on their way
// here waits, too; it is owed two capacities at most (of the smaller weight of the two), so for it
// the bound has 2C in place of C.
// Running jobs are not preempted.
//
// A job whose caller waits (awaited) may use what the pool keeps for such: in its turn beside the
// rest, and past a held job alone, which then loses nothing. It has no other privilege: its tenant
// is charged, and may be as far ahead as one that passes. Past a held job that needs some of what
// is kept itself, it passes as others do.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
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
  double weight = 1;        // > 0: of its tenant
  bool awaited = false;     // its caller waits
};

struct AdmittedJob {
  ParkedJob job;
  Charge charge;
  bool passed_held = false;  // it started before one whose turn it was
};

struct LotLimits {
  int32_t places = 1;
  Micros overtake_max{};   // a job that does not fit is passed so long
  int32_t block_size = 1;  // tokens of a unit
};

class ParkingLot {
 public:
  // Requires: all limits >= 1, but for overtake_max.
  explicit ParkingLot(LotLimits limits);

  const LotLimits& limits() const { return limits_; }
  int32_t places() const { return limits_.places; }
  int32_t size() const { return static_cast<int32_t>(jobs_.size()); }
  bool empty() const { return jobs_.empty(); }

  // Requires: a free place, a ticket that is not parked.
  void park(const ParkedJob& job);

  // The tenants whose next jobs are on their way, or may be: each waits as one that is here. All
  // others are away when they have nothing here. Holds until it is said anew.
  void expect(const std::set<std::string>& tenants);

  // Takes a job out without starting it (cancel, deadline, drain). False when it is not here.
  bool remove(uint64_t ticket);

  // Requires that it is here.
  void set_awaited(uint64_t ticket, bool awaited);

  // Takes out the next job that may start, charged; empty when none may. Call again until empty.
  [[nodiscard]] std::optional<AdmittedJob> admit_next(ResourcePool& pool, SteadyTime now);

  // The units that a job which is not here might have to start at once, past the one that is held
  // since the last admit_next; none where nothing is held, or no job may pass any more.
  Blocks room_past_held(const ResourcePool& pool, SteadyTime now) const;

  // The last of a tenant's jobs in order, critical and awaited ones left out; empty: it has none.
  std::optional<uint64_t> last_of(const std::string& tenant) const;

  // Why a parked job did not start at the last admit_next, for people: "needs 40 units, 12 free".
  std::string why_waiting(uint64_t ticket, const ResourcePool& pool) const;

 private:
  using Key = std::tuple<WallTime, uint64_t, uint64_t>;  // order_key, id, ticket
  using Order = std::map<Key, ParkedJob>;
  // The parked jobs of a tenant, and where its next one starts in virtual time: tokens over weight.
  // Kept while it is ahead of the lot's virtual time, so that who comes back has no credit.
  struct TenantOrder {
    Order jobs;
    double tag = 0;
    double weight = 1;  // of the job that came last
    bool expected = false;
    bool waits() const { return expected || !jobs.empty(); }
  };
  // A look at the jobs in the order of the header, over a job's place at most once.
  class Walk;

  static Key key_of(const ParkedJob& job);
  const ParkedJob& job_of(uint64_t ticket) const;
  Order& order_of(const ParkedJob& job);
  double capacity_tokens(const ResourcePool& pool) const;
  double smallest_waiting_tag() const;
  void forget_who_is_away();
  // What may start past the held job, of whichever tenant.
  struct Room {
    int64_t units = 0;
    int64_t sequences = 0;
  };
  Room room_left(const ResourcePool& pool, SteadyTime now) const;
  bool may_pass(const ParkedJob& job, const ResourcePool& pool, SteadyTime now) const;
  bool is_too_far_ahead(const ParkedJob& job, const ResourcePool& pool) const;
  std::optional<Charge> charge_of_reserve(const ParkedJob& job, ResourcePool& pool) const;
  // Whom a job starts past: a held one, which counts it, or one that loses nothing by it.
  enum class Past { nobody, held, unhindered };
  AdmittedJob start(uint64_t ticket, Charge charge, const ResourcePool& pool, Past past);
  void take_out(uint64_t ticket);

  const LotLimits limits_;
  Order critical_;
  std::map<std::string, TenantOrder> tenants_;
  // The smallest tag that waited at the last start: what passes a held job does not move it, so
  // that a newcomer does not begin ahead of who is held.
  double virtual_time_ = 0;
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
    int64_t sequences_passed = 0;
  };
  std::unordered_map<uint64_t, Hold> holds_;  // by ticket
  std::optional<uint64_t> held_;  // ticket of the first that did not fit at the last look
  bool blocks_ = false;           // it kept a job from passing then
};

}  // namespace parkd
