#include "lib/store/rocksdb/job_end.h"

#include <utility>
#include <vector>

#include "lib/base/log.h"
#include "lib/store/batch_rules.h"
#include "lib/store/rules.h"

namespace parkd::embedded {

namespace {

// What a live job's row must give; said where operators look.
template <class T>
Status unreadable(const State& state, JobId id, const char* what, const Result<T>& read) {
  const Status why = is_not_found(read.status())
                         ? corrupt("job " + std::to_string(id) + " has lost its " + what)
                         : read.status();
  log_error("store.job_unreadable", {{"id", id}, {"error", why.to_string()}});
  state.database->note_damage("job " + std::to_string(id) + ": " + why.message());
  return why;
}

}  // namespace

Result<Ended> prepare_end(State& state, JobId id, RunLease lease, Ending ending, WallTime now) {
  Result<record::StoredJob> stored = state.read_job(id);
  if (!stored.ok()) return unreadable(state, id, "record", stored);
  Ended ended;
  ended.stored = std::move(stored).value();
  const Job& job = ended.stored.job;
  ending = settled_ending(std::move(ending), job.spec.deadline, now);
  ended.message = message_of(job, lease, std::move(ending), 0, now);
  Result<Period*> period = state.database->period_for(ended.message.expires_at, now);
  if (!period.ok()) {
    state.failure.fail(period.status());
    return state.failure.status();
  }
  ended.period = *period;
  if (ended.message.ending.outcome != Outcome::completed) {
    Result<std::string> body =
        state.database->get_large(state.database->bodies(), record::id_key(id));
    if (!body.ok()) return unreadable(state, id, "request", body);
    ended.body = std::move(body).value();
  }
  return ended;
}

void write_end(State& state, const Ended& ended, WallTime now, Commit& commit) {
  const JobSpec& spec = ended.stored.job.spec;
  const std::string id = record::id_key(ended.stored.job.id);
  rocksdb::WriteBatch& batch = commit.batch;
  Message message = ended.message;
  commit.begin(message.ending.body.size() + ended.body.size());
  message.sequence = ++state.last_sequence;

  (void)batch.Delete(state.database->jobs(),
                     id);  // not SingleDelete: a release may have rewritten it
  (void)batch.SingleDelete(state.database->bodies(), id);  // written exactly once, by its submit
  (void)batch.Put(ended.period->family,
                  record::message_key(message.tenant, message.mailbox_key, message.sequence),
                  record::encode(message));
  if (state.has_outbox()) {
    const record::StoredUndelivered undelivered{
        ended.period->name,
        record::message_key(message.tenant, message.mailbox_key, message.sequence)};
    (void)batch.Put(state.database->outbox(), record::id_key(message.sequence),
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
  if (const auto* stored = state.find_batch(spec.batch_id, spec.tenant, commit)) {
    count_end(state.edit_batch(stored->batch.id, commit), message.ending, now);
  }

  record::StoredHistory history;
  history.row = history_of(message);
  history.lease = message.lease;
  history.sequence = message.sequence;
  history.mailbox_key = message.mailbox_key;
  history.message_expires_at = message.expires_at;
  history.period = ended.period->name;
  history.expires_at = history_expires_at(message, state.options.store);
  (void)batch.Put(state.database->history(), id, record::encode(history));
  (void)batch.Put(state.database->due(),
                  record::due_key({history.expires_at, record::DueKind::history, id}), "");

  if (!spec.idempotency_key.empty()) {
    const std::string key = record::idempotency_key(spec.tenant, spec.idempotency_key);
    const WallTime expires_at = idempotency_expires_at(ended.stored.job, now, state.options.store);
    const record::StoredKey value{message.job_id, ended.stored.fingerprint, spec.mailbox_key,
                                  expires_at};
    (void)batch.Put(state.database->idempotency(), key, record::encode(value));
    (void)batch.Put(state.database->due(),
                    record::due_key({expires_at, record::DueKind::idempotency, key}), "");
    commit.touched_keys.insert("i" + key);
  }
  (void)batch.Put(state.database->meta(), meta_key::kLastSequence,
                  record::encode_count(state.last_sequence));
  ++commit.n_messages_change[ended.period->name];
  commit.touched_jobs.insert(message.job_id);
  commit.wakeups.messages.emplace_back(message.tenant, message.mailbox_key);
}

void apply_end(State& state, JobId id) {
  state.index.remove(id);
  state.claims.erase(id);
}

void put_job(const State& state, const record::StoredJob& stored, Commit& commit) {
  (void)commit.batch.Put(state.database->jobs(), record::id_key(stored.job.id),
                         record::encode(stored));
}

Portion end_portion(State& state, const std::vector<JobId>& ids,
                    const std::function<Ending()>& ending, WallTime now, Commit& commit) {
  Portion portion;
  for (const JobId id : ids) {
    if (portion.ended.size() >= kEndingsMax || commit.is_full()) break;
    ++portion.n_looked_at;
    if (!state.index.contains(id)) continue;  // another verb has ended it meanwhile
    Result<Ended> ended = prepare_end(state, id, {}, ending(), now);
    if (!ended.ok()) {  // logged
      if (ended.status().code() == StatusCode::corrupt) state.index.hold(id);
      if (portion.failed.ok()) portion.failed = ended.status();
      continue;
    }
    state.index.hold(id);
    write_end(state, *ended, now, commit);
    portion.ended.push_back(id);
  }
  return portion;
}

void end_flagged(State& state, Commit& commit) {
  commit.begin(0);
  Portion portion = end_portion(state, state.flagged, cancelled_ending, state.clock.now(), commit);
  const auto first = state.flagged.begin();
  state.flagged.erase(first, first + static_cast<std::ptrdiff_t>(portion.n_looked_at));
  state.must_end_flagged = !state.flagged.empty();
  commit.has_cancel = true;
  commit.steps.push_back({[&state, ended = std::move(portion.ended)] {
                            for (const JobId id : ended) apply_end(state, id);
                          },
                          nullptr});
}

}  // namespace parkd::embedded
