// DeathNotes: sees to it that the store hears of a death, before anything is claimed again.
//
// Owned by the dispatcher's thread; one of its parts. Asks again with a growing delay while the
// store is away; a store that refuses the notes for another reason is an error in the log, and work
// goes on without them.
#pragma once

#include <functional>
#include <memory>
#include <optional>

#include "lib/base/clock.h"
#include "lib/dispatch/dispatcher_inbox.h"
#include "lib/dispatch/dispatcher_options.h"
#include "lib/store/daemon_store.h"

namespace parkd {

class DeathNotes {
 public:
  // All references outlive the notes.
  DeathNotes(const DispatcherOptions& options, DaemonStore& store, Clock& clock,
             std::shared_ptr<DispatcherInbox> inbox)
      : options_(options), store_(store), clock_(clock), inbox_(std::move(inbox)) {}

  // `noted`: called when the store has them, or never will. One report at a time.
  void report(DeathReport report, std::function<void()> noted);
  void handle(DeathsNoted message);

  // Whether a report is on its way to the store.
  bool pending() const { return report_.has_value(); }

  // Asks the store when it is time. Returns whether it asked.
  bool send_if_due();
  std::optional<SteadyTime> next_due() const;

 private:
  const DispatcherOptions& options_;
  DaemonStore& store_;
  Clock& clock_;
  const std::shared_ptr<DispatcherInbox> inbox_;

  std::optional<DeathReport> report_;
  std::function<void()> noted_;
  bool asked_ = false;
  Micros retry_delay_{0};
  SteadyTime not_before_{};
};

}  // namespace parkd
