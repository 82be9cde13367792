// The embedded store's verbs of a daemon: by client_verbs.h's rules.
#pragma once

#include <vector>

#include "lib/job/job.h"
#include "lib/store/daemon_store.h"
#include "lib/store/rocksdb/commit.h"
#include "lib/store/rocksdb/embedded_state.h"

namespace parkd::embedded {

// Writes nothing: claims live in RAM. It completes before it returns; an exception, of the
// completion too, takes its claims back and tears the state.
void claim(State& state, const ClaimRequest& request, const Completion<std::vector<Job>>& done);

// Takes the endings out of `items`.
bool finish(State& state, std::vector<FinishItem>& items,
            const Completion<std::vector<FinishAnswer>>& done, Commit& commit);
bool release(State& state, const std::vector<ReleaseItem>& items,
             const Completion<std::vector<ReleaseAnswer>>& done, Commit& commit);
bool note_deaths(State& state, const DeathReport& report, const Completion<DeathsAnswer>& done,
                 Commit& commit);
// In as many commits as there are portions of overdue jobs; `deadlines_missed` counts on.
bool purge(State& state, int64_t& deadlines_missed, const Completion<PurgeAnswer>& done,
           Commit& commit);

}  // namespace parkd::embedded
