#include "daemon/progress_watch.h"

#include <algorithm>
#include <utility>

#include "lib/base/log.h"

namespace parkd {
namespace {

constexpr auto kDispatcherSilenceMax = std::chrono::seconds(20);  // it polls every second

}  // namespace

bool ProgressWatch::is_making_progress(const Dispatcher& dispatcher, const ModelKeeper& models) {
  const SteadyTime now = clock_.steady_now();
  if (stats_changed_ == SteadyTime{}) stats_changed_ = now;
  auto stats = dispatcher.stats();
  if (stats != watched_stats_) {
    watched_stats_ = std::move(stats);
    stats_changed_ = now;
  }
  if (now - stats_changed_ > kDispatcherSilenceMax) {
    log_error("watchdog.dispatcher_silent", {});
    return false;
  }
  bool all_step = true;
  models.for_each_engine([this, &all_step](const std::string& name, const Engine& engine) {
    const auto quiet = std::chrono::microseconds(engine.stats().last_step_us_ago);
    if (quiet <= stall_) return;
    log_error("watchdog.engine_silent", {{"model", name}, {"quiet_s", quiet.count() / 1'000'000}});
    all_step = false;
  });
  return all_step;
}

void dump_state(const DispatcherStats& stats) {
  log_info("dump.daemon", {{"draining", stats.draining},
                           {"unstored_endings", stats.unstored_endings},
                           {"store_trouble", stats.store_trouble}});
  for (const ModelStats& model : stats.models) {
    log_info("dump.model", {{"model", model.model},
                            {"state", to_string(model.state)},
                            {"units_in_use", model.in_use.count},
                            {"units", model.capacity.count},
                            {"preparing", model.preparing},
                            {"parked", model.parked},
                            {"running", model.running},
                            {"ending", model.ending}});
  }
  constexpr size_t kJobsShown = 30;
  for (size_t i = 0; i < std::min(kJobsShown, stats.live.size()); ++i) {
    const LiveJob& job = stats.live[i];
    log_info("dump.job", {{"id", job.id},
                          {"phase", to_string(job.phase)},
                          {"units", job.units.count},
                          {"since", to_rfc3339(job.since)},
                          {"waits_for", job.waits_for}});
  }
}

}  // namespace parkd
