// Finisher: the end of a job's way through the dispatcher: its last word is written, batched and
// stored, or its claim is given back.
//
// Owned by the dispatcher's thread; one of its parts (Intake -> Runs -> Finisher, each calling only
// the next). A job handed over here holds no charge and no place in a lot; it leaves the table when
// the store has answered, however often that takes.
#pragma once

#include <memory>
#include <optional>

#include "lib/base/clock.h"
#include "lib/base/status.h"
#include "lib/dispatch/dispatcher_inbox.h"
#include "lib/dispatch/dispatcher_options.h"
#include "lib/dispatch/in_flight_table.h"
#include "lib/dispatch/store_writer.h"

namespace parkd {

class Finisher {
 public:
  // All references outlive the finisher.
  Finisher(const DispatcherOptions& options, DaemonStore& store, Clock& clock,
           RunBlocking run_blocking, std::shared_ptr<DispatcherInbox> inbox, InFlightTable& table);

  // Stores `ending` as it is.
  void end(InFlight& job, Ending ending);
  // Has the body of the ending written first, from what was generated.
  void render(InFlight& job, GenerationResult result, Ending ending);
  // A preparation or a run that failed: another attempt where that can help, else a failed message.
  // `result`: what the run had generated; nullptr when it never ran.
  void fail_run(InFlight& job, const Status& why, const GenerationResult* result);
  // Back to the queue; not before run_at, if given.
  void release(InFlight& job, bool spend_attempt, std::optional<WallTime> run_at);
  // Back to the queue with what waits here to run, of this model or (null) of all; no attempt is
  // spent.
  void release_waiting(const ServedModel* of);
  // Forgets a job that is no longer ours; the store knows better what became of it.
  void drop(InFlight& job);
  // Drops every job whose ending is not in the store's hands.
  void drop_endings();

  void handle(Rendered message);
  void handle(FinishDone message);
  void handle(ReleaseDone message);

  // Sends what is due. Returns whether anything was sent.
  bool flush() { return writer_.flush(clock_.steady_now()); }
  std::optional<SteadyTime> next_due() const { return writer_.next_due(); }
  int64_t unstored() const { return writer_.unstored(); }
  bool in_trouble() const { return writer_.in_trouble(); }

 private:
  void count(InFlight& job, FinishAnswer answer);

  const DispatcherOptions& options_;
  Clock& clock_;
  const RunBlocking run_blocking_;
  const std::shared_ptr<DispatcherInbox> inbox_;
  InFlightTable& table_;
  StoreWriter writer_;
};

}  // namespace parkd
