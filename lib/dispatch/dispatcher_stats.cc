#include "lib/dispatch/dispatcher_stats.h"

#include <algorithm>

namespace parkd {

std::string_view to_string(ModelState state) {
  constexpr std::array<std::string_view, 5> kWords = {"loading", "ready", "failed", "unloaded",
                                                      "unloading"};
  return kWords[static_cast<size_t>(state)];
}

std::string_view to_string(LivePhase phase) {
  constexpr std::array<std::string_view, kLivePhases> kWords = {"preparing", "parked", "running",
                                                                "ending"};
  return kWords[static_cast<size_t>(phase)];
}

const ModelStats* DispatcherStats::model(std::string_view name) const {
  const auto found =
      std::find_if(models.begin(), models.end(), [&](const auto& m) { return m.model == name; });
  return found == models.end() ? nullptr : &*found;
}

const LiveJob* DispatcherStats::find(JobId id) const {
  const auto found = std::lower_bound(live.begin(), live.end(), id,
                                      [](const LiveJob& job, JobId i) { return job.id < i; });
  return found == live.end() || found->id != id ? nullptr : &*found;
}

}  // namespace parkd
