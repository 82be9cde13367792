// SubmitSession: takes jobs into the queue, many submits in one statement.
//
// Owner: PostgresStore. submit() may be called from any thread; checks, statements and completions
// are the session's own thread's. Each submit is accepted or refused whole and does not touch its
// neighbours: what one of them does wrong, or what another session's open transaction holds up (its
// key, its batch), is that one's alone.
#pragma once

#include <chrono>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "lib/base/inbox.h"
#include "lib/base/thread.h"
#include "lib/store/client_store.h"
#include "lib/store/completion.h"
#include "lib/store/daemon_store.h"
#include "lib/store/postgres/connection.h"
#include "lib/store/postgres/depth_estimate.h"
#include "lib/store/postgres/held_claims.h"
#include "lib/store/postgres/listener.h"
#include "lib/store/postgres/shared_state.h"
#include "lib/store/postgres/verbs.h"

namespace parkd {

class SubmitSession {
 public:
  SubmitSession(SharedState& shared, HeldClaims& held, DepthEstimate& depth,
                const Listener& listener);

  void start();
  Connection& connection() { return connection_; }
  const Connection& connection() const { return connection_; }

  // Tried again while the database is away, for verb_limit; once it may have been committed only if
  // all its jobs (and those that go with them) have idempotency keys.
  void submit(std::vector<JobSpec> jobs, Completion<std::vector<SubmittedJob>> done);
  // Claims nothing while it is not certain what this process holds.
  void submit_and_claim(JobSpec job, Completion<SubmittedAndClaimed> done);

  void close();  // refuses what comes; what is there is still sent
  void join();   // after close()

 private:
  struct Call {
    std::vector<JobSpec> jobs;
    bool claims = false;
    Completion<SubmittedGroup> done;
    SharedState::TimePoint give_up_at{};
  };
  using Pending = DepthAccounts;  // not yet in the estimate

  void loop();
  void check_and_send(std::vector<Call>& calls, std::vector<Call>& good, Locked locked,
                      std::vector<Call>& held);
  Status check(const std::vector<JobSpec>& jobs, Pending& pending);
  // Of the jobs that are not among `known` (by place): they are to become new ones.
  Status check_present(const std::vector<JobSpec>& jobs, const std::set<size_t>& known,
                       Pending& pending);
  Status check_depths(const DepthAccounts& n_new, Pending& pending);
  Result<Depth> depth_of(const std::string& model, const std::string& tenant,
                         const DepthLimits& limits);
  Result<std::set<size_t>> known_of(const std::vector<JobSpec>& jobs);
  // Answers the calls; those that another session's open transaction holds up are moved into
  // `held`.
  void send(std::vector<Call>& calls, Locked locked, std::vector<Call>& held);
  Result<std::vector<GroupAnswer>> submit_now(const std::vector<Call>& calls, Locked locked,
                                              UnknownClaims& unknown);
  void tell_submitted(const std::vector<JobSpec>& jobs, const Result<SubmittedGroup>& answer);

  SharedState& shared_;
  HeldClaims& held_;
  DepthEstimate& depth_;
  const Listener& listener_;
  Inbox<Call> calls_;
  Connection connection_;  // the thread's
  Thread thread_;
};

}  // namespace parkd
