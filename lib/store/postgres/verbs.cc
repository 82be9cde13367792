#include "lib/store/postgres/verbs.h"

#include <algorithm>
#include <array>
#include <map>
#include <set>
#include <utility>

#include "lib/store/batch_rules.h"
#include "lib/store/postgres/pg_text.h"
#include "lib/store/postgres/rows.h"
#include "lib/store/postgres/statements.h"
#include "lib/store/postgres/storable.h"
#include "lib/store/rules.h"

namespace parkd {
namespace {

std::optional<int64_t> us_of(const std::optional<WallTime>& time) {
  if (!time) return std::nullopt;
  return to_unix_us(*time);
}

std::optional<int64_t> us_of(const std::optional<std::chrono::seconds>& duration) {
  if (!duration) return std::nullopt;
  return int64_t{1'000'000} * duration->count();
}

std::string bool_text(bool value) {
  return value ? "t" : "f";
}

}  // namespace

// --- submit

namespace {

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

Result<std::vector<GroupAnswer>> submit_groups(
    Connection& connection, const std::vector<const std::vector<JobSpec>*>& groups,
    const StoreOptions& options, Locked locked, Now now) {
  ArrayText group, model, tenant, priority, mailbox_key, custom_id, batch_id, metadata,
      idempotency_key, endpoint, body, seed, run_at, deadline, run_timeout, retention, max_attempts,
      n_choices, prompt_tokens, max_new_tokens, exact;
  bool keyed = false;
  bool batched = false;
  std::vector<std::pair<size_t, size_t>> places;  // row -> (group, index in it)
  // What the submitter left out stays out: the database fills it in, and knows what was given.
  for (size_t g = 0; g < groups.size(); ++g) {
    for (size_t i = 0; i < groups[g]->size(); ++i) {
      const JobSpec& spec = (*groups[g])[i];
      places.emplace_back(g, i);
      group.add(static_cast<int64_t>(g));
      model.add(encode_text(spec.model));
      tenant.add(encode_text(spec.tenant));
      priority.add(to_string(spec.priority));
      mailbox_key.add(encode_text(spec.mailbox_key));
      custom_id.add(encode_text(spec.custom_id));
      batch_id.add(encode_text(spec.batch_id));
      metadata.add(spec.metadata);
      idempotency_key.add(encode_text(spec.idempotency_key));
      keyed = keyed || !spec.idempotency_key.empty();
      batched = batched || !spec.batch_id.empty();
      endpoint.add(spec.endpoint);
      body.add(spec.body);
      seed.add(spec.seed ? std::optional(static_cast<int64_t>(*spec.seed)) : std::nullopt);
      run_at.add(us_of(spec.run_at));
      deadline.add(us_of(spec.deadline));
      run_timeout.add(spec.run_timeout ? std::optional<int64_t>(spec.run_timeout->count())
                                       : std::nullopt);
      retention.add(us_of(spec.retention));
      max_attempts.add(int64_t{spec.max_attempts});
      n_choices.add(int64_t{spec.n_choices});
      prompt_tokens.add(int64_t{spec.prompt_tokens});
      max_new_tokens.add(int64_t{spec.max_new_tokens});
      exact.add(spec.tokens_are_exact);
    }
  }
  Params params;
  for (ArrayText* array : {&group,     &model,        &tenant,    &priority,        &mailbox_key,
                           &custom_id, &batch_id,     &metadata,  &idempotency_key, &endpoint,
                           &body,      &seed,         &run_at,    &deadline,        &run_timeout,
                           &retention, &max_attempts, &n_choices, &prompt_tokens,   &max_new_tokens,
                           &exact}) {
    params.add(array->take());
  }
  params.add(std::string(keyed ? "t" : "f"))
      .add(std::string(batched ? "t" : "f"))
      .add(us_of(std::optional(options.retention_default)))
      .add(options.batch_jobs_max)
      .add(now)
      .add(bool_text(locked == Locked::skip));
  PARKD_ASSIGN_OR_RETURN(const pqxx::result rows, connection.run(sql::kSubmit, params));

  std::vector<GroupAnswer> answers;
  std::vector<size_t> first_refused;  // rows come by key or batch; the first by index is named
  for (const auto* jobs : groups) {
    answers.emplace_back(
        Result<std::vector<SubmittedJob>>(std::vector<SubmittedJob>(jobs->size())));
    first_refused.push_back(jobs->size());
  }
  for (const auto& row : rows) {
    const auto [g, i] = places.at(static_cast<size_t>(integer(row, 0)));
    const auto id = static_cast<JobId>(integer(row, 1));
    if (!answers[g]) continue;
    if (!row[5].is_null()) {
      if (text(row, 5) == "held") {
        answers[g].reset();
      } else if (i < first_refused[g]) {
        first_refused[g] = i;
        answers[g] = submit_refusal(text(row, 5), i, (*groups[g])[i], id,
                                    {integer(row, 6), integer(row, 7), integer(row, 8)});
      }
      continue;
    }
    if (!answers[g]->ok()) continue;
    answers[g]->value()[i] = {id, text(row, 2), text(row, 3) == "t", text(row, 4) == "t"};
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
    ordered.emplace_back(integer(row, 32), parse_job(row));
    ordered.back().second.weight = row[33].as<double>();
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
  ArrayText ids, leases, outcomes, codes, messages, error_params, status, bodies, prompt,
      completion, units, queue_us, run_us;
  for (const FinishItem* item : items) {
    const Ending ending = storable_ending(item->ending);
    ids.add(to_bigint(item->id));
    leases.add(lease_to_sql(item->lease));
    outcomes.add(to_string(ending.outcome));
    codes.add(readable_text(ending.error_code));
    messages.add(readable_text(ending.error_message));
    error_params.add(readable_text(ending.error_param));
    status.add(int64_t{ending.status_code});
    bodies.add(wrap_bodies && !ending.body.empty() ? wrapped_body(ending) : storable_body(ending));
    prompt.add(int64_t{ending.prompt_tokens});
    completion.add(int64_t{ending.completion_tokens});
    units.add(ending.units);
    queue_us.add(ending.queue_us);
    run_us.add(ending.run_us);
  }
  const std::string all_ids = ids.take();
  Params params;
  params.add(all_ids);
  for (ArrayText* array : {&leases, &outcomes, &codes, &messages, &error_params, &status, &bodies,
                           &prompt, &completion, &units, &queue_us, &run_us}) {
    params.add(array->take());
  }
  params.add(now).add(bool_text(locked == Locked::skip));
  auto rows = connection.run(sql::kFinish, params);
  if (!rows.ok() && connection.sqlstate() == "23514") {  // no partition of relation found for row
    Params which;
    which.add(all_ids).add(now);
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
    const std::pair key(integer(row, 0), integer(row, 1));
    const int64_t answer = integer(row, 2);
    if (answer == 0 || answer == kFinishedLate)
      wakeups.messages.emplace_back(text(row, 3), text(row, 4));
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
  std::set<std::string> models;
  for (const auto& row : *rows) {
    const std::pair key(integer(row, 0), integer(row, 1));
    if (text(row, 5) == "t") {
      held.insert(key);
      continue;
    }
    ++released[key];
    if (!row[2].is_null()) models.insert(text(row, 2));
    if (!row[3].is_null()) wakeups.messages.emplace_back(text(row, 3), text(row, 4));
  }
  wakeups.models.insert(models.begin(), models.end());
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
  const std::vector<std::string> tenants = split_list(rows[0], 2);
  const std::vector<std::string> keys = split_list(rows[0], 3);
  for (size_t i = 0; i < std::min(tenants.size(), keys.size()); ++i) {
    wakeups.messages.emplace_back(tenants[i], keys[i]);
  }
  return DeathsAnswer{integer(rows[0], 0), integer(rows[0], 1)};
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
  const std::string answer = text(rows[0], 0);
  if (answer == "cancelled") {
    cancelled.answer = CancelAnswer::cancelled;
    wakeups.messages.emplace_back(text(rows[0], 3), text(rows[0], 4));
  } else if (answer == "cancel_requested") {
    cancelled.answer = CancelAnswer::cancel_requested;
    cancelled.lease = lease_from_sql(integer(rows[0], 1));
    cancelled.daemon_id = integer(rows[0], 2);
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
    after = integer(row, 0);
    wakeups.messages.emplace_back(text(row, 1), text(row, 2));
  }
  return static_cast<int>(rows.size()) >= kPortion;
}

// --- models

Result<ModelRegistered> register_model(Connection& connection, const ModelRegistration& model) {
  Params params;
  params.add(encode_text(model.name)).add(model.content_hash).add(int64_t{model.context_tokens});
  PARKD_ASSIGN_OR_RETURN(const pqxx::result rows, connection.run(sql::kRegisterModel, params));
  if (rows.size() != 1) return internal_error("register_model answered no row");
  if (text(rows[0], 0) == "t") return ModelRegistered{true, model.content_hash};
  Params name;
  name.add(encode_text(model.name));
  PARKD_ASSIGN_OR_RETURN(const pqxx::result known, connection.run(sql::kModelHash, name));
  return ModelRegistered{false, known.empty() ? "" : text(known[0], 0)};
}

}  // namespace parkd
