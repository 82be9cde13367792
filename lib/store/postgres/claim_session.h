// ClaimSession: hands out the queue's jobs to this process, and gives back those that it does not
// know of.
//
// Owner: PostgresStore. claim() may be called from any thread; the rest is the session's own
// thread's. A claim is tried once: its caller asks again anyway, and what a lost answer claimed is
// given back by the next one. The server may carry a claim out after its session was cut, and after
// that look, too; so a claim looks again whenever a ttl has passed.
#pragma once

#include <vector>

#include "lib/store/completion.h"
#include "lib/store/daemon_store.h"
#include "lib/store/postgres/depth_estimate.h"
#include "lib/store/postgres/held_claims.h"
#include "lib/store/postgres/listener.h"
#include "lib/store/postgres/shared_state.h"
#include "lib/store/postgres/task_session.h"

namespace parkd {

class ClaimSession {
 public:
  ClaimSession(SharedState& shared, HeldClaims& held, DepthEstimate& depth, Listener& listener);

  void start() { session_.start(); }
  const Connection& connection() const { return session_.connection(); }
  Connection& connection() { return session_.connection(); }

  void claim(ClaimRequest request, Completion<std::vector<Job>> done);

  void close() { session_.close(); }
  void join() { session_.join(); }

 private:
  Result<std::vector<Job>> claim_now(Connection& connection, const ClaimRequest& request);
  Status give_back_unknown(Connection& connection, int64_t daemon_id);

  SharedState& shared_;
  HeldClaims& held_;
  DepthEstimate& depth_;
  Listener& listener_;
  SharedState::TimePoint next_look_;  // for claims that we do not know of
  TaskSession session_;
};

}  // namespace parkd
