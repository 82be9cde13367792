#include "lib/dispatch/in_flight_table.h"

#include <algorithm>
#include <utility>

#include "lib/base/check.h"

namespace parkd {

ServedModel& InFlightTable::served_model(const std::string& model) {
  ServedModel& served = served_models_[model];
  served.name = model;
  return served;
}

// A place in the lot is taken from the claim to the start.
void InFlightTable::count(const InFlight& job, LivePhase phase, int32_t change) {
  job.served->jobs[static_cast<size_t>(phase)] += change;
  if (phase != LivePhase::preparing && phase != LivePhase::parked) return;
  count_place(*job.served, job.place, job.job->spec.tenant, change);
}

void InFlightTable::count_place(ServedModel& served, LotPlace place, const std::string& tenant,
                                int32_t change) {
  served.waiting[static_cast<size_t>(place)] += change;
  if (place != LotPlace::lot) return;
  const auto places = served.places.jobs.try_emplace(tenant, 0).first;
  places->second += change;
  if (places->second == 0) served.places.jobs.erase(places);
}

InFlight& InFlightTable::add(ServedModel& served, Job claimed, LotPlace place) {
  const uint64_t ticket = next_ticket_++;
  InFlight& job = jobs_[ticket];
  job.ticket = ticket;
  job.served = &served;
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
  ParkingLot* lot = job.served->lot_of(group);
  PARKD_CHECK(lot != nullptr && lot->remove(job.ticket), "a parked job is in its lot");
  if (group != 0 && lot->empty()) job.served->suspects.erase(group);
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
  for (const auto& [name, served] : served_models_) {
    PARKD_CHECK(served.jobs_in_flight() == 0, "I8: a count leaked");
    PARKD_CHECK(served.places.jobs.empty() && served.waiting == (std::array<int32_t, kLotPlaces>{}),
                "I8: a place leaked");
    if (served.port == nullptr) continue;
    PARKD_CHECK(served.pool->in_use() == Blocks{0}, "I8: idle, but units are charged");
    PARKD_CHECK(served.pool->sequences().in_use().sum() == 0, "I8: idle, but slots are charged");
    PARKD_CHECK(served.lot->empty() && served.suspects.empty(),
                "I8: idle, but the lot is not empty");
    PARKD_CHECK(served.port->engine->stats().blocks_in_use == 0, "I8: idle, but blocks are in use");
  }
}

ModelStats ServedModel::counted() const {
  ModelStats all = counters;
  if (port == nullptr) return all;
  const EngineStats of_engine = port->engine->stats();
  all.steps_repeated += of_engine.steps_repeated;
  all.steps_failed += of_engine.steps_failed;
  return all;
}

ModelStats InFlightTable::model_stats(const ServedModel& served) const {
  ModelStats model = served.counted();
  model.model = served.name;
  model.state = served.leaving ? ModelState::unloading : served.state;
  model.failure = served.failure;
  model.preparing = served.jobs_in(LivePhase::preparing);
  model.parked = served.jobs_in(LivePhase::parked);
  model.running = served.jobs_in(LivePhase::running);
  model.ending = served.jobs_in(LivePhase::ending);
  if (served.port != nullptr) {
    const ReservedAmount sequences = served.pool->sequences();
    model.running_sequences = static_cast<int32_t>(sequences.in_use().sum());
    model.reserve = {served.pool->reserve(), served.pool->reserve_in_use(), sequences.reserve(),
                     sequences.in_use().reserved};
    model.capacity = served.pool->capacity();
    model.in_use = served.pool->in_use();
    model.peak = served.pool->peak();
    model.block_size = served.port->block_size;
    model.lot_places = served.port->lot_places;
    model.max_num_seqs = static_cast<int32_t>(sequences.capacity());
  }
  return model;
}

std::string InFlightTable::why_waiting(const InFlight& job) {
  if (job.job->suspect_group != 0) return "the process died with it: it waits to run by itself";
  return job.served->lot->why_waiting(job.ticket, *job.served->pool);
}

DispatcherStats InFlightTable::stats() const {
  DispatcherStats stats;
  for (const auto& [name, served] : served_models_) stats.models.push_back(model_stats(served));
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
