#include "lib/dispatch/dispatcher.h"

#include <algorithm>
#include <exception>
#include <map>
#include <mutex>
#include <optional>
#include <random>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <variant>
#include <vector>

#include "lib/base/check.h"
#include "lib/base/inbox.h"
#include "lib/base/kill_point.h"
#include "lib/base/log.h"
#include "lib/base/text.h"
#include "lib/dispatch/endings.h"
#include "lib/dispatch/in_flight.h"
#include "lib/dispatch/store_writer.h"
#include "lib/pool/price.h"

namespace parkd {
namespace {

// --- what comes through the inbox

struct AddModel {
  std::string model;
};
struct ModelReady {
  std::string model;
  ModelPort port;
};
struct ModelFailed {
  std::string model;
  Status why;
};
struct WorkAvailable {
  std::string model;
};
struct CancelRequested {
  JobId id;
  RunLease lease;
};
struct OwnershipLost {};
struct Claimed {
  std::string model;
  uint64_t ownership;  // State::ownership_ when it was asked for
  Result<std::vector<Job>> jobs;
};
struct Prepared {
  uint64_t ticket;
  Result<PreparedJob> prepared;
};
struct Generated {
  GenerationResult result;
};
struct Rendered {
  uint64_t ticket;
  Result<std::string> body;
};
struct Drain {
  bool at_once;
};

using News =
    std::variant<AddModel, ModelReady, ModelFailed, WorkAvailable, CancelRequested, OwnershipLost,
                 Claimed, Prepared, Generated, Rendered, FinishDone, ReleaseDone, Drain>;
using DispatcherInbox = Inbox<News>;

// Runs `work`, whose exceptions (bad_alloc, a library's) end the job and not the process.
template <class T>
Result<T> guarded(const std::function<Result<T>()>& work) {
  try {
    return work();
  } catch (const std::exception& e) {
    return internal_error(std::string("exception: ") + e.what());
  }
}

WallTime waits_from(const Job& job) {
  return job.spec.run_at ? std::max(*job.spec.run_at, job.created_at) : job.created_at;
}

int64_t to_ms(int64_t us) {
  return us / 1000;
}

}  // namespace

// --- the state, all of it the dispatcher thread's but for `inbox` and the published stats

class Dispatcher::State {
 public:
  State(DispatcherOptions options, JobStore& store, Clock& clock, RunBlocking run_blocking)
      : inbox(std::make_shared<DispatcherInbox>()),
        options_(options),
        store_(store),
        clock_(clock),
        run_blocking_(std::move(run_blocking)),
        writer_(
            {options.finish_delay, options.finish_batch_max, options.store_retry_min,
             options.store_retry_max},
            store, [in = inbox](FinishDone done) { in->push(std::move(done)); },
            [in = inbox](ReleaseDone done) { in->push(std::move(done)); }),
        jitter_(static_cast<uint32_t>(random_u64())),
        published_(std::make_shared<DispatcherStats>()) {}

  bool run_once();
  Micros next_due() const;
  void run();
  void check_idle() const;
  std::shared_ptr<const DispatcherStats> stats() const;

  const std::shared_ptr<DispatcherInbox> inbox;  // outlives us in the hands of late completions

 private:
  void handle(AddModel message);
  void handle(ModelReady message);
  void handle(ModelFailed message);
  void handle(WorkAvailable message);
  void handle(CancelRequested message);
  void handle(OwnershipLost message);
  void handle(Claimed message);
  void handle(Prepared message);
  void handle(Generated message);
  void handle(Rendered message);
  void handle(FinishDone message);
  void handle(ReleaseDone message);
  void handle(Drain message);

  Desk& desk_of(const std::string& model);
  InFlight* find(uint64_t ticket);
  InFlight* find(JobId id, RunLease lease);
  void move_to(InFlight& job, LivePhase phase);
  void erase(InFlight& job);

  bool claim_more();
  int32_t free_places(const Desk& desk) const;
  void take_in(Desk& desk, Job claimed, bool still_ours);
  bool cancelled_before_it_came(const Job& job);
  bool claim_is_out() const;
  void prepare(InFlight& job);
  void park(InFlight& job, PreparedJob prepared);
  void admit(Desk& desk);
  void start(InFlight& job, Charge charge);
  void log_parked(Desk& desk);

  void stop_running(InFlight& job, StopReason why);
  void complete(InFlight& job, GenerationResult result);
  void fail_run(InFlight& job, const Status& why, const GenerationResult* result);
  void render(InFlight& job, GenerationResult result, Ending ending);
  void end(InFlight& job, Ending ending);
  void release(InFlight& job, bool spend_attempt, std::optional<WallTime> run_at);
  void finished(InFlight& job, FinishAnswer answer);
  void lose(InFlight& job);
  void drop(InFlight& job);

  bool stop_what_is_due();
  bool poll_if_due();
  void give_back_what_waits();
  void publish();
  void publish_desk(const Desk& desk, DispatcherStats& stats) const;

  const DispatcherOptions options_;
  JobStore& store_;
  Clock& clock_;
  const RunBlocking run_blocking_;

  StoreWriter writer_;
  std::map<std::string, Desk> desks_;
  std::unordered_map<uint64_t, InFlight> jobs_;  // by ticket
  std::unordered_map<JobId, uint64_t> tickets_;  // the latest of a job
  uint64_t next_ticket_ = 1;
  uint64_t ownership_ = 0;  // counts ownership_lost()
  // Cancels of jobs whose claim is answered but has not been read yet; kept while a claim is out.
  std::vector<CancelRequested> early_cancels_;

  SteadyTime next_poll_{};
  std::minstd_rand jitter_;
  bool draining_ = false;
  bool drain_is_over_ = false;
  SteadyTime drain_ends_{};
  std::vector<News> arrived_;  // taken by run() while it waited

  // Any thread reads them and wants the answer at once, so no message will do. Never held while
  // anything else is called.
  mutable std::mutex published_mutex_;
  std::shared_ptr<const DispatcherStats> published_;  // guarded by published_mutex_
};

// --- models

Desk& Dispatcher::State::desk_of(const std::string& model) {
  Desk& desk = desks_[model];
  desk.name = model;
  return desk;
}

void Dispatcher::State::handle(AddModel message) {
  desk_of(message.model);
}

void Dispatcher::State::handle(ModelReady message) {
  Desk& desk = desk_of(message.model);
  ModelPort& port = message.port;
  PARKD_CHECK(desk.state != ModelState::ready, "a model became ready twice");
  PARKD_CHECK(port.engine != nullptr && port.prepare && port.render, "a port without its parts");
  PARKD_CHECK(port.block_size > 0 && port.sequences_max > 0 && port.lot_places > 0,
              "a port that can run nothing");
  desk.pool = std::make_unique<ResourcePool>(port.capacity);
  desk.lot = std::make_unique<ParkingLot>(port.lot_places, options_.overtake_max);
  desk.port = std::make_shared<const ModelPort>(std::move(port));
  desk.state = ModelState::ready;
  desk.failure.clear();
  desk.work_hint = true;
  log_info("model.ready", {{"model", desk.name},
                           {"units", desk.port->capacity.count},
                           {"block_size", desk.port->block_size},
                           {"sequences", desk.port->sequences_max},
                           {"lot_places", desk.port->lot_places}});
}

void Dispatcher::State::handle(ModelFailed message) {
  Desk& desk = desk_of(message.model);
  PARKD_CHECK(desk.state != ModelState::ready, "a ready model cannot fail to load");
  desk.state = ModelState::failed;
  desk.failure = message.why.to_string();
  log_error("model.failed", {{"model", desk.name}, {"error", desk.failure}});
}

// --- claiming

void Dispatcher::State::handle(WorkAvailable message) {
  const auto found = desks_.find(message.model);
  if (found != desks_.end()) found->second.work_hint = true;
}

int32_t Dispatcher::State::free_places(const Desk& desk) const {
  const int32_t places = desk.port->lot_places - desk.jobs_in(LivePhase::preparing) -
                         desk.jobs_in(LivePhase::parked) - desk.claiming;
  // Endings the store does not take must not pile up without bound while it still gives out jobs.
  const int32_t in_flight_max = 4 * (desk.port->lot_places + desk.port->sequences_max);
  return std::min(places, in_flight_max - desk.jobs_in_flight());
}

bool Dispatcher::State::claim_more() {
  if (draining_) return false;
  bool asked = false;
  const SteadyTime now = clock_.steady_now();
  for (auto& [name, desk] : desks_) {
    if (desk.state != ModelState::ready || !desk.work_hint || desk.claiming > 0) continue;
    if (now < desk.claim_not_before) continue;
    const int32_t places = free_places(desk);
    if (places <= 0) continue;
    desk.work_hint = false;
    desk.claiming = places;
    asked = true;
    store_.claim({name, places},
                 [in = inbox, model = name, ownership = ownership_](Result<std::vector<Job>> jobs) {
                   in->push(Claimed{model, ownership, std::move(jobs)});
                 });
  }
  return asked;
}

void Dispatcher::State::handle(Claimed message) {
  Desk& desk = desks_.at(message.model);
  const int32_t asked = std::exchange(desk.claiming, 0);
  if (!message.jobs.ok()) {
    desk.work_hint = true;
    desk.claim_retry_delay = std::clamp<Micros>(desk.claim_retry_delay * 2,
                                                options_.store_retry_min, options_.store_retry_max);
    desk.claim_not_before = clock_.steady_now() + desk.claim_retry_delay;
    log_warn("store.retry", {{"verb", "claim"},
                             {"model", desk.name},
                             {"error", message.jobs.status().to_string()},
                             {"retry_ms", to_ms(desk.claim_retry_delay.count())}});
  } else {
    desk.claim_retry_delay = Micros(0);
    PARKD_CHECK(static_cast<int32_t>(message.jobs->size()) <= asked,
                "a store gave more jobs than it was asked for");
    if (static_cast<int32_t>(message.jobs->size()) == asked) desk.work_hint = true;
    for (Job& job : *message.jobs) {
      take_in(desk, std::move(job), message.ownership == ownership_);
    }
  }
  if (!claim_is_out()) early_cancels_.clear();
}

bool Dispatcher::State::claim_is_out() const {
  return std::any_of(desks_.begin(), desks_.end(),
                     [](const auto& entry) { return entry.second.claiming > 0; });
}

bool Dispatcher::State::cancelled_before_it_came(const Job& job) {
  return std::any_of(early_cancels_.begin(), early_cancels_.end(), [&](const CancelRequested& c) {
    return c.id == job.id && c.lease == job.lease;
  });
}

// A claim that was under way when ownership was lost may be of the old ownership or of the new: its
// jobs are given back, which does the right thing for either.
void Dispatcher::State::take_in(Desk& desk, Job claimed, bool still_ours) {
  const uint64_t ticket = next_ticket_++;
  InFlight& job = jobs_[ticket];
  job.ticket = ticket;
  job.desk = &desk;
  job.phase_since = clock_.now();
  tickets_[claimed.id] = ticket;
  ++desk.counters.claimed;
  ++desk.jobs[static_cast<size_t>(LivePhase::preparing)];
  const bool cancelled = cancelled_before_it_came(claimed);
  job.job = std::make_shared<const Job>(std::move(claimed));
  if (cancelled) {
    end(job, stopped_by_cancel());
  } else if (draining_ || !still_ours) {
    release(job, false, std::nullopt);
  } else {
    prepare(job);
  }
}

// --- preparing and parking

void Dispatcher::State::prepare(InFlight& job) {
  auto task = [in = inbox, port = job.desk->port, claimed = job.job, ticket = job.ticket] {
    in->push(Prepared{ticket, guarded<PreparedJob>([&] { return port->prepare(*claimed); })});
  };
  // Refused only when the process is stopping; then the claim dies with it.
  if (!run_blocking_(std::move(task))) log_warn("job.not_prepared", {{"id", job.job->id}});
}

void Dispatcher::State::handle(Prepared message) {
  InFlight* job = find(message.ticket);
  // Cancelled, too late or given back meanwhile.
  if (job == nullptr || job->phase != LivePhase::preparing) return;
  if (message.prepared.ok()) {
    park(*job, std::move(message.prepared).value());
  } else {
    fail_run(*job, message.prepared.status(), nullptr);
  }
}

void Dispatcher::State::park(InFlight& job, PreparedJob prepared) {
  Desk& desk = *job.desk;
  GenerationRequest& request = prepared.request;
  PARKD_CHECK(!request.prompt.empty() && request.max_new_tokens > 0 && request.n_choices > 0,
              "a prepared job that asks for nothing");
  job.prompt_tokens = static_cast<int32_t>(request.prompt.size());
  job.max_new_tokens = request.max_new_tokens;
  job.sequences = request.n_choices;
  job.logprobs = request.sampling.logprobs;
  const Status fits =
      fits_at_all({desk.name, job.sequences, job.prompt_tokens, job.max_new_tokens,
                   desk.port->block_size, desk.port->capacity, desk.port->sequences_max});
  if (!fits.ok()) return end(job, too_large_ending(fits));
  job.cost = job_cost(job.sequences, job.prompt_tokens, job.max_new_tokens, desk.port->block_size);
  job.request = std::move(request);
  job.request.id = job.ticket;
  desk.lot->park({.ticket = job.ticket,
                  .id = job.job->id,
                  .critical = job.job->spec.priority == Priority::critical,
                  .order_key = job.job->order_key,
                  .cost = job.cost,
                  .sequences = job.sequences});
  move_to(job, LivePhase::parked);
}

void Dispatcher::State::admit(Desk& desk) {
  if (desk.state != ModelState::ready || draining_) return;
  const SteadyTime now = clock_.steady_now();
  while (auto admission = desk.lot->admit_next(*desk.pool, desk.free_sequences(), now)) {
    start(*find(admission->job.ticket), std::move(admission->charge));
  }
  log_parked(desk);
}

void Dispatcher::State::start(InFlight& job, Charge charge) {
  PARKD_KILL_POINT("dispatch.after_charge");
  Desk& desk = *job.desk;
  const JobSpec& spec = job.job->spec;
  job.charge.emplace(std::move(charge));
  job.started = clock_.steady_now();
  job.run_ends = *job.started + spec.run_timeout.value_or(desk.port->run_timeout_default);
  job.queue_us = std::max<int64_t>(0, (clock_.now() - waits_from(*job.job)).count());
  desk.running_sequences += job.sequences;
  move_to(job, LivePhase::running);
  log_info("job.started", {{"id", job.job->id},
                           {"model", desk.name},
                           {"attempt", job.job->attempts + 1},
                           {"blocks", job.cost.count},
                           {"prompt_tokens", job.prompt_tokens},
                           {"max_new_tokens", job.max_new_tokens},
                           {"queue_ms", to_ms(job.queue_us)}});
  desk.port->engine->start(std::move(job.request));
}

// A job that starts at its first look is not worth a line.
void Dispatcher::State::log_parked(Desk& desk) {
  if (desk.lot->empty()) return;
  for (auto& [ticket, job] : jobs_) {
    if (job.phase != LivePhase::parked || job.desk != &desk || job.parking_logged) continue;
    job.parking_logged = true;
    log_info("job.parked", {{"id", job.job->id},
                            {"model", desk.name},
                            {"blocks", job.cost.count},
                            {"blocks_free", desk.pool->free().count},
                            {"sequences_free", desk.free_sequences()}});
  }
}

// --- running and stopping

void Dispatcher::State::stop_running(InFlight& job, StopReason why) {
  const bool told = job.stop != StopReason::none;
  if (!told || why > job.stop) job.stop = why;
  if (!told) job.desk->port->engine->cancel(job.ticket);
}

void Dispatcher::State::handle(CancelRequested message) {
  InFlight* job = find(message.id, message.lease);
  if (job == nullptr) {
    if (claim_is_out()) early_cancels_.push_back(message);
    return;
  }
  switch (job->phase) {
    case LivePhase::parked:
      PARKD_CHECK(job->desk->lot->remove(job->ticket), "a parked job is in its lot");
      [[fallthrough]];
    case LivePhase::preparing:
      return end(*job, stopped_by_cancel());
    case LivePhase::running:
      return stop_running(*job, StopReason::cancel);
    case LivePhase::ending:
      return;  // too late: its ending is on the way to the store
  }
}

void Dispatcher::State::handle(Generated message) {
  InFlight* found = find(message.result.id);
  PARKD_CHECK(found != nullptr && found->phase == LivePhase::running,
              "the engine answered a request that is not running");
  InFlight& job = *found;
  Desk& desk = *job.desk;
  PARKD_DCHECK(Blocks{desk.port->engine->stats().blocks_in_use} <= desk.pool->in_use(),
               "I2: the engine holds blocks nobody was charged for");
  job.charge->release();  // before anything that may take time
  job.charge.reset();
  desk.running_sequences -= job.sequences;
  GenerationResult& result = message.result;
  job.ending.run_us = (clock_.steady_now() - *job.started).count();
  const bool complete = is_complete(result);
  switch (job.stop) {
    case StopReason::lost:
      return drop(job);
    case StopReason::cancel:
      return end(job, stopped_by_cancel());
    case StopReason::deadline:
      return render(job, std::move(result), stopped_by_deadline());
    case StopReason::run_timeout:
      if (complete) break;  // it was done before it could be stopped: nothing is gained by its loss
      return render(job, std::move(result),
                    stopped_by_run_timeout(std::chrono::duration_cast<std::chrono::seconds>(
                        job.run_ends - *job.started)));
    case StopReason::drain:
    case StopReason::none:
      break;
  }
  if (complete) return render(job, std::move(result), Ending{});
  // Stopped by a drain, or by an engine that is going away: it will run again elsewhere or later.
  if (result.status.ok()) return release(job, false, std::nullopt);
  fail_run(job, result.status, &result);
}

// --- ending

// A preparation or a run that failed: another attempt where that can help, else a failed message.
void Dispatcher::State::fail_run(InFlight& job, const Status& why, const GenerationResult* result) {
  const Job& claimed = *job.job;
  const std::string_view code = failure_code_of(why);
  log_warn("job.attempt_failed", {{"id", claimed.id},
                                  {"model", job.desk->name},
                                  {"attempt", claimed.attempts + 1},
                                  {"code", code},
                                  {"param", why.param()}});
  if (is_retryable(code) && claimed.attempts + 1 < claimed.spec.max_attempts) {
    ++job.desk->counters.retried;
    const Micros delay = std::min<Micros>(
        options_.retry_delay_min * (int64_t{1} << std::clamp(claimed.attempts, 0, 20)),
        options_.retry_delay_max);
    return release(job, true, clock_.now() + delay);
  }
  if (result != nullptr && completion_tokens_of(*result) > 0) {
    return render(job, *result, failed_ending(why));
  }
  end(job, failed_ending(why));
}

// Has the body of an ending written, then ends the job.
void Dispatcher::State::render(InFlight& job, GenerationResult result, Ending ending) {
  ending.prompt_tokens = job.prompt_tokens;
  ending.completion_tokens = completion_tokens_of(result);
  ending.run_us = job.ending.run_us;
  job.ending = std::move(ending);
  move_to(job, LivePhase::ending);
  const RunFigures figures{.units = job.cost.count,
                           .queue_us = job.queue_us,
                           .run_us = job.ending.run_us,
                           .prefill_us = result.prefill_us,
                           .decode_us = result.decode_us,
                           .attempts = job.job->attempts};
  auto task = [in = inbox, port = job.desk->port, claimed = job.job, ticket = job.ticket, figures,
               logprobs = job.logprobs,
               answer = std::make_shared<const GenerationResult>(std::move(result))] {
    in->push(Rendered{ticket, guarded<std::string>([&]() -> Result<std::string> {
                        return port->render(EndedRun{*claimed, *answer, logprobs, figures});
                      })});
  };
  if (!run_blocking_(std::move(task))) log_warn("job.not_rendered", {{"id", job.job->id}});
}

void Dispatcher::State::handle(Rendered message) {
  InFlight* job = find(message.ticket);
  if (job == nullptr) return;  // lost meanwhile
  PARKD_CHECK(job->phase == LivePhase::ending, "rendered, but nothing ended");
  if (!message.body.ok()) {
    // A job that is ending badly anyway does so without the text it had.
    if (job->ending.outcome != Outcome::completed) return end(*job, std::move(job->ending));
    return fail_run(*job, message.body.status(), nullptr);
  }
  job->ending.body = std::move(message.body).value();
  end(*job, std::move(job->ending));
}

void Dispatcher::State::end(InFlight& job, Ending ending) {
  ending.units = job.started ? job.cost.count : 0;
  ending.queue_us = job.queue_us;
  ending.prompt_tokens = job.prompt_tokens;
  if (ending.run_us == 0) ending.run_us = job.ending.run_us;
  job.ending = std::move(ending);
  move_to(job, LivePhase::ending);
  writer_.finish(job.ticket, {job.job->id, job.job->lease, job.ending}, clock_.steady_now());
}

void Dispatcher::State::release(InFlight& job, bool spend_attempt, std::optional<WallTime> run_at) {
  job.releasing = true;
  move_to(job, LivePhase::ending);
  writer_.release(job.ticket, {job.job->id, job.job->lease, spend_attempt, run_at});
}

void Dispatcher::State::handle(FinishDone message) {
  for (const auto& settled : writer_.on_finished(std::move(message), clock_.steady_now())) {
    InFlight* job = find(settled.ticket);
    PARKD_CHECK(job != nullptr, "an ending was stored for a job that is gone");
    finished(*job, settled.answer);
    erase(*job);
  }
}

void Dispatcher::State::finished(InFlight& job, FinishAnswer answer) {
  const Ending& ending = job.ending;
  ModelStats& counters = job.desk->counters;
  if (answer == FinishAnswer::lease_lost) {
    ++counters.leases_lost;
    log_warn("job.lease_lost", {{"id", job.job->id}, {"model", job.desk->name}});
    return;
  }
  std::string outcome(to_string(ending.outcome));
  if (ending.outcome == Outcome::failed) outcome += ":" + ending.error_code;
  ++counters.outcomes[outcome];
  counters.prompt_tokens += ending.prompt_tokens;
  counters.output_tokens += ending.completion_tokens;
  const double latency_s =
      std::chrono::duration<double>(clock_.now() - waits_from(*job.job)).count();
  const auto bucket =
      std::lower_bound(kFinishLatencyBounds_s.begin(), kFinishLatencyBounds_s.end(), latency_s);
  ++counters.finish_latency[static_cast<size_t>(bucket - kFinishLatencyBounds_s.begin())];
  counters.finish_latency_sum_s += latency_s;
  log_info("job.finished", {{"id", job.job->id},
                            {"model", job.desk->name},
                            {"attempt", job.job->attempts + 1},
                            {"state", outcome},
                            {"blocks", ending.units},
                            {"prompt_tokens", ending.prompt_tokens},
                            {"new_tokens", ending.completion_tokens},
                            {"queue_ms", to_ms(ending.queue_us)},
                            {"run_ms", to_ms(ending.run_us)}});
}

void Dispatcher::State::handle(ReleaseDone message) {
  for (const auto& settled : writer_.on_released(std::move(message), clock_.steady_now())) {
    InFlight* job = find(settled.ticket);
    PARKD_CHECK(job != nullptr && job->releasing, "a release was stored that nobody asked for");
    if (settled.answer == ReleaseAnswer::lease_lost) ++job->desk->counters.leases_lost;
    log_info("job.released", {{"id", job->job->id}, {"model", job->desk->name}});
    erase(*job);
  }
}

// --- losing

void Dispatcher::State::handle(OwnershipLost) {
  ++ownership_;
  log_warn("dispatcher.ownership_lost", {{"jobs", jobs_.size()}});
  const std::unordered_set<uint64_t> at_the_store = writer_.lose_all();
  for (auto next = jobs_.begin(); next != jobs_.end();) {
    InFlight& job = next->second;
    ++next;  // lose() may erase it
    if (at_the_store.count(job.ticket) == 0) lose(job);
  }
  for (auto& [name, desk] : desks_) desk.work_hint = true;
}

// A run keeps its units until the engine has stopped it: until then the blocks are in use.
void Dispatcher::State::lose(InFlight& job) {
  if (job.phase == LivePhase::running) return stop_running(job, StopReason::lost);
  if (job.phase == LivePhase::parked) {
    PARKD_CHECK(job.desk->lot->remove(job.ticket), "a parked job is in its lot");
  }
  drop(job);
}

// Forgets a job that is no longer ours; the store knows better what became of it.
void Dispatcher::State::drop(InFlight& job) {
  ++job.desk->counters.leases_lost;
  move_to(job, LivePhase::ending);
  erase(job);
}

// --- draining

void Dispatcher::State::handle(Drain message) {
  const SteadyTime now = clock_.steady_now();
  if (!draining_) {
    draining_ = true;
    drain_ends_ = now + options_.drain_timeout;
    log_info("drain.started", {{"jobs", jobs_.size()}});
    give_back_what_waits();
  }
  if (message.at_once) drain_ends_ = now;
}

void Dispatcher::State::give_back_what_waits() {
  PARKD_KILL_POINT("drain.before_release");
  for (auto& [ticket, job] : jobs_) {
    if (job.phase == LivePhase::parked) {
      PARKD_CHECK(job.desk->lot->remove(ticket), "a parked job is in its lot");
    } else if (job.phase != LivePhase::preparing) {
      continue;
    }
    release(job, false, std::nullopt);
  }
}

// --- time

// Deadlines, run timeouts and the end of a drain.
bool Dispatcher::State::stop_what_is_due() {
  const WallTime wall_now = clock_.now();
  const SteadyTime now = clock_.steady_now();
  bool acted = false;
  if (draining_ && !drain_is_over_ && now >= drain_ends_) {
    drain_is_over_ = true;
    log_info("drain.over", {{"jobs", jobs_.size()}});
    acted = true;
  }
  for (auto& [ticket, job] : jobs_) {
    if (job.phase == LivePhase::ending) continue;
    const auto& deadline = job.job->spec.deadline;
    const bool late = deadline && wall_now >= *deadline;
    if (job.phase == LivePhase::running) {
      if (job.stop != StopReason::none) continue;
      const bool overdue = now >= job.run_ends;
      if (!late && !overdue && !drain_is_over_) continue;
      stop_running(job, late      ? StopReason::deadline
                        : overdue ? StopReason::run_timeout
                                  : StopReason::drain);
      acted = true;
    } else if (late) {
      if (job.phase == LivePhase::parked) {
        PARKD_CHECK(job.desk->lot->remove(ticket), "a parked job is in its lot");
      }
      end(job, stopped_by_deadline());
      acted = true;
    }
  }
  return acted;
}

// The net under the store's wake-ups. Jittered, so that many daemons on one store do not ask at the
// same moment.
bool Dispatcher::State::poll_if_due() {
  const SteadyTime now = clock_.steady_now();
  if (now < next_poll_) return false;
  std::uniform_real_distribution<double> factor(0.75, 1.25);
  next_poll_ = now + std::chrono::duration_cast<Micros>(options_.poll_interval * factor(jitter_));
  for (auto& [name, desk] : desks_) desk.work_hint = true;
  return true;
}

Micros Dispatcher::State::next_due() const {
  const SteadyTime now = clock_.steady_now();
  const WallTime wall_now = clock_.now();
  SteadyTime due = next_poll_;
  if (const auto writer_due = writer_.next_due()) due = std::min(due, *writer_due);
  if (draining_ && !drain_is_over_) due = std::min(due, drain_ends_);
  for (const auto& [name, desk] : desks_) {
    if (desk.claim_retry_delay.count() > 0 && desk.claiming == 0 && free_places(desk) > 0) {
      due = std::min(due, desk.claim_not_before);
    }
  }
  for (const auto& [ticket, job] : jobs_) {
    if (job.phase == LivePhase::ending || job.stop != StopReason::none) continue;
    if (job.phase == LivePhase::running) due = std::min(due, job.run_ends);
    if (job.job->spec.deadline) due = std::min(due, now + (*job.job->spec.deadline - wall_now));
  }
  return std::max(Micros(0), due - now);
}

// --- the loop

bool Dispatcher::State::run_once() {
  std::vector<News> messages = std::exchange(arrived_, {});
  for (News& message : inbox->take_all()) messages.push_back(std::move(message));
  for (News& message : messages) {
    std::visit([this](auto& m) { handle(std::move(m)); }, message);
  }
  bool acted = !messages.empty();
  acted |= stop_what_is_due();
  acted |= poll_if_due();
  for (auto& [name, desk] : desks_) admit(desk);
  acted |= writer_.flush(clock_.steady_now());
  acted |= claim_more();
  if (acted) publish();
  return acted;
}

void Dispatcher::State::run() {
  while (!inbox->closed()) {
    if (run_once()) continue;
    arrived_ = inbox->wait_all(next_due());
  }
}

// --- bookkeeping

InFlight* Dispatcher::State::find(uint64_t ticket) {
  const auto found = jobs_.find(ticket);
  return found == jobs_.end() ? nullptr : &found->second;
}

InFlight* Dispatcher::State::find(JobId id, RunLease lease) {
  const auto found = tickets_.find(id);
  if (found == tickets_.end()) return nullptr;
  InFlight* job = find(found->second);
  return job != nullptr && job->job->lease == lease ? job : nullptr;
}

void Dispatcher::State::move_to(InFlight& job, LivePhase phase) {
  --job.desk->jobs[static_cast<size_t>(job.phase)];
  ++job.desk->jobs[static_cast<size_t>(phase)];
  if (job.phase != phase) job.phase_since = clock_.now();
  job.phase = phase;
}

void Dispatcher::State::erase(InFlight& job) {
  PARKD_CHECK(job.phase == LivePhase::ending && !job.charge, "a job left with its charge");
  --job.desk->jobs[static_cast<size_t>(LivePhase::ending)];
  const auto found = tickets_.find(job.job->id);
  if (found != tickets_.end() && found->second == job.ticket) tickets_.erase(found);
  jobs_.erase(job.ticket);  // last: `job` is gone
}

void Dispatcher::State::check_idle() const {
  PARKD_CHECK(jobs_.empty(), "I8: something is still claimed");
  for (const auto& [name, desk] : desks_) {
    PARKD_CHECK(desk.jobs_in_flight() == 0 && desk.running_sequences == 0, "I8: a count leaked");
    if (desk.state != ModelState::ready) continue;
    PARKD_CHECK(desk.pool->in_use() == Blocks{0}, "I8: idle, but units are charged");
    PARKD_CHECK(desk.lot->empty(), "I8: idle, but the lot is not empty");
    PARKD_CHECK(desk.port->engine->stats().blocks_in_use == 0, "I8: idle, but blocks are in use");
  }
}

void Dispatcher::State::publish_desk(const Desk& desk, DispatcherStats& stats) const {
  ModelStats model = desk.counters;
  model.model = desk.name;
  model.state = desk.state;
  model.failure = desk.failure;
  model.preparing = desk.jobs_in(LivePhase::preparing);
  model.parked = desk.jobs_in(LivePhase::parked);
  model.running = desk.jobs_in(LivePhase::running);
  model.ending = desk.jobs_in(LivePhase::ending);
  model.running_sequences = desk.running_sequences;
  if (desk.state == ModelState::ready) {
    model.capacity = desk.pool->capacity();
    model.in_use = desk.pool->in_use();
    model.peak = desk.pool->peak();
    model.block_size = desk.port->block_size;
    model.lot_places = desk.lot->places();
    model.sequences_max = desk.port->sequences_max;
  }
  stats.models.push_back(std::move(model));
}

void Dispatcher::State::publish() {
  auto stats = std::make_shared<DispatcherStats>();
  for (const auto& [name, desk] : desks_) publish_desk(desk, *stats);
  stats->live.reserve(jobs_.size());
  for (const auto& [ticket, job] : jobs_) {
    if (job.stop == StopReason::lost) continue;
    LiveJob live{job.job->id, job.phase, job.cost, job.phase_since, {}};
    if (job.phase == LivePhase::parked) {
      live.waits_for =
          job.desk->lot->why_waiting(ticket, *job.desk->pool, job.desk->free_sequences());
    }
    stats->live.push_back(std::move(live));
  }
  std::sort(stats->live.begin(), stats->live.end(),
            [](const LiveJob& a, const LiveJob& b) { return a.id < b.id; });
  stats->unstored_endings = writer_.unstored();
  stats->store_trouble = writer_.in_trouble();
  stats->draining = draining_;
  stats->drained = draining_ && jobs_.empty() && !claim_is_out();
  const std::lock_guard lock(published_mutex_);
  published_ = std::move(stats);
}

std::shared_ptr<const DispatcherStats> Dispatcher::State::stats() const {
  const std::lock_guard lock(published_mutex_);
  return published_;
}

// --- the doors

Dispatcher::Dispatcher(DispatcherOptions options, JobStore& store, Clock& clock,
                       RunBlocking run_blocking)
    : state_(std::make_unique<State>(options, store, clock, std::move(run_blocking))) {}
Dispatcher::~Dispatcher() {
  close();
}

void Dispatcher::add_model(std::string model) {
  state_->inbox->push(AddModel{std::move(model)});
}
void Dispatcher::model_ready(std::string model, ModelPort port) {
  state_->inbox->push(ModelReady{std::move(model), std::move(port)});
}
void Dispatcher::model_failed(std::string model, Status why) {
  state_->inbox->push(ModelFailed{std::move(model), std::move(why)});
}
void Dispatcher::work_available(std::string model) {
  state_->inbox->push(WorkAvailable{std::move(model)});
}
void Dispatcher::cancel_requested(JobId id, RunLease lease) {
  state_->inbox->push(CancelRequested{id, lease});
}
void Dispatcher::ownership_lost() {
  state_->inbox->push(OwnershipLost{});
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
