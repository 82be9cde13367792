// The verbs that move a job, as single statements over a Connection: what is sent, what the answer
// means. read_verbs.h, batch_verbs.h and upkeep_verbs.h have the others, by the same rules.
//
// Free functions; the caller's thread owns the connection. They try once: retries, coalescing and
// threads are the sessions'. `now` empty = the database's clock.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "lib/store/client_store.h"
#include "lib/store/daemon_store.h"
#include "lib/store/postgres/connection.h"
#include "lib/store/store_options.h"
#include "lib/store/wakeups.h"

namespace parkd {

using Now = std::optional<int64_t>;  // microseconds since 1970

// What a verb does about rows that another session's open transaction has locked.
enum class Locked {
  wait,  // until the session's lock_limit: then the whole statement fails with 55P03
  skip,  // not at all: what they stand in the way of stays undone, alone
};

// Jobs that are accepted whole or not at all.
struct SubmitGroup {
  const std::vector<JobSpec>* jobs = nullptr;
  bool claims = false;  // and each is claimed at once, if it can be
};
struct SubmittedGroup {
  std::vector<SubmittedJob> jobs;
  std::vector<Job> claimed;  // of them
};
// Whose the claims are; none's where the id is 0.
struct Claimant {
  int64_t daemon_id = 0;
  bool listens = false;
};
// One answer per group; nothing: held by an open transaction, to be sent again. A failure of the
// whole statement is the Status.
using GroupAnswer = std::optional<Result<SubmittedGroup>>;
Result<std::vector<GroupAnswer>> submit_groups(Connection& connection,
                                               const std::vector<SubmitGroup>& groups,
                                               const Claimant& claimant,
                                               const StoreOptions& options, Locked locked, Now now);

Result<std::vector<Job>> claim_jobs(Connection& connection, int64_t daemon_id,
                                    const ClaimRequest& request, bool listens, Now now);

// In the order of the items. No answer: it is to be sent again, because another session holds its
// job or batch, or because of `status`, which says why the last statement failed.
template <class Answer>
struct Ended {
  std::vector<std::optional<Answer>> answers;
  Status status;
};
// Duplicates of a run answer already_by_this_lease.
Ended<FinishAnswer> finish_jobs(Connection& connection, const std::vector<const FinishItem*>& items,
                                Locked locked, Now now, Wakeups& wakeups);
Ended<ReleaseAnswer> release_jobs(Connection& connection,
                                  const std::vector<const ReleaseItem*>& items, Locked locked,
                                  Now now, Wakeups& wakeups);

Result<DeathsAnswer> note_deaths(Connection& connection, const DeathReport& report, Now now,
                                 Wakeups& wakeups);

struct Cancelled {
  CancelAnswer answer = CancelAnswer::not_found;
  RunLease lease;         // of a claimed job
  int64_t daemon_id = 0;  // and its claimer
};
Result<Cancelled> cancel_job(Connection& connection, JobId id, const std::string& tenant,
                             const StoreOptions& options, Now now, Wakeups& wakeups);

// Ends jobs that are cancelling, a portion in a transaction of its own: later than `after`, which
// moves on; of `batch` alone unless it is empty. Answers whether there may be more.
Result<bool> end_cancelled(Connection& connection, int64_t& after, const std::string& batch,
                           Now now, Wakeups& wakeups);

Result<ModelRegistered> register_model(Connection& connection, const ModelRegistration& model);

}  // namespace parkd
