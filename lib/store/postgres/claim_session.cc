#include "lib/store/postgres/claim_session.h"

#include <chrono>
#include <mutex>
#include <utility>

#include "lib/base/kill_point.h"
#include "lib/base/log.h"
#include "lib/store/postgres/pg_text.h"
#include "lib/store/postgres/rows.h"
#include "lib/store/postgres/statements.h"
#include "lib/store/postgres/verbs.h"

namespace parkd {

ClaimSession::ClaimSession(SharedState& shared, HeldClaims& held, DepthEstimate& depth,
                           Listener& listener)
    : shared_(shared),
      held_(held),
      depth_(depth),
      listener_(listener),
      next_look_(std::chrono::steady_clock::now() + shared.options().ttl),
      session_(shared, "pg-claim", shared.connection_options("parkd-claim")) {}

void ClaimSession::claim(ClaimRequest request, Completion<std::vector<Job>> done) {
  const auto give = [this, done = std::move(done)](Result<std::vector<Job>> jobs) {
    UnknownClaims unknown(held_);
    if (!jobs.ok()) unknown.known();
    if (jobs.ok()) unknown.name(*jobs);
    done(std::move(jobs));
    unknown.known();
  };
  session_.once<std::vector<Job>>(give,
                                  [this, request = std::move(request)](Connection& connection) {
                                    return claim_now(connection, request);
                                  });
}

Result<std::vector<Job>> ClaimSession::claim_now(Connection& connection,
                                                 const ClaimRequest& request) {
  if (request.max_jobs <= 0) return std::vector<Job>();
  const int64_t daemon_id = listener_.daemon_id();
  if (daemon_id == 0) return unavailable("not registered: " + listener_.trouble());
  if (held_.uncertain() || std::chrono::steady_clock::now() >= next_look_) {
    PARKD_RETURN_IF_ERROR(give_back_unknown(connection, daemon_id));
  }
  UnknownClaims unknown(held_);
  auto jobs = claim_jobs(connection, daemon_id, request, shared_.options().listen, shared_.now());
  shared_.note(jobs.status());
  if (!jobs.ok()) {
    if (!connection.uncertain()) unknown.known();
    if (connection.sqlstate() == "PK001") {
      listener_.was_declared_gone(daemon_id);
      return unavailable(jobs.status().message());
    }
    return jobs;
  }
  shared_.count_unsynced_commit();
  PARKD_KILL_POINT("claim.after");
  unknown.name(*jobs);
  held_.claimed(*jobs);
  if (request.only.empty()) {
    held_.note_waiting(request.model, static_cast<int64_t>(jobs->size()) < request.max_jobs);
  }
  for (const Job& job : *jobs) {
    depth_.add(job.spec.model, job.spec.tenant, is_scheduled(job), -1);
  }
  unknown.known();
  return jobs;
}

// What the database believes to be claimed and we do not know of, no process runs.
Status ClaimSession::give_back_unknown(Connection& connection, int64_t daemon_id) {
  const std::lock_guard lock(held_.claiming());
  ArrayText known;
  for (const JobId id : held_.ids()) known.add(static_cast<int64_t>(id));
  Params params;
  params.add(daemon_id).add(known.take()).add(shared_.now());
  UnknownClaims unknown(held_);
  held_.begin_clearing();
  PARKD_ASSIGN_OR_RETURN(const pqxx::result rows,
                         connection.run(sql::kReturnUnknownClaims, params));
  const int64_t n_jobs = integer(rows[0], "returned");
  if (integer(rows[0], "held") == 0) unknown.known();  // else another session holds some of them
  if (n_jobs > 0) log_info("postgres.claims_given_back", {{"jobs", n_jobs}});
  next_look_ = std::chrono::steady_clock::now() + shared_.options().ttl;
  return {};
}

}  // namespace parkd
