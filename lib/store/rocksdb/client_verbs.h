// The embedded store's verbs of clients that write: submit, cancel, take, requeue. read_verbs.h,
// daemon_verbs.h, batch_verbs.h and outbox_verbs.h have the others, by the same rules.
//
// Free functions for the state thread. A verb that writes decides on committed state, adds its rows
// to the commit's WriteBatch and leaves what must happen in RAM, and its answer, as a step for
// after the sync; where nothing is to be written it completes at once. It returns false when it
// wants to be called again for the next commit: it has added nothing then, or (cancel_batch, purge)
// one portion of its work and no answer. Before Commit::begin() it has changed nothing and may
// throw; behind it an exception gives up the commit and tears the state (commit_loop.h).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "lib/base/status.h"
#include "lib/job/job.h"
#include "lib/store/client_store.h"
#include "lib/store/depth.h"
#include "lib/store/rocksdb/commit.h"
#include "lib/store/rocksdb/embedded_state.h"

namespace parkd::embedded {

// Takes `specs` apart once it is sure that they are accepted.
bool submit(State& state, std::vector<JobSpec>& specs,
            const Completion<std::vector<SubmittedJob>>& done, Commit& commit);
bool cancel(State& state, JobId id, const std::string& tenant, const Completion<CancelAnswer>& done,
            Commit& commit);
bool take(State& state, const std::string& tenant, const std::string& mailbox_key,
          const std::vector<uint64_t>& sequences, const Completion<std::vector<Message>>& done,
          Commit& commit);
bool requeue(State& state, const RequeueRequest& request,
             const Completion<std::vector<RequeuedJob>>& done, Commit& commit);

// Whether so many more may wait, with what the commit holds already. Of several tenants of a model
// each is added to the next. Errors: exhausted.
Status check_depths(const State& state, const DepthAccounts& n_new, const Commit& commit);

}  // namespace parkd::embedded
