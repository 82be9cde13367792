#include "lib/dispatch/in_flight_table.h"

#include <algorithm>
#include <utility>

#include "lib/base/check.h"

namespace parkd {

Desk& InFlightTable::desk_of(const std::string& model) {
  Desk& desk = desks_[model];
  desk.name = model;
  return desk;
}

// A place in the lot is taken from the claim to the start.
void InFlightTable::count(const InFlight& job, LivePhase phase, int32_t change) {
  Desk& desk = *job.desk;
  desk.jobs[static_cast<size_t>(phase)] += change;
  if (phase != LivePhase::preparing && phase != LivePhase::parked) return;
  desk.waiting[static_cast<size_t>(job.place)] += change;
  if (job.place != LotPlace::lot) return;
  const auto place = desk.places.jobs.try_emplace(job.job->spec.tenant, 0).first;
  place->second += change;
  if (place->second == 0) desk.places.jobs.erase(place);
}

InFlight& InFlightTable::add(Desk& desk, Job claimed, LotPlace place) {
  const uint64_t ticket = next_ticket_++;
  InFlight& job = jobs_[ticket];
  job.ticket = ticket;
  job.desk = &desk;
  job.place = place;
  job.phase_since = clock_.now();
  tickets_[claimed.id] = ticket;
  job.job = std::make_shared<const Job>(std::move(claimed));
  count(job, LivePhase::preparing, 1);
  return job;
}

void InFlightTable::move_to(InFlight& job, LivePhase phase) {
  count(job, job.phase, -1);
  count(job, phase, 1);
  if (job.phase != phase) job.phase_since = clock_.now();
  job.phase = phase;
}

void InFlightTable::leave_lot(InFlight& job) {
  const uint64_t group = job.job->suspect_group;
  ParkingLot* lot = job.desk->lot_of(group);
  PARKD_CHECK(lot != nullptr && lot->remove(job.ticket), "a parked job is in its lot");
  if (group != 0 && lot->empty()) job.desk->suspects.erase(group);
}

void InFlightTable::erase(InFlight& job) {
  PARKD_CHECK(job.phase == LivePhase::ending && !job.charge, "a job left with its charge");
  count(job, LivePhase::ending, -1);
  const auto found = tickets_.find(job.job->id);
  if (found != tickets_.end() && found->second == job.ticket) tickets_.erase(found);
  jobs_.erase(job.ticket);  // last: `job` is gone
}

InFlight* InFlightTable::find(uint64_t ticket) {
  const auto found = jobs_.find(ticket);
  return found == jobs_.end() ? nullptr : &found->second;
}

InFlight* InFlightTable::find_job(JobId id) {
  const auto found = tickets_.find(id);
  return found == tickets_.end() ? nullptr : find(found->second);
}

InFlight* InFlightTable::find(JobId id, RunLease lease) {
  InFlight* job = find_job(id);
  return job != nullptr && job->job->lease == lease ? job : nullptr;
}

void InFlightTable::check_idle() const {
  PARKD_CHECK(jobs_.empty(), "I8: something is still claimed");
  for (const auto& [name, desk] : desks_) {
    PARKD_CHECK(desk.jobs_in_flight() == 0, "I8: a count leaked");
    PARKD_CHECK(desk.places.jobs.empty() && desk.waiting == (std::array<int32_t, kLotPlaces>{}),
                "I8: a place leaked");
    if (desk.state != ModelState::ready) continue;
    PARKD_CHECK(desk.pool->in_use() == Blocks{0}, "I8: idle, but units are charged");
    PARKD_CHECK(desk.pool->sequences().in_use().sum() == 0, "I8: idle, but slots are charged");
    PARKD_CHECK(desk.lot->empty() && desk.suspects.empty(), "I8: idle, but the lot is not empty");
    PARKD_CHECK(desk.port->engine->stats().blocks_in_use == 0, "I8: idle, but blocks are in use");
  }
}

ModelStats InFlightTable::model_stats(const Desk& desk) const {
  ModelStats model = desk.counters;
  model.model = desk.name;
  model.state = desk.state;
  model.failure = desk.failure;
  model.preparing = desk.jobs_in(LivePhase::preparing);
  model.parked = desk.jobs_in(LivePhase::parked);
  model.running = desk.jobs_in(LivePhase::running);
  model.ending = desk.jobs_in(LivePhase::ending);
  if (desk.state == ModelState::ready) {
    const ReservedAmount& sequences = desk.pool->sequences();
    model.running_sequences = static_cast<int32_t>(sequences.in_use().sum());
    model.reserve = {desk.pool->reserve(), desk.pool->reserve_in_use(), sequences.reserve(),
                     sequences.in_use().reserved};
    model.capacity = desk.pool->capacity();
    model.in_use = desk.pool->in_use();
    model.peak = desk.pool->peak();
    model.block_size = desk.port->block_size;
    model.lot_places = desk.port->lot_places;
    model.sequences_max = desk.port->sequences_max;
  }
  return model;
}

std::string InFlightTable::why_waiting(const InFlight& job) {
  if (job.job->suspect_group != 0) return "the process died with it: it waits to run by itself";
  return job.desk->lot->why_waiting(job.ticket, *job.desk->pool);
}

DispatcherStats InFlightTable::stats() const {
  DispatcherStats stats;
  for (const auto& [name, desk] : desks_) stats.models.push_back(model_stats(desk));
  stats.live.reserve(jobs_.size());
  for (const auto& [ticket, job] : jobs_) {
    if (job.stop == StopReason::lost) continue;
    LiveJob live{job.job->id, job.phase, job.cost, job.phase_since, {}};
    if (job.phase == LivePhase::parked) {
      live.waits_for = why_waiting(job);
    }
    stats.live.push_back(std::move(live));
  }
  std::sort(stats.live.begin(), stats.live.end(),
            [](const LiveJob& a, const LiveJob& b) { return a.id < b.id; });
  return stats;
}

}  // namespace parkd
