// The dispatcher's own state: one InFlight for each job this daemon holds the claim of, one
// ServedModel for each model. Owned by the dispatcher's thread; no other sees them.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>

#include "lib/base/clock.h"
#include "lib/dispatch/claim_plan.h"
#include "lib/dispatch/dispatcher_stats.h"
#include "lib/dispatch/model_port.h"
#include "lib/pool/parking_lot.h"
#include "lib/pool/resource_pool.h"
#include "lib/store/daemon_store.h"

namespace parkd {

// Where a job waits: in one of the lot's own places, or in one beyond them, as it is small and was
// claimed past a lot full of larger ones, or as its caller waits.
enum class LotPlace { lot, small, awaited };
inline constexpr size_t kLotPlaces = 3;

// All that belongs to one model.
struct ServedModel {
  std::string name;
  ModelState state = ModelState::loading;
  std::string failure;
  bool leaving = false;  // it is to be unloaded: nothing of it is claimed or started any more
  // From model_ready on, while it is loaded:
  std::shared_ptr<const ModelPort> port;  // shared with the tasks on blocking threads
  std::unique_ptr<ResourcePool> pool;
  std::unique_ptr<ParkingLot> lot;
  std::map<uint64_t, ParkingLot> suspects;  // by suspect group; empty ones are removed

  std::array<int32_t, kLivePhases> jobs{};  // in each phase

  LotPlaces places;                           // the table keeps the jobs, Intake who may have more
  std::array<int32_t, kLotPlaces> waiting{};  // preparing or parked, in each kind of place
  int32_t places_wanted = 0;                  // free, if need be by giving some back
  std::set<JobId> wanted;                     // their callers wait, and they are to be claimed

  bool work_hint = false;  // there may be something to claim
  int32_t claiming = 0;    // jobs asked for by the claim under way; 0 = none is
  ClaimRequest claim;      // the one under way, or the last
  int32_t submitting = 0;  // jobs that are being submitted and claimed at once
  // The queue has no job that needs at most so many tokens; empty: it may.
  std::optional<int64_t> none_this_small;
  SteadyTime claim_not_before{};
  Micros claim_retry_delay{0};  // 0 = the last claim was answered

  // Only what counts since the start, of engines those that are gone; counted() has the present
  // one's too.
  ModelStats counters;
  ModelStats counted() const;

  // The lot of a suspect group; 0: of jobs that are not suspects. nullptr: none of it is parked.
  ParkingLot* lot_of(uint64_t group) {
    if (group == 0) return lot.get();
    const auto found = suspects.find(group);
    return found == suspects.end() ? nullptr : &found->second;
  }
  // The store has still to answer whether it gives some.
  bool asks_for_jobs() const { return claiming > 0 || submitting > 0; }
  bool is_open() const { return state == ModelState::ready && !leaving; }
  int32_t waiting_in(LotPlace place) const { return waiting[static_cast<size_t>(place)]; }
  int32_t jobs_in(LivePhase phase) const { return jobs[static_cast<size_t>(phase)]; }
  int32_t jobs_in_flight() const { return jobs[0] + jobs[1] + jobs[2] + jobs[3]; }
};

// Why a running job was told to stop. What is told first stands, except that a cancel was promised
// to its caller and so outranks the rest, and that a lost job is no longer ours to end at all.
enum class StopReason { none, run_timeout, deadline, drain, cancel, lost };

// A claimed job on its way through preparing -> parked -> running -> ending.
struct InFlight {
  uint64_t ticket = 0;             // also the engine's RequestId
  std::shared_ptr<const Job> job;  // shared with the tasks on blocking threads
  ServedModel* served = nullptr;
  LotPlace place = LotPlace::lot;
  LivePhase phase = LivePhase::preparing;
  WallTime phase_since{};

  GenerationRequest request;   // parked: what will run; moved into the engine
  int32_t prompt_tokens = 0;   // of all its prompts
  int32_t max_new_tokens = 0;  // of a choice; of the longest
  int32_t sequences = 0;       // choices of all its prompts
  SamplingParams sampling;     // of the request, without its biases
  Blocks cost;
  bool parking_logged = false;
  int32_t running_place = -1;  // running: in RunningIds

  std::optional<Charge> charge;       // running
  std::optional<SteadyTime> started;  // in the engine; empty: it never ran
  SteadyTime run_ends{};              // by run timeout
  int64_t queue_us = 0;
  StopReason stop = StopReason::none;

  int64_t shared_tokens = 0;  // ending: of its choices' prompts, not computed
  Ending ending;              // ending, unless it is being released
  bool releasing = false;
};

// Since when a job could have run.
inline WallTime waits_from(const Job& job) {
  return job.spec.run_at ? std::max(*job.spec.run_at, job.created_at) : job.created_at;
}

}  // namespace parkd
