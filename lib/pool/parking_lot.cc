#include "lib/pool/parking_lot.h"

#include <algorithm>
#include <limits>
#include <queue>
#include <utility>
#include <vector>

#include "lib/base/check.h"

namespace parkd {

namespace {

// What a start moves its tenant's tag by.
double share_of(const ParkedJob& job) {
  return static_cast<double>(job.need_tokens) / job.weight;
}

}  // namespace

// Critical jobs, then each tenant's in its order, tenants merged by the tag at which the job would
// start if all before it of its tenant had started: who is passed over because it does not fit
// keeps its tenant's other jobs behind other tenants.
class ParkingLot::Walk {
 public:
  explicit Walk(const ParkingLot& lot)
      : critical_(lot.critical_.begin()), end_(lot.critical_.end()) {
    for (const auto& [name, order] : lot.tenants_) {
      if (!order.jobs.empty()) next_.push({order.tag, &name, order.jobs.begin(), order.jobs.end()});
    }
  }
  // nullptr: that was the last one.
  const ParkedJob* next() {
    if (critical_ != end_) return &(critical_++)->second;
    if (next_.empty()) return nullptr;
    TenantQueue queue = next_.top();
    next_.pop();
    const ParkedJob* job = &(queue.at++)->second;
    queue.tag += share_of(*job);
    if (queue.at != queue.end) next_.push(queue);
    return job;
  }

 private:
  struct TenantQueue {
    double tag;
    const std::string* tenant;
    Order::const_iterator at, end;
    bool operator<(const TenantQueue& other) const {  // the queue gives the greatest first
      return std::tie(tag, *tenant) > std::tie(other.tag, *other.tenant);
    }
  };
  Order::const_iterator critical_, end_;
  std::priority_queue<TenantQueue> next_;
};

ParkingLot::ParkingLot(LotLimits limits) : limits_(limits) {
  PARKD_CHECK(limits.places >= 1, "a lot without places");
  PARKD_CHECK(limits.block_size >= 1, "a lot for a pool of nothing");
}

ParkingLot::Key ParkingLot::key_of(const ParkedJob& job) {
  return {job.order_key, job.id, job.ticket};
}

ParkingLot::Order& ParkingLot::order_of(const ParkedJob& job) {
  return job.critical ? critical_ : tenants_[job.tenant].jobs;
}

const ParkedJob& ParkingLot::job_of(uint64_t ticket) const {
  const Where& where = jobs_.at(ticket);
  return where.critical ? critical_.at(where.key) : tenants_.at(where.tenant).jobs.at(where.key);
}

void ParkingLot::set_awaited(uint64_t ticket, bool awaited) {
  const Where& where = jobs_.at(ticket);
  Order& order = where.critical ? critical_ : tenants_.at(where.tenant).jobs;
  order.at(where.key).awaited = awaited;
}

void ParkingLot::park(const ParkedJob& job) {
  PARKD_CHECK(job.weight > 0, "a tenant without weight");
  PARKD_CHECK(size() < limits_.places,
              "the lot is full: its owner claimed more than it has places");
  const Key key = key_of(job);
  PARKD_CHECK(jobs_.emplace(job.ticket, Where{job.critical, job.tenant, key}).second,
              "the ticket is parked already");
  Order& order = order_of(job);
  if (!job.critical) {
    TenantOrder& tenant = tenants_.at(job.tenant);
    if (!tenant.waits()) tenant.tag = std::max(tenant.tag, virtual_time_);
    tenant.weight = job.weight;
  }
  order.emplace(key, job);
}

void ParkingLot::expect(const std::set<std::string>& tenants) {
  for (const std::string& name : tenants) {
    TenantOrder& tenant = tenants_[name];
    if (!tenant.waits()) tenant.tag = std::max(tenant.tag, virtual_time_);
    tenant.expected = true;
  }
  for (auto& [name, tenant] : tenants_) tenant.expected = tenants.contains(name);
  forget_who_is_away();
}

bool ParkingLot::remove(uint64_t ticket) {
  if (!jobs_.contains(ticket)) return false;
  take_out(ticket);
  return true;
}

void ParkingLot::take_out(uint64_t ticket) {
  const auto found = jobs_.find(ticket);
  const Where where = std::move(found->second);
  jobs_.erase(found);
  holds_.erase(ticket);
  if (held_ == ticket) held_.reset();
  if (where.critical) {
    critical_.erase(where.key);
    return;
  }
  tenants_.at(where.tenant).jobs.erase(where.key);
  forget_who_is_away();
}

// A tenant that is gone is remembered only while that says more than a new one would start with.
void ParkingLot::forget_who_is_away() {
  std::erase_if(tenants_, [this](const auto& entry) {
    return !entry.second.waits() && entry.second.tag <= virtual_time_;
  });
}

AdmittedJob ParkingLot::start(uint64_t ticket, Charge charge, const ResourcePool& pool, Past past) {
  AdmittedJob admission{job_of(ticket), std::move(charge), past == Past::held};
  const ParkedJob& job = admission.job;
  if (past == Past::held) {
    Hold& hold = holds_.at(*held_);
    hold.passed += job.cost;
    hold.sequences_passed += job.sequences;
  }
  if (!job.critical) {
    TenantOrder& tenant = tenants_.at(job.tenant);
    if (past == Past::nobody) {
      // Who is only on its way does not hold the others up, and is owed no more than that.
      const double owed = 2 * capacity_tokens(pool);
      for (auto& [name, other] : tenants_) {
        if (!other.jobs.empty()) continue;
        other.tag = std::max(other.tag, tenant.tag - owed / std::min(job.weight, other.weight));
      }
    }
    virtual_time_ = std::max(virtual_time_, smallest_waiting_tag());
    tenant.tag += share_of(job);
  }
  take_out(ticket);
  return admission;
}

double ParkingLot::capacity_tokens(const ResourcePool& pool) const {
  return static_cast<double>(pool.capacity().count) * static_cast<double>(limits_.block_size);
}

double ParkingLot::smallest_waiting_tag() const {
  double smallest = std::numeric_limits<double>::infinity();
  for (const auto& [name, order] : tenants_) {
    if (order.waits()) smallest = std::min(smallest, order.tag);
  }
  return smallest;
}

ParkingLot::Room ParkingLot::room_left(const ResourcePool& pool, SteadyTime now) const {
  const Hold& hold = holds_.at(*held_);
  if (now - hold.since >= limits_.overtake_max) return {};
  Room room{pool.capacity().count - hold.passed.count, std::numeric_limits<int64_t>::max()};
  if (job_of(*held_).sequences > pool.free_sequences()) {
    room.sequences = pool.sequences().capacity() - hold.sequences_passed;
  }
  return room;
}

bool ParkingLot::may_pass(const ParkedJob& job, const ResourcePool& pool, SteadyTime now) const {
  const Room room = room_left(pool, now);
  if (job.cost.count > room.units || job.sequences > room.sequences) return false;
  return !is_too_far_ahead(job, pool);
}

bool ParkingLot::is_too_far_ahead(const ParkedJob& job, const ResourcePool& pool) const {
  if (job.critical) return false;
  return tenants_.at(job.tenant).tag > smallest_waiting_tag() + capacity_tokens(pool) / job.weight;
}

// Past a held job, from what it cannot use.
std::optional<Charge> ParkingLot::charge_of_reserve(const ParkedJob& job,
                                                    ResourcePool& pool) const {
  const ParkedJob& held = job_of(*held_);
  if (!job.awaited || pool.is_wide(held.cost, held.sequences)) return std::nullopt;
  if (is_too_far_ahead(job, pool)) return std::nullopt;
  return pool.try_charge(job.cost, job.sequences, Purse::reserve);
}

Blocks ParkingLot::room_past_held(const ResourcePool& pool, SteadyTime now) const {
  if (!held_) return {};
  const Room room = room_left(pool, now);
  if (room.sequences <= 0) return {};
  return {std::min(room.units, pool.free(Purse::common, 1).count)};
}

std::optional<uint64_t> ParkingLot::last_of(const std::string& tenant) const {
  const auto found = tenants_.find(tenant);
  if (found == tenants_.end()) return std::nullopt;
  const Order& jobs = found->second.jobs;
  const auto last = std::find_if(jobs.rbegin(), jobs.rend(),
                                 [](const auto& entry) { return !entry.second.awaited; });
  if (last == jobs.rend()) return std::nullopt;
  return last->second.ticket;
}

std::optional<AdmittedJob> ParkingLot::admit_next(ResourcePool& pool, SteadyTime now) {
  held_.reset();
  blocks_ = false;
  Walk walk(*this);
  while (const ParkedJob* job = walk.next()) {
    PARKD_CHECK(job->cost <= pool.capacity(), "a job was parked that can never fit");
    const Purse purse = job->awaited ? Purse::all : Purse::common;
    if (!held_) {
      if (auto charge = pool.try_charge(job->cost, job->sequences, purse)) {
        return start(job->ticket, std::move(*charge), pool, Past::nobody);
      }
      held_ = job->ticket;
      holds_.try_emplace(job->ticket, Hold{now, {}, 0});
      continue;
    }
    if (auto charge = charge_of_reserve(*job, pool)) {
      return start(job->ticket, std::move(*charge), pool, Past::unhindered);
    }
    if (!may_pass(*job, pool, now)) {
      blocks_ = true;  // a smaller one may still pass
      continue;
    }
    if (auto charge = pool.try_charge(job->cost, job->sequences, purse)) {
      return start(job->ticket, std::move(*charge), pool, Past::held);
    }
  }
  return std::nullopt;
}

std::string ParkingLot::why_waiting(uint64_t ticket, const ResourcePool& pool) const {
  if (!jobs_.contains(ticket)) return {};
  const ParkedJob& job = job_of(ticket);
  const Purse purse = job.awaited ? Purse::all : Purse::common;
  const auto kept = [&](int64_t all) {
    return all > 0 ? ", " + std::to_string(all) + " more are kept for callers that wait" : "";
  };
  if (const int64_t n = pool.free(purse).count; job.cost.count > n) {
    return "needs " + std::to_string(job.cost.count) + " units, " + std::to_string(n) + " of " +
           std::to_string(pool.capacity().count) + " are free" +
           kept(pool.free(Purse::all).count - n);
  }
  if (const int32_t n = pool.free_sequences(purse); job.sequences > n) {
    return "needs " + std::to_string(job.sequences) + " sequences, " + std::to_string(n) +
           " are free" + kept(pool.free_sequences(Purse::all) - n);
  }
  if (job.cost > pool.free(purse, job.sequences)) {
    return "needs " + std::to_string(job.cost.count) + " units and " +
           std::to_string(job.sequences) + " sequences, no device has both free";
  }
  if (held_ && blocks_) {
    return "room is held for job " + std::to_string(job_of(*held_).id) + ", whose turn it is";
  }
  return "starts at the next look";
}

}  // namespace parkd
