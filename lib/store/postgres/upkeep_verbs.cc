#include "lib/store/postgres/upkeep_verbs.h"

#include <optional>
#include <utility>

#include "lib/base/log.h"
#include "lib/store/postgres/pg_text.h"
#include "lib/store/postgres/rows.h"
#include "lib/store/postgres/statements.h"

namespace parkd {

Status check_server(Connection& connection) {
  PARKD_ASSIGN_OR_RETURN(const pqxx::result rows, connection.run(sql::kServer, {}));
  const pqxx::row server = rows[0];
  if (text(server, 2) == "off") {
    return conflict(
        "synchronous_commit is off: an acknowledged job could be lost. "
        "ALTER ROLE ... SET synchronous_commit = on, or in postgresql.conf");
  }
  if (text(server, 0) == "off" || text(server, 1) == "off") {
    log_warn("postgres.unsafe",
             {{"fsync", text(server, 0)}, {"full_page_writes", text(server, 1)}});
  }
  if (text(server, 4) == "on") return connection.leave_read_only();
  return {};
}

Status check_writable(Connection& connection) {
  PARKD_ASSIGN_OR_RETURN(const pqxx::result rows, connection.run(sql::kWritable, {}));
  return text(rows[0], 0) == "on" ? connection.leave_read_only() : Status();
}

// The most urgent first, each in a transaction of its own: one that fails leaves the others what
// they are. Answers the first failure when all have been tried; a lock that another session holds
// is none.
Result<Upkeep> maintain(Connection& connection, const StoreOptions& options,
                        const UpkeepTimes& times, Wakeups& wakeups) {
  const Now now = times.now;
  constexpr int kPartitionsMax = 4;  // of a table, a round
  constexpr int kCancelledPortionsMax = 20;
  Upkeep upkeep;
  Status failed;
  const auto tell_failure = [&](const Statement& statement, const Status& status) {
    if (connection.sqlstate() == kLockNotAvailable) {
      log_info("postgres.housekeeping_waits",
               {{"step", statement.name}, {"why", status.message()}});
    } else if (failed.ok()) {
      failed = status;
    }
  };
  const auto step = [&](const Statement& statement, const Params& params) {
    auto rows = connection.run(statement, params);
    if (rows.ok()) return std::optional<pqxx::result>(*rows);
    tell_failure(statement, rows.status());
    return std::optional<pqxx::result>();
  };
  const auto at = [&] { return Params().add(now); };
  step(sql::kRescue, at());
  if (const auto rows = step(sql::kPromote, at())) {
    const std::vector<std::string> models = split_list((*rows)[0], 0);
    wakeups.models.insert(models.begin(), models.end());
  }
  if (const auto rows = step(sql::kEndOverdue, at())) {
    for (const auto& row : *rows) wakeups.messages.emplace_back(text(row, 0), text(row, 1));
    upkeep.answer.deadlines_missed = static_cast<int64_t>(rows->size());
  }
  // The net below the notification of a cancel (UpkeepSession::end_cancelled).
  int64_t after = 0;
  for (int i = 0; i < kCancelledPortionsMax; ++i) {
    const auto more = end_cancelled(connection, after, "", now, wakeups);
    if (!more.ok()) tell_failure(sql::kEndCancelled, more.status());
    if (!more.ok() || !*more) break;
  }
  step(sql::kEnsurePartitions, at());
  Params keeps;
  keeps.add(options.history_retention.count())
      .add(options.idempotency_retention_min.count())
      .add(now);
  step(sql::kTidy, keeps);
  Params age = at();
  times.depth_age_max.count() == 0
      ? age.add_null()
      : age.add(std::to_string(static_cast<double>(times.depth_age_max.count()) / 1000.0));
  step(sql::kSampleDepth, age);
  const auto drop = [&](const char* table, int64_t keep_s, int64_t& n_dropped) {
    for (int i = 0; i < kPartitionsMax; ++i) {
      Params which;
      which.add(std::string(table)).add(keep_s).add(now).add(to_unix_us(times.drop_before));
      const auto rows = step(sql::kDropPastPartition, which);
      if (!rows || rows->empty()) return;
      n_dropped += integer((*rows)[0], 1);
    }
  };
  drop("mailbox", 0, upkeep.answer.messages);
  drop("history", options.history_retention.count(), upkeep.answer.history_rows);
  if (const auto rows = step(sql::kDeadRows, {})) {
    upkeep.to_vacuum = split_list((*rows)[0], 0);
    upkeep.piled_up = text((*rows)[0], 1);
  }
  if (const auto rows = step(sql::kMishaps, at())) {
    for (const auto& row : *rows) {
      upkeep.notices.push_back({text(row, 0), text(row, 1)});
    }
  }
  if (!failed.ok()) return failed;
  return upkeep;
}

Result<std::vector<std::string>> keep_models(Connection& connection,
                                             const std::vector<ModelRegistration>& models,
                                             Now now) {
  ArrayText names, hashes, contexts;
  for (const ModelRegistration& model : models) {
    names.add(encode_text(model.name));
    hashes.add(model.content_hash);
    contexts.add(int64_t{model.context_tokens});
  }
  Params params;
  params.add(names.take()).add(hashes.take()).add(contexts.take()).add(now);
  PARKD_ASSIGN_OR_RETURN(const pqxx::result rows, connection.run(sql::kKeepModels, params));
  std::vector<std::string> differ;
  for (const auto& row : rows) differ.push_back(text(row, 0));
  return differ;
}

Result<std::vector<Finishing>> finishing_now(Connection& connection) {
  PARKD_ASSIGN_OR_RETURN(const pqxx::result rows, connection.run(sql::kFinishingNow, {}));
  std::vector<Finishing> all;
  for (const auto& row : rows) {
    const bool prepared = !row[5].is_null();
    std::string who =
        prepared
            ? "prepared transaction '" + text(row, 5) + "' of login " + text(row, 2)
            : "session " + text(row, 1) + " of login " + text(row, 2) + " (" + text(row, 3) + ")";
    if (!row[4].is_null()) who += ", since " + to_rfc3339(from_unix_us(integer(row, 4)));
    who += prepared ? "; ROLLBACK PREPARED '" + text(row, 5) + "' ends it"
                    : "; SELECT pg_terminate_backend(" + text(row, 1) + ") ends it";
    all.push_back({text(row, 0), who});
  }
  return all;
}

Status vacuum(Connection& connection, const std::string& table) {
  if (table == "jobs") return connection.run_alone(sql::kVacuumJobs, {}).status();
  if (table == "idempotency") return connection.run_alone(sql::kVacuumIdempotency, {}).status();
  return {};  // small, and prunes itself
}

Status read_depths(Connection& connection, Now now, StoreStats& stats) {
  Params at;
  at.add(now);
  PARKD_ASSIGN_OR_RETURN(const pqxx::result rows, connection.run(sql::kDepths, at));
  for (const auto& row : rows) {
    stats.messages = integer(row, 5);
    if (row[0].is_null()) continue;
    ModelDepth depth;
    depth.model = text(row, 0);
    depth.scheduled = integer(row, 1);
    depth.queued = integer(row, 2);
    depth.claimed = integer(row, 3);
    depth.n_daemons = integer(row, 6);
    if (!row[4].is_null()) depth.oldest_created_at = from_unix_us(integer(row, 4));
    stats.models.push_back(std::move(depth));
  }
  return {};
}

}  // namespace parkd
