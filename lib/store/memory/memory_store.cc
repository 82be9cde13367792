#include "lib/store/memory/memory_store.h"

#include <algorithm>
#include <iterator>
#include <map>
#include <mutex>
#include <set>
#include <utility>

#include "lib/base/kill_point.h"
#include "lib/store/rules.h"

namespace parkd {
namespace {

constexpr int kPurgeMax = 1000;  // endings, and rows of each kind, one purge() handles

struct Live {
  Job job;
  bool cancel_requested = false;
};

// The fence of a finished job, and its history.
struct Past {
  HistoryRow row;
  RunLease lease;
  WallTime expires_at{};
  uint64_t sequence = 0;  // of its message
  WallTime message_expires_at{};
  JobSpec request;  // what requeue submits
  JobId requeued_as = 0;
};

struct KnownKey {
  JobId id = 0;
  std::string mailbox_key;
  uint64_t fingerprint = 0;
  std::optional<WallTime> expires_at;  // empty while the job lives
};

struct LiveBatch {
  Batch batch;
  uint64_t fingerprint = 0;  // of its spec as it came
};

using TenantKey = std::pair<std::string, std::string>;  // (tenant, batch id or idempotency key)
using Keys = std::map<std::pair<std::string, std::string>, KnownKey>;  // (tenant, key)

// Start-time fair queueing (Goyal, Vin, Cheng 1996) of one model's tenants over need_tokens.
struct Shares {
  int64_t virtual_time = 0;
  std::map<std::string, int64_t> next_tag;  // of each tenant that ever claimed
};

// What is told after the lock is gone.
struct News {
  std::set<std::string> models;
  std::vector<std::pair<std::string, std::string>> messages;
  std::vector<std::pair<JobId, RunLease>> cancels;
};

bool may_act(const std::string& asked_by, const std::string& tenant) {
  return asked_by.empty() || asked_by == tenant;
}

class MemoryStore final : public JobStore {
 public:
  MemoryStore(StoreOptions options, Clock& clock) : options_(std::move(options)), clock_(clock) {}

  void set_observer(StoreObserver observer) override { observer_ = std::move(observer); }

  void submit(std::vector<JobSpec> jobs, Completion<std::vector<SubmittedJob>> done) override {
    run<std::vector<SubmittedJob>>(
        [&](WallTime now, News& news) { return submit_now(std::move(jobs), now, news); }, done);
  }
  void claim(ClaimRequest request, Completion<std::vector<Job>> done) override {
    run<std::vector<Job>>([&](WallTime now, News&) { return claim_now(request, now); }, done);
  }
  void finish(std::vector<FinishItem> items, Completion<std::vector<FinishAnswer>> done) override {
    run<std::vector<FinishAnswer>>(
        [&](WallTime now, News& news) { return finish_now(std::move(items), now, news); }, done);
  }
  void release(std::vector<ReleaseItem> items,
               Completion<std::vector<ReleaseAnswer>> done) override {
    run<std::vector<ReleaseAnswer>>(
        [&](WallTime now, News& news) { return release_now(items, now, news); }, done);
  }
  void note_deaths(DeathReport report, Completion<DeathsAnswer> done) override {
    run<DeathsAnswer>([&](WallTime now, News& news) { return note_deaths_now(report, now, news); },
                      done);
  }
  void cancel(JobId id, std::string tenant, Completion<CancelAnswer> done) override {
    run<CancelAnswer>([&](WallTime now, News& news) { return cancel_now(id, tenant, now, news); },
                      done);
  }
  void requeue(RequeueRequest request, Completion<std::vector<RequeuedJob>> done) override {
    run<std::vector<RequeuedJob>>(
        [&](WallTime now, News& news) { return requeue_now(request, now, news); }, done);
  }
  void open_batch(BatchSpec spec, Completion<OpenedBatch> done) override {
    run<OpenedBatch>([&](WallTime now, News&) { return open_batch_now(std::move(spec), now); },
                     done);
  }
  void seal_batch(std::string id, std::string tenant, Completion<Batch> done) override {
    run<Batch>([&](WallTime now, News&) { return seal_batch_now(id, tenant, now); }, done);
  }
  void cancel_batch(std::string id, std::string tenant, Completion<Batch> done) override {
    run<Batch>([&](WallTime now, News& news) { return cancel_batch_now(id, tenant, now, news); },
               done);
  }
  void get_batch(std::string id, std::string tenant, Completion<Batch> done) override {
    run<Batch>([&](WallTime, News&) { return get_batch_now(id, tenant); }, done);
  }
  void list_batches(BatchFilter filter, Completion<std::vector<Batch>> done) override {
    run<std::vector<Batch>>([&](WallTime, News&) { return list_batches_now(filter); }, done);
  }
  void get(JobId id, std::string tenant, Completion<JobRecord> done) override {
    run<JobRecord>([&](WallTime now, News&) { return get_now(id, tenant, now); }, done);
  }
  void list(ListFilter filter, Completion<std::vector<Job>> done) override {
    run<std::vector<Job>>([&](WallTime, News&) { return list_now(filter); }, done);
  }
  void fetch(FetchRequest request, Completion<FetchAnswer> done) override {
    run<FetchAnswer>([&](WallTime now, News&) { return fetch_now(request, now); }, done);
  }
  void take(std::string tenant, std::string mailbox_key, std::vector<uint64_t> sequences,
            Completion<std::vector<Message>> done) override {
    run<std::vector<Message>>(
        [&](WallTime now, News&) { return take_now(tenant, mailbox_key, sequences, now); }, done);
  }
  void purge(Completion<PurgeAnswer> done) override {
    run<PurgeAnswer>([&](WallTime now, News& news) { return purge_now(now, news); }, done);
  }
  void stats(Completion<StoreStats> done) override {
    run<StoreStats>([&](WallTime now, News&) { return stats_now(now); }, done);
  }
  void stop() override {
    const std::lock_guard lock(mutex_);
    stopped_ = true;
  }

 private:
  template <class T, class Verb>
  void run(Verb verb, const Completion<T>& done) {
    News news;
    Result<T> answer = unavailable("the store has stopped");
    {
      const std::lock_guard lock(mutex_);
      if (!stopped_) {
        const WallTime now = clock_.now();
        promote_due(now, news);
        answer = verb(now, news);
      }
    }
    tell(news);
    done(std::move(answer));
  }

  void tell(const News& news) const {
    if (observer_.work_available) {
      for (const std::string& model : news.models) observer_.work_available(model);
    }
    if (observer_.message_stored) {
      for (const auto& [tenant, key] : news.messages) observer_.message_stored(tenant, key);
    }
    if (observer_.cancel_requested) {
      for (const auto& [id, lease] : news.cancels) observer_.cancel_requested(id, lease);
    }
  }

  void promote_due(WallTime now, News& news) {
    for (auto& [id, live] : jobs_) {
      if (live.job.state == JobState::scheduled && *live.job.spec.run_at <= now) {
        live.job.state = JobState::queued;
        news.models.insert(live.job.spec.model);
      }
    }
  }

  // --- submit

  Status check_depth(const std::map<std::string, int64_t>& n_new) const {
    for (const auto& [model, n] : n_new) {
      const auto limit = options_.depth_max(model);
      if (!limit) continue;
      const int64_t depth = std::count_if(jobs_.begin(), jobs_.end(), [&](const auto& entry) {
        const Job& job = entry.second.job;
        return job.spec.model == model && job.spec.batch_id.empty() &&
               job.state != JobState::claimed;
      });
      if (depth + n > *limit) return queue_is_full(model, depth, n, *limit);
    }
    return {};
  }

  // The accepted job this spec repeats, if any; conflict when the content differs.
  static Result<std::optional<SubmittedJob>> find_repeated(const JobSpec& spec, size_t index,
                                                           WallTime now, const Keys& keys) {
    if (spec.idempotency_key.empty()) return std::optional<SubmittedJob>();
    const auto known = keys.find({spec.tenant, spec.idempotency_key});
    if (known == keys.end() || (known->second.expires_at && *known->second.expires_at <= now)) {
      return std::optional<SubmittedJob>();
    }
    if (known->second.fingerprint != content_fingerprint(spec)) {
      return key_has_other_content(index, spec.idempotency_key, known->second.id);
    }
    SubmittedJob found;
    found.id = known->second.id;
    found.mailbox_key = known->second.mailbox_key;
    found.existed = true;
    found.finished = known->second.expires_at.has_value();
    return std::optional(found);
  }

  Result<std::vector<SubmittedJob>> submit_now(std::vector<JobSpec> specs, WallTime now,
                                               News& news) {
    PARKD_RETURN_IF_ERROR(check_submission(specs, options_, now));
    // Beside the store's own, so that a refusal half-way leaves no trace.
    Keys fresh_keys;
    JobId next_id = next_id_;
    std::vector<SubmittedJob> answers;
    std::vector<Job> accepted;
    std::map<std::string, int64_t> n_new;
    std::map<TenantKey, int64_t> n_members;
    for (size_t i = 0; i < specs.size(); ++i) {
      PARKD_ASSIGN_OR_RETURN(const std::optional<SubmittedJob> repeated,
                             find_repeated(specs[i], i, now, keys_));
      PARKD_ASSIGN_OR_RETURN(const std::optional<SubmittedJob> repeated_here,
                             find_repeated(specs[i], i, now, fresh_keys));
      if (repeated || repeated_here) {
        answers.push_back(repeated ? *repeated : *repeated_here);
        continue;
      }
      const uint64_t fingerprint = content_fingerprint(specs[i]);
      if (const Batch* batch = find_batch(specs[i].batch_id, specs[i].tenant)) {
        const int64_t n = ++n_members[{batch->spec.tenant, batch->id}];
        PARKD_RETURN_IF_ERROR(check_member(*batch, specs[i], i, n, options_, now));
        become_member(specs[i], *batch);
      }
      const Job job = new_job(std::move(specs[i]), next_id++, now, options_);
      if (job.spec.batch_id.empty()) ++n_new[job.spec.model];
      if (!job.spec.idempotency_key.empty()) {
        fresh_keys[{job.spec.tenant, job.spec.idempotency_key}] = {job.id, job.spec.mailbox_key,
                                                                   fingerprint, std::nullopt};
      }
      answers.push_back({job.id, job.spec.mailbox_key, false, false});
      accepted.push_back(job);
    }
    PARKD_RETURN_IF_ERROR(check_depth(n_new));
    PARKD_KILL_POINT("submit.before_commit");
    for (auto& [name, key] : fresh_keys) keys_[name] = std::move(key);
    for (const auto& [name, n] : n_members) batches_.at(name).batch.total += n;
    next_id_ = next_id;
    for (Job& job : accepted) {
      if (job.state == JobState::queued) news.models.insert(job.spec.model);
      jobs_[job.id].job = std::move(job);
    }
    PARKD_KILL_POINT("submit.after_commit");
    return answers;
  }

  // --- claim

  // The job a tenant runs next, or one of the critical jobs; nullptr when none can be claimed.
  static bool precedes(const Job& a, const Job& b) {
    return std::pair(a.order_key, a.id) < std::pair(b.order_key, b.id);
  }

  Job* next_job(const std::string& model, WallTime now) {
    Job* critical = nullptr;
    std::map<std::string, Job*> first_of;  // tenant -> its next job
    for (auto& [id, live] : jobs_) {
      Job& job = live.job;
      if (job.spec.model != model || job.state != JobState::queued) continue;
      if (job.spec.deadline && *job.spec.deadline <= now) continue;
      if (job.spec.priority == Priority::critical) {
        if (critical == nullptr || precedes(job, *critical)) critical = &job;
        continue;
      }
      Job*& first = first_of[job.spec.tenant];
      if (first == nullptr || precedes(job, *first)) first = &job;
    }
    if (critical != nullptr) return critical;
    return share_out(shares_[model], first_of);
  }

  static Job* share_out(Shares& shares, const std::map<std::string, Job*>& first_of) {
    Job* chosen = nullptr;
    int64_t chosen_tag = 0;
    for (const auto& [tenant, job] : first_of) {
      // A tenant that was away gets no credit for it: its tag never lies before the present.
      const int64_t tag = std::max(shares.next_tag[tenant], shares.virtual_time);
      if (chosen == nullptr || tag < chosen_tag) {
        chosen = job;
        chosen_tag = tag;
      }
    }
    if (chosen == nullptr) return nullptr;
    shares.virtual_time = chosen_tag;
    shares.next_tag[chosen->spec.tenant] = chosen_tag + chosen->spec.need_tokens();
    return chosen;
  }

  Result<std::vector<Job>> claim_now(const ClaimRequest& request, WallTime now) {
    std::vector<Job> claimed;
    while (static_cast<int64_t>(claimed.size()) < request.max_jobs) {
      Job* job = next_job(request.model, now);
      if (job == nullptr) break;
      job->state = JobState::claimed;
      job->lease = {1, ++n_claims_};
      job->claimed_at = now;
      claimed.push_back(*job);
    }
    PARKD_KILL_POINT("claim.after");
    return claimed;
  }

  // --- ends

  Live* find_claimed(JobId id, RunLease lease) {
    const auto found = jobs_.find(id);
    if (found == jobs_.end() || found->second.job.state != JobState::claimed ||
        found->second.job.lease != lease) {
      return nullptr;
    }
    return &found->second;
  }

  // Moves a live job into its message, its history row and, if it has one, its dated key.
  void end(JobId id, RunLease lease, Ending ending, WallTime now, News& news) {
    const Job job = jobs_.at(id).job;
    const Message message = message_of(job, lease, std::move(ending), ++last_sequence_, now);
    past_[id] = {history_of(message),
                 lease,
                 history_expires_at(message, options_),
                 message.sequence,
                 message.expires_at,
                 job.spec,
                 0};
    const auto batch = batches_.find({job.spec.tenant, job.spec.batch_id});
    if (batch != batches_.end()) count_end(batch->second.batch, message.ending, now);
    if (!job.spec.idempotency_key.empty()) {
      keys_.at({job.spec.tenant, job.spec.idempotency_key}).expires_at =
          idempotency_expires_at(job, now, options_);
    }
    news.messages.emplace_back(message.tenant, message.mailbox_key);
    messages_[message.sequence] = message;
    jobs_.erase(id);
  }

  Result<std::vector<FinishAnswer>> finish_now(std::vector<FinishItem> items, WallTime now,
                                               News& news) {
    std::vector<FinishAnswer> answers;
    PARKD_KILL_POINT("finish.before_commit");
    for (FinishItem& item : items) {
      if (find_claimed(item.id, item.lease) != nullptr) {
        end(item.id, item.lease, std::move(item.ending), now, news);
        answers.push_back(FinishAnswer::finished_now);
        continue;
      }
      const auto past = past_.find(item.id);
      const bool ours =
          past != past_.end() && item.lease != RunLease{} && past->second.lease == item.lease;
      answers.push_back(ours ? FinishAnswer::already_by_this_lease : FinishAnswer::lease_lost);
    }
    PARKD_KILL_POINT("finish.after_commit");
    return answers;
  }

  Result<std::vector<ReleaseAnswer>> release_now(const std::vector<ReleaseItem>& items,
                                                 WallTime now, News& news) {
    std::vector<ReleaseAnswer> answers;
    for (const ReleaseItem& item : items) {
      Live* live = find_claimed(item.id, item.lease);
      answers.push_back(live == nullptr ? ReleaseAnswer::lease_lost : ReleaseAnswer::released);
      if (live == nullptr) continue;
      Job& job = live->job;
      if (item.spend_attempt) {
        ++job.attempts;
        clear_poison_notes(job);
      }
      if (live->cancel_requested) {
        end(item.id, {}, cancelled_ending(), now, news);
        continue;
      }
      if (item.run_at) job.spec.run_at = item.run_at;
      job.state = item.run_at && *item.run_at > now ? JobState::scheduled : JobState::queued;
      job.lease = {};
      job.claimed_at = {};
      if (job.state == JobState::queued) news.models.insert(job.spec.model);
    }
    PARKD_KILL_POINT("release.after_commit");
    return answers;
  }

  Result<DeathsAnswer> note_deaths_now(const DeathReport& report, WallTime now, News& news) {
    std::set<JobId> ids;
    for (const DeathNote& note : report.present) ids.insert(note.id);
    std::vector<Job*> live;
    for (const JobId id : ids) {
      const auto found = jobs_.find(id);
      if (found != jobs_.end()) live.push_back(&found->second.job);
    }
    const DeathVerdict verdict = judge_death(report, live);
    for (const JobId id : verdict.quarantined) end(id, {}, quarantined_ending(), now, news);
    return DeathsAnswer{static_cast<int64_t>(verdict.suspects.size()),
                        static_cast<int64_t>(verdict.quarantined.size())};
  }

  Result<CancelAnswer> cancel_now(JobId id, const std::string& tenant, WallTime now, News& news) {
    const auto live = jobs_.find(id);
    if (live == jobs_.end() || !may_act(tenant, live->second.job.spec.tenant)) {
      const auto past = past_.find(id);
      if (past == past_.end() || past->second.expires_at <= now ||
          !may_act(tenant, past->second.row.tenant)) {
        return CancelAnswer::not_found;
      }
      return CancelAnswer::already_finished;
    }
    if (live->second.job.state == JobState::claimed) {
      live->second.cancel_requested = true;
      news.cancels.emplace_back(id, live->second.job.lease);
      return CancelAnswer::cancel_requested;
    }
    end(id, {}, cancelled_ending(), now, news);
    PARKD_KILL_POINT("cancel.after_commit");
    return CancelAnswer::cancelled;
  }

  // --- requeue

  static bool matches(const RequeueRequest& request, const Past& past) {
    const HistoryRow& row = past.row;
    const bool named = std::count(request.ids.begin(), request.ids.end(), row.job_id) > 0 ||
                       (request.ids.empty() && past.requeued_as == 0);
    return named && may_act(request.tenant, row.tenant) && row.outcome != Outcome::completed &&
           (request.error_code.empty() || request.error_code == row.error_code) &&
           (request.model.empty() || request.model == row.model);
  }

  Result<std::vector<RequeuedJob>> requeue_now(const RequeueRequest& request, WallTime now,
                                               News& news) {
    PARKD_RETURN_IF_ERROR(check_requeue(request));
    std::map<uint64_t, Past*> ended;  // by sequence of their messages
    for (auto& [id, past] : past_) {
      const bool can = past.requeued_as != 0 || messages_.contains(past.sequence);
      if (can && past.message_expires_at > now && matches(request, past)) {
        ended[past.sequence] = &past;
      }
    }
    std::vector<RequeuedJob> answers;
    for (auto& [sequence, past] : ended) {
      if (static_cast<int64_t>(answers.size()) >= request.limit) break;
      const JobId old_id = past->row.job_id;
      const bool existed = past->requeued_as != 0;
      if (!existed) {
        Job job = new_job(requeued_spec(past->request), next_id_++, now, options_);
        job.requeued_from = old_id;
        past->requeued_as = job.id;
        news.models.insert(job.spec.model);
        jobs_[job.id].job = std::move(job);
      }
      answers.push_back({old_id, past->requeued_as, past->request.mailbox_key, existed});
    }
    return answers;
  }

  // --- batches

  // `tenant` empty: any tenant's.
  Batch* find_batch(const std::string& id, const std::string& tenant) {
    for (auto& [name, live] : batches_) {
      if (name.second == id && may_act(tenant, name.first)) return &live.batch;
    }
    return nullptr;
  }

  Result<OpenedBatch> open_batch_now(BatchSpec spec, WallTime now) {
    const uint64_t fingerprint = content_fingerprint(spec);
    for (const auto& [name, live] : batches_) {
      if (spec.idempotency_key.empty() || name.first != spec.tenant ||
          live.batch.spec.idempotency_key != spec.idempotency_key) {
        continue;
      }
      if (live.fingerprint != fingerprint) {
        return batch_key_has_other_content(spec.idempotency_key, live.batch.id);
      }
      return OpenedBatch{live.batch, true};
    }
    PARKD_RETURN_IF_ERROR(check_batch(spec, now));
    const Batch batch = new_batch(std::move(spec), now, options_);
    batches_[{batch.spec.tenant, batch.id}] = {batch, fingerprint};
    return OpenedBatch{batch, false};
  }

  Result<Batch> seal_batch_now(const std::string& id, const std::string& tenant, WallTime now) {
    Batch* batch = find_batch(id, tenant);
    if (batch == nullptr) return no_such_batch(id);
    seal(*batch, now);
    return *batch;
  }

  Result<Batch> cancel_batch_now(const std::string& id, const std::string& tenant, WallTime now,
                                 News& news) {
    Batch* batch = find_batch(id, tenant);
    if (batch == nullptr) return no_such_batch(id);
    if (batch->finished_at) return *batch;
    if (!batch->cancel_at) batch->cancel_at = now;
    seal(*batch, now);
    std::vector<JobId> members;
    for (const auto& [job_id, live] : jobs_) {
      if (is_member(live.job, *batch)) members.push_back(job_id);
    }
    for (const JobId job_id : members) {
      PARKD_RETURN_IF_ERROR(cancel_now(job_id, "", now, news).status());
    }
    return *batch;
  }

  static bool is_member(const Job& job, const Batch& batch) {
    return job.spec.batch_id == batch.id && job.spec.tenant == batch.spec.tenant;
  }

  Result<Batch> get_batch_now(const std::string& id, const std::string& tenant) {
    const Batch* found = find_batch(id, tenant);
    if (found == nullptr) return no_such_batch(id);
    Batch batch = *found;
    batch.live.emplace();
    for (const auto& [job_id, live] : jobs_) {
      if (!is_member(live.job, batch)) continue;
      if (live.job.state == JobState::scheduled) ++batch.live->scheduled;
      if (live.job.state == JobState::queued) ++batch.live->queued;
      if (live.job.state == JobState::claimed) ++batch.live->claimed;
    }
    return batch;
  }

  Result<std::vector<Batch>> list_batches_now(const BatchFilter& filter) {
    const Batch* after = find_batch(filter.after, "");
    if (!filter.after.empty() && after == nullptr) return no_batch_to_list_after(filter.after);
    std::vector<Batch> found;
    for (const auto& [name, live] : batches_) {
      if (filter.tenant && *filter.tenant != name.first) continue;
      if (after == nullptr || is_newer(*after, live.batch)) found.push_back(live.batch);
    }
    std::sort(found.begin(), found.end(), is_newer);
    if (static_cast<int64_t>(found.size()) > filter.limit) {
      found.resize(static_cast<size_t>(std::max(filter.limit, 0)));
    }
    return found;
  }

  // --- reading

  Result<JobRecord> get_now(JobId id, const std::string& tenant, WallTime now) const {
    const auto live = jobs_.find(id);
    if (live != jobs_.end()) {
      if (!may_act(tenant, live->second.job.spec.tenant)) return JobRecord();
      return JobRecord(live->second.job);
    }
    const auto past = past_.find(id);
    if (past == past_.end() || past->second.expires_at <= now ||
        !may_act(tenant, past->second.row.tenant)) {
      return JobRecord();
    }
    for (const auto& [sequence, message] : messages_) {
      if (message.job_id == id && message.expires_at > now) return JobRecord(message);
    }
    return JobRecord(past->second.row);
  }

  Result<std::vector<Job>> list_now(const ListFilter& filter) const {
    std::vector<Job> found;
    for (auto it = jobs_.upper_bound(filter.after); it != jobs_.end(); ++it) {
      if (static_cast<int64_t>(found.size()) >= filter.limit) break;
      const Job& job = it->second.job;
      if (filter.tenant && *filter.tenant != job.spec.tenant) continue;
      if (filter.model && *filter.model != job.spec.model) continue;
      if (filter.state && *filter.state != job.state) continue;
      found.push_back(job);
    }
    return found;
  }

  Result<FetchAnswer> fetch_now(const FetchRequest& request, WallTime now) const {
    FetchAnswer answer;
    answer.next_sequence = request.after_sequence;
    for (auto it = messages_.upper_bound(request.after_sequence); it != messages_.end(); ++it) {
      if (static_cast<int64_t>(answer.messages.size()) >= request.limit) break;
      const Message& message = it->second;
      if (message.tenant != request.tenant || message.mailbox_key != request.mailbox_key) continue;
      if (message.expires_at <= now) continue;
      answer.messages.push_back(message);
      answer.next_sequence = message.sequence;
    }
    return answer;
  }

  Result<std::vector<Message>> take_now(const std::string& tenant, const std::string& mailbox_key,
                                        const std::vector<uint64_t>& sequences, WallTime now) {
    std::vector<Message> taken;
    for (const uint64_t sequence : sequences) {
      const auto found = messages_.find(sequence);
      if (found == messages_.end()) continue;
      const Message& message = found->second;
      if (message.tenant != tenant || message.mailbox_key != mailbox_key) continue;
      if (message.expires_at <= now) continue;
      taken.push_back(message);
      messages_.erase(found);
    }
    return taken;
  }

  // --- housekeeping

  Result<PurgeAnswer> purge_now(WallTime now, News& news) {
    PurgeAnswer answer;
    std::set<std::pair<WallTime, JobId>> overdue;  // the earliest deadline ends first
    for (const auto& [id, live] : jobs_) {
      const Job& job = live.job;
      if (job.state == JobState::claimed || !job.spec.deadline) continue;
      if (*job.spec.deadline <= now) overdue.emplace(*job.spec.deadline, id);
    }
    if (overdue.size() > kPurgeMax)
      overdue.erase(std::next(overdue.begin(), kPurgeMax), overdue.end());
    for (const auto& [deadline, id] : overdue) end(id, {}, deadline_missed_ending(), now, news);
    answer.deadlines_missed = static_cast<int64_t>(overdue.size());
    PARKD_KILL_POINT("purge.mid");
    answer.messages =
        drop(messages_, [&](const Message& message) { return message.expires_at <= now; });
    answer.history_rows = drop(past_, [&](const Past& past) { return past.expires_at <= now; });
    for (auto& [name, live] : batches_) {
      if (*live.batch.spec.deadline <= now) seal(live.batch, now);
    }
    drop(batches_, [&](const LiveBatch& live) {
      const auto expires_at = batch_expires_at(live.batch, options_);
      return expires_at && *expires_at <= now;
    });
    drop(keys_,
         [&](const KnownKey& key) { return key.expires_at.has_value() && *key.expires_at <= now; });
    return answer;
  }

  template <class Map, class Condition>
  static int64_t drop(Map& map, Condition condition) {
    int64_t n_dropped = 0;
    for (auto it = map.begin(); it != map.end() && n_dropped < kPurgeMax;) {
      if (condition(it->second)) {
        it = map.erase(it);
        ++n_dropped;
      } else {
        ++it;
      }
    }
    return n_dropped;
  }

  Result<StoreStats> stats_now(WallTime now) const {
    StoreStats stats;
    stats.open_epoch = 1;
    stats.messages = std::count_if(messages_.begin(), messages_.end(), [now](const auto& entry) {
      return entry.second.expires_at > now;
    });
    std::map<std::string, ModelDepth> models;
    for (const auto& [id, live] : jobs_) {
      const Job& job = live.job;
      ModelDepth& depth = models[job.spec.model];
      depth.model = job.spec.model;
      if (job.state == JobState::scheduled) ++depth.scheduled;
      if (job.state == JobState::claimed) ++depth.claimed;
      if (job.state != JobState::queued) continue;
      ++depth.queued;
      if (!depth.oldest_created_at || job.created_at < *depth.oldest_created_at) {
        depth.oldest_created_at = job.created_at;
      }
    }
    for (auto& [model, depth] : models) stats.models.push_back(std::move(depth));
    return stats;
  }

  const StoreOptions options_;
  Clock& clock_;
  StoreObserver observer_;  // constant once verbs are called

  std::mutex mutex_;  // guards all below. Verbs complete inside the call: there is no thread to ask
  bool stopped_ = false;
  JobId next_id_ = 1;
  uint64_t last_sequence_ = 0;
  uint64_t n_claims_ = 0;
  std::map<JobId, Live> jobs_;
  std::map<uint64_t, Message> messages_;
  std::map<JobId, Past> past_;
  Keys keys_;
  std::map<TenantKey, LiveBatch> batches_;
  std::map<std::string, Shares> shares_;
};

}  // namespace

std::unique_ptr<JobStore> make_memory_store(StoreOptions options, Clock& clock) {
  return std::make_unique<MemoryStore>(std::move(options), clock);
}

}  // namespace parkd
