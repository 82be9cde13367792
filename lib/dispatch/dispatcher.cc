#include "lib/dispatch/dispatcher.h"

#include <algorithm>
#include <mutex>
#include <optional>
#include <utility>
#include <variant>
#include <vector>

#include "lib/base/check.h"
#include "lib/base/kill_point.h"
#include "lib/base/log.h"
#include "lib/dispatch/death_notes.h"
#include "lib/dispatch/departures.h"
#include "lib/dispatch/dispatcher_inbox.h"
#include "lib/dispatch/endings.h"
#include "lib/dispatch/finisher.h"
#include "lib/dispatch/in_flight_table.h"
#include "lib/dispatch/intake.h"
#include "lib/dispatch/runs.h"

namespace parkd {

// All of it is the dispatcher thread's but for `inbox` and the published stats.
class Dispatcher::State {
 public:
  State(const DispatcherOptions& options, DaemonStore& store, Clock& clock,
        const RunBlocking& run_blocking)
      : inbox(std::make_shared<DispatcherInbox>()),
        options_(options),
        store_(store),
        clock_(clock),
        table_(clock),
        finisher_(options_, store, clock, run_blocking, inbox, table_),
        runs_(options_, clock, inbox, table_, finisher_),
        intake_(options_, store, clock, run_blocking, inbox, table_, runs_, finisher_),
        departures_(table_, finisher_),
        death_notes_(options_, store, clock, inbox) {
    for (const std::string& model : options_.models) table_.served_model(model);
    publish();
  }

  bool run_once();
  Micros next_due() const;
  void run();
  void check_idle() const { table_.check_idle(); }
  std::shared_ptr<const DispatcherStats> stats() const;

  const std::shared_ptr<DispatcherInbox> inbox;  // outlives us in the hands of late completions

 private:
  void handle(ModelReady message);
  void handle(const ModelFailed& message);
  void handle(const ModelLoading& message);
  void handle(CancelRequested message);
  void handle(OwnershipLost message);
  void handle(LeftBehind message);
  void handle(DeviceLost message);
  void handle(Drain message);
  void handle(DeathsNoted message) { death_notes_.handle(std::move(message)); }
  void handle(UnloadModel message) { departures_.handle(std::move(message)); }
  void handle(const KeepModel& message) { departures_.handle(message); }
  void handle(const WorkAvailable& message) { intake_.handle(message); }
  void handle(const CallerWaits& message) { intake_.handle(message); }
  void handle(std::shared_ptr<SubmitHere> message) { intake_.handle(std::move(*message)); }
  void handle(Claimed message) { intake_.handle(std::move(message)); }
  void handle(ClaimedHere message) { intake_.handle(std::move(message)); }
  void handle(Prepared message) { intake_.handle(std::move(message)); }
  void handle(Generated message) { runs_.handle(std::move(message)); }
  void handle(Rendered message) { finisher_.handle(std::move(message)); }
  void handle(FinishDone message) { finisher_.handle(std::move(message)); }
  void handle(ReleaseDone message) { finisher_.handle(std::move(message)); }

  bool end_drain_if_due();
  bool stop_what_is_due();
  std::optional<StopReason> reason_to_stop(const InFlight& running) const;
  bool is_late(const InFlight& job) const;
  void give_back_dead_claims(std::vector<ReleaseItem> claims);
  void publish();

  const DispatcherOptions options_;
  DaemonStore& store_;
  Clock& clock_;
  InFlightTable table_;
  Finisher finisher_;
  Runs runs_;
  Intake intake_;
  Departures departures_;
  DeathNotes death_notes_;

  bool draining_ = false;
  bool drain_is_over_ = false;
  SteadyTime drain_ends_{};
  std::vector<DispatcherMessage> arrived_;  // taken by run() while it waited

  // Any thread reads them and wants the answer at once, so no message will do. Never held while
  // anything else is called.
  mutable std::mutex published_mutex_;
  std::shared_ptr<const DispatcherStats> published_;  // guarded by published_mutex_
};

// --- models

void Dispatcher::State::handle(ModelReady message) {
  ServedModel& served = table_.served_model(message.model);
  ModelPort& port = message.port;
  PARKD_CHECK(served.state != ModelState::ready, "a model became ready twice");
  PARKD_CHECK(port.engine != nullptr && port.prepare && port.render, "a port without its parts");
  PARKD_CHECK(port.block_size > 0 && port.lot_places > 0, "a port that can run nothing");
  served.pool = std::make_unique<ResourcePool>(PoolSize{port.parts, port.interactive_reserve});
  served.places.places = port.lot_places;
  served.lot = std::make_unique<ParkingLot>(
      LotLimits{.places = port.lot_places + 1 + kSmallPlaces + kAwaitedPlaces,
                .overtake_max = options_.overtake_max,
                .block_size = port.block_size});
  served.port = std::make_shared<const ModelPort>(std::move(port));
  served.state = ModelState::ready;
  served.failure.clear();
  served.work_hint = true;
  log_info("model.ready", {{"model", served.name},
                           {"units", served.pool->capacity().count},
                           {"devices", served.port->parts.size()},
                           {"block_size", served.port->block_size},
                           {"sequences", all_sequences(served.port->parts)},
                           {"units_kept", served.pool->reserve().count},
                           {"sequences_kept", served.pool->sequences().reserve()},
                           {"lot_places", served.port->lot_places}});
}

void Dispatcher::State::handle(const ModelFailed& message) {
  ServedModel& served = table_.served_model(message.model);
  PARKD_CHECK(served.state != ModelState::ready, "a ready model cannot fail to load");
  served.state = ModelState::failed;
  served.failure = message.why.to_string();
  log_error("model.failed", {{"model", served.name}, {"error", served.failure}});
}

void Dispatcher::State::handle(const ModelLoading& message) {
  ServedModel& served = table_.served_model(message.model);
  PARKD_CHECK(served.state != ModelState::ready, "a ready model is not loaded");
  served.state = message.loading ? ModelState::loading : ModelState::unloaded;
  served.failure.clear();
}

// --- what ends jobs from outside

void Dispatcher::State::handle(CancelRequested message) {
  InFlight* job = table_.find(message.id, message.lease);
  if (job == nullptr) return intake_.note_cancel(message);
  switch (job->phase) {
    case LivePhase::parked:
      table_.leave_lot(*job);
      [[fallthrough]];
    case LivePhase::preparing:
      return finisher_.end(*job, stopped_by_cancel());
    case LivePhase::running:
      return runs_.stop(*job, StopReason::cancel);
    case LivePhase::ending:
      return;  // too late: its ending is on the way to the store
  }
}

// A run keeps its units until the engine has stopped it: until then the blocks are in use.
void Dispatcher::State::handle(OwnershipLost) {
  log_warn("dispatcher.ownership_lost", {{"jobs", table_.jobs().size()}});
  finisher_.drop_endings();
  intake_.lose_ownership();
  for (auto& [ticket, job] : table_.jobs()) {
    if (job.phase == LivePhase::running) runs_.stop(job, StopReason::lost);
  }
}

void Dispatcher::State::handle(LeftBehind message) {
  intake_.hold(true);
  std::vector<ReleaseItem> dead_claims;
  for (const DeathNote& note : message.report.present) {
    dead_claims.push_back({note.id, note.lease, false, std::nullopt});
  }
  death_notes_.report(std::move(message.report), [this, dead_claims = std::move(dead_claims),
                                                  noted = std::move(message.noted)]() mutable {
    give_back_dead_claims(std::move(dead_claims));
    intake_.hold(false);
    noted();
  });
}

// Their process is gone for sure, so no daemon needs to wait until its heartbeat is missed. An
// embedded store has queued them again already, and says so.
void Dispatcher::State::give_back_dead_claims(std::vector<ReleaseItem> claims) {
  store_.release(std::move(claims), [](const Result<std::vector<ReleaseAnswer>>& answer) {
    // Then they are rescued like any other claim.
    if (!answer.ok()) log_warn("death.claims_kept", {{"error", answer.status().to_string()}});
  });
}

// Nothing is started any more: what runs elsewhere may end, and the process is to go.
void Dispatcher::State::handle(DeviceLost message) {
  log_error("dispatcher.device_lost",
            {{"jobs", message.report.present.size()}, {"error", message.why.to_string()}});
  death_notes_.report(std::move(message.report), [this] { runs_.release_lost(); });
  if (options_.device_lost) options_.device_lost();
}

void Dispatcher::State::handle(Drain message) {
  const SteadyTime now = clock_.steady_now();
  if (!draining_) {
    draining_ = true;
    drain_ends_ = now + options_.drain_timeout;
    log_info("drain.started", {{"jobs", table_.jobs().size()}});
    PARKD_KILL_POINT("drain.before_release");
    intake_.close();
  }
  if (message.at_once) drain_ends_ = now;
}

// --- time

bool Dispatcher::State::end_drain_if_due() {
  if (!draining_ || drain_is_over_ || clock_.steady_now() < drain_ends_) return false;
  drain_is_over_ = true;
  log_info("drain.over", {{"jobs", table_.jobs().size()}});
  return true;
}

bool Dispatcher::State::is_late(const InFlight& job) const {
  const auto& deadline = job.job->spec.deadline;
  return deadline && clock_.now() >= *deadline;
}

std::optional<StopReason> Dispatcher::State::reason_to_stop(const InFlight& running) const {
  if (running.stop != StopReason::none) return std::nullopt;
  if (is_late(running)) return StopReason::deadline;
  if (clock_.steady_now() >= running.run_ends) return StopReason::run_timeout;
  if (drain_is_over_) return StopReason::drain;
  return std::nullopt;
}

// Deadlines, run timeouts and the end of a drain.
bool Dispatcher::State::stop_what_is_due() {
  bool acted = end_drain_if_due();
  for (auto& [ticket, job] : table_.jobs()) {
    if (job.phase == LivePhase::ending) continue;
    if (job.phase == LivePhase::running) {
      const auto why = reason_to_stop(job);
      if (!why) continue;
      runs_.stop(job, *why);
    } else {
      if (!is_late(job)) continue;
      if (job.phase == LivePhase::parked) table_.leave_lot(job);
      finisher_.end(job, stopped_by_deadline());
    }
    acted = true;
  }
  return acted;
}

Micros Dispatcher::State::next_due() const {
  const SteadyTime now = clock_.steady_now();
  const WallTime wall_now = clock_.now();
  SteadyTime due = intake_.next_due();
  if (const auto finisher_due = finisher_.next_due()) due = std::min(due, *finisher_due);
  if (const auto notes_due = death_notes_.next_due()) due = std::min(due, *notes_due);
  if (draining_ && !drain_is_over_) due = std::min(due, drain_ends_);
  for (const auto& [ticket, job] : table_.jobs()) {
    if (job.phase == LivePhase::ending || job.stop != StopReason::none) continue;
    if (job.phase == LivePhase::running) due = std::min(due, job.run_ends);
    if (job.job->spec.deadline) due = std::min(due, now + (*job.job->spec.deadline - wall_now));
  }
  return std::max(Micros(0), due - now);
}

// --- the loop

bool Dispatcher::State::run_once() {
  std::vector<DispatcherMessage> messages = std::exchange(arrived_, {});
  for (DispatcherMessage& message : inbox->take_all()) messages.push_back(std::move(message));
  for (DispatcherMessage& message : messages) {
    std::visit([this](auto& m) { handle(std::move(m)); }, message);
  }
  bool acted = !messages.empty();
  acted |= stop_what_is_due();
  acted |= intake_.poll_if_due();
  intake_.admit();
  acted |= intake_.give_back();
  acted |= departures_.let_go();
  acted |= death_notes_.send_if_due();
  acted |= finisher_.flush();
  acted |= intake_.claim_more();
  if (acted) publish();
  return acted;
}

void Dispatcher::State::run() {
  while (!inbox->closed()) {
    if (run_once()) continue;
    arrived_ = inbox->wait_all(next_due());
  }
}

void Dispatcher::State::publish() {
  auto stats = std::make_shared<DispatcherStats>(table_.stats());
  stats->unstored_endings = finisher_.unstored();
  stats->store_trouble = finisher_.in_trouble();
  stats->draining = draining_;
  stats->drained = draining_ && table_.jobs().empty() && !intake_.claim_is_out();
  const std::lock_guard lock(published_mutex_);
  published_ = std::move(stats);
}

std::shared_ptr<const DispatcherStats> Dispatcher::State::stats() const {
  const std::lock_guard lock(published_mutex_);
  return published_;
}

// --- the doors

Dispatcher::Dispatcher(const DispatcherOptions& options, DaemonStore& store, Clock& clock,
                       const RunBlocking& run_blocking)
    : state_(std::make_unique<State>(options, store, clock, run_blocking)) {}
Dispatcher::~Dispatcher() {
  close();
}

void Dispatcher::model_ready(std::string model, ModelPort port) {
  state_->inbox->push(ModelReady{std::move(model), std::move(port)});
}
void Dispatcher::model_failed(std::string model, Status why) {
  state_->inbox->push(ModelFailed{std::move(model), std::move(why)});
}
void Dispatcher::model_loading(std::string model, bool loading) {
  state_->inbox->push(ModelLoading{std::move(model), loading});
}
void Dispatcher::unload_model(std::string model, std::function<void()> gone) {
  state_->inbox->push(UnloadModel{std::move(model), std::move(gone)});
}
void Dispatcher::keep_model(std::string model) {
  state_->inbox->push(KeepModel{std::move(model)});
}
void Dispatcher::work_available(std::string model) {
  state_->inbox->push(WorkAvailable{std::move(model)});
}
void Dispatcher::caller_waits(std::string model, JobId id, bool waits) {
  state_->inbox->push(CallerWaits{std::move(model), id, waits});
}
void Dispatcher::submit_here(JobSpec job, Completion<SubmittedJob> done,
                             std::function<void(JobSpec)> no_place) {
  const auto message =
      std::make_shared<SubmitHere>(std::move(job), std::move(done), std::move(no_place));
  if (!state_->inbox->push(message)) message->no_place(std::move(message->job));
}
void Dispatcher::cancel_requested(JobId id, RunLease lease) {
  state_->inbox->push(CancelRequested{id, lease});
}
void Dispatcher::ownership_lost() {
  state_->inbox->push(OwnershipLost{});
}
void Dispatcher::report_left_behind(DeathReport report, std::function<void()> noted) {
  state_->inbox->push(LeftBehind{std::move(report), std::move(noted)});
}
void Dispatcher::on_result(GenerationResult result) {
  state_->inbox->push(Generated{std::move(result)});
}
void Dispatcher::drain() {
  state_->inbox->push(Drain{false});
}
void Dispatcher::stop_now() {
  state_->inbox->push(Drain{true});
}
bool Dispatcher::drained() const {
  return state_->stats()->drained;
}
std::shared_ptr<const DispatcherStats> Dispatcher::stats() const {
  return state_->stats();
}
void Dispatcher::close() {
  state_->inbox->close();
}
bool Dispatcher::run_once() {
  return state_->run_once();
}
Micros Dispatcher::next_due() const {
  return state_->next_due();
}
void Dispatcher::run() {
  state_->run();
}
void Dispatcher::check_idle() const {
  state_->check_idle();
}

}  // namespace parkd
