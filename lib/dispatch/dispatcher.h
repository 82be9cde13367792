// Dispatcher: the one place that knows store, pool and engine. It claims jobs, has them tokenised,
// prices and charges them, parks what does not fit, starts what does, and sees to it that each
// ends in the store exactly once.
//
// Owned by the daemon. One thread runs it (run(), or run_once() by hand in tests) and owns all its
// state: pools, lots, the in-flight map. It never waits for disk, network or a step: the store's
// completions, the engines' results and the blocking threads' answers come through its inbox. The
// methods marked "any thread" only push into that inbox or copy the published stats.
//
// Its parts, each calling only the next: Intake (claim, prepare, park, admit) -> Runs (in the
// engine) -> Finisher (the last word to the store), over one InFlightTable; DeathNotes tells the
// store of deaths. This file is the loop around them, and what concerns them all: cancel, deadline,
// drain, loss of ownership, a lost device.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "lib/base/clock.h"
#include "lib/dispatch/dispatcher_options.h"
#include "lib/dispatch/dispatcher_stats.h"
#include "lib/dispatch/model_port.h"
#include "lib/job/job_id.h"
#include "lib/store/completion.h"

namespace parkd {

class DaemonStore;
struct DeathReport;
struct JobSpec;
struct SubmittedJob;

class Dispatcher {
 public:
  // `store` and `clock` outlive the dispatcher. The store's observer is the daemon's to set; it
  // forwards work_available and cancel_requested.
  Dispatcher(const DispatcherOptions& options, DaemonStore& store, Clock& clock,
             const RunBlocking& run_blocking);
  ~Dispatcher();
  Dispatcher(const Dispatcher&) = delete;
  Dispatcher& operator=(const Dispatcher&) = delete;

  // --- any thread
  // A model (DispatcherOptions::models) becomes ready, or fails, later. In another state than ready
  // it claims nothing: its jobs stay in the queue.
  void model_ready(std::string model, ModelPort port);
  void model_failed(std::string model, Status why);
  // A model that is not ready is being loaded, or (false) is not.
  void model_loading(std::string model, bool loading);
  // The model claims and starts nothing more, and gives back to the queue what waits here. When the
  // last of what ran has ended it is as before model_ready, which may be called again, and `gone`
  // is called, on the dispatcher's thread: its engine is not used any more. Of a model that is not
  // ready: at once.
  void unload_model(std::string model, std::function<void()> gone);
  // Takes unload_model back; of a model that is gone already it does nothing.
  void keep_model(std::string model);

  void work_available(std::string model);
  void cancel_requested(JobId id, RunLease lease);

  // A caller at this daemon's door waits for the result of a live job from now on, or does no more:
  // once each for every caller. Meanwhile the job may use what is kept for such (ModelPort).
  void caller_waits(std::string model, JobId id, bool waits);

  // A job whose caller waits at this daemon's door. Where it would start here at once it is
  // submitted and claimed in one commit, so that no other daemon runs it, whose tokens would not be
  // seen here; then `done` is called, as a completion of the store's. Otherwise `no_place` gets it
  // back, on the dispatcher's thread or in this call, to be submitted as any other; it must not
  // block.
  void submit_here(JobSpec job, Completion<SubmittedJob> done,
                   std::function<void(JobSpec)> no_place);

  // The store has given up this daemon's claims (its heartbeat was lost, the database is another):
  // nothing that was claimed before this call is ours any more. Its runs are stopped, what waits is
  // forgotten, endings the store has not been given are dropped; then claiming goes on anew. The
  // caller makes it before the store answers a claim of the new ownership. A claim that was under
  // way is given back, whichever side of the loss it fell on.
  void ownership_lost();

  // What an earlier process of this daemon had in its engines when it died. Call it before the
  // models are ready: nothing is claimed until the store has noted it; then `noted` is called, on
  // the dispatcher's thread.
  void report_left_behind(DeathReport report, std::function<void()> noted);

  // What EngineOptions::on_result calls. An unavailable result is a lost device: a death that is
  // noted, after which nothing is started or claimed any more (DispatcherOptions::device_lost); the
  // jobs it had go back without spending an attempt.
  void on_result(GenerationResult result);

  // Stops claiming, gives parked jobs back to the queue, lets running ones finish until the drain
  // timeout, then stops them and gives them back too. No attempt is spent.
  void drain();
  // drain() whose timeout is over now.
  void stop_now();
  // Nothing claimed is left: every ending is stored, every release done.
  bool drained() const;

  // The latest published state; never null. Costs one copy of a pointer.
  std::shared_ptr<const DispatcherStats> stats() const;

  // Ends run(). What is still in flight is dropped: an embedded store queues it again when opened.
  void close();

  // --- the dispatcher's thread
  // Handles what has arrived and what is due; never waits. Returns whether anything was done.
  bool run_once();
  // How long run_once() has nothing to do unless a message comes.
  Micros next_due() const;
  // run_once() until close(); waits in between.
  void run();
  // CHECKs I8: nothing claimed means nothing charged and every lot empty. Requires that nothing
  // is claimed, and no lost run still on its way out of the engine.
  void check_idle() const;

 private:
  class State;
  std::unique_ptr<State> state_;
};

}  // namespace parkd
