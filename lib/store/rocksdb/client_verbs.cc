#include "lib/store/rocksdb/client_verbs.h"

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <utility>

#include "lib/store/answer_caught.h"
#include "lib/store/batch_rules.h"
#include "lib/store/rocksdb/job_end.h"
#include "lib/store/rocksdb/outbox_verbs.h"
#include "lib/store/rules.h"

namespace parkd::embedded {
namespace {

Result<std::optional<SubmittedJob>> find_repeated(const State& state, const JobSpec& spec,
                                                  size_t index, WallTime now) {
  Result<std::string> bytes = state.database->get(
      state.database->idempotency(), record::idempotency_key(spec.tenant, spec.idempotency_key));
  if (!bytes.ok()) {
    if (is_not_found(bytes.status())) return std::optional<SubmittedJob>();
    return bytes.status();
  }
  PARKD_ASSIGN_OR_RETURN(const record::StoredKey key, record::decode_key(*bytes));
  const bool is_finished = key.expires_at != WallTime{};
  if (is_finished && key.expires_at <= now) return std::optional<SubmittedJob>();
  if (!has_content(key.fingerprint, spec)) {
    return key_has_other_content(index, spec.idempotency_key, key.id);
  }
  return std::optional(SubmittedJob{key.id, key.mailbox_key, true, is_finished});
}

}  // namespace

// --- submit

Status check_depths(const State& state, const DepthAccounts& n_new, const Commit& commit) {
  std::map<std::string, int64_t> queued_beside;  // by model: of this commit, and of this call
  for (const auto& [key, n] : n_new) {
    const auto& [model, tenant] = key;
    const auto [beside, is_first] = queued_beside.try_emplace(model, 0);
    auto other = commit.n_new.lower_bound({model, ""});
    for (; is_first && other != commit.n_new.end() && other->first.first == model; ++other) {
      beside->second += other->second.queued;
    }
    Depth depth = state.index.depth(model, tenant);
    depth.queued += beside->second;
    if (const auto own = commit.n_new.find(key); own != commit.n_new.end()) {
      depth.tenant.queued += own->second.queued;
      depth.tenant.scheduled += own->second.scheduled;
    }
    PARKD_RETURN_IF_ERROR(
        check_depth(model, tenant, state.options.store.limits_of(model), depth, n));
    beside->second += n.queued;
  }
  return {};
}

bool submit(State& state, std::vector<JobSpec>& specs,
            const Completion<std::vector<SubmittedJob>>& done, Commit& commit) {
  const WallTime now = state.clock.now();
  const Status checked = check_submission(specs, state.options.store);
  if (!checked.ok()) {
    done(checked);
    return true;
  }
  std::vector<std::string> keys(specs.size());
  for (size_t i = 0; i < specs.size(); ++i) {
    if (specs[i].idempotency_key.empty()) continue;
    keys[i] = "i" + record::idempotency_key(specs[i].tenant, specs[i].idempotency_key);
    if (commit.touched_keys.contains(keys[i])) return false;
  }

  // Decide everything before the first byte enters the batch.
  std::vector<SubmittedJob> answers;
  std::vector<record::StoredJob> accepted;
  std::map<std::string, size_t> accepted_by_key;  // keys of this very submission
  DepthAccounts n_new;
  std::map<std::string, int64_t> n_members;  // by batch
  JobId next_id = state.next_id;
  for (size_t i = 0; i < specs.size(); ++i) {
    const Status late = check_new(specs[i], i, now);
    if (late.ok()) continue;
    // Known under its key, with whatever content: it is not new.
    if (!keys[i].empty()) {
      const Result<std::optional<SubmittedJob>> known = find_repeated(state, specs[i], i, now);
      if (!known.ok() || known->has_value()) continue;
    }
    done(late);
    return true;
  }
  for (size_t i = 0; i < specs.size(); ++i) {
    ContentFingerprint fingerprint;
    if (!keys[i].empty()) {
      fingerprint = content_fingerprint(specs[i]);
      const auto twin = accepted_by_key.find(keys[i]);
      if (twin != accepted_by_key.end()) {
        const record::StoredJob& first = accepted[twin->second];
        if (first.fingerprint != fingerprint) {
          done(key_has_other_content(i, specs[i].idempotency_key, first.job.id));
          return true;
        }
        answers.push_back({first.job.id, first.job.spec.mailbox_key, true, false});
        continue;
      }
      Result<std::optional<SubmittedJob>> repeated = find_repeated(state, specs[i], i, now);
      if (!repeated.ok()) {
        done(repeated.status());
        return true;
      }
      if (repeated->has_value()) {
        answers.push_back(**repeated);
        continue;
      }
      accepted_by_key[keys[i]] = accepted.size();
    }
    if (const auto* batch = state.find_batch(specs[i].batch_id, specs[i].tenant, commit)) {
      const int64_t n = ++n_members[batch->batch.id];
      const Status taken = check_member(batch->batch, specs[i], i, n, state.options.store, now);
      if (!taken.ok()) {
        done(taken);
        return true;
      }
      become_member(specs[i], batch->batch);
    }
    record::StoredJob stored;
    stored.job = new_job(std::move(specs[i]), next_id++, now, state.options.store);
    stored.fingerprint = fingerprint;
    const JobSpec& taken = stored.job.spec;
    n_new[{taken.model, taken.tenant}].add(is_scheduled(stored.job), 1);
    answers.push_back({stored.job.id, stored.job.spec.mailbox_key, false, false});
    accepted.push_back(std::move(stored));
  }
  const Status depth = check_depths(state, n_new, commit);
  if (!depth.ok() || accepted.empty()) {
    succeed_with(done, std::move(answers), depth);
    return true;
  }

  size_t n_bytes = 0;
  for (const record::StoredJob& stored : accepted) {
    n_bytes +=
        Commit::kJobRowsBytes + stored.job.spec.body.size() + stored.job.spec.metadata.size();
  }
  commit.begin(n_bytes);
  state.next_id = next_id;
  (void)commit.batch.Put(state.database->meta(), meta_key::kNextId,
                         record::encode_count(state.next_id));
  for (record::StoredJob& stored : accepted) {
    JobSpec& spec = stored.job.spec;
    put_job(state, stored, commit);
    (void)commit.batch.Put(state.database->bodies(), record::id_key(stored.job.id), spec.body);
    spec.body = {};
    if (!spec.idempotency_key.empty()) {
      const std::string key = record::idempotency_key(spec.tenant, spec.idempotency_key);
      const record::StoredKey value{stored.job.id, stored.fingerprint, spec.mailbox_key, {}};
      (void)commit.batch.Put(state.database->idempotency(), key, record::encode(value));
      commit.touched_keys.insert("i" + key);
    }
    if (stored.job.state == JobState::queued) commit.wakeups.models.insert(spec.model);
  }
  for (const auto& [key, n] : n_new) {
    commit.n_new[key].queued += n.queued;
    commit.n_new[key].scheduled += n.scheduled;
  }
  for (const auto& [id, n] : n_members) state.edit_batch(id, commit).total += n;
  commit.has_submit = true;
  commit.steps.push_back({[&state, accepted = std::move(accepted)] {
                            const WallTime then = state.clock.now();
                            for (const record::StoredJob& stored : accepted) {
                              state.index.add(stored.job, then, state.is_member(stored.job.spec));
                            }
                          },
                          [done, answers = std::move(answers)](const Status& status) {
                            succeed_with(done, answers, status);
                          }});
  return true;
}

// --- cancel

bool cancel(State& state, JobId id, const std::string& tenant, const Completion<CancelAnswer>& done,
            Commit& commit) {
  if (commit.touched_jobs.contains(id)) return false;
  const WallTime now = state.clock.now();
  if (!state.index.contains(id)) {
    const Result<JobRecord> past = state.read_past(id, tenant, now);
    if (!past.ok()) {
      done(past.status());
    } else {
      done(past->index() == 0 ? CancelAnswer::not_found : CancelAnswer::already_finished);
    }
    return true;
  }
  if (!tenant.empty() && state.index.tenant_of(id) != tenant) {
    done(CancelAnswer::not_found);
    return true;
  }
  Result<Ended> ended = prepare_end(state, id, {}, cancelled_ending(), now);
  if (!ended.ok()) {
    done(ended.status());
    return true;
  }

  commit.begin(0);
  CancelAnswer answer = CancelAnswer::cancelled;
  std::function<void()> apply;
  const auto claim = state.claims.find(id);
  if (claim != state.claims.end()) {
    answer = CancelAnswer::cancel_requested;
    ended->stored.cancel_requested = true;  // survives a restart: the job must not run again
    put_job(state, ended->stored, commit);
    commit.touched_jobs.insert(id);
    commit.wakeups.cancels.emplace_back(id, claim->second.lease);
    apply = [&state, id] { state.claims.at(id).cancel_requested = true; };
  } else {
    state.index.hold(id);
    write_end(state, *ended, now, commit);
    apply = [&state, id] { apply_end(state, id); };
  }
  commit.has_cancel = true;
  commit.steps.push_back({std::move(apply), [done, answer](const Status& status) {
                            succeed_with(done, answer, status);
                          }});
  return true;
}

// --- take

bool take(State& state, const std::string& tenant, const std::string& mailbox_key,
          const std::vector<uint64_t>& sequences, const Completion<std::vector<Message>>& done,
          Commit& commit) {
  if (const record::StoredBatch* found = state.find_batch(mailbox_key, tenant, commit);
      found != nullptr && found->batch.keeps_results()) {
    done(results_are_kept(found->batch));
    return true;
  }
  const WallTime now = state.clock.now();
  const std::set<uint64_t> wanted(sequences.begin(), sequences.end());
  for (const uint64_t sequence : wanted) {
    const std::string key = "m" + record::message_key(tenant, mailbox_key, sequence);
    if (commit.touched_keys.contains(key)) return false;
  }
  std::vector<Message> taken;
  std::vector<Period*> periods;
  for (const uint64_t sequence : wanted) {
    const std::string key = record::message_key(tenant, mailbox_key, sequence);
    for (auto& [name, period] : state.database->periods()) {
      if (period.end <= now) continue;
      const Result<std::string> bytes = state.database->get_large(period.family, key);
      if (!bytes.ok() && is_not_found(bytes.status())) continue;
      Result<Message> message = bytes.ok() ? record::decode_message(*bytes) : bytes.status();
      if (!message.ok()) {
        done(message.status());
        return true;
      }
      if (message->expires_at > now) {
        taken.push_back(std::move(message).value());
        periods.push_back(&period);
      }
      break;
    }
  }
  commit.begin(0);
  for (size_t i = 0; i < taken.size(); ++i) {
    const std::string key = record::message_key(tenant, mailbox_key, taken[i].sequence);
    (void)commit.batch.SingleDelete(periods[i]->family, key);  // a message is written once
    commit.touched_keys.insert("m" + key);
    --commit.n_messages_change[periods[i]->name];
    if (taken[i].ending.outcome != Outcome::completed) {  // gone already, if it was requeued
      (void)commit.batch.Delete(periods[i]->family,
                                record::request_key(taken[i].ending.error_code, taken[i].sequence));
      if (!taken[i].batch_id.empty()) {
        (void)commit.batch.Delete(periods[i]->family,
                                  record::batch_request_key(taken[i].batch_id, taken[i].sequence));
      }
    }
    if (state.has_outbox()) leave_outbox(state, taken[i].sequence, commit);
  }
  // Moved into the answer: what is copied then might find no memory, and they are gone from disk.
  const auto answer = std::make_shared<std::optional<std::vector<Message>>>(std::move(taken));
  commit.steps.push_back({nullptr, [done, answer](const Status& status) {
                            if (!status.ok()) return done(status);
                            if (!answer->has_value()) return done(out_of_memory());
                            done(*std::exchange(*answer, std::nullopt));
                          }});
  return true;
}

}  // namespace parkd::embedded
