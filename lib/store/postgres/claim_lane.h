// ClaimLane: hands out the queue's jobs to this process, and gives back those that it does not know
// of.
//
// Owner: PostgresStore. claim() may be called from any thread; the rest is the lane's own thread's.
// A claim is tried once: its caller asks again anyway, and what a lost answer claimed is given back
// by the next one. The server may carry a claim out after its session was cut, and after that look,
// too; so a claim looks again whenever a ttl has passed.
#pragma once

#include <vector>

#include "lib/store/job_store.h"
#include "lib/store/postgres/commons.h"
#include "lib/store/postgres/depth_estimate.h"
#include "lib/store/postgres/held_claims.h"
#include "lib/store/postgres/listener.h"
#include "lib/store/postgres/task_lane.h"

namespace parkd {

class ClaimLane {
 public:
  ClaimLane(Commons& commons, HeldClaims& held, DepthEstimate& depth, Listener& listener);

  void start() { lane_.start(); }
  const Connection& connection() const { return lane_.connection(); }
  Connection& connection() { return lane_.connection(); }

  void claim(ClaimRequest request, Completion<std::vector<Job>> done);

  void close() { lane_.close(); }
  void join() { lane_.join(); }

 private:
  Result<std::vector<Job>> claim_now(Connection& connection, const ClaimRequest& request);
  Status give_back_unknown(Connection& connection, int64_t daemon_id);

  Commons& commons_;
  HeldClaims& held_;
  DepthEstimate& depth_;
  Listener& listener_;
  Commons::TimePoint next_look_;  // for claims that we do not know of
  TaskLane lane_;
};

}  // namespace parkd
