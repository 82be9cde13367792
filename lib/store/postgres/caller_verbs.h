// The verbs of callers (lib/store/caller_store.h): by verbs.h's rules. `daemon_id` 0: this daemon
// is not registered, and nothing is written down: attach_job() answers unavailable.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <vector>

#include "lib/store/caller_store.h"
#include "lib/store/postgres/connection.h"

namespace parkd {

Result<std::optional<std::chrono::seconds>> attach_job(Connection& connection, int64_t daemon_id,
                                                       JobId id,
                                                       std::optional<std::chrono::seconds> grace);
// Whether no other daemon has callers of it; if one has, this one has none any more.
Result<bool> detach_job(Connection& connection, int64_t daemon_id, JobId id);
Result<bool> keep_job(Connection& connection, JobId id);
Result<std::vector<AttachedJob>> adopt_jobs(Connection& connection, int64_t daemon_id);

}  // namespace parkd
