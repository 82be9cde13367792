// Departures: models that are to be unloaded. One that leaves claims and starts nothing more, gives
// back to the queue what waits here, lets what runs end, and is let go when nothing of it is left.
//
// Owned by the dispatcher's thread; one of its parts, beside Intake, which asks
// ServedModel::leaving.
#pragma once

#include <functional>
#include <map>
#include <string>

#include "lib/dispatch/dispatcher_inbox.h"
#include "lib/dispatch/finisher.h"
#include "lib/dispatch/in_flight_table.h"

namespace parkd {

class Departures {
 public:
  // All references outlive it.
  Departures(InFlightTable& table, Finisher& finisher) : table_(table), finisher_(finisher) {}

  void handle(UnloadModel message);
  void handle(const KeepModel& message);
  // Lets go of those of which nothing is left, and says so. Returns whether it did.
  bool let_go();

 private:
  InFlightTable& table_;
  Finisher& finisher_;
  std::map<std::string, std::function<void()>> leaving_;  // by model: whom to tell
};

}  // namespace parkd
