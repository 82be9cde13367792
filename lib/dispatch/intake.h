// Intake: claims jobs up to the lot's free places, has them tokenised, prices them, parks them, and
// starts those that fit.
//
// Owned by the dispatcher's thread; one of its parts (Intake -> Runs -> Finisher).
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <random>
#include <vector>

#include "lib/base/clock.h"
#include "lib/dispatch/awaited_jobs.h"
#include "lib/dispatch/dispatcher_inbox.h"
#include "lib/dispatch/dispatcher_options.h"
#include "lib/dispatch/finisher.h"
#include "lib/dispatch/in_flight_table.h"
#include "lib/dispatch/runs.h"
#include "lib/store/daemon_store.h"

namespace parkd {

class Intake {
 public:
  // All references outlive the intake.
  Intake(const DispatcherOptions& options, DaemonStore& store, Clock& clock,
         RunBlocking run_blocking, std::shared_ptr<DispatcherInbox> inbox, InFlightTable& table,
         Runs& runs, Finisher& finisher);

  // Asks the store for jobs where there is room for them. Returns whether it asked.
  bool claim_more();
  bool claim_is_out() const;
  // Asks every model's queue unasked when it is time: the net under the store's wake-ups.
  bool poll_if_due();
  // When something is due, if nothing else comes.
  SteadyTime next_due() const;

  // Starts the parked jobs that may start.
  void admit();
  // Gives parked jobs back to the queue where tenants with fewer places want some (claim_plan.h).
  // Returns whether it did.
  bool give_back();

  // Held, it claims and starts nothing: while a death is not yet in the store.
  void hold(bool held) { held_ = held; }
  // Claims and starts nothing any more; gives back what waits.
  void close();
  // The claims made so far are not ours any more, nor is what a claim under way brings.
  void lose_ownership();

  void handle(const WorkAvailable& message);
  void handle(const CallerWaits& message);
  void handle(SubmitHere message);
  void handle(Claimed message);
  void handle(ClaimedHere message);
  void handle(Prepared message);
  // A cancel of a job that is not here: its claim may be answered, and not yet read.
  void note_cancel(const CancelRequested& cancel);

 private:
  static LotPlace place_of(const ClaimRequest& claim);
  static int32_t claimable(const ServedModel& served);
  static int32_t free_places(const ServedModel& served);
  bool may_claim(const ServedModel& served) const;  // if it is time
  std::optional<ClaimRequest> next_claim(const ServedModel& served) const;
  std::optional<ClaimRequest> claim_of_awaited(const ServedModel& served) const;
  std::optional<ClaimRequest> small_claim(const ServedModel& served) const;
  void note_answer(ServedModel& served, const Came& came);
  void claim_failed(ServedModel& served, const Status& why);
  bool would_start(const ServedModel& served, int32_t n_sequences) const;
  std::optional<LotPlace> place_for_caller(const ServedModel& served, const JobSpec& job) const;
  void take_in(ServedModel& served, Job claimed, LotPlace place, bool still_ours);
  bool cancelled_before_it_came(const Job& job) const;
  void prepare(InFlight& job);
  void park(InFlight& job, PreparedJob prepared);
  ParkingLot& lot_for(const InFlight& job) const;
  bool is_open() const { return !closed_ && !held_ && !runs_.device_lost(); }
  InFlight* next_to_give_back(const ServedModel& served);
  std::optional<uint64_t> next_group() const;
  void admit(ServedModel& served, uint64_t group);
  void log_parked(const ServedModel& served);

  const DispatcherOptions& options_;
  DaemonStore& store_;
  Clock& clock_;
  const RunBlocking run_blocking_;
  const std::shared_ptr<DispatcherInbox> inbox_;
  InFlightTable& table_;
  Runs& runs_;
  Finisher& finisher_;

  bool closed_ = false;
  bool held_ = false;
  uint64_t ownership_ = 0;  // counts lose_ownership()
  SteadyTime next_poll_{};
  std::minstd_rand jitter_;
  AwaitedJobs awaited_;
  // Cancels of jobs whose claim is answered but has not been read yet; kept while a claim is out.
  std::vector<CancelRequested> early_cancels_;
};

}  // namespace parkd
