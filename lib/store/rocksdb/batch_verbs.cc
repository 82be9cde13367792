#include "lib/store/rocksdb/batch_verbs.h"

#include <algorithm>
#include <functional>
#include <utility>

#include "lib/store/batch_rules.h"
#include "lib/store/rocksdb/job_end.h"
#include "lib/store/rules.h"

namespace parkd::embedded {
namespace {

constexpr size_t kForgottenMax = 1000;  // batches one purge() forgets

const record::StoredBatch* find_batch_by_key(const State& state, const BatchSpec& spec,
                                             const Commit& commit) {
  if (spec.idempotency_key.empty()) return nullptr;
  const auto is_it = [&](const auto& entry) {
    const BatchSpec& known = entry.second.batch.spec;
    return known.tenant == spec.tenant && known.idempotency_key == spec.idempotency_key &&
           !commit.forgotten_batches.contains(entry.first);
  };
  const auto fresh = std::find_if(commit.batches.begin(), commit.batches.end(), is_it);
  if (fresh != commit.batches.end()) return &fresh->second;
  const auto known = std::find_if(state.batches.begin(), state.batches.end(), is_it);
  return known != state.batches.end() ? &known->second : nullptr;
}

bool change_file_batch(State& state, const std::string& id, const Completion<Batch>& done,
                       Commit& commit, const std::function<void(Batch&)>& change) {
  const record::StoredBatch* found = state.find_batch(id, "", commit);
  if (found == nullptr || !found->batch.spec.file) {
    done(found == nullptr ? no_such_batch(id) : not_of_a_file(id));
    return true;
  }
  commit.begin(0);
  Batch& batch = state.edit_batch(id, commit);
  change(batch);
  commit.steps.push_back(
      {nullptr, [done, batch](const Status& status) { succeed_with(done, batch, status); }});
  return true;
}

}  // namespace

bool open_batch(State& state, const BatchSpec& spec, const Completion<OpenedBatch>& done,
                Commit& commit) {
  const WallTime now = state.clock.now();
  OpenedBatch opened;
  if (const record::StoredBatch* known = find_batch_by_key(state, spec, commit)) {
    if (!has_content(known->fingerprint, spec)) {
      done(batch_key_has_other_content(spec.idempotency_key, known->batch.id));
      return true;
    }
    opened = {known->batch, true};
  } else {
    Status checked = check_batch(spec, now);
    if (checked.ok()) {
      checked = state.batch_accounts.check_open(spec, commit.opened, state.options.store);
    }
    if (!checked.ok()) {
      done(checked);
      return true;
    }
    opened = {new_batch(spec, now, state.options.store), false};
    const ContentFingerprint fingerprint = content_fingerprint(spec);
    commit.begin(0);
    commit.batches[opened.batch.id] = {opened.batch, fingerprint};
    commit.opened.add(opened.batch);
  }
  // A known one, too, is answered after the sync: it may be of this very commit.
  commit.steps.push_back(
      {nullptr, [done, opened](const Status& status) { succeed_with(done, opened, status); }});
  return true;
}

bool seal_batch(State& state, const std::string& id, const std::string& tenant,
                const Completion<Batch>& done, Commit& commit) {
  if (state.find_batch(id, tenant, commit) == nullptr) {
    done(no_such_batch(id));
    return true;
  }
  commit.begin(0);
  Batch& batch = state.edit_batch(id, commit);
  seal(batch, state.clock.now());
  commit.steps.push_back(
      {nullptr, [done, batch](const Status& status) { succeed_with(done, batch, status); }});
  return true;
}

bool cancel_batch(State& state, const std::string& id, const std::string& tenant,
                  const Completion<Batch>& done, Commit& commit) {
  const record::StoredBatch* found = state.find_batch(id, tenant, commit);
  if (found == nullptr) {
    done(no_such_batch(id));
    return true;
  }
  const WallTime now = state.clock.now();
  // Members whose submit is still in this commit are not in the index yet: they come with the next.
  if (found->batch.total > 0 && commit.batches.contains(id)) return false;
  const std::vector<JobId> members = state.index.members(id, found->batch.spec.tenant);
  std::vector<JobId> waiting;
  std::vector<record::StoredJob> asked;  // claimed ones, whose workers are told
  Status failed;                         // of the first that could not be read
  for (const JobId member : members) {
    if (commit.touched_jobs.contains(member)) return false;
    const auto claim = state.claims.find(member);
    if (claim == state.claims.end()) {
      waiting.push_back(member);
    } else if (!claim->second.cancel_requested) {
      Result<record::StoredJob> stored = state.read_job(member);
      if (stored.ok()) {
        asked.push_back(std::move(stored).value());
      } else if (failed.ok()) {
        failed = stored.status();  // claim() has said so, and no worker has it
      }
    }
  }

  commit.begin(0);
  if (!found->batch.finished_at) {
    Batch& batch = state.edit_batch(id, commit);
    if (!batch.cancel_at) batch.cancel_at = now;
    seal(batch, now);
  }
  std::vector<JobId> asked_ids;
  for (record::StoredJob& stored : asked) {
    const JobId member = stored.job.id;
    stored.cancel_requested = true;
    put_job(state, stored, commit);
    commit.touched_jobs.insert(member);
    commit.wakeups.cancels.emplace_back(member, state.claims.at(member).lease);
    asked_ids.push_back(member);
  }
  // From its first commit on the batch is cancelled: none of it is claimed any more, and whoever
  // opens the store again ends what this process did not (load_jobs).
  for (const JobId member : waiting) state.index.hold(member);
  const Portion portion = end_portion(state, waiting, cancelled_ending, now, commit);
  if (failed.ok()) failed = portion.failed;
  const bool is_whole = portion.n_looked_at == waiting.size();
  commit.has_cancel = true;
  std::function<void(const Status&)> answer;
  if (is_whole) {
    answer = [done, failed, batch = state.find_batch(id, "", commit)->batch](const Status& status) {
      succeed_with(done, batch, status.ok() ? failed : status);
    };
  }
  commit.steps.push_back({[&state, ended = portion.ended, asked_ids = std::move(asked_ids)] {
                            for (const JobId member : ended) apply_end(state, member);
                            for (const JobId member : asked_ids) {
                              state.claims.at(member).cancel_requested = true;
                            }
                          },
                          std::move(answer)});
  return is_whole;
}

bool advance_batch(State& state, const std::string& id, const FileProgress& progress,
                   const Completion<Batch>& done, Commit& commit) {
  return change_file_batch(state, id, done, commit,
                           [&](Batch& batch) { advance(batch, progress, state.clock.now()); });
}

bool note_webhook(State& state, const std::string& id, const WebhookAttempt& attempt,
                  const Completion<Batch>& done, Commit& commit) {
  return change_file_batch(state, id, done, commit,
                           [&](Batch& batch) { note_attempt(batch, attempt, state.clock.now()); });
}

void sweep_batches(State& state, WallTime now, WallTime drop_before, Commit& commit) {
  std::vector<std::string> overdue;
  for (const auto& [id, committed] : state.batches) {
    const record::StoredBatch* stored = state.find_batch(id, "", commit);
    if (stored == nullptr) continue;
    if (!stored->batch.sealed_at && *stored->batch.spec.deadline <= now) overdue.push_back(id);
    const auto expires_at = batch_expires_at(stored->batch, state.options.store);
    if (expires_at && *expires_at <= drop_before &&
        commit.forgotten_batches.size() < kForgottenMax && !commit.batches.contains(id)) {
      commit.forgotten_batches.insert(id);
    }
  }
  for (const std::string& id : overdue) seal(state.edit_batch(id, commit), now);
}

Result<Batch> get_batch(const State& state, const std::string& id, const std::string& tenant) {
  if (!state.can_read()) return state.failure.status();
  const auto found = state.batches.find(id);
  if (found == state.batches.end() || !may_act(tenant, found->second.batch.spec.tenant)) {
    return no_such_batch(id);
  }
  Batch batch = found->second.batch;
  batch.live.emplace();
  for (const JobId member : state.index.members(id, batch.spec.tenant)) {
    const JobState is = state.index.state_of(member);
    if (is == JobState::scheduled) ++batch.live->scheduled;
    if (is == JobState::queued) ++batch.live->queued;
    if (is == JobState::claimed) ++batch.live->claimed;
  }
  return batch;
}

Result<std::vector<Batch>> list_batches(const State& state, const BatchFilter& filter) {
  if (!state.can_read()) return state.failure.status();
  const auto after = state.batches.find(filter.after);
  if (!filter.after.empty() &&
      (after == state.batches.end() ||
       !may_act(filter.tenant.value_or(""), after->second.batch.spec.tenant))) {
    return no_batch_to_list_after(filter.after);
  }
  std::vector<Batch> found;
  for (const auto& [id, stored] : state.batches) {
    if (!is_listed(stored.batch, filter)) continue;
    if (filter.after.empty() || is_newer(after->second.batch, stored.batch)) {
      found.push_back(stored.batch);
    }
  }
  std::sort(found.begin(), found.end(), is_newer);
  const auto limit = static_cast<size_t>(std::max(filter.limit, 0));
  if (found.size() > limit) found.resize(limit);
  return found;
}

Result<std::optional<Batch>> next_batch_work(const State& state, const BatchWorkRequest& request) {
  if (!state.can_read()) return state.failure.status();
  const Batch* oldest = nullptr;
  for (const auto& [id, stored] : state.batches) {
    if (!is_wanted(stored.batch, request)) continue;
    if (oldest == nullptr || is_older(stored.batch, *oldest)) oldest = &stored.batch;
  }
  return oldest == nullptr ? std::nullopt : std::optional(*oldest);
}

Result<std::optional<Batch>> next_webhook(const State& state, const WebhookRequest& request) {
  if (!state.can_read()) return state.failure.status();
  const WallTime now = state.clock.now();
  const Batch* first = nullptr;
  for (const auto& [id, stored] : state.batches) {
    if (!is_due(stored.batch, request, now)) continue;
    if (first == nullptr || is_due_before(stored.batch, *first)) first = &stored.batch;
  }
  return first == nullptr ? std::nullopt : std::optional(*first);
}

}  // namespace parkd::embedded
