#include "lib/dispatch/runs.h"

#include <algorithm>
#include <utility>

#include "lib/base/check.h"
#include "lib/base/kill_point.h"
#include "lib/base/log.h"
#include "lib/dispatch/endings.h"
#include "lib/dispatch/token_feed.h"

namespace parkd {

std::optional<uint64_t> Runs::group() const {
  if (n_running_ == 0) return std::nullopt;
  return group_;
}

void Runs::start(InFlight& job, Charge charge) {
  PARKD_KILL_POINT("dispatch.after_charge");
  ServedModel& served = *job.served;
  const JobSpec& spec = job.job->spec;
  PARKD_CHECK(n_running_ == 0 || group_ == job.job->suspect_group, "a suspect has other company");
  group_ = job.job->suspect_group;
  ++n_running_;
  job.request.device = charge.part();
  job.charge.emplace(std::move(charge));
  job.started = clock_.steady_now();
  job.run_ends = *job.started + spec.run_timeout.value_or(served.port->run_timeout_default);
  job.queue_us = std::max<int64_t>(0, (clock_.now() - waits_from(*job.job)).count());
  table_.move_to(job, LivePhase::running);
  log_info("job.started", {{"id", job.job->id},
                           {"model", served.name},
                           {"attempt", job.job->attempts + 1},
                           {"blocks", job.cost.count},
                           {"prompt_tokens", job.prompt_tokens},
                           {"max_new_tokens", job.max_new_tokens},
                           {"queue_ms", job.queue_us / 1000}});
  if (group_ != 0) {
    log_warn("job.runs_suspected", {{"id", job.job->id},
                                    {"model", served.name},
                                    {"deaths_alone", job.job->deaths_alone},
                                    {"deaths", job.job->interruptions}});
  }
  if (running_ids_ != nullptr) job.running_place = running_ids_->add(job.job->id, job.job->lease);
  feed_tokens_of(job);
  served.port->engine->start(std::move(job.request));
}

// Who waits for its answer at a door sends it with priority high, and may come to listen at any
// time; a batch's members have no such caller, and pay nothing for one.
void Runs::feed_tokens_of(InFlight& job) {
  const JobSpec& spec = job.job->spec;
  const bool may_be_heard = spec.priority <= Priority::high && spec.batch_id.empty();
  if (token_feed_ == nullptr || !may_be_heard) return;
  job.request.stream = true;
  token_feed_->run_began(job.ticket, job.job->id, static_cast<size_t>(n_sequences_of(job.request)));
}

void Runs::feed_no_more_of(const InFlight& job) {
  if (token_feed_ != nullptr) token_feed_->run_ended(job.ticket);
}

void Runs::stop(InFlight& job, StopReason why) {
  const bool told = job.stop != StopReason::none;
  if (!told || why >= StopReason::cancel) job.stop = std::max(job.stop, why);
  // Another daemon may have it now: what becomes of it is not ours to tell.
  if (why == StopReason::lost) feed_no_more_of(job);
  if (!told) job.served->port->engine->cancel(job.ticket);
}

void Runs::handle(Generated message) {
  InFlight* found = table_.find(message.result.id);
  PARKD_CHECK(found != nullptr && found->phase == LivePhase::running,
              "the engine answered a request that is not running");
  InFlight& job = *found;
  feed_no_more_of(job);
  ServedModel& served = *job.served;
  PARKD_DCHECK(Blocks{served.port->engine->stats().blocks_in_use} <= served.pool->in_use(),
               "I2: the engine holds blocks that were not charged");
  job.charge->release();  // before anything that may take time
  job.charge.reset();
  GenerationResult& result = message.result;
  // Before the job leaves the running ones: it was there.
  const bool device_lost = result.status.code() == StatusCode::unavailable;
  if (device_lost) note_lost_device(result.status);
  --n_running_;
  if (running_ids_ != nullptr) running_ids_->remove(job.running_place);
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
  if (device_lost) return give_up_lost(job);
  // Stopped by a drain, or by an engine that is going away: it will run again elsewhere or later.
  if (result.status.ok()) return finisher_.release(job, false, std::nullopt);
  finisher_.fail_run(job, result.status, &result);
}

// --- a lost device

void Runs::note_lost_device(const Status& why) {
  if (std::exchange(device_lost_, true)) return;
  if (running_ids_ != nullptr) running_ids_->note(kDeviceLostWord);
  inbox_->push(DeviceLost{why, present()});
}

DeathReport Runs::present() const {
  DeathReport report;
  report.noted = true;
  for (const auto& [ticket, job] : table_.jobs()) {
    if (job.phase == LivePhase::running) report.present.push_back({job.job->id, job.job->lease});
  }
  return report;
}

void Runs::give_up_lost(InFlight& job) {
  if (loss_is_stored_) return finisher_.release(job, false, std::nullopt);
  table_.move_to(job, LivePhase::ending);
  lost_with_device_.push_back(job.ticket);
}

void Runs::release_lost() {
  loss_is_stored_ = true;
  for (const uint64_t ticket : std::exchange(lost_with_device_, {})) {
    InFlight* job = table_.find(ticket);
    if (job != nullptr) finisher_.release(*job, false, std::nullopt);
  }
}

}  // namespace parkd
