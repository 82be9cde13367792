#include "lib/store/postgres/upkeep_session.h"

#include <string>
#include <utility>

#include "lib/base/kill_point.h"
#include "lib/base/log.h"
#include "lib/store/postgres/upkeep_verbs.h"

namespace parkd {
namespace {

constexpr std::chrono::minutes kStatementLimit{10};  // a vacuum's
constexpr std::chrono::minutes kPileWarningEvery{10};

Connection::Options upkeep_options(const SharedState& shared) {
  Connection::Options session = shared.connection_options("parkd-upkeep");
  session.statement_limit = kStatementLimit;
  return session;
}

}  // namespace

UpkeepSession::UpkeepSession(SharedState& shared)
    : shared_(shared),
      session_(shared, "pg-upkeep", upkeep_options(shared)),
      drop_clock_(shared.options().test_clock ? *shared.options().test_clock : system_clock_,
                  std::nullopt) {}

void UpkeepSession::purge(Completion<PurgeAnswer> done) {
  session_.retried<PurgeAnswer>(std::move(done), Repeatable::yes,
                                [this](Connection& connection) { return purge_now(connection); });
}

void UpkeepSession::end_cancelled() {
  if (cancels_wait_.exchange(true)) return;
  session_.once<bool>([](const Result<bool>&) {},
                      [this](Connection& connection) -> Result<bool> {
                        cancels_wait_ = false;
                        end_cancelled_now(connection);
                        return true;
                      });
}

// What fails here, or is too much for one turn of the session, comes again.
void UpkeepSession::end_cancelled_now(Connection& connection) {
  constexpr int kPortionsMax = 20;
  int64_t after = 0;
  for (int i = 0; i < kPortionsMax; ++i) {
    Wakeups wakeups;
    const auto more = parkd::end_cancelled(connection, after, "", shared_.now(), wakeups);
    if (!wakeups.messages.empty()) shared_.count_commit();
    shared_.tell(wakeups);
    if (!more.ok() || !*more) return;
  }
  end_cancelled();
}

Result<PurgeAnswer> UpkeepSession::purge_now(Connection& connection) {
  Wakeups wakeups;
  std::vector<HealthNotice> of_models;
  Status kept = look_after_models(connection, of_models);
  if (kept.ok()) kept = look_after_finishes(connection, of_models);
  PARKD_ASSIGN_OR_RETURN(
      Upkeep upkeep,
      maintain(connection, shared_.store(),
               {shared_.options().depth_sample, shared_.now(), drop_clock_.now()}, wakeups));
  PARKD_KILL_POINT("purge.mid");
  shared_.tell(wakeups);
  PARKD_RETURN_IF_ERROR(kept);
  upkeep.notices.insert(upkeep.notices.end(), of_models.begin(), of_models.end());
  notices_.set(std::move(upkeep.notices));
  for (const std::string& table : upkeep.to_vacuum) {
    const Status cleaned = vacuum(connection, table);
    log_info("postgres.vacuumed", {{"table", table}, {"status", cleaned.to_string()}});
  }
  const auto steady_now = std::chrono::steady_clock::now();
  if (!upkeep.piled_up.empty() && steady_now >= next_pile_warning_) {
    next_pile_warning_ = steady_now + kPileWarningEvery;
    log_warn("postgres.dead_rows_pile_up", {{"why", upkeep.piled_up}});
  }
  return upkeep.answer;
}

// Timed by this process: whose session it is anybody may see, but not since when.
Status UpkeepSession::look_after_finishes(Connection& connection,
                                          std::vector<HealthNotice>& notices) {
  PARKD_ASSIGN_OR_RETURN(const std::vector<Finishing> now, finishing_now(connection));
  const auto steady_now = std::chrono::steady_clock::now();
  decltype(finishing_) seen;
  std::string who;
  for (const Finishing& finishing : now) {
    const auto before = finishing_.find(finishing.transaction);
    const auto since = before == finishing_.end() ? steady_now : before->second;
    seen[finishing.transaction] = since;
    if (steady_now - since >= shared_.options().finish_notice_after) {
      who += (who.empty() ? "" : ", and ") + finishing.who;
    }
  }
  finishing_ = std::move(seen);
  if (!who.empty()) {
    notices.push_back({"results_held",
                       "an open transaction stores results and holds up all later ones of every "
                       "reader: " +
                           who});
  }
  return {};
}

void UpkeepSession::keep_model(const ModelRegistration& model) {
  const std::lock_guard lock(mutex_);
  models_[model.name] = model;
}

Status UpkeepSession::look_after_models(Connection& connection,
                                        std::vector<HealthNotice>& notices) {
  std::vector<ModelRegistration> models;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [name, model] : models_) models.push_back(model);
  }
  if (models.empty()) return {};
  PARKD_ASSIGN_OR_RETURN(const std::vector<std::string> differ,
                         keep_models(connection, models, shared_.now()));
  if (differ.empty()) return {};
  std::string names;
  for (const std::string& name : differ) names += (names.empty() ? "" : ", ") + name;
  notices.push_back({"model_files_differ",
                     "parkd.models names other files than those that this daemon runs for " +
                         names +
                         ": daemons may answer differently under one name; start this one with "
                         "the other files, or name it otherwise"});
  return {};
}

}  // namespace parkd
