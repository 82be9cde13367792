// What a daemon tells a shared database of itself with each heartbeat: the JSON behind the views
// parkd.live (state, units and reason of claimed jobs) and parkd.workers (pools).
#pragma once

#include <string>

#include "lib/dispatch/dispatcher_stats.h"

namespace parkd {

// Jobs of one heartbeat at most: the row is written every few seconds, and the view reads it once
// for each claimed job. Running ones come first; those left out show as "claimed".
inline constexpr size_t kLiveStatusJobsMax = 256;

// {"jobs":[{"id":17,"state":"parked","units":9,"reason":"..."}],"jobs_left_out":0,
//  "pools":[{"model":"m","state":"ready",...}]}. Pure.
std::string render_live_status(const DispatcherStats& stats);

}  // namespace parkd
