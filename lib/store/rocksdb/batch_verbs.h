// The embedded store's verbs of batches: by client_verbs.h's rules.
#pragma once

#include <string>
#include <vector>

#include "lib/base/clock.h"
#include "lib/base/status.h"
#include "lib/job/batch.h"
#include "lib/store/batch_store.h"
#include "lib/store/rocksdb/commit.h"
#include "lib/store/rocksdb/embedded_state.h"

namespace parkd::embedded {

bool open_batch(State& state, const BatchSpec& spec, const Completion<OpenedBatch>& done,
                Commit& commit);
bool seal_batch(State& state, const std::string& id, const std::string& tenant,
                const Completion<Batch>& done, Commit& commit);
bool cancel_batch(State& state, const std::string& id, const std::string& tenant,
                  const Completion<Batch>& done, Commit& commit);
bool advance_batch(State& state, const std::string& id, const FileProgress& progress,
                   const Completion<Batch>& done, Commit& commit);
bool note_webhook(State& state, const std::string& id, const WebhookAttempt& attempt,
                  const Completion<Batch>& done, Commit& commit);
// Of purge: seals those past their deadline, forgets the expired.
void sweep_batches(State& state, WallTime now, WallTime drop_before, Commit& commit);

Result<Batch> get_batch(const State& state, const std::string& id, const std::string& tenant);
Result<std::vector<Batch>> list_batches(const State& state, const BatchFilter& filter);
// A batch that waits for a commit may be missed, and is found by the next call.
Result<std::optional<Batch>> next_batch_work(const State& state, const BatchWorkRequest& request);
Result<std::optional<Batch>> next_webhook(const State& state, const WebhookRequest& request);

}  // namespace parkd::embedded
