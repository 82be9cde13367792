#include "lib/store/postgres/submit_session.h"

#include <algorithm>
#include <mutex>
#include <optional>
#include <set>
#include <utility>

#include "lib/base/kill_point.h"
#include "lib/store/answer_caught.h"
#include "lib/store/postgres/pg_text.h"
#include "lib/store/postgres/rows.h"
#include "lib/store/postgres/statements.h"
#include "lib/store/postgres/storable.h"
#include "lib/store/rules.h"

namespace parkd {
namespace {

using std::chrono::steady_clock;

constexpr size_t kRowsMax = 2000;  // of one statement

bool all_keyed(const std::vector<JobSpec>& jobs) {
  return std::all_of(jobs.begin(), jobs.end(),
                     [](const JobSpec& job) { return !job.idempotency_key.empty(); });
}

}  // namespace

SubmitSession::SubmitSession(SharedState& shared, HeldClaims& held, DepthEstimate& depth,
                             const Listener& listener)
    : shared_(shared),
      held_(held),
      depth_(depth),
      listener_(listener),
      connection_(shared.connection_options("parkd-submit")) {}

void SubmitSession::start() {
  thread_ = Thread({"pg-submit", 0}, [this] { loop(); });
}

void SubmitSession::submit(std::vector<JobSpec> jobs, Completion<std::vector<SubmittedJob>> done) {
  Completion<SubmittedGroup> answered = [done = std::move(done)](Result<SubmittedGroup> group) {
    if (!group.ok()) return done(group.status());
    done(std::move(group->jobs));
  };
  if (!calls_.push({std::move(jobs), false, answered, shared_.give_up_at()})) {
    answered(store_has_stopped());
  }
}

void SubmitSession::submit_and_claim(JobSpec job, Completion<SubmittedAndClaimed> done) {
  Completion<SubmittedGroup> answered = [this,
                                         done = std::move(done)](Result<SubmittedGroup> group) {
    if (!group.ok()) return done(group.status());
    UnknownClaims unknown(held_);
    unknown.name(group->claimed);
    SubmittedAndClaimed answer{std::move(group->jobs.front()), std::nullopt};
    if (!group->claimed.empty()) answer.claimed = std::move(group->claimed.front());
    done(std::move(answer));
    unknown.known();
  };
  std::vector<JobSpec> jobs;
  jobs.push_back(std::move(job));
  if (!calls_.push({std::move(jobs), true, answered, shared_.give_up_at()})) {
    answered(store_has_stopped());
  }
}

void SubmitSession::close() {
  calls_.close();
}

void SubmitSession::join() {
  thread_.join();
  connection_.close();
}

void SubmitSession::loop() {
  std::vector<Call> held;  // their key or batch is in another session's open transaction
  for (;;) {
    std::vector<Call> calls = held.empty() ? calls_.wait_all() : calls_.wait_all(kHeldRetry);
    const bool stopping = calls_.closed();
    if (calls.empty() && held.empty() && stopping) return;
    // While another session holds a lock, no call that waits for it keeps others waiting.
    const Locked locked = held.empty() ? Locked::wait : Locked::skip;
    std::vector<Call> good = std::exchange(held, {});
    const Status status = caught("submit", [&] {
      good.reserve(good.size() + calls.size());
      held.reserve(good.size() + calls.size());
      check_and_send(calls, good, locked, held);
      return Status();
    });
    if (!status.ok()) {
      for (std::vector<Call>* unanswered : {&calls, &good}) {
        for (Call& call : *unanswered) answer_once(call.done, {status});
      }
    }
    const auto now = steady_clock::now();
    const auto waits = [&](const Call& call) { return !stopping && now < call.give_up_at; };
    for (Call& call : held) {
      if (!waits(call))
        answer_once(call.done, {unavailable("its key or batch is in an open transaction")});
    }
    held.erase(std::stable_partition(held.begin(), held.end(), waits), held.end());
  }
}

// Answers the calls, and the held ones that are in `good`; or moves them to `held`.
void SubmitSession::check_and_send(std::vector<Call>& calls, std::vector<Call>& good, Locked locked,
                                   std::vector<Call>& held) {
  size_t n_rows = 0;
  Pending pending;  // of this statement
  for (Call& call : calls) {
    const Status status = caught("submit", [&] { return check(call.jobs, pending); });
    if (!status.ok()) {
      answer_once(call.done, {status});
      continue;
    }
    n_rows += call.jobs.size();
    good.push_back(std::exchange(call, Call{}));
    if (n_rows < kRowsMax) continue;
    send(good, locked, held);
    good.clear();
    pending.clear();
    n_rows = 0;
  }
  if (!good.empty()) send(good, locked, held);
}

// --- what is refused without a statement

Status SubmitSession::check(const std::vector<JobSpec>& jobs, Pending& pending) {
  PARKD_RETURN_IF_ERROR(check_submission(jobs, shared_.store()));
  PARKD_RETURN_IF_ERROR(check_storable(jobs));
  Status status = check_present(jobs, {}, pending);
  const bool keyed = std::any_of(jobs.begin(), jobs.end(),
                                 [](const JobSpec& job) { return !job.idempotency_key.empty(); });
  if (status.ok() || !keyed) return status;
  // Asked only where it decides: what is sent again is seldom late.
  PARKD_ASSIGN_OR_RETURN(const std::set<size_t> known, known_of(jobs));
  return known.empty() ? status : check_present(jobs, known, pending);
}

Result<std::set<size_t>> SubmitSession::known_of(const std::vector<JobSpec>& jobs) {
  ArrayText tenants, keys;
  for (const JobSpec& job : jobs) {
    tenants.add(encode_text(job.tenant));
    keys.add(encode_text(job.idempotency_key));
  }
  Params params;
  params.add(tenants.take()).add(keys.take()).add(shared_.now());
  PARKD_ASSIGN_OR_RETURN(const pqxx::result rows, connection_.run(sql::kKnownKeys, params));
  std::set<size_t> known;
  for (const auto& row : rows) known.insert(static_cast<size_t>(integer(row, "at")));
  return known;
}

Status SubmitSession::check_present(const std::vector<JobSpec>& jobs, const std::set<size_t>& known,
                                    Pending& pending) {
  const WallTime now = listener_.about_now();
  DepthAccounts n_new;
  for (size_t i = 0; i < jobs.size(); ++i) {
    if (known.contains(i)) continue;
    PARKD_RETURN_IF_ERROR(check_new(jobs[i], i, now));
    n_new[{jobs[i].model, jobs[i].tenant}].add(jobs[i].run_at && *jobs[i].run_at > now, 1);
  }
  return check_depths(n_new, pending);
}

Result<Depth> SubmitSession::depth_of(const std::string& model, const std::string& tenant,
                                      const DepthLimits& limits) {
  if (const auto known = depth_.of(model, tenant)) return *known;
  Params params;
  params.add(encode_text(model))
      .add(encode_text(tenant))
      .add(std::max(limits.queued_max.value_or(0), limits.of_tenant().value_or(0)))
      .add(limits.scheduled_per_tenant_max);
  PARKD_ASSIGN_OR_RETURN(const pqxx::result rows, connection_.run(sql::kWaiting, params));
  const pqxx::row row = rows[0];
  depth_.looked(model, tenant,
                {{integer(row, "of_tenant"), integer(row, "scheduled")}, integer(row, "queued")},
                integer(row, "sampled_us"));
  return *depth_.of(model, tenant);
}

Status SubmitSession::check_depths(const DepthAccounts& n_new, Pending& pending) {
  std::map<std::string, int64_t> queued_beside;  // by model: of this statement, and of this call
  for (const auto& [key, n] : n_new) {
    const auto& [model, tenant] = key;
    const DepthLimits& limits = shared_.store().limits_of(model);
    if (n.scheduled == 0 && !limits.limits_queue()) continue;
    PARKD_ASSIGN_OR_RETURN(Depth depth, depth_of(model, tenant, limits));
    const auto [beside, is_first] = queued_beside.try_emplace(model, 0);
    auto other = pending.lower_bound({model, ""});
    for (; is_first && other != pending.end() && other->first.first == model; ++other) {
      beside->second += other->second.queued;
    }
    depth.queued += beside->second;
    if (const auto own = pending.find(key); own != pending.end()) {
      depth.tenant.queued += own->second.queued;
      depth.tenant.scheduled += own->second.scheduled;
    }
    PARKD_RETURN_IF_ERROR(check_depth(model, tenant, limits, depth, n));
    beside->second += n.queued;
  }
  for (const auto& [key, n] : n_new) {
    pending[key].queued += n.queued;
    pending[key].scheduled += n.scheduled;
  }
  return {};
}

// --- one statement for many calls

// `unknown`: what is claimed, until all calls are answered.
Result<std::vector<GroupAnswer>> SubmitSession::submit_now(const std::vector<Call>& calls,
                                                           Locked locked, UnknownClaims& unknown) {
  std::vector<SubmitGroup> groups;
  bool repeatable = true;
  bool claims = false;
  for (const Call& call : calls) {
    groups.push_back({&call.jobs, call.claims});
    repeatable = repeatable && all_keyed(call.jobs);
    claims = claims || call.claims;
  }
  std::unique_lock claiming(held_.claiming(), std::defer_lock);
  if (claims) claiming.lock();
  using Answers = std::vector<GroupAnswer>;
  const auto submit = [&](Connection& connection) -> Result<Answers> {
    Claimant claimant;
    if (claims && !held_.uncertain()) {
      claimant = {listener_.daemon_id(), shared_.options().listen};
    }
    auto answers =
        submit_groups(connection, groups, claimant, shared_.store(), locked, shared_.now());
    if (!answers.ok() && claimant.daemon_id != 0 && connection.uncertain()) held_.mark_uncertain();
    return answers;
  };
  auto answers =
      shared_.with_retries<Answers>(connection_, repeatable, shared_.give_up_at(), submit);
  if (!answers.ok() || !claims) return answers;
  for (const GroupAnswer& group : *answers) {
    if (!group || !group->ok()) continue;
    unknown.name((*group)->claimed);
    held_.claimed((*group)->claimed);
  }
  return answers;
}

void SubmitSession::send(std::vector<Call>& calls, Locked locked, std::vector<Call>& held) {
  UnknownClaims unknown(held_);
  PARKD_KILL_POINT("submit.before_commit");
  auto answers = submit_now(calls, locked, unknown);
  if (!answers.ok() && locked == Locked::wait && connection_.sqlstate() == kLockNotAvailable) {
    locked = Locked::skip;
    answers = submit_now(calls, locked, unknown);
  }
  PARKD_KILL_POINT("submit.after_commit");
  if (!answers.ok() && answers.status().code() == StatusCode::invalid && calls.size() > 1) {
    unknown.known();
    for (Call& call : calls) {  // one of them is bad: each alone
      std::vector<Call> one;
      one.push_back(std::move(call));
      send(one, locked, held);
    }
    return;
  }
  if (answers.ok()) shared_.count_commit();
  for (size_t i = 0; i < calls.size(); ++i) {
    if (!answers.ok()) {
      Status status = answers.status();
      // What is left for PostgreSQL to refuse is JSON that is none.
      if (status.code() == StatusCode::invalid) {
        status.with_param(calls[i].jobs.size() == 1 ? "jobs[0].body" : "jobs");
      }
      answer_once(calls[i].done, {status});
      continue;
    }
    const GroupAnswer& group = (*answers)[i];
    if (!group) {
      held.push_back(std::move(calls[i]));
      calls[i].done = nullptr;
      continue;
    }
    tell_submitted(calls[i].jobs, *group);
    answer_once(calls[i].done, *group);
  }
  unknown.known();
}

void SubmitSession::tell_submitted(const std::vector<JobSpec>& jobs,
                                   const Result<SubmittedGroup>& answer) {
  if (!answer.ok()) return;
  std::set<std::string> models;
  const WallTime now = listener_.about_now();
  const bool is_claimed = !answer->claimed.empty();  // then it is one job
  for (size_t i = 0; i < jobs.size(); ++i) {
    if (answer->jobs.at(i).existed || is_claimed) continue;
    const bool is_scheduled = jobs[i].run_at && *jobs[i].run_at > now;
    depth_.add(jobs[i].model, jobs[i].tenant, is_scheduled, 1);
    if (!is_scheduled) models.insert(jobs[i].model);
  }
  for (const std::string& model : models) shared_.tell_work(model);
}

}  // namespace parkd
