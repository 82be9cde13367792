#include <algorithm>
#include <set>
#include <utility>

#include "lib/store/rocksdb/client_verbs.h"
#include "lib/store/rocksdb/job_end.h"
#include "lib/store/rules.h"

namespace parkd::embedded {
namespace {

// A finished job that requeue may make anew, or has.
struct Requeueable {
  record::StoredRequest request;  // spec empty once it was requeued
  record::StoredHistory history;
};

Result<std::optional<Requeueable>> find_requeueable_job(const State& state, JobId id,
                                                        const RequeueRequest& request,
                                                        WallTime now) {
  using Found = std::optional<Requeueable>;
  const Result<record::StoredHistory> history = state.read_history(id);
  if (!history.ok()) {
    if (is_not_found(history.status())) return Found();
    return history.status();
  }
  const HistoryRow& row = history->row;
  Period* period = state.database->find_period(history->period);
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
  const Result<std::string> bytes = state.database->get_large(
      period->family, record::request_key(row.error_code, history->sequence));
  if (!bytes.ok()) {
    if (is_not_found(bytes.status())) return Found();
    return bytes.status();
  }
  PARKD_ASSIGN_OR_RETURN(found.request, record::decode_request(*bytes));
  return Found(std::move(found));
}

// Places of requests that the request may be about, by sequence. Whether they are there, and whose,
// is not looked at. Costs a look at each failed member of the batch, or at `limit` of each code.
Result<std::vector<std::pair<uint64_t, JobId>>> requests_of(const State& state,
                                                            const RequeueRequest& request,
                                                            WallTime now) {
  const bool of_batch = !request.batch_id.empty();
  const std::vector<std::string>& codes = request.error_codes;
  std::set<std::string> prefixes;  // a code may be given twice
  if (of_batch) prefixes.insert(record::batch_request_prefix(request.batch_id));
  for (const std::string& code : of_batch ? std::vector<std::string>() : codes) {
    prefixes.insert(record::request_prefix(code));
  }
  const auto snapshot = state.database->snapshot();  // as fetch
  std::vector<std::pair<uint64_t, JobId>> found;
  for (const std::string& first : prefixes) {
    std::string last = first;
    last.append(9, '\xff');  // behind every sequence
    const rocksdb::Slice first_slice(first);
    const rocksdb::Slice last_slice(last);
    for (const auto& [name, period] : state.database->periods()) {
      if (period.end <= now) continue;
      const auto iterator =
          state.database->iterate_at(*snapshot, period.family, &first_slice, &last_slice);
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

Result<std::vector<Requeueable>> find_requeueable(const State& state, const RequeueRequest& request,
                                                  WallTime now) {
  const auto limit = static_cast<size_t>(std::max(request.limit, 0));
  std::vector<Requeueable> all;
  if (request.ids.empty()) {
    PARKD_ASSIGN_OR_RETURN(const auto places, requests_of(state, request, now));
    for (size_t i = 0; i < places.size() && all.size() < limit; ++i) {
      PARKD_ASSIGN_OR_RETURN(std::optional<Requeueable> one,
                             find_requeueable_job(state, places[i].second, request, now));
      if (one && one->history.requeued_as == 0) all.push_back(std::move(*one));
    }
    return all;
  }
  const std::set<JobId> distinct(request.ids.begin(), request.ids.end());
  for (const JobId id : distinct) {
    PARKD_ASSIGN_OR_RETURN(std::optional<Requeueable> one,
                           find_requeueable_job(state, id, request, now));
    if (one) all.push_back(std::move(*one));
  }
  std::sort(all.begin(), all.end(), [](const Requeueable& a, const Requeueable& b) {
    return a.history.sequence < b.history.sequence;
  });
  if (all.size() > limit) all.erase(all.begin() + static_cast<std::ptrdiff_t>(limit), all.end());
  return all;
}

}  // namespace

bool requeue(State& state, const RequeueRequest& request,
             const Completion<std::vector<RequeuedJob>>& done, Commit& commit) {
  const WallTime now = state.clock.now();
  const Status checked = check_requeue(request);
  if (!checked.ok()) {
    done(checked);
    return true;
  }
  Result<std::vector<Requeueable>> found = find_requeueable(state, request, now);
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
  if (const Status depth = check_depths(state, n_new, commit); !depth.ok()) {
    done(depth);
    return true;
  }
  size_t n_bytes = 0;
  for (const Requeueable& old : *found) {
    const JobSpec& spec = old.request.spec;
    n_bytes += Commit::kJobRowsBytes + spec.body.size() + spec.metadata.size();
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
            state.database->find_period(history.period)->family,
            record::batch_request_key(old.request.spec.batch_id, history.sequence));
      }
      record::StoredJob stored;
      stored.job = new_job(requeued_spec(std::move(old.request.spec)), state.next_id++, now,
                           state.options.store);
      stored.job.requeued_from = old_id;
      history.requeued_as = stored.job.id;
      put_job(state, stored, commit);
      (void)commit.batch.Put(state.database->bodies(), record::id_key(stored.job.id),
                             stored.job.spec.body);
      (void)commit.batch.Put(state.database->history(), record::id_key(old_id),
                             record::encode(history));
      (void)commit.batch.Delete(state.database->find_period(history.period)->family,
                                record::request_key(history.row.error_code, history.sequence));
      commit.touched_jobs.insert(old_id);
      commit.wakeups.models.insert(stored.job.spec.model);
      stored.job.spec.body = {};
      fresh.push_back(std::move(stored));
    }
    answers.push_back({old_id, history.requeued_as, history.mailbox_key, existed});
  }
  if (!fresh.empty()) {
    (void)commit.batch.Put(state.database->meta(), meta_key::kNextId,
                           record::encode_count(state.next_id));
    commit.has_submit = true;
  }
  commit.steps.push_back({[&state, fresh = std::move(fresh)] {
                            const WallTime then = state.clock.now();
                            for (const record::StoredJob& stored : fresh) {
                              state.index.add(stored.job, then);
                            }
                          },
                          [done, answers = std::move(answers)](const Status& status) {
                            succeed_with(done, answers, status);
                          }});
  return true;
}

}  // namespace parkd::embedded
