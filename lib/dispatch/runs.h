// Runs: the jobs in the engines: started with their charge, stopped when they must, and their units
// back the moment the engine has let go of them. RunningIds says who is there, whatever happens.
//
// All that runs at a time, of whatever model, is of one suspect group: a group is judged by what it
// does alone (lib/store/rules.h, judge_death).
//
// Owned by the dispatcher's thread; one of its parts (Intake -> Runs -> Finisher).
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "lib/base/clock.h"
#include "lib/dispatch/dispatcher_inbox.h"
#include "lib/dispatch/finisher.h"
#include "lib/dispatch/in_flight_table.h"
#include "lib/ipc/running_ids.h"
#include "lib/pool/resource_pool.h"

namespace parkd {

class Runs {
 public:
  // All references outlive the runs.
  Runs(const DispatcherOptions& options, Clock& clock, std::shared_ptr<DispatcherInbox> inbox,
       InFlightTable& table, Finisher& finisher)
      : running_ids_(options.running_ids),
        token_feed_(options.token_feed),
        clock_(clock),
        inbox_(std::move(inbox)),
        table_(table),
        finisher_(finisher) {}

  // The suspect group of what is in the engines; empty: nothing is.
  std::optional<uint64_t> group() const;

  // Hands a priced job of that group to its engine. It keeps `charge` until the engine has
  // answered.
  void start(InFlight& job, Charge charge);

  // Tells the engine to stop a run; what the result becomes is decided when it comes.
  void stop(InFlight& job, StopReason why);

  void handle(Generated message);

  // Nothing may be started any more.
  bool device_lost() const { return device_lost_; }
  // The notes of the loss are stored: the jobs that the device had may be given back, those that
  // other workers of it have yet to give up included. Before that no daemon may claim them.
  void release_lost();

 private:
  void feed_tokens_of(InFlight& job);
  void feed_no_more_of(const InFlight& job);
  void note_lost_device(const Status& why);
  void give_up_lost(InFlight& job);
  DeathReport present() const;

  RunningIds* const running_ids_;
  TokenFeed* const token_feed_;
  Clock& clock_;
  const std::shared_ptr<DispatcherInbox> inbox_;
  InFlightTable& table_;
  Finisher& finisher_;
  int32_t n_running_ = 0;
  uint64_t group_ = 0;  // of what runs
  bool device_lost_ = false;
  bool loss_is_stored_ = false;
  std::vector<uint64_t> lost_with_device_;  // tickets
};

}  // namespace parkd
