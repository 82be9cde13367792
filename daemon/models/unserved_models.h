// Jobs that wait for a model which no daemon has: it left the configuration, or never was in it.
#pragma once

#include <optional>
#include <string>

#include "daemon/models/model_table.h"
#include "lib/base/health.h"
#include "lib/config/config.h"
#include "lib/store/store_stats.h"

namespace parkd {

// The notice `model_not_served`, where jobs wait for a model that neither this daemon's
// configuration has nor, as far as the store knows, another daemon. Pure.
std::optional<HealthNotice> unserved_models_notice(const Config& config, const StoreStats& stats);

// Why a queued job of that model waits, for its reader; "" when this daemon has the model loaded.
std::string unserved_reason(const Config& config, const ModelTable& models,
                            const std::string& model);

}  // namespace parkd
