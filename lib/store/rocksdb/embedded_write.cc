// Verbs that write: each decides on committed state, adds its rows to the commit's WriteBatch, and
// leaves what must happen in RAM as a step for after the sync.
#include <algorithm>
#include <set>
#include <utility>

#include "lib/base/kill_point.h"
#include "lib/base/log.h"
#include "lib/store/batch_rules.h"
#include "lib/store/rocksdb/embedded_store.h"
#include "lib/store/rules.h"

namespace parkd {
namespace {

constexpr size_t kPurgeEndingsMax = 256;  // jobs ended by one purge()
constexpr int kPurgeRowsMax = 1000;       // rows dropped by one purge()

template <class T>
void succeed_with(const Completion<T>& done, T answer, const Status& status) {
  if (status.ok()) {
    done(std::move(answer));
  } else {
    done(status);
  }
}

}  // namespace

// --- submit

Status EmbeddedStore::check_depths(const DepthAccounts& n_new, const Commit& commit) const {
  std::map<std::string, int64_t> queued_beside;  // by model: of this commit, and of this call
  for (const auto& [key, n] : n_new) {
    const auto& [model, tenant] = key;
    const auto [beside, is_first] = queued_beside.try_emplace(model, 0);
    auto other = commit.n_new.lower_bound({model, ""});
    for (; is_first && other != commit.n_new.end() && other->first.first == model; ++other) {
      beside->second += other->second.queued;
    }
    Depth depth = index_.depth(model, tenant);
    depth.queued += beside->second;
    if (const auto own = commit.n_new.find(key); own != commit.n_new.end()) {
      depth.tenant.queued += own->second.queued;
      depth.tenant.scheduled += own->second.scheduled;
    }
    PARKD_RETURN_IF_ERROR(check_depth(model, tenant, options_.store.limits_of(model), depth, n));
    beside->second += n.queued;
  }
  return {};
}

Result<std::optional<SubmittedJob>> EmbeddedStore::find_repeated(const JobSpec& spec, size_t index,
                                                                 WallTime now) const {
  Result<std::string> bytes = database_->get(
      database_->idempotency(), record::idempotency_key(spec.tenant, spec.idempotency_key));
  if (!bytes.ok()) {
    if (bytes.status().code() == StatusCode::not_found) return std::optional<SubmittedJob>();
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

bool EmbeddedStore::build_submit(std::vector<JobSpec>& specs,
                                 const Completion<std::vector<SubmittedJob>>& done,
                                 Commit& commit) {
  const WallTime now = clock_.now();
  const Status checked = check_submission(specs, options_.store);
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
  JobId next_id = next_id_;
  for (size_t i = 0; i < specs.size(); ++i) {
    const Status late = check_new(specs[i], i, now);
    if (late.ok()) continue;
    // Known under its key, with whatever content: it is not new.
    if (!keys[i].empty()) {
      const Result<std::optional<SubmittedJob>> known = find_repeated(specs[i], i, now);
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
      Result<std::optional<SubmittedJob>> repeated = find_repeated(specs[i], i, now);
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
    if (const auto* batch = find_batch(specs[i].batch_id, specs[i].tenant, commit)) {
      const int64_t n = ++n_members[batch->batch.id];
      const Status taken = check_member(batch->batch, specs[i], i, n, options_.store, now);
      if (!taken.ok()) {
        done(taken);
        return true;
      }
      become_member(specs[i], batch->batch);
    }
    record::StoredJob stored;
    stored.job = new_job(std::move(specs[i]), next_id++, now, options_.store);
    stored.fingerprint = fingerprint;
    const JobSpec& taken = stored.job.spec;
    n_new[{taken.model, taken.tenant}].add(is_scheduled(stored.job), 1);
    answers.push_back({stored.job.id, stored.job.spec.mailbox_key, false, false});
    accepted.push_back(std::move(stored));
  }
  const Status depth = check_depths(n_new, commit);
  if (!depth.ok() || accepted.empty()) {
    succeed_with(done, std::move(answers), depth);
    return true;
  }

  constexpr size_t kRecordBytes = size_t{2} << 10;  // of a job, beside what it brings
  size_t n_bytes = 0;
  for (const record::StoredJob& stored : accepted) {
    n_bytes += kRecordBytes + stored.job.spec.body.size() + stored.job.spec.metadata.size();
  }
  commit.begin(n_bytes);
  next_id_ = next_id;
  (void)commit.batch.Put(database_->meta(), meta_key::kNextId, record::encode_count(next_id_));
  for (record::StoredJob& stored : accepted) {
    JobSpec& spec = stored.job.spec;
    put_job(stored, commit);
    (void)commit.batch.Put(database_->bodies(), record::id_key(stored.job.id), spec.body);
    spec.body = {};
    if (!spec.idempotency_key.empty()) {
      const std::string key = record::idempotency_key(spec.tenant, spec.idempotency_key);
      const record::StoredKey value{stored.job.id, stored.fingerprint, spec.mailbox_key, {}};
      (void)commit.batch.Put(database_->idempotency(), key, record::encode(value));
      commit.touched_keys.insert("i" + key);
    }
    if (stored.job.state == JobState::queued) commit.wakeups.models.insert(spec.model);
  }
  for (const auto& [key, n] : n_new) {
    commit.n_new[key].queued += n.queued;
    commit.n_new[key].scheduled += n.scheduled;
  }
  for (const auto& [id, n] : n_members) edit_batch(id, commit).total += n;
  commit.has_submit = true;
  commit.steps.push_back({[this, accepted = std::move(accepted)] {
                            const WallTime then = clock_.now();
                            for (const record::StoredJob& stored : accepted) {
                              index_.add(stored.job, then, is_member(stored.job.spec));
                            }
                          },
                          [done, answers = std::move(answers)](const Status& status) {
                            succeed_with(done, answers, status);
                          }});
  return true;
}

void EmbeddedStore::put_job(const record::StoredJob& stored, Commit& commit) {
  (void)commit.batch.Put(database_->jobs(), record::id_key(stored.job.id), record::encode(stored));
}

// --- the end of a job

bool EmbeddedStore::holds_lease(JobId id, RunLease lease) const {
  const auto claim = claims_.find(id);
  return claim != claims_.end() && claim->second.lease == lease;
}

Result<EmbeddedStore::Ended> EmbeddedStore::prepare_end(JobId id, RunLease lease, Ending ending,
                                                        WallTime now) {
  Result<record::StoredJob> stored = read_job(id);
  if (!stored.ok()) {
    log_error("store.job_unreadable", {{"id", id}, {"error", stored.status().to_string()}});
    return stored.status().code() == StatusCode::not_found
               ? corrupt("job " + std::to_string(id) + " has lost its record")
               : stored.status();
  }
  Ended ended;
  ended.stored = std::move(stored).value();
  const Job& job = ended.stored.job;
  ending = settled_ending(std::move(ending), job.spec.deadline, now);
  ended.message = message_of(job, lease, std::move(ending), 0, now);
  Result<Period*> period = database_->period_for(ended.message.expires_at, now);
  if (!period.ok()) {
    fail(period.status());
    return failure_;
  }
  ended.period = *period;
  if (ended.message.ending.outcome != Outcome::completed) {
    PARKD_ASSIGN_OR_RETURN(ended.body,
                           database_->get_large(database_->bodies(), record::id_key(id)));
  }
  return ended;
}

void EmbeddedStore::write_end(const Ended& ended, WallTime now, Commit& commit) {
  const JobSpec& spec = ended.stored.job.spec;
  const std::string id = record::id_key(ended.stored.job.id);
  rocksdb::WriteBatch& batch = commit.batch;
  Message message = ended.message;
  commit.begin(message.ending.body.size() + ended.body.size());
  message.sequence = ++last_sequence_;

  (void)batch.Delete(database_->jobs(), id);  // not SingleDelete: a release may have rewritten it
  (void)batch.SingleDelete(database_->bodies(), id);  // written exactly once, by its submit
  (void)batch.Put(ended.period->family,
                  record::message_key(message.tenant, message.mailbox_key, message.sequence),
                  record::encode(message));
  if (has_outbox()) {
    const record::StoredUndelivered undelivered{
        ended.period->name,
        record::message_key(message.tenant, message.mailbox_key, message.sequence)};
    (void)batch.Put(database_->outbox(), record::id_key(message.sequence),
                    record::encode(undelivered));
  }

  if (message.ending.outcome != Outcome::completed) {
    record::StoredRequest request{message.job_id, message.sequence, message.expires_at, spec};
    request.spec.body = ended.body;
    (void)batch.Put(ended.period->family,
                    record::request_key(message.ending.error_code, message.sequence),
                    record::encode(request));
    if (!spec.batch_id.empty()) {
      (void)batch.Put(
          ended.period->family, record::batch_request_key(spec.batch_id, message.sequence),
          record::encode(record::BatchRequest{message.job_id, message.ending.error_code}));
    }
  }
  if (const auto* stored = find_batch(spec.batch_id, spec.tenant, commit)) {
    count_end(edit_batch(stored->batch.id, commit), message.ending, now);
  }

  record::StoredHistory history;
  history.row = history_of(message);
  history.lease = message.lease;
  history.sequence = message.sequence;
  history.mailbox_key = message.mailbox_key;
  history.message_expires_at = message.expires_at;
  history.period = ended.period->name;
  history.expires_at = history_expires_at(message, options_.store);
  (void)batch.Put(database_->history(), id, record::encode(history));
  (void)batch.Put(database_->due(),
                  record::due_key({history.expires_at, record::DueKind::history, id}), "");

  if (!spec.idempotency_key.empty()) {
    const std::string key = record::idempotency_key(spec.tenant, spec.idempotency_key);
    const WallTime expires_at = idempotency_expires_at(ended.stored.job, now, options_.store);
    const record::StoredKey value{message.job_id, ended.stored.fingerprint, spec.mailbox_key,
                                  expires_at};
    (void)batch.Put(database_->idempotency(), key, record::encode(value));
    (void)batch.Put(database_->due(),
                    record::due_key({expires_at, record::DueKind::idempotency, key}), "");
    commit.touched_keys.insert("i" + key);
  }
  (void)batch.Put(database_->meta(), meta_key::kLastSequence, record::encode_count(last_sequence_));
  ++commit.n_messages_change[ended.period->name];
  commit.touched_jobs.insert(message.job_id);
  commit.wakeups.messages.emplace_back(message.tenant, message.mailbox_key);
}

void EmbeddedStore::apply_end(JobId id) {
  index_.remove(id);
  claims_.erase(id);
}

Result<FinishAnswer> EmbeddedStore::answer_without_claim(const FinishItem& item) const {
  if (index_.contains(item.id) || item.lease == RunLease{}) return FinishAnswer::lease_lost;
  const Result<record::StoredHistory> history = read_history(item.id);
  if (history.ok()) {
    if (history->lease != item.lease) return FinishAnswer::lease_lost;
    return finish_answer(FinishAnswer::already_by_this_lease, item.ending.outcome,
                         history->row.outcome);
  }
  if (history.status().code() == StatusCode::not_found) return FinishAnswer::lease_lost;
  return history.status();
}

bool EmbeddedStore::build_finish(std::vector<FinishItem>& items,
                                 const Completion<std::vector<FinishAnswer>>& done,
                                 Commit& commit) {
  const WallTime now = clock_.now();
  for (const FinishItem& item : items) {
    if (commit.touched_jobs.contains(item.id)) return false;
  }
  std::vector<FinishAnswer> answers;
  std::vector<Ended> all_ended;
  std::map<JobId, std::pair<RunLease, Outcome>> ended_here;  // and what was written
  for (FinishItem& item : items) {
    const Outcome given = item.ending.outcome;
    const auto twin = ended_here.find(item.id);
    if (twin != ended_here.end()) {
      const auto& [lease, written] = twin->second;
      answers.push_back(lease == item.lease
                            ? finish_answer(FinishAnswer::already_by_this_lease, given, written)
                            : FinishAnswer::lease_lost);
      continue;
    }
    if (!holds_lease(item.id, item.lease)) {
      const Result<FinishAnswer> answer = answer_without_claim(item);
      if (!answer.ok()) {
        done(answer.status());
        return true;
      }
      answers.push_back(*answer);
      continue;
    }
    Result<Ended> ended = prepare_end(item.id, item.lease, std::move(item.ending), now);
    if (!ended.ok()) {
      done(ended.status());
      return true;
    }
    const Outcome written = ended->message.ending.outcome;
    answers.push_back(finish_answer(FinishAnswer::finished_now, given, written));
    all_ended.push_back(std::move(ended).value());
    ended_here[item.id] = {item.lease, written};
  }

  for (const Ended& ended : all_ended) write_end(ended, now, commit);
  commit.has_finish = true;
  commit.steps.push_back({[this, ended_here] {
                            for (const auto& [id, end] : ended_here) apply_end(id);
                          },
                          [done, answers = std::move(answers)](const Status& status) {
                            succeed_with(done, answers, status);
                          }});
  return true;
}

// --- release

bool EmbeddedStore::build_release(const std::vector<ReleaseItem>& items,
                                  const Completion<std::vector<ReleaseAnswer>>& done,
                                  Commit& commit) {
  const WallTime now = clock_.now();
  for (const ReleaseItem& item : items) {
    if (commit.touched_jobs.contains(item.id)) return false;
  }
  std::vector<ReleaseAnswer> answers;
  std::vector<Ended> all_ended;              // cancelled while claimed
  std::vector<record::StoredJob> rewritten;  // attempts or run_at changed
  std::map<JobId, ReleaseItem> released;
  for (const ReleaseItem& item : items) {
    const bool ours = holds_lease(item.id, item.lease) && !released.contains(item.id);
    answers.push_back(ours ? ReleaseAnswer::released : ReleaseAnswer::lease_lost);
    if (!ours) continue;
    released[item.id] = item;
    const bool is_cancelled = claims_.at(item.id).cancel_requested;
    if (!is_cancelled && !item.spend_attempt && !item.run_at) continue;  // nothing on disk changes
    Result<Ended> ended = prepare_end(item.id, {}, cancelled_ending(), now);
    if (!ended.ok()) {
      done(ended.status());
      return true;
    }
    if (item.spend_attempt) {
      clear_poison_notes(ended->stored.job);
      ++ended->stored.job.attempts;
      ++ended->message.attempts;
    }
    if (item.run_at) ended->stored.job.spec.run_at = item.run_at;
    if (is_cancelled) {
      all_ended.push_back(std::move(ended).value());
    } else {
      rewritten.push_back(std::move(ended->stored));
    }
  }

  commit.begin(0);
  commit.unclaimed.reserve(commit.unclaimed.size() + released.size());
  for (const auto& [id, item] : released) commit.unclaimed.push_back(id);
  std::set<JobId> ended_ids;
  for (const Ended& ended : all_ended) {
    write_end(ended, now, commit);
    ended_ids.insert(ended.message.job_id);
  }
  for (const record::StoredJob& stored : rewritten) put_job(stored, commit);
  for (const auto& [id, item] : released) commit.touched_jobs.insert(id);
  commit.has_release = true;
  commit.steps.push_back(
      {[this, released = std::move(released), ended_ids = std::move(ended_ids), &commit] {
         const WallTime then = clock_.now();
         for (const auto& [id, item] : released) {
           if (!item.spend_attempt) index_.uncharge(id);
           if (ended_ids.contains(id)) {
             apply_end(id);
             continue;
           }
           index_.release(id, item.run_at, then);
           if (index_.state_of(id) == JobState::queued) {
             commit.wakeups.models.insert(index_.model_of(id));
           }
         }
       },
       [done, answers = std::move(answers)](const Status& status) {
         succeed_with(done, answers, status);
       }});
  return true;
}

// --- deaths

bool EmbeddedStore::build_note_deaths(const DeathReport& report,
                                      const Completion<DeathsAnswer>& done, Commit& commit) {
  const WallTime now = clock_.now();
  std::map<JobId, Ended> named;  // live jobs of the report, and how they would end
  for (const DeathNote& note : report.present) {
    if (commit.touched_jobs.contains(note.id)) return false;
    if (!index_.contains(note.id) || named.contains(note.id)) continue;
    Result<Ended> ended = prepare_end(note.id, {}, quarantined_ending(), now);
    if (!ended.ok()) {
      done(ended.status());
      return true;
    }
    named.emplace(note.id, std::move(ended).value());
  }
  std::vector<Job*> live;
  for (auto& [id, ended] : named) live.push_back(&ended.stored.job);
  const DeathVerdict verdict = judge_death(report, live);
  commit.begin(0);
  for (const JobId id : verdict.changed) {
    put_job(named.at(id).stored, commit);
    commit.touched_jobs.insert(id);
  }
  for (const JobId id : verdict.quarantined) {
    if (!claims_.contains(id)) index_.hold(id);
    write_end(named.at(id), now, commit);
  }
  const DeathsAnswer answer{static_cast<int64_t>(verdict.suspects.size()),
                            static_cast<int64_t>(verdict.quarantined.size())};
  commit.steps.push_back(
      {[this, ids = verdict.quarantined] {
         for (const JobId id : ids) apply_end(id);
       },
       [done, answer](const Status& status) { succeed_with(done, answer, status); }});
  return true;
}

// --- cancel

bool EmbeddedStore::build_cancel(JobId id, const std::string& tenant,
                                 const Completion<CancelAnswer>& done, Commit& commit) {
  if (commit.touched_jobs.contains(id)) return false;
  const WallTime now = clock_.now();
  if (!index_.contains(id)) {
    const Result<JobRecord> past = read_past(id, tenant, now);
    if (!past.ok()) {
      done(past.status());
    } else {
      done(past->index() == 0 ? CancelAnswer::not_found : CancelAnswer::already_finished);
    }
    return true;
  }
  if (!tenant.empty() && index_.tenant_of(id) != tenant) {
    done(CancelAnswer::not_found);
    return true;
  }
  Result<Ended> ended = prepare_end(id, {}, cancelled_ending(), now);
  if (!ended.ok()) {
    done(ended.status());
    return true;
  }

  commit.begin(0);
  CancelAnswer answer = CancelAnswer::cancelled;
  std::function<void()> apply;
  const auto claim = claims_.find(id);
  if (claim != claims_.end()) {
    answer = CancelAnswer::cancel_requested;
    ended->stored.cancel_requested = true;  // survives a restart: the job must not run again
    put_job(ended->stored, commit);
    commit.touched_jobs.insert(id);
    commit.wakeups.cancels.emplace_back(id, claim->second.lease);
    apply = [this, id] { claims_.at(id).cancel_requested = true; };
  } else {
    index_.hold(id);
    write_end(*ended, now, commit);
    apply = [this, id] { apply_end(id); };
  }
  commit.has_cancel = true;
  commit.steps.push_back({std::move(apply), [done, answer](const Status& status) {
                            succeed_with(done, answer, status);
                          }});
  return true;
}

// --- take

bool EmbeddedStore::build_take(const std::string& tenant, const std::string& mailbox_key,
                               const std::vector<uint64_t>& sequences,
                               const Completion<std::vector<Message>>& done, Commit& commit) {
  const WallTime now = clock_.now();
  const std::set<uint64_t> wanted(sequences.begin(), sequences.end());
  for (const uint64_t sequence : wanted) {
    const std::string key = "m" + record::message_key(tenant, mailbox_key, sequence);
    if (commit.touched_keys.contains(key)) return false;
  }
  std::vector<Message> taken;
  std::vector<Period*> periods;
  for (const uint64_t sequence : wanted) {
    const std::string key = record::message_key(tenant, mailbox_key, sequence);
    for (auto& [name, period] : database_->periods()) {
      if (period.end <= now) continue;
      const Result<std::string> bytes = database_->get_large(period.family, key);
      if (!bytes.ok() && bytes.status().code() == StatusCode::not_found) continue;
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
    if (has_outbox()) leave_outbox(taken[i].sequence, commit);
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

// --- purge

bool EmbeddedStore::build_purge(const Completion<PurgeAnswer>& done, Commit& commit) {
  commit.begin(0);
  const WallTime now = clock_.now();
  const WallTime drop_before = drop_clock_->now();  // what is deleted cannot be had back
  PurgeAnswer answer;
  std::vector<JobId> ended_ids;
  for (const JobId id : index_.overdue(now, kPurgeEndingsMax)) {
    if (commit.touched_jobs.contains(id)) continue;
    Result<Ended> ended = prepare_end(id, {}, deadline_missed_ending(), now);
    // One job that cannot be read does not keep the others past their deadlines.
    if (!ended.ok()) continue;  // logged
    index_.hold(id);
    write_end(*ended, now, commit);
    ended_ids.push_back(id);
  }
  answer.deadlines_missed = static_cast<int64_t>(ended_ids.size());
  PARKD_KILL_POINT("purge.mid");  // and once more on the sync thread, between write and drop

  sweep_batches(now, drop_before, commit);
  const Status swept = sweep_due(drop_before, answer, commit);
  if (!swept.ok()) log_error("store.sweep_failed", {{"error", swept.to_string()}});

  for (const auto& [name, period] : database_->periods()) {
    if (period.end > drop_before) continue;
    commit.expired.push_back(period);
    (void)commit.batch.Delete(database_->meta(), period_count_key(name));
    answer.messages += period.n_messages;
  }
  if (clock_.boot_now() >= mark_due_) put_time_mark(commit.batch);
  commit.has_purge = true;
  commit.steps.push_back(
      {[this, ended_ids = std::move(ended_ids)] {
         for (const JobId id : ended_ids) apply_end(id);
       },
       [done, answer](const Status& status) { succeed_with(done, answer, status); }});
  return true;
}

Status EmbeddedStore::sweep_due(WallTime now, PurgeAnswer& answer, Commit& commit) {
  const std::string last = record::due_bound(now);
  const std::string first = due_low_;
  const rocksdb::Slice first_slice(first);
  const rocksdb::Slice last_slice(last);
  const auto iterator = database_->iterate(database_->due(), &first_slice, &last_slice);
  for (int n = 0; iterator->Valid() && n < kPurgeRowsMax; iterator->Next(), ++n) {
    const std::string key = iterator->key().ToString();
    Result<record::Due> due = record::decode_due_key(key);
    if (due.ok()) {
      const std::string touched = "i" + due->target;
      if (due->kind == record::DueKind::idempotency && commit.touched_keys.contains(touched)) {
        return {};  // a submit of this commit uses the key again: go on with the next purge
      }
      PARKD_RETURN_IF_ERROR(sweep_one(*due, answer, commit));
    }
    (void)commit.batch.SingleDelete(database_->due(), key);  // written once, with its end
    due_low_ = key;
  }
  if (!iterator->status().ok()) return corrupt(iterator->status().ToString());
  return {};
}

Status EmbeddedStore::sweep_one(const record::Due& due, PurgeAnswer& answer, Commit& commit) {
  if (due.kind == record::DueKind::history) {
    (void)commit.batch.Delete(database_->history(), due.target);
    ++answer.history_rows;
    return {};
  }
  const Result<std::string> bytes = database_->get(database_->idempotency(), due.target);
  if (!bytes.ok()) {
    return bytes.status().code() == StatusCode::not_found ? Status() : bytes.status();
  }
  PARKD_ASSIGN_OR_RETURN(const record::StoredKey key, record::decode_key(*bytes));
  if (key.expires_at != due.at) return {};  // expired and used again since: another job's key
  (void)commit.batch.Delete(database_->idempotency(), due.target);
  commit.touched_keys.insert("i" + due.target);
  return {};
}

}  // namespace parkd
