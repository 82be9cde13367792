// The life of a job: submitted, claimed, ended, requeued, forgotten.
#include <algorithm>
#include <iterator>
#include <set>
#include <utility>

#include "lib/base/kill_point.h"
#include "lib/store/batch_rules.h"
#include "lib/store/memory/memory_state.h"
#include "lib/store/rules.h"

namespace parkd {
namespace {

constexpr int kPurgeMax = 1000;  // endings, and rows of each kind, one purge() handles

bool precedes(const Job& a, const Job& b) {
  return std::pair(a.order_key, a.id) < std::pair(b.order_key, b.id);
}

template <class Map, class Condition>
int64_t drop(Map& map, Condition condition) {
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

}  // namespace

void MemoryState::promote_due(WallTime now, Wakeups& wakeups) {
  for (auto& [id, live] : jobs_) {
    if (live.job.state == JobState::scheduled && *live.job.spec.run_at <= now) {
      live.job.state = JobState::queued;
      wakeups.models.insert(live.job.spec.model);
    }
  }
}

// --- submit

Status MemoryState::check_depths(const DepthAccounts& n_new) const {
  std::map<std::string, int64_t> n_new_before;  // by model: of other tenants in the same call
  for (const auto& [key, n] : n_new) {
    const auto& [model, tenant] = key;
    Depth depth;
    depth.queued = n_new_before[model];
    for (const auto& [id, live] : jobs_) {
      const Job& job = live.job;
      if (job.spec.model != model || job.state == JobState::claimed) continue;
      if (!is_scheduled(job)) ++depth.queued;
      if (job.spec.tenant == tenant) depth.tenant.add(is_scheduled(job), 1);
    }
    PARKD_RETURN_IF_ERROR(check_depth(model, tenant, options_.limits_of(model), depth, n));
    n_new_before[model] += n.queued;
  }
  return {};
}

Result<std::optional<SubmittedJob>> MemoryState::find_repeated(const JobSpec& spec, size_t index,
                                                               WallTime now, const Keys& keys) {
  if (spec.idempotency_key.empty()) return std::optional<SubmittedJob>();
  const auto known = keys.find({spec.tenant, spec.idempotency_key});
  if (known == keys.end() || (known->second.expires_at && *known->second.expires_at <= now)) {
    return std::optional<SubmittedJob>();
  }
  if (!has_content(known->second.fingerprint, spec)) {
    return key_has_other_content(index, spec.idempotency_key, known->second.id);
  }
  SubmittedJob found;
  found.id = known->second.id;
  found.mailbox_key = known->second.mailbox_key;
  found.existed = true;
  found.finished = known->second.expires_at.has_value();
  return std::optional(found);
}

Result<std::vector<SubmittedJob>> MemoryState::submit(std::vector<JobSpec> specs, WallTime now,
                                                      Wakeups& wakeups) {
  PARKD_RETURN_IF_ERROR(check_submission(specs, options_));
  for (size_t i = 0; i < specs.size(); ++i) {  // of new jobs alone
    const auto known = find_repeated(specs[i], i, now, keys_);
    if (known.ok() && !*known) PARKD_RETURN_IF_ERROR(check_new(specs[i], i, now));
  }
  // Beside the store's own, so that a refusal half-way leaves no trace.
  Keys fresh_keys;
  JobId next_id = next_id_;
  std::vector<SubmittedJob> answers;
  std::vector<Job> accepted;
  DepthAccounts n_new;
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
    const ContentFingerprint fingerprint = content_fingerprint(specs[i]);
    if (const Batch* batch = find_batch(specs[i].batch_id, specs[i].tenant)) {
      const int64_t n = ++n_members[{batch->spec.tenant, batch->id}];
      PARKD_RETURN_IF_ERROR(check_member(*batch, specs[i], i, n, options_, now));
      become_member(specs[i], *batch);
    }
    const Job job = new_job(std::move(specs[i]), next_id++, now, options_);
    n_new[{job.spec.model, job.spec.tenant}].add(is_scheduled(job), 1);
    if (!job.spec.idempotency_key.empty()) {
      fresh_keys[{job.spec.tenant, job.spec.idempotency_key}] = {job.id, job.spec.mailbox_key,
                                                                 fingerprint, std::nullopt};
    }
    answers.push_back({job.id, job.spec.mailbox_key, false, false});
    accepted.push_back(job);
  }
  PARKD_RETURN_IF_ERROR(check_depths(n_new));
  PARKD_KILL_POINT("submit.before_commit");
  for (auto& [name, key] : fresh_keys) keys_[name] = std::move(key);
  for (const auto& [name, n] : n_members) batches_.at(name).batch.total += n;
  next_id_ = next_id;
  for (Job& job : accepted) {
    if (job.state == JobState::queued) wakeups.models.insert(job.spec.model);
    jobs_[job.id].job = std::move(job);
  }
  PARKD_KILL_POINT("submit.after_commit");
  return answers;
}

// --- claim

namespace {

bool waits_for_claim(const Job& job, const ClaimRequest& request, WallTime now) {
  if (job.spec.model != request.model || job.state != JobState::queued) return false;
  return !job.spec.deadline || *job.spec.deadline > now;
}

}  // namespace

Job* MemoryState::next_job(const ClaimRequest& request,
                           const std::map<std::string, int32_t>& n_given, WallTime now) {
  Job* critical = nullptr;
  std::map<std::string, Job*> first_of;  // tenant that waits -> its next job within the limits
  for (auto& [id, live] : jobs_) {
    Job& job = live.job;
    const std::string& tenant = job.spec.tenant;
    if (!waits_for_claim(job, request, now)) continue;
    const bool is_critical = job.spec.priority == Priority::critical;
    Job*& first = is_critical ? critical : first_of[tenant];
    const auto given = n_given.find(tenant);
    const int32_t n = given == n_given.end() ? 0 : given->second;
    if (n >= request.room_of(tenant) || !request.fits(job.spec.need_tokens())) continue;
    if (first == nullptr || precedes(job, *first)) first = &job;
  }
  if (critical != nullptr) return critical;
  return share_out(shares_[request.model], first_of);
}

// Charged as the next one of its tenant; the virtual time stays, for no tenant's turn has come.
Job* MemoryState::next_named(const ClaimRequest& request, WallTime now) {
  for (const JobId id : request.only) {
    const auto found = jobs_.find(id);
    if (found == jobs_.end() || !waits_for_claim(found->second.job, request, now)) continue;
    Job& job = found->second.job;
    if (job.spec.priority == Priority::critical) return &job;
    Shares& shares = shares_[request.model];
    int64_t& tag = shares.next_tag[job.spec.tenant];
    if (shares.waiting.insert(job.spec.tenant).second) tag = std::max(tag, shares.virtual_time);
    shares.largest_need = std::max(shares.largest_need, job.spec.need_tokens());
    tag = std::max(tag, shares.earliest_start()) + job.spec.need_tokens();
    return &job;
  }
  return nullptr;
}

Job* MemoryState::share_out(Shares& shares, const std::map<std::string, Job*>& first_of) {
  // Who was away begins at the present; who waited and was passed over keeps its tag.
  std::set<std::string> waiting;
  for (const auto& [tenant, job] : first_of) {
    waiting.insert(tenant);
    if (shares.waiting.contains(tenant)) continue;
    shares.next_tag[tenant] = std::max(shares.next_tag[tenant], shares.virtual_time);
  }
  shares.waiting = std::move(waiting);
  Job* chosen = nullptr;
  int64_t chosen_tag = 0;
  for (const auto& [tenant, job] : first_of) {
    const int64_t tag = shares.next_tag.at(tenant);
    if (job != nullptr && (chosen == nullptr || tag < chosen_tag)) {
      chosen = job;
      chosen_tag = tag;
    }
  }
  if (chosen == nullptr) return nullptr;
  const int64_t need = chosen->spec.need_tokens();
  shares.largest_need = std::max(shares.largest_need, need);
  const int64_t start = std::max(chosen_tag, shares.earliest_start());
  shares.virtual_time = std::max(shares.virtual_time, start);
  shares.next_tag[chosen->spec.tenant] = start + need;
  return chosen;
}

void MemoryState::uncharge(const JobSpec& spec) {
  if (spec.priority == Priority::critical) return;
  Shares& shares = shares_[spec.model];
  int64_t& tag = shares.next_tag[spec.tenant];
  tag = std::min(tag, std::max(tag - spec.need_tokens(), shares.earliest_start()));
}

Result<std::vector<Job>> MemoryState::claim(const ClaimRequest& request, WallTime now) {
  std::vector<Job> claimed;
  std::map<std::string, int32_t> n_given;
  while (static_cast<int64_t>(claimed.size()) < request.max_jobs) {
    Job* job = request.only.empty() ? next_job(request, n_given, now) : next_named(request, now);
    if (job == nullptr) break;
    job->state = JobState::claimed;
    job->lease = {1, ++n_claims_};
    job->claimed_at = now;
    ++n_given[job->spec.tenant];
    claimed.push_back(*job);
  }
  PARKD_KILL_POINT("claim.after");
  return claimed;
}

// --- ends

MemoryState::Live* MemoryState::find_claimed(JobId id, RunLease lease) {
  const auto found = jobs_.find(id);
  if (found == jobs_.end() || found->second.job.state != JobState::claimed ||
      found->second.job.lease != lease) {
    return nullptr;
  }
  return &found->second;
}

void MemoryState::end(JobId id, RunLease lease, Ending ending, WallTime now, Wakeups& wakeups) {
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
  wakeups.messages.emplace_back(message.tenant, message.mailbox_key);
  messages_[message.sequence] = message;
  jobs_.erase(id);
}

Result<std::vector<FinishAnswer>> MemoryState::finish(std::vector<FinishItem> items, WallTime now,
                                                      Wakeups& wakeups) {
  std::vector<FinishAnswer> answers;
  PARKD_KILL_POINT("finish.before_commit");
  for (FinishItem& item : items) {
    if (const Live* live = find_claimed(item.id, item.lease)) {
      const Outcome given = item.ending.outcome;
      Ending ending = settled_ending(std::move(item.ending), live->job.spec.deadline, now);
      answers.push_back(finish_answer(FinishAnswer::finished_now, given, ending.outcome));
      end(item.id, item.lease, std::move(ending), now, wakeups);
      continue;
    }
    const auto past = past_.find(item.id);
    const bool ours =
        past != past_.end() && item.lease != RunLease{} && past->second.lease == item.lease;
    answers.push_back(ours ? finish_answer(FinishAnswer::already_by_this_lease, item.ending.outcome,
                                           past->second.row.outcome)
                           : FinishAnswer::lease_lost);
  }
  PARKD_KILL_POINT("finish.after_commit");
  return answers;
}

Result<std::vector<ReleaseAnswer>> MemoryState::release(const std::vector<ReleaseItem>& items,
                                                        WallTime now, Wakeups& wakeups) {
  std::vector<ReleaseAnswer> answers;
  for (const ReleaseItem& item : items) {
    Live* live = find_claimed(item.id, item.lease);
    answers.push_back(live == nullptr ? ReleaseAnswer::lease_lost : ReleaseAnswer::released);
    if (live == nullptr) continue;
    Job& job = live->job;
    if (item.spend_attempt) {
      ++job.attempts;
      clear_poison_notes(job);
    } else {
      uncharge(job.spec);
    }
    if (live->cancel_requested) {
      end(item.id, {}, cancelled_ending(), now, wakeups);
      continue;
    }
    if (item.run_at) job.spec.run_at = item.run_at;
    job.state = item.run_at && *item.run_at > now ? JobState::scheduled : JobState::queued;
    job.lease = {};
    job.claimed_at = {};
    if (job.state == JobState::queued) wakeups.models.insert(job.spec.model);
  }
  PARKD_KILL_POINT("release.after_commit");
  return answers;
}

Result<DeathsAnswer> MemoryState::note_deaths(const DeathReport& report, WallTime now,
                                              Wakeups& wakeups) {
  std::set<JobId> ids;
  for (const DeathNote& note : report.present) ids.insert(note.id);
  std::vector<Job*> live;
  for (const JobId id : ids) {
    const auto found = jobs_.find(id);
    if (found != jobs_.end()) live.push_back(&found->second.job);
  }
  const DeathVerdict verdict = judge_death(report, live);
  for (const JobId id : verdict.quarantined) end(id, {}, quarantined_ending(), now, wakeups);
  return DeathsAnswer{static_cast<int64_t>(verdict.suspects.size()),
                      static_cast<int64_t>(verdict.quarantined.size())};
}

Result<CancelAnswer> MemoryState::cancel(JobId id, const std::string& tenant, WallTime now,
                                         Wakeups& wakeups) {
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
    wakeups.cancels.emplace_back(id, live->second.job.lease);
    return CancelAnswer::cancel_requested;
  }
  end(id, {}, cancelled_ending(), now, wakeups);
  PARKD_KILL_POINT("cancel.after_commit");
  return CancelAnswer::cancelled;
}

// --- callers

Result<std::optional<std::chrono::seconds>> MemoryState::attach(
    JobId id, std::optional<std::chrono::seconds> grace) {
  const auto live = jobs_.find(id);
  if (live == jobs_.end()) return std::optional<std::chrono::seconds>();
  if (grace) live->second.caller_grace = grace;
  return live->second.caller_grace;
}

Result<bool> MemoryState::keep(JobId id) {
  const auto live = jobs_.find(id);
  return live != jobs_.end() && std::exchange(live->second.caller_grace, std::nullopt).has_value();
}

// There is one daemon, and when it is gone nothing of this is left.
Result<std::vector<AttachedJob>> MemoryState::adopt() {
  return std::vector<AttachedJob>();
}

// --- requeue

bool MemoryState::matches(const RequeueRequest& request, const Past& past) {
  const HistoryRow& row = past.row;
  const bool named = std::count(request.ids.begin(), request.ids.end(), row.job_id) > 0 ||
                     (request.ids.empty() && past.requeued_as == 0);
  return named && may_act(request.tenant, row.tenant) && row.outcome != Outcome::completed &&
         (request.error_codes.empty() ||
          std::count(request.error_codes.begin(), request.error_codes.end(), row.error_code) > 0) &&
         (request.batch_id.empty() || request.batch_id == past.request.batch_id) &&
         (request.model.empty() || request.model == row.model);
}

Result<std::vector<RequeuedJob>> MemoryState::requeue(const RequeueRequest& request, WallTime now,
                                                      Wakeups& wakeups) {
  PARKD_RETURN_IF_ERROR(check_requeue(request));
  std::map<uint64_t, Past*> ended;  // by sequence of their messages
  for (auto& [id, past] : past_) {
    const bool can = past.requeued_as != 0 || messages_.contains(past.sequence);
    if (can && past.message_expires_at > now && matches(request, past)) {
      ended[past.sequence] = &past;
    }
  }
  if (ended.size() > static_cast<size_t>(std::max(request.limit, 0))) {
    ended.erase(std::next(ended.begin(), std::max(request.limit, 0)), ended.end());
  }
  DepthAccounts n_new;
  for (const auto& [sequence, past] : ended) {
    if (past->requeued_as == 0) ++n_new[{past->request.model, past->request.tenant}].queued;
  }
  PARKD_RETURN_IF_ERROR(check_depths(n_new));
  std::vector<RequeuedJob> answers;
  for (auto& [sequence, past] : ended) {
    const JobId old_id = past->row.job_id;
    const bool existed = past->requeued_as != 0;
    if (!existed) {
      Job job = new_job(requeued_spec(past->request), next_id_++, now, options_);
      job.requeued_from = old_id;
      past->requeued_as = job.id;
      wakeups.models.insert(job.spec.model);
      jobs_[job.id].job = std::move(job);
    }
    answers.push_back({old_id, past->requeued_as, past->request.mailbox_key, existed});
  }
  return answers;
}

// --- housekeeping

Result<PurgeAnswer> MemoryState::purge(WallTime now, WallTime drop_before, Wakeups& wakeups) {
  PurgeAnswer answer;
  std::set<std::pair<WallTime, JobId>> overdue;  // the earliest deadline ends first
  for (const auto& [id, live] : jobs_) {
    const Job& job = live.job;
    if (job.state == JobState::claimed || !job.spec.deadline) continue;
    if (*job.spec.deadline <= now) overdue.emplace(*job.spec.deadline, id);
  }
  if (overdue.size() > kPurgeMax)
    overdue.erase(std::next(overdue.begin(), kPurgeMax), overdue.end());
  for (const auto& [deadline, id] : overdue) end(id, {}, deadline_missed_ending(), now, wakeups);
  answer.deadlines_missed = static_cast<int64_t>(overdue.size());
  PARKD_KILL_POINT("purge.mid");
  answer.messages =
      drop(messages_, [&](const Message& message) { return message.expires_at <= drop_before; });
  answer.history_rows =
      drop(past_, [&](const Past& past) { return past.expires_at <= drop_before; });
  for (auto& [name, live] : batches_) {
    if (*live.batch.spec.deadline <= now) seal(live.batch, now);
  }
  drop(batches_, [&](const LiveBatch& live) {
    const auto expires_at = batch_expires_at(live.batch, options_);
    return expires_at && *expires_at <= drop_before;
  });
  drop(keys_, [&](const KnownKey& key) {
    return key.expires_at.has_value() && *key.expires_at <= drop_before;
  });
  return answer;
}

}  // namespace parkd
