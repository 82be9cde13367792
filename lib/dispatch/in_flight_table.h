// InFlightTable: a ServedModel for each model, and every job this daemon holds the claim of.
//
// Owned by the dispatcher's thread and worked on by its parts. It keeps the counts of the phases
// true and knows nothing of what the phases mean. References to a job stay valid until it is
// erased, to a ServedModel for good.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <unordered_map>

#include "lib/base/clock.h"
#include "lib/dispatch/dispatcher_stats.h"
#include "lib/dispatch/in_flight.h"
#include "lib/job/job.h"

namespace parkd {

class InFlightTable {
 public:
  // `clock` outlives the table.
  explicit InFlightTable(Clock& clock) : clock_(clock) {}

  // Makes it when it is not there.
  ServedModel& served_model(const std::string& model);
  std::map<std::string, ServedModel>& served_models() { return served_models_; }
  const std::map<std::string, ServedModel>& served_models() const { return served_models_; }

  // A job that was just claimed, in the phase preparing.
  InFlight& add(ServedModel& served, Job claimed, LotPlace place);
  void move_to(InFlight& job, LivePhase phase);
  // Takes places for jobs that may come, or (negative) lets go of them.
  static void count_place(ServedModel& served, LotPlace place, const std::string& tenant,
                          int32_t change);
  // Takes a parked job out of its lot; its phase is the caller's to change.
  void leave_lot(InFlight& job);
  // Requires the phase ending and no charge.
  void erase(InFlight& job);

  // nullptr when it is not, or no longer, here. A job that was claimed twice (its first claim was
  // lost) has two tickets and is found by the lease of the later one.
  InFlight* find(uint64_t ticket);
  InFlight* find(JobId id, RunLease lease);
  InFlight* find_job(JobId id);  // by whatever lease

  std::unordered_map<uint64_t, InFlight>& jobs() { return jobs_; }  // by ticket
  const std::unordered_map<uint64_t, InFlight>& jobs() const { return jobs_; }

  // CHECKs I8: nothing claimed means nothing charged and every lot empty.
  void check_idle() const;

  // The models and the live jobs.
  DispatcherStats stats() const;

 private:
  static void count(const InFlight& job, LivePhase phase, int32_t change);
  static std::string why_waiting(const InFlight& job);
  ModelStats model_stats(const ServedModel& served) const;

  Clock& clock_;
  std::map<std::string, ServedModel> served_models_;
  std::unordered_map<uint64_t, InFlight> jobs_;
  std::unordered_map<JobId, uint64_t> tickets_;  // the latest of a job
  uint64_t next_ticket_ = 1;
};

}  // namespace parkd
