#include "lib/dispatch/finisher.h"

#include <algorithm>
#include <unordered_set>
#include <utility>

#include "lib/base/check.h"
#include "lib/base/guarded.h"
#include "lib/base/log.h"
#include "lib/dispatch/endings.h"
#include "lib/store/rules.h"

namespace parkd {

Finisher::Finisher(const DispatcherOptions& options, DaemonStore& store, Clock& clock,
                   RunBlocking run_blocking, std::shared_ptr<DispatcherInbox> inbox,
                   InFlightTable& table)
    : options_(options),
      clock_(clock),
      run_blocking_(std::move(run_blocking)),
      inbox_(std::move(inbox)),
      table_(table),
      writer_(
          {options.finish_delay, options.finish_batch_max, options.store_retry_min,
           options.store_retry_max},
          store, [in = inbox_](FinishDone done) { in->push(std::move(done)); },
          [in = inbox_](ReleaseDone done) { in->push(std::move(done)); }) {}

// --- to the store

void Finisher::end(InFlight& job, Ending ending) {
  ending.units = job.started ? job.cost.count : 0;
  ending.queue_us = job.queue_us;
  ending.prompt_tokens = job.prompt_tokens;
  if (ending.run_us == 0) ending.run_us = job.ending.run_us;
  job.ending = std::move(ending);
  table_.move_to(job, LivePhase::ending);
  writer_.finish(job.ticket, {job.job->id, job.job->lease, job.ending}, clock_.steady_now());
}

void Finisher::release(InFlight& job, bool spend_attempt, std::optional<WallTime> run_at) {
  job.releasing = true;
  table_.move_to(job, LivePhase::ending);
  writer_.release(job.ticket, {job.job->id, job.job->lease, spend_attempt, run_at});
}

void Finisher::release_waiting(const ServedModel* of) {
  for (auto& [ticket, job] : table_.jobs()) {
    if (of != nullptr && job.served != of) continue;
    if (job.phase == LivePhase::parked) {
      table_.leave_lot(job);
    } else if (job.phase != LivePhase::preparing) {
      continue;
    }
    release(job, false, std::nullopt);
  }
}

void Finisher::fail_run(InFlight& job, const Status& why, const GenerationResult* result) {
  const Job& claimed = *job.job;
  const std::string_view code = failure_code_of(why);
  log_warn("job.attempt_failed", {{"id", claimed.id},
                                  {"model", job.served->name},
                                  {"attempt", claimed.attempts + 1},
                                  {"code", code},
                                  {"param", why.param()}});
  if (is_retryable(code) && claimed.attempts + 1 < claimed.spec.max_attempts) {
    ++job.served->counters.retried;
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

// --- the body

void Finisher::render(InFlight& job, GenerationResult result, Ending ending) {
  ending.prompt_tokens = job.prompt_tokens;
  ending.completion_tokens = completion_tokens_of(result);
  ending.truncated = has_truncated_choice(result);
  ending.run_us = job.ending.run_us;
  job.ending = std::move(ending);
  job.shared_tokens = result.shared_tokens;
  table_.move_to(job, LivePhase::ending);
  const RunFigures figures{.units = job.cost.count,
                           .queue_us = job.queue_us,
                           .run_us = job.ending.run_us,
                           .prefill_us = result.prefill_us,
                           .decode_us = result.decode_us,
                           .shared_tokens = result.shared_tokens,
                           .attempts = job.job->attempts,
                           .sampling = job.sampling};
  auto task = [in = inbox_, port = job.served->port, claimed = job.job, ticket = job.ticket,
               figures, logprobs = job.sampling.logprobs,
               answer = std::make_shared<const GenerationResult>(std::move(result))] {
    in->push(Rendered{ticket, guarded<std::string>([&]() -> Result<std::string> {
                        return port->render(EndedRun{*claimed, *answer, logprobs, figures});
                      })});
  };
  if (!run_blocking_(std::move(task))) log_warn("job.not_rendered", {{"id", job.job->id}});
}

void Finisher::handle(Rendered message) {
  InFlight* job = table_.find(message.ticket);
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

// --- what the store answered

namespace {

void log_finished(const InFlight& job, const std::string& outcome) {
  const Ending& ending = job.ending;
  log_info("job.finished", {{"id", job.job->id},
                            {"model", job.served->name},
                            {"attempt", job.job->attempts + 1},
                            {"state", outcome},
                            {"blocks", ending.units},
                            {"prompt_tokens", ending.prompt_tokens},
                            {"shared_tokens", job.shared_tokens},
                            {"new_tokens", ending.completion_tokens},
                            {"queue_ms", ending.queue_us / 1000},
                            {"run_ms", ending.run_us / 1000}});
}

}  // namespace

void Finisher::handle(FinishDone message) {
  for (const auto& settled : writer_.on_finished(std::move(message), clock_.steady_now())) {
    InFlight* job = table_.find(settled.ticket);
    PARKD_CHECK(job != nullptr, "an ending was stored for a job that is gone");
    count(*job, settled.answer);
    table_.erase(*job);
  }
}

void Finisher::count(InFlight& job, FinishAnswer answer) {
  const Ending& ending = job.ending;
  ModelStats& counters = job.served->counters;
  if (answer == FinishAnswer::lease_lost) {
    ++counters.leases_lost;
    log_warn("job.lease_lost", {{"id", job.job->id}, {"model", job.served->name}});
    return;
  }
  if (answer == FinishAnswer::finished_late) job.ending = late_ending(std::move(job.ending));
  std::string outcome(to_string(ending.outcome));
  if (ending.outcome == Outcome::failed) outcome += ":" + ending.error_code;
  ++counters.outcomes[outcome];
  counters.prompt_tokens += ending.prompt_tokens;
  counters.shared_tokens += job.shared_tokens;
  counters.output_tokens += ending.completion_tokens;
  const double latency_s =
      std::chrono::duration<double>(clock_.now() - waits_from(*job.job)).count();
  const auto bucket = std::lower_bound(kFinishLatencyBoundsSeconds.begin(),
                                       kFinishLatencyBoundsSeconds.end(), latency_s);
  ++counters.finish_latency[static_cast<size_t>(bucket - kFinishLatencyBoundsSeconds.begin())];
  counters.finish_latency_sum_s += latency_s;
  log_finished(job, outcome);
}

void Finisher::handle(ReleaseDone message) {
  for (const auto& settled : writer_.on_released(std::move(message), clock_.steady_now())) {
    InFlight* job = table_.find(settled.ticket);
    PARKD_CHECK(job != nullptr && job->releasing, "a release was stored that was not asked for");
    if (settled.answer == ReleaseAnswer::lease_lost) ++job->served->counters.leases_lost;
    log_info("job.released", {{"id", job->job->id}, {"model", job->served->name}});
    table_.erase(*job);
  }
}

// --- lost jobs

void Finisher::drop(InFlight& job) {
  ++job.served->counters.leases_lost;
  table_.move_to(job, LivePhase::ending);
  table_.erase(job);
}

void Finisher::drop_endings() {
  const std::unordered_set<uint64_t> at_the_store = writer_.lose_all();
  auto& jobs = table_.jobs();
  for (auto next = jobs.begin(); next != jobs.end();) {
    InFlight& job = next->second;
    ++next;  // drop() erases it
    if (job.phase == LivePhase::ending && at_the_store.count(job.ticket) == 0) drop(job);
  }
}

}  // namespace parkd
