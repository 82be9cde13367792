#include "lib/store/postgres/verbs.h"

#include <algorithm>
#include <array>
#include <map>
#include <set>
#include <utility>

#include "lib/store/batch_rules.h"
#include "lib/store/postgres/arguments.h"
#include "lib/store/postgres/file_batch_verbs.h"
#include "lib/store/postgres/pg_text.h"
#include "lib/store/postgres/rows.h"
#include "lib/store/postgres/statements.h"
#include "lib/store/postgres/storable.h"
#include "lib/store/rules.h"

namespace parkd {
namespace {

std::string bool_text(bool value) {
  return value ? "t" : "f";
}

}  // namespace

// --- submit

namespace {

// A row of parkd.claimed_job.
Job parse_claimed(const pqxx::row& row) {
  Job job = parse_job(row);
  job.weight = row["weight"].as<double>();
  return job;
}

// The refusal a row of submit_v1 speaks of, of jobs[index].
Status submit_refusal(const std::string& word, size_t index, const JobSpec& spec, JobId id,
                      const std::array<int64_t, 3>& n) {
  if (word == "other_content") return key_has_other_content(index, spec.idempotency_key, id);
  if (word == "sealed") return batch_is_sealed(index, spec.batch_id);
  if (word == "over") return batch_is_over(index, spec.batch_id, from_unix_us(n[0]));
  if (word == "deadline") return deadline_is_its_batchs(index, spec.batch_id);
  if (word == "never") {
    return member_never_runs(index, spec.batch_id, *spec.run_at, from_unix_us(n[0]));
  }
  if (word == "full") return batch_is_full(index, spec.batch_id, n[0], n[1], n[2]);
  if (word == "depth") return queue_is_full(spec.model, n[0], n[1], n[2], "parkd.limits");
  if (word == "tenant_depth") {
    return tenants_queue_is_full(spec.model, spec.tenant, n[0], n[1], n[2],
                                 "parkd.limits.max_queued_per_tenant");
  }
  if (word == "scheduled") {
    return too_many_scheduled(spec.model, spec.tenant, n[0], n[1], n[2],
                              "parkd.settings.max_scheduled_per_tenant");
  }
  return internal_error("submit_v1 refused for an unknown reason: " + word);
}

}  // namespace

Result<std::vector<GroupAnswer>> submit_groups(Connection& connection,
                                               const std::vector<SubmitGroup>& groups,
                                               const Claimant& claimant,
                                               const StoreOptions& options, Locked locked,
                                               Now now) {
  PARKD_ASSIGN_OR_RETURN(const std::vector<Status> refused, refused_by_files(connection, groups));
  bool keyed = false;
  bool batched = false;
  bool any_claims = false;
  std::vector<SubmitRow> submitted;
  std::vector<size_t> place_in_group;  // of each row
  ArrayText claims;
  for (size_t g = 0; g < groups.size(); ++g) {
    if (!refused[g].ok()) continue;
    const std::vector<JobSpec>& jobs = *groups[g].jobs;
    for (size_t i = 0; i < jobs.size(); ++i) {
      keyed = keyed || !jobs[i].idempotency_key.empty();
      batched = batched || !jobs[i].batch_id.empty();
      submitted.push_back({static_cast<int64_t>(g), &jobs[i]});
      place_in_group.push_back(i);
      claims.add(groups[g].claims);
    }
    any_claims = any_claims || (groups[g].claims && claimant.daemon_id != 0);
  }
  Params params;
  params.add(now)
      .add(bool_text(locked == Locked::skip))
      .add(bool_text(keyed))
      .add(bool_text(batched))
      .add(us_of(std::optional(options.retention_default)))
      .add(options.batch_jobs_max);
  add_arrays(params, kSubmitArrays, submitted);
  if (any_claims) {
    params.add(claimant.daemon_id).add(bool_text(claimant.listens)).add(claims.take());
  }

  std::vector<GroupAnswer> answers;
  std::vector<size_t> first_refused;  // rows come by key or batch; the first by index is named
  for (size_t g = 0; g < groups.size(); ++g) {
    const size_t n_jobs = groups[g].jobs->size();
    answers.emplace_back(refused[g].ok()
                             ? Result(SubmittedGroup{std::vector<SubmittedJob>(n_jobs), {}})
                             : Result<SubmittedGroup>(refused[g]));
    first_refused.push_back(n_jobs);
  }
  if (submitted.empty()) return answers;
  PARKD_ASSIGN_OR_RETURN(const pqxx::result rows,
                         connection.run(any_claims ? sql::kSubmitAndClaim : sql::kSubmit, params));
  for (const auto& row : rows) {
    const auto at = static_cast<size_t>(integer(row, "row_index"));
    const auto g = static_cast<size_t>(submitted.at(at).group);
    const size_t i = place_in_group[at];
    const JobId id = field(row, "job_id").id();
    if (!answers[g]) continue;
    if (const Field refusal = field(row, "refusal"); !refusal.is_null) {
      if (refusal.bytes == "held") {
        answers[g].reset();
      } else if (i < first_refused[g]) {
        first_refused[g] = i;
        answers[g] = submit_refusal(refusal.raw(), i, *submitted[at].spec, id,
                                    {integer(row, "n1"), integer(row, "n2"), integer(row, "n3")});
      }
      continue;
    }
    if (!answers[g]->ok()) continue;
    SubmittedGroup& group = answers[g]->value();
    group.jobs[i] = {id, text(row, "submitted_key"), flag(row, "existed"), flag(row, "finished")};
    if (any_claims && !is_null(row, "ord")) group.claimed.push_back(parse_claimed(row));
  }
  return answers;
}

// --- claim

Result<std::vector<Job>> claim_jobs(Connection& connection, int64_t daemon_id,
                                    const ClaimRequest& request, bool listens, Now now) {
  Params params;
  params.add(daemon_id).add(encode_text(request.model)).add(int64_t{request.max_jobs}).add(now);
  params.add(std::string(listens ? "t" : "f"));
  if (request.tenant_room.empty()) {
    params.add_null().add_null();
  } else {
    ArrayText tenants, rooms;
    for (const auto& [tenant, room] : request.tenant_room) {
      tenants.add(encode_text(tenant));
      rooms.add(int64_t{room});
    }
    params.add(tenants.take()).add(rooms.take());
  }
  params.add(std::optional<int64_t>(request.others_room)).add(request.need_tokens_max);
  if (request.only.empty()) {
    params.add_null();
  } else {
    ArrayText only;
    for (const JobId id : request.only) only.add(to_bigint(id));
    params.add(only.take());
  }
  PARKD_ASSIGN_OR_RETURN(const pqxx::result rows, connection.run(sql::kClaim, params));
  std::vector<std::pair<int64_t, Job>> ordered;
  for (const auto& row : rows) {
    ordered.emplace_back(integer(row, "ord"), parse_claimed(row));
  }
  // UPDATE ... RETURNING promises no order.
  std::sort(ordered.begin(), ordered.end(),
            [](const auto& a, const auto& b) { return a.first < b.first; });
  std::vector<Job> jobs;
  for (auto& [place, job] : ordered) jobs.push_back(std::move(job));
  return jobs;
}

// --- finish

namespace {

Result<pqxx::result> send_finish(Connection& connection,
                                 const std::vector<const FinishItem*>& items, Locked locked,
                                 Now now, bool wrap_bodies) {
  std::vector<FinishRow> finished;
  for (const FinishItem* item : items) {
    finished.push_back({item->id, item->lease, storable_ending(item->ending), wrap_bodies});
  }
  Params params;
  params.add(now).add(bool_text(locked == Locked::skip));
  add_arrays(params, kFinishArrays, finished);
  auto rows = connection.run(sql::kFinish, params);
  if (!rows.ok() && connection.sqlstate() == "23514") {  // no partition of relation found for row
    ArrayText ids;
    for (const FinishItem* item : items) ids.add(to_bigint(item->id));
    Params which;
    which.add(ids.take()).add(now);
    PARKD_RETURN_IF_ERROR(connection.run(sql::kEnsurePartitionsFor, which).status());
    rows = connection.run(sql::kFinish, params);
  }
  return rows;
}

}  // namespace

Ended<FinishAnswer> finish_jobs(Connection& connection, const std::vector<const FinishItem*>& items,
                                Locked locked, Now now, Wakeups& wakeups) {
  // By id: two statements that touch the same jobs then lock them in the same order.
  std::vector<const FinishItem*> sorted = items;
  std::stable_sort(sorted.begin(), sorted.end(),
                   [](const auto* a, const auto* b) { return a->id < b->id; });

  auto rows = send_finish(connection, sorted, locked, now, false);
  if (!rows.ok() && rows.status().code() == StatusCode::invalid) {
    if (items.size() > 1) {  // one bad item: find it in halves, its neighbours are stored
      const auto middle = items.begin() + static_cast<std::ptrdiff_t>(items.size() / 2);
      auto ended = finish_jobs(connection, {items.begin(), middle}, locked, now, wakeups);
      auto rest = finish_jobs(connection, {middle, items.end()}, locked, now, wakeups);
      ended.answers.insert(ended.answers.end(), rest.answers.begin(), rest.answers.end());
      if (ended.status.ok()) ended.status = rest.status;
      return ended;
    }
    rows = send_finish(connection, sorted, locked, now, true);
    if (!rows.ok() && rows.status().code() == StatusCode::invalid) {
      FinishItem failed = *items[0];
      failed.ending = unstorable(items[0]->ending, std::string(failure::kInternal),
                                 "the result could not be stored: " + rows.status().message());
      rows = send_finish(connection, {&failed}, locked, now, false);
    }
  }
  Ended<FinishAnswer> ended;
  ended.answers.resize(items.size());
  if (!rows.ok()) {
    ended.status = rows.status();
    return ended;
  }

  constexpr int64_t kFinishedLate = -1;
  constexpr int64_t kHeld = 3;
  constexpr int64_t kAlreadyLate = 4;
  std::map<std::pair<int64_t, int64_t>, int64_t> best;
  for (const auto& row : *rows) {
    const std::pair key(integer(row, "job_id"), integer(row, "run_lease"));
    const int64_t answer = integer(row, "answer");
    if (answer == 0 || answer == kFinishedLate)
      wakeups.messages.emplace_back(text(row, "tenant"), text(row, "mailbox_key"));
    const auto [at, fresh] = best.emplace(key, answer);
    if (!fresh) at->second = std::min(at->second, answer);
  }
  for (size_t i = 0; i < items.size(); ++i) {
    const auto found = best.find({to_bigint(items[i]->id), lease_to_sql(items[i]->lease)});
    if (found == best.end()) {
      ended.answers[i] = FinishAnswer::lease_lost;
    } else if (found->second == kFinishedLate || found->second == kAlreadyLate) {
      ended.answers[i] = FinishAnswer::finished_late;
    } else if (found->second != kHeld) {
      ended.answers[i] = static_cast<FinishAnswer>(found->second);
      if (found->second == 0) found->second = 1;  // its twin came too late
    }
  }
  return ended;
}

Ended<ReleaseAnswer> release_jobs(Connection& connection,
                                  const std::vector<const ReleaseItem*>& items, Locked locked,
                                  Now now, Wakeups& wakeups) {
  ArrayText ids, leases, spend, run_at;
  for (const ReleaseItem* item : items) {
    ids.add(to_bigint(item->id));
    leases.add(lease_to_sql(item->lease));
    spend.add(item->spend_attempt);
    run_at.add(us_of(item->run_at));
  }
  Params params;
  params.add(ids.take()).add(leases.take()).add(spend.take()).add(run_at.take()).add(now);
  params.add(bool_text(locked == Locked::skip));
  Ended<ReleaseAnswer> ended;
  ended.answers.resize(items.size());
  const auto rows = connection.run(sql::kRelease, params);
  if (!rows.ok()) {
    ended.status = rows.status();
    return ended;
  }
  std::map<std::pair<int64_t, int64_t>, int> released;
  std::set<std::pair<int64_t, int64_t>> held;
  for (const auto& row : *rows) {
    const std::pair key(integer(row, "job_id"), integer(row, "run_lease"));
    if (flag(row, "held")) {
      held.insert(key);
      continue;
    }
    ++released[key];
    if (!is_null(row, "model")) wakeups.models.insert(text(row, "model"));
    if (!is_null(row, "tenant")) {
      wakeups.messages.emplace_back(text(row, "tenant"), text(row, "mailbox_key"));
    }
  }
  for (size_t i = 0; i < items.size(); ++i) {
    const std::pair key(to_bigint(items[i]->id), lease_to_sql(items[i]->lease));
    if (held.count(key) != 0) continue;
    const auto found = released.find(key);
    const bool ours = found != released.end() && found->second > 0;
    if (ours) --found->second;
    ended.answers[i] = ours ? ReleaseAnswer::released : ReleaseAnswer::lease_lost;
  }
  return ended;
}

Result<DeathsAnswer> note_deaths(Connection& connection, const DeathReport& report, Now now,
                                 Wakeups& wakeups) {
  ArrayText ids, leases;
  for (const DeathNote& note : report.present) {
    ids.add(to_bigint(note.id));
    leases.add(lease_to_sql(note.lease));
  }
  Params params;
  params.add(ids.take()).add(leases.take()).add(std::string(report.noted ? "t" : "f")).add(now);
  PARKD_ASSIGN_OR_RETURN(const pqxx::result rows, connection.run(sql::kNoteDeaths, params));
  if (rows.size() != 1) return internal_error("note_deaths answered no row");
  const std::vector<std::string> tenants = split_list(rows[0], "tenants");
  const std::vector<std::string> keys = split_list(rows[0], "mailbox_keys");
  for (size_t i = 0; i < std::min(tenants.size(), keys.size()); ++i) {
    wakeups.messages.emplace_back(tenants[i], keys[i]);
  }
  return DeathsAnswer{integer(rows[0], "suspects"), integer(rows[0], "quarantined")};
}

// --- cancel

Result<Cancelled> cancel_job(Connection& connection, JobId id, const std::string& tenant,
                             const StoreOptions& options, Now now, Wakeups& wakeups) {
  Params params;
  params.add(to_bigint(id))
      .add(encode_text(tenant))
      .add(options.history_retention.count())
      .add(now);
  PARKD_ASSIGN_OR_RETURN(const pqxx::result rows, connection.run(sql::kCancel, params));
  if (rows.size() != 1) return internal_error("cancel answered no row");
  Cancelled cancelled;
  const std::string answer = text(rows[0], "answer");
  if (answer == "cancelled") {
    cancelled.answer = CancelAnswer::cancelled;
    wakeups.messages.emplace_back(text(rows[0], "tenant"), text(rows[0], "mailbox_key"));
  } else if (answer == "cancel_requested") {
    cancelled.answer = CancelAnswer::cancel_requested;
    cancelled.lease = field(rows[0], "run_lease").lease();
    cancelled.daemon_id = integer(rows[0], "mine");
  } else if (answer == "already_finished") {
    cancelled.answer = CancelAnswer::already_finished;
  }
  return cancelled;
}

Result<bool> end_cancelled(Connection& connection, int64_t& after, const std::string& batch,
                           Now now, Wakeups& wakeups) {
  constexpr int kPortion = 500;  // end_cancelled_v1's
  Params params;
  params.add(after);
  batch.empty() ? params.add_null() : params.add(encode_text(batch));
  params.add(now);
  PARKD_ASSIGN_OR_RETURN(const pqxx::result rows, connection.run(sql::kEndCancelled, params));
  for (const auto& row : rows) {
    after = integer(row, "job_id");
    wakeups.messages.emplace_back(text(row, "tenant"), text(row, "mailbox_key"));
  }
  return static_cast<int>(rows.size()) >= kPortion;
}

// --- models

Result<ModelRegistered> register_model(Connection& connection, const ModelRegistration& model) {
  Params params;
  params.add(encode_text(model.name)).add(model.content_hash).add(int64_t{model.context_tokens});
  PARKD_ASSIGN_OR_RETURN(const pqxx::result rows, connection.run(sql::kRegisterModel, params));
  if (rows.size() != 1) return internal_error("register_model answered no row");
  if (only_field(rows).flag()) return ModelRegistered{true, model.content_hash};
  Params name;
  name.add(encode_text(model.name));
  PARKD_ASSIGN_OR_RETURN(const pqxx::result known, connection.run(sql::kModelHash, name));
  return ModelRegistered{false, known.empty() ? "" : only_field(known).text()};
}

}  // namespace parkd
