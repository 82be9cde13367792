// Batches and requeue. Batches are few and lie in RAM whole; a commit that touches some carries
// them as they will be, and writes each once.
#include <algorithm>
#include <set>
#include <utility>

#include "lib/store/batch_rules.h"
#include "lib/store/rocksdb/embedded_store.h"
#include "lib/store/rules.h"

namespace parkd {
namespace {

constexpr size_t kForgottenMax = 1000;  // batches one purge() forgets

template <class T>
void succeed_with(const Completion<T>& done, const T& answer, const Status& status) {
  if (status.ok()) {
    done(answer);
  } else {
    done(status);
  }
}

}  // namespace

Status EmbeddedStore::load_batches() {
  batches_.clear();
  batch_accounts_ = {};
  const auto iterator = database_->iterate(database_->batches(), nullptr, nullptr);
  for (; iterator->Valid(); iterator->Next()) {
    PARKD_ASSIGN_OR_RETURN(record::StoredBatch stored,
                           record::decode_batch(iterator->value().ToStringView()));
    batch_accounts_.add(stored.batch);
    std::string id = stored.batch.id;
    batches_.emplace(std::move(id), std::move(stored));
  }
  if (!iterator->status().ok()) return corrupt(iterator->status().ToString());
  return {};
}

// --- batches of the commit being built

const record::StoredBatch* EmbeddedStore::find_batch(const std::string& id,
                                                     const std::string& tenant,
                                                     const Commit& commit) const {
  if (id.empty() || commit.forgotten_batches.contains(id)) return nullptr;
  const auto changed = commit.batches.find(id);
  const record::StoredBatch* found = nullptr;
  if (changed != commit.batches.end()) {
    found = &changed->second;
  } else {
    const auto committed = batches_.find(id);
    if (committed != batches_.end()) found = &committed->second;
  }
  return found != nullptr && may_act(tenant, found->batch.spec.tenant) ? found : nullptr;
}

Batch& EmbeddedStore::edit_batch(const std::string& id, Commit& commit) {
  auto changed = commit.batches.find(id);
  if (changed == commit.batches.end()) changed = commit.batches.emplace(id, batches_.at(id)).first;
  return changed->second.batch;
}

void EmbeddedStore::write_batches(Commit& commit) {
  for (const auto& [id, stored] : commit.batches) {
    (void)commit.batch.Put(database_->batches(), id, record::encode(stored));
  }
  for (const std::string& id : commit.forgotten_batches) {
    (void)commit.batch.Delete(database_->batches(), id);
  }
}

void EmbeddedStore::apply_batches(const Commit& commit) {
  const auto forget = [&](const std::string& id) {
    const auto known = batches_.find(id);
    if (known == batches_.end()) return;
    batch_accounts_.remove(known->second.batch);
    batches_.erase(known);
  };
  for (const auto& [id, stored] : commit.batches) {
    forget(id);
    batch_accounts_.add(stored.batch);
    batches_.emplace(id, stored);
  }
  for (const std::string& id : commit.forgotten_batches) forget(id);
}

bool EmbeddedStore::is_member(const JobSpec& spec) const {
  const auto batch = spec.batch_id.empty() ? batches_.end() : batches_.find(spec.batch_id);
  return batch != batches_.end() && batch->second.batch.spec.tenant == spec.tenant;
}

// --- verbs

const record::StoredBatch* EmbeddedStore::find_batch_by_key(const BatchSpec& spec,
                                                            const Commit& commit) const {
  if (spec.idempotency_key.empty()) return nullptr;
  const auto is_it = [&](const auto& entry) {
    const BatchSpec& known = entry.second.batch.spec;
    return known.tenant == spec.tenant && known.idempotency_key == spec.idempotency_key &&
           !commit.forgotten_batches.contains(entry.first);
  };
  const auto fresh = std::find_if(commit.batches.begin(), commit.batches.end(), is_it);
  if (fresh != commit.batches.end()) return &fresh->second;
  const auto known = std::find_if(batches_.begin(), batches_.end(), is_it);
  return known != batches_.end() ? &known->second : nullptr;
}

bool EmbeddedStore::build_open_batch(const BatchSpec& spec, const Completion<OpenedBatch>& done,
                                     Commit& commit) {
  const WallTime now = clock_.now();
  OpenedBatch opened;
  if (const record::StoredBatch* known = find_batch_by_key(spec, commit)) {
    if (!has_content(known->fingerprint, spec)) {
      done(batch_key_has_other_content(spec.idempotency_key, known->batch.id));
      return true;
    }
    opened = {known->batch, true};
  } else {
    Status checked = check_batch(spec, now);
    if (checked.ok()) {
      checked = batch_accounts_.check_open(spec, commit.opened, options_.store);
    }
    if (!checked.ok()) {
      done(checked);
      return true;
    }
    opened = {new_batch(spec, now, options_.store), false};
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

bool EmbeddedStore::build_seal_batch(const std::string& id, const std::string& tenant,
                                     const Completion<Batch>& done, Commit& commit) {
  if (find_batch(id, tenant, commit) == nullptr) {
    done(no_such_batch(id));
    return true;
  }
  commit.begin(0);
  Batch& batch = edit_batch(id, commit);
  seal(batch, clock_.now());
  commit.steps.push_back(
      {nullptr, [done, batch](const Status& status) { succeed_with(done, batch, status); }});
  return true;
}

bool EmbeddedStore::build_cancel_batch(const std::string& id, const std::string& tenant,
                                       const Completion<Batch>& done, Commit& commit) {
  const record::StoredBatch* found = find_batch(id, tenant, commit);
  if (found == nullptr) {
    done(no_such_batch(id));
    return true;
  }
  const WallTime now = clock_.now();
  // Members whose submit is still in this commit are not in the index yet: they come with the next.
  if (found->batch.total > 0 && commit.batches.contains(id)) return false;
  const std::vector<JobId> members = index_.members(id, found->batch.spec.tenant);
  std::vector<Ended> all_ended;
  for (const JobId member : members) {
    if (commit.touched_jobs.contains(member)) return false;
  }
  for (const JobId member : members) {
    Result<Ended> ended = prepare_end(member, {}, cancelled_ending(), now);
    if (!ended.ok()) {
      done(ended.status());
      return true;
    }
    all_ended.push_back(std::move(ended).value());
  }

  commit.begin(0);
  if (!found->batch.finished_at) {
    Batch& batch = edit_batch(id, commit);
    if (!batch.cancel_at) batch.cancel_at = now;
    seal(batch, now);
  }
  std::vector<JobId> ended_ids;
  std::vector<JobId> asked_ids;
  for (Ended& ended : all_ended) {
    const JobId member = ended.stored.job.id;
    const auto claim = claims_.find(member);
    if (claim != claims_.end()) {
      ended.stored.cancel_requested = true;
      put_job(ended.stored, commit);
      commit.touched_jobs.insert(member);
      commit.wakeups.cancels.emplace_back(member, claim->second.lease);
      asked_ids.push_back(member);
    } else {
      index_.hold(member);
      write_end(ended, now, commit);
      ended_ids.push_back(member);
    }
  }
  commit.has_cancel = true;
  const Batch batch = find_batch(id, "", commit)->batch;
  commit.steps.push_back(
      {[this, ended_ids = std::move(ended_ids), asked_ids = std::move(asked_ids)] {
         for (const JobId member : ended_ids) apply_end(member);
         for (const JobId member : asked_ids) claims_.at(member).cancel_requested = true;
       },
       [done, batch](const Status& status) { succeed_with(done, batch, status); }});
  return true;
}

void EmbeddedStore::sweep_batches(WallTime now, WallTime drop_before, Commit& commit) {
  std::vector<std::string> overdue;
  for (const auto& [id, committed] : batches_) {
    const record::StoredBatch* stored = find_batch(id, "", commit);
    if (stored == nullptr) continue;
    if (!stored->batch.sealed_at && *stored->batch.spec.deadline <= now) overdue.push_back(id);
    const auto expires_at = batch_expires_at(stored->batch, options_.store);
    if (expires_at && *expires_at <= drop_before &&
        commit.forgotten_batches.size() < kForgottenMax && !commit.batches.contains(id)) {
      commit.forgotten_batches.insert(id);
    }
  }
  for (const std::string& id : overdue) seal(edit_batch(id, commit), now);
}

Result<Batch> EmbeddedStore::do_get_batch(const std::string& id, const std::string& tenant) {
  if (!can_read()) return failure_;
  const auto found = batches_.find(id);
  if (found == batches_.end() || !may_act(tenant, found->second.batch.spec.tenant)) {
    return no_such_batch(id);
  }
  Batch batch = found->second.batch;
  batch.live.emplace();
  for (const JobId member : index_.members(id, batch.spec.tenant)) {
    const JobState state = index_.state_of(member);
    if (state == JobState::scheduled) ++batch.live->scheduled;
    if (state == JobState::queued) ++batch.live->queued;
    if (state == JobState::claimed) ++batch.live->claimed;
  }
  return batch;
}

Result<std::vector<Batch>> EmbeddedStore::do_list_batches(const BatchFilter& filter) {
  if (!can_read()) return failure_;
  const auto after = batches_.find(filter.after);
  if (!filter.after.empty() &&
      (after == batches_.end() ||
       !may_act(filter.tenant.value_or(""), after->second.batch.spec.tenant))) {
    return no_batch_to_list_after(filter.after);
  }
  std::vector<Batch> found;
  for (const auto& [id, stored] : batches_) {
    if (filter.tenant && *filter.tenant != stored.batch.spec.tenant) continue;
    if (filter.after.empty() || is_newer(after->second.batch, stored.batch)) {
      found.push_back(stored.batch);
    }
  }
  std::sort(found.begin(), found.end(), is_newer);
  const auto limit = static_cast<size_t>(std::max(filter.limit, 0));
  if (found.size() > limit) found.resize(limit);
  return found;
}

// --- requeue

Result<std::optional<EmbeddedStore::Requeueable>> EmbeddedStore::find_requeueable_job(
    JobId id, const RequeueRequest& request, WallTime now) {
  using Found = std::optional<Requeueable>;
  const Result<record::StoredHistory> history = read_history(id);
  if (!history.ok()) {
    if (history.status().code() == StatusCode::not_found) return Found();
    return history.status();
  }
  const HistoryRow& row = history->row;
  Period* period = database_->find_period(history->period);
  if (row.outcome == Outcome::completed || history->message_expires_at <= now ||
      period == nullptr || !may_act(request.tenant, row.tenant) ||
      (!request.error_codes.empty() &&
       std::find(request.error_codes.begin(), request.error_codes.end(), row.error_code) ==
           request.error_codes.end()) ||
      (!request.model.empty() && request.model != row.model)) {
    return Found();
  }
  Requeueable found;
  found.history = *history;
  if (history->requeued_as != 0) return Found(std::move(found));
  const Result<std::string> bytes =
      database_->get_large(period->family, record::request_key(row.error_code, history->sequence));
  if (!bytes.ok()) {
    if (bytes.status().code() == StatusCode::not_found) return Found();
    return bytes.status();
  }
  PARKD_ASSIGN_OR_RETURN(found.request, record::decode_request(*bytes));
  return Found(std::move(found));
}

// Places of requests that the request may be about, by sequence. Whether they are there, and whose,
// is not looked at. Costs a look at each failed member of the batch, or at `limit` of each code.
Result<std::vector<std::pair<uint64_t, JobId>>> EmbeddedStore::requests_of(
    const RequeueRequest& request, WallTime now) {
  const bool of_batch = !request.batch_id.empty();
  const std::vector<std::string>& codes = request.error_codes;
  std::set<std::string> prefixes;  // a code may be given twice
  if (of_batch) prefixes.insert(record::batch_request_prefix(request.batch_id));
  for (const std::string& code : of_batch ? std::vector<std::string>() : codes) {
    prefixes.insert(record::request_prefix(code));
  }
  const auto snapshot = database_->snapshot();  // as fetch
  std::vector<std::pair<uint64_t, JobId>> found;
  for (const std::string& first : prefixes) {
    std::string last = first;
    last.append(9, '\xff');  // behind every sequence
    const rocksdb::Slice first_slice(first);
    const rocksdb::Slice last_slice(last);
    for (const auto& [name, period] : database_->periods()) {
      if (period.end <= now) continue;
      const auto iterator =
          database_->iterate_at(*snapshot, period.family, &first_slice, &last_slice);
      for (int32_t n = 0; iterator->Valid() && n < request.limit; iterator->Next()) {
        if (of_batch) {
          PARKD_ASSIGN_OR_RETURN(const record::BatchRequest member,
                                 record::decode_batch_request(iterator->value().ToStringView()));
          PARKD_ASSIGN_OR_RETURN(const uint64_t sequence, record::decode_batch_request_sequence(
                                                              iterator->key().ToStringView()));
          if (codes.empty() ||
              std::find(codes.begin(), codes.end(), member.error_code) != codes.end()) {
            found.emplace_back(sequence, member.job_id);
          }
          continue;
        }
        PARKD_ASSIGN_OR_RETURN(const record::StoredRequest stored,
                               record::decode_request(iterator->value().ToStringView()));
        if (stored.message_expires_at <= now || !may_act(request.tenant, stored.spec.tenant) ||
            (!request.model.empty() && request.model != stored.spec.model)) {
          continue;
        }
        found.emplace_back(stored.sequence, stored.job_id);
        ++n;
      }
      if (!iterator->status().ok()) return corrupt(iterator->status().ToString());
    }
  }
  std::sort(found.begin(), found.end());
  return found;
}

Result<std::vector<EmbeddedStore::Requeueable>> EmbeddedStore::find_requeueable(
    const RequeueRequest& request, WallTime now) {
  const auto limit = static_cast<size_t>(std::max(request.limit, 0));
  std::vector<Requeueable> all;
  if (request.ids.empty()) {
    PARKD_ASSIGN_OR_RETURN(const auto places, requests_of(request, now));
    for (size_t i = 0; i < places.size() && all.size() < limit; ++i) {
      PARKD_ASSIGN_OR_RETURN(std::optional<Requeueable> one,
                             find_requeueable_job(places[i].second, request, now));
      if (one && one->history.requeued_as == 0) all.push_back(std::move(*one));
    }
    return all;
  }
  const std::set<JobId> distinct(request.ids.begin(), request.ids.end());
  for (const JobId id : distinct) {
    PARKD_ASSIGN_OR_RETURN(std::optional<Requeueable> one, find_requeueable_job(id, request, now));
    if (one) all.push_back(std::move(*one));
  }
  std::sort(all.begin(), all.end(), [](const Requeueable& a, const Requeueable& b) {
    return a.history.sequence < b.history.sequence;
  });
  if (all.size() > limit) all.erase(all.begin() + static_cast<std::ptrdiff_t>(limit), all.end());
  return all;
}

bool EmbeddedStore::build_requeue(const RequeueRequest& request,
                                  const Completion<std::vector<RequeuedJob>>& done,
                                  Commit& commit) {
  const WallTime now = clock_.now();
  const Status checked = check_requeue(request);
  if (!checked.ok()) {
    done(checked);
    return true;
  }
  Result<std::vector<Requeueable>> found = find_requeueable(request, now);
  if (!found.ok()) {
    done(found.status());
    return true;
  }
  for (const Requeueable& old : *found) {
    const record::StoredHistory& history = old.history;
    const std::string message =
        "m" + record::message_key(history.row.tenant, history.mailbox_key, history.sequence);
    // Being taken, or requeued, in this very commit.
    if (commit.touched_keys.contains(message)) return false;
    if (commit.touched_jobs.contains(history.row.job_id)) return false;
  }

  DepthAccounts n_new;
  for (const Requeueable& old : *found) {
    if (old.history.requeued_as != 0) continue;
    ++n_new[{old.request.spec.model, old.request.spec.tenant}].queued;
  }
  if (const Status depth = check_depths(n_new, commit); !depth.ok()) {
    done(depth);
    return true;
  }
  size_t n_bytes = 0;
  for (const Requeueable& old : *found) {
    n_bytes += Commit::kRowsBytes + old.request.spec.body.size();
  }
  commit.begin(n_bytes);
  for (const auto& [key, n] : n_new) commit.n_new[key].queued += n.queued;

  std::vector<RequeuedJob> answers;
  std::vector<record::StoredJob> fresh;
  for (Requeueable& old : *found) {
    record::StoredHistory& history = old.history;
    const JobId old_id = history.row.job_id;
    const bool existed = history.requeued_as != 0;
    if (!existed) {
      if (!old.request.spec.batch_id.empty()) {
        (void)commit.batch.Delete(
            database_->find_period(history.period)->family,
            record::batch_request_key(old.request.spec.batch_id, history.sequence));
      }
      record::StoredJob stored;
      stored.job =
          new_job(requeued_spec(std::move(old.request.spec)), next_id_++, now, options_.store);
      stored.job.requeued_from = old_id;
      history.requeued_as = stored.job.id;
      put_job(stored, commit);
      (void)commit.batch.Put(database_->bodies(), record::id_key(stored.job.id),
                             stored.job.spec.body);
      (void)commit.batch.Put(database_->history(), record::id_key(old_id), record::encode(history));
      (void)commit.batch.Delete(database_->find_period(history.period)->family,
                                record::request_key(history.row.error_code, history.sequence));
      commit.touched_jobs.insert(old_id);
      commit.wakeups.models.insert(stored.job.spec.model);
      stored.job.spec.body = {};
      fresh.push_back(std::move(stored));
    }
    answers.push_back({old_id, history.requeued_as, history.mailbox_key, existed});
  }
  if (!fresh.empty()) {
    (void)commit.batch.Put(database_->meta(), meta_key::kNextId, record::encode_count(next_id_));
    commit.has_submit = true;
  }
  commit.steps.push_back({[this, fresh = std::move(fresh)] {
                            const WallTime then = clock_.now();
                            for (const record::StoredJob& stored : fresh) {
                              index_.add(stored.job, then);
                            }
                          },
                          [done, answers = std::move(answers)](const Status& status) {
                            succeed_with(done, answers, status);
                          }});
  return true;
}

}  // namespace parkd
