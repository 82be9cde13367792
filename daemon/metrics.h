// The /metrics page: parkd's figures as Prometheus reads them (text format 0.0.4).
#pragma once

#include <string>
#include <vector>

#include "daemon/model_table.h"
#include "lib/base/clock.h"
#include "lib/base/health.h"
#include "lib/dispatch/dispatcher_stats.h"
#include "lib/store/job_store.h"

namespace parkd {

// Pure. Made anew at each scrape from what store and dispatcher count: no figure is kept twice.
std::string render_metrics(const StoreStats& store, const DispatcherStats& dispatcher,
                           const ModelTable& models, const std::vector<HealthNotice>& notices,
                           WallTime now);

}  // namespace parkd
