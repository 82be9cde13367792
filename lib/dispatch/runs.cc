#include "lib/dispatch/runs.h"

#include <algorithm>
#include <utility>

#include "lib/base/check.h"
#include "lib/base/kill_point.h"
#include "lib/base/log.h"
#include "lib/dispatch/endings.h"

namespace parkd {

void Runs::start(InFlight& job, Charge charge) {
  PARKD_KILL_POINT("dispatch.after_charge");
  Desk& desk = *job.desk;
  const JobSpec& spec = job.job->spec;
  job.request.device = charge.part();
  job.charge.emplace(std::move(charge));
  job.started = clock_.steady_now();
  job.run_ends = *job.started + spec.run_timeout.value_or(desk.port->run_timeout_default);
  job.queue_us = std::max<int64_t>(0, (clock_.now() - waits_from(*job.job)).count());
  desk.running_sequences += job.sequences;
  table_.move_to(job, LivePhase::running);
  log_info("job.started", {{"id", job.job->id},
                           {"model", desk.name},
                           {"attempt", job.job->attempts + 1},
                           {"blocks", job.cost.count},
                           {"prompt_tokens", job.prompt_tokens},
                           {"max_new_tokens", job.max_new_tokens},
                           {"queue_ms", job.queue_us / 1000}});
  desk.port->engine->start(std::move(job.request));
}

void Runs::stop(InFlight& job, StopReason why) {
  const bool told = job.stop != StopReason::none;
  if (!told || why >= StopReason::cancel) job.stop = std::max(job.stop, why);
  if (!told) job.desk->port->engine->cancel(job.ticket);
}

void Runs::handle(Generated message) {
  InFlight* found = table_.find(message.result.id);
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
      return finisher_.drop(job);
    case StopReason::cancel:
      return finisher_.end(job, stopped_by_cancel());
    case StopReason::deadline:
      return finisher_.render(job, std::move(result), stopped_by_deadline());
    case StopReason::run_timeout:
      if (complete) break;  // it was done before it could be stopped: nothing is gained by its loss
      return finisher_.render(
          job, std::move(result),
          stopped_by_run_timeout(
              std::chrono::duration_cast<std::chrono::seconds>(job.run_ends - *job.started)));
    case StopReason::drain:
    case StopReason::none:
      break;
  }
  if (complete) return finisher_.render(job, std::move(result), Ending{});
  // Stopped by a drain, or by an engine that is going away: it will run again elsewhere or later.
  if (result.status.ok()) return finisher_.release(job, false, std::nullopt);
  finisher_.fail_run(job, result.status, &result);
}

}  // namespace parkd
