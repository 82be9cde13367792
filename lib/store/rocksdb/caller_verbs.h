// The embedded store's verbs of callers: by client_verbs.h's rules.
#pragma once

#include <chrono>
#include <optional>
#include <vector>

#include "lib/base/status.h"
#include "lib/store/caller_store.h"
#include "lib/store/rocksdb/commit.h"
#include "lib/store/rocksdb/embedded_state.h"

namespace parkd::embedded {

bool attach(State& state, JobId id, std::optional<std::chrono::seconds> grace,
            const Completion<std::optional<std::chrono::seconds>>& done, Commit& commit);
bool keep(State& state, JobId id, const Completion<bool>& done, Commit& commit);
// Writes nothing: they stay attached.
Result<std::vector<AttachedJob>> adopt(State& state);

}  // namespace parkd::embedded
