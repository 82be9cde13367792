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
  if (text(server, "synchronous_commit") == "off") {
    return conflict(
        "synchronous_commit is off: an acknowledged job could be lost. "
        "ALTER ROLE ... SET synchronous_commit = on, or in postgresql.conf");
  }
  const std::string fsync = text(server, "fsync");
  const std::string full_page_writes = text(server, "full_page_writes");
  if (fsync == "off" || full_page_writes == "off") {
    log_warn("postgres.unsafe", {{"fsync", fsync}, {"full_page_writes", full_page_writes}});
  }
  if (text(server, "read_only") == "on") return connection.leave_read_only();
  return {};
}

Status check_writable(Connection& connection) {
  PARKD_ASSIGN_OR_RETURN(const pqxx::result rows, connection.run(sql::kWritable, {}));
  return only_field(rows).bytes == "on" ? connection.leave_read_only() : Status();
}

// The most urgent first, each in a transaction of its own: one that fails leaves the others what
// they are. Answers the first failure when all have been tried; a lock that another session holds
// is none.
Result<Upkeep> maintain(Connection& connection, const StoreOptions& options,
                        const UpkeepTimes& times, Wakeups& wakeups) {
  const Now now = times.now;
  constexpr int kPartitionsMax = 4;  // of a table, a round
  constexpr int kCancelledPortionsMax = 20;
  constexpr int kOverduePortionsMax = 20;
  constexpr int kOverduePortion = 1000;  // end_overdue_v1()'s
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
    const std::vector<std::string> models = split_list((*rows)[0], "models");
    wakeups.models.insert(models.begin(), models.end());
  }
  for (int i = 0; i < kOverduePortionsMax; ++i) {
    const auto rows = step(sql::kEndOverdue, at());
    if (!rows) break;
    for (const auto& row : *rows) {
      wakeups.messages.emplace_back(text(row, "tenant"), text(row, "mailbox_key"));
    }
    upkeep.answer.deadlines_missed += static_cast<int64_t>(rows->size());
    if (rows->size() < kOverduePortion) break;
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
      n_dropped += integer((*rows)[0], "n_rows");
    }
  };
  drop("mailbox", 0, upkeep.answer.messages);
  drop("history", options.history_retention.count(), upkeep.answer.history_rows);
  if (const auto rows = step(sql::kDeadRows, {})) {
    upkeep.to_vacuum = split_list((*rows)[0], "to_vacuum");
    upkeep.piled_up = text((*rows)[0], "piled_up");
  }
  if (const auto rows = step(sql::kMishaps, at())) {
    for (const auto& row : *rows) {
      upkeep.notices.push_back({text(row, "code"), text(row, "text")});
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
  for (const auto& row : rows) differ.push_back(text(row, "differs"));
  return differ;
}

Result<std::vector<Finishing>> finishing_now(Connection& connection) {
  PARKD_ASSIGN_OR_RETURN(const pqxx::result rows, connection.run(sql::kFinishingNow, {}));
  std::vector<Finishing> all;
  for (const auto& row : rows) {
    const Field gid = field(row, "gid");
    const std::string pid = text(row, "pid");
    const std::string login = text(row, "login");
    std::string who = gid.is_null ? "session " + pid + " of login " + login + " (" +
                                        text(row, "application") + ")"
                                  : "prepared transaction '" + gid.text() + "' of login " + login;
    if (const auto since = field(row, "since_us").optional_time()) {
      who += ", since " + to_rfc3339(*since);
    }
    who += gid.is_null ? "; SELECT pg_terminate_backend(" + pid + ") ends it"
                       : "; ROLLBACK PREPARED '" + gid.text() + "' ends it";
    all.push_back({text(row, "transaction"), who});
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
    stats.messages = integer(row, "messages");
    if (is_null(row, "model")) continue;
    ModelDepth depth;
    depth.model = text(row, "model");
    depth.scheduled = integer(row, "scheduled");
    depth.queued = integer(row, "queued");
    depth.claimed = integer(row, "claimed");
    depth.n_daemons = integer(row, "daemons");
    depth.oldest_created_at = field(row, "oldest_us").optional_time();
    stats.models.push_back(std::move(depth));
  }
  PARKD_ASSIGN_OR_RETURN(const pqxx::result webhooks, connection.run(sql::kWebhooksPending, {}));
  stats.webhooks_pending = only_field(webhooks).integer();
  return {};
}

}  // namespace parkd
