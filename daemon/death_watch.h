// DeathWatch: the daemon's part in the poison rule (lib/store/rules.h): reads what the last process
// had in its engines when it died, keeps the ids of this one, and installs the crash handler.
//
// Owned by the daemon, made and destroyed on the control thread; it outlives the engines.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "lib/base/status.h"
#include "lib/config/config.h"
#include "lib/dispatch/dispatcher.h"
#include "lib/ipc/running_ids.h"

namespace parkd {

class DeathWatch {
 public:
  // With the instance lock held, before any engine starts. Errors: internal, naming the file.
  static Result<std::unique_ptr<DeathWatch>> start(const Config& config);
  ~DeathWatch();
  DeathWatch(const DeathWatch&) = delete;
  DeathWatch& operator=(const DeathWatch&) = delete;

  RunningIds& running_ids() { return *running_ids_; }

  // Has the store told of what was left, before anything is claimed. Before the models are ready.
  void report_to(Dispatcher& dispatcher, const RunBlocking& run_blocking);

 private:
  DeathWatch(std::string state_dir, LeftRunning left, std::unique_ptr<RunningIds> running_ids);

  const std::string state_dir_;
  LeftRunning left_;
  const std::unique_ptr<RunningIds> running_ids_;
};

}  // namespace parkd
