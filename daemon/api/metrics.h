// The /metrics page: parkd's figures as Prometheus reads them (text format 0.0.4).
#pragma once

#include <string>
#include <vector>

#include "daemon/api/callers.h"
#include "daemon/api/tcp_door.h"
#include "daemon/models/model_table.h"
#include "daemon/webhooks/webhooks.h"
#include "lib/base/clock.h"
#include "lib/base/health.h"
#include "lib/dispatch/dispatcher_stats.h"
#include "lib/http/http_server.h"
#include "lib/store/file_store.h"
#include "lib/store/store_stats.h"

namespace parkd {

// What peers make the daemon hold, and what they were answered.
struct ApiFigures {
  ByteBudget::Figures bodies;  // requests that are being read
  HttpFigures http;
  TcpFigures tcp;
  Callers::Figures callers;
  FileFigures files;
  WebhookFigures webhooks;
  int64_t memory_budget_bytes = 0;  // of main memory, for models
};

// Pure. Made anew at each scrape from what store and dispatcher count: no figure is kept twice.
std::string render_metrics(const StoreStats& store, const DispatcherStats& dispatcher,
                           const ModelTable& models, const std::vector<HealthNotice>& notices,
                           const ApiFigures& api, WallTime now);

}  // namespace parkd
