// Runs: the jobs in the engines: started with their charge, stopped when they must, and their units
// back the moment the engine has let go of them.
//
// Owned by the dispatcher's thread; one of its parts (Intake -> Runs -> Finisher).
#pragma once

#include "lib/base/clock.h"
#include "lib/dispatch/dispatcher_inbox.h"
#include "lib/dispatch/finisher.h"
#include "lib/dispatch/in_flight_table.h"
#include "lib/pool/resource_pool.h"

namespace parkd {

class Runs {
 public:
  Runs(Clock& clock, InFlightTable& table, Finisher& finisher)
      : clock_(clock), table_(table), finisher_(finisher) {}

  // Hands a priced job to its engine. It keeps `charge` until the engine has answered.
  void start(InFlight& job, Charge charge);

  // Tells the engine to stop a run; what the result becomes is decided when it comes.
  void stop(InFlight& job, StopReason why);

  void handle(Generated message);

 private:
  Clock& clock_;
  InFlightTable& table_;
  Finisher& finisher_;
};

}  // namespace parkd
