#include "lib/store/postgres/caller_verbs.h"

#include "lib/store/postgres/pg_text.h"
#include "lib/store/postgres/rows.h"
#include "lib/store/postgres/statements.h"

namespace parkd {
namespace {

Status not_registered() {
  return unavailable("this daemon is not registered with the database now");
}

}  // namespace

Result<std::optional<std::chrono::seconds>> attach_job(Connection& connection, int64_t daemon_id,
                                                       JobId id,
                                                       std::optional<std::chrono::seconds> grace) {
  if (daemon_id == 0) return not_registered();
  Params params;
  params.add(daemon_id).add(to_bigint(id));
  grace ? params.add(int64_t{grace->count()}) : params.add_null();
  PARKD_ASSIGN_OR_RETURN(const pqxx::result rows, connection.run(sql::kAttach, params));
  const auto answer = field(rows.at(0), "grace_s").optional_seconds();
  if (!grace || !answer) return answer;
  // Of a daemon that was taken for gone, and does not know it yet, nothing was written down.
  PARKD_ASSIGN_OR_RETURN(const auto stored, attach_job(connection, daemon_id, id, std::nullopt));
  if (!stored) return not_registered();
  return answer;
}

Result<bool> detach_job(Connection& connection, int64_t daemon_id, JobId id) {
  Params params;
  params.add(daemon_id).add(to_bigint(id));
  PARKD_ASSIGN_OR_RETURN(const pqxx::result rows, connection.run(sql::kDetach, params));
  return field(rows.at(0), "is_alone").flag();
}

Result<bool> keep_job(Connection& connection, JobId id) {
  PARKD_ASSIGN_OR_RETURN(const pqxx::result rows,
                         connection.run(sql::kKeep, Params().add(to_bigint(id))));
  return field(rows.at(0), "was_attached").flag();
}

Result<std::vector<AttachedJob>> adopt_jobs(Connection& connection, int64_t daemon_id) {
  PARKD_ASSIGN_OR_RETURN(const pqxx::result rows,
                         connection.run(sql::kAdopt, Params().add(daemon_id)));
  std::vector<AttachedJob> jobs;
  for (const auto& row : rows) {
    jobs.push_back({static_cast<JobId>(integer(row, "job_id")), text(row, "tenant"),
                    std::chrono::seconds(integer(row, "grace_s"))});
  }
  return jobs;
}

}  // namespace parkd
