// Batches, and what is read: jobs, messages, numbers.
#include <algorithm>
#include <utility>

#include "lib/store/batch_accounts.h"
#include "lib/store/batch_rules.h"
#include "lib/store/memory/memory_state.h"
#include "lib/store/rules.h"

namespace parkd {
namespace {

bool is_member(const Job& job, const Batch& batch) {
  return job.spec.batch_id == batch.id && job.spec.tenant == batch.spec.tenant;
}

}  // namespace

// --- batches

Batch* MemoryState::find_batch(const std::string& id, const std::string& tenant) {
  for (auto& [name, live] : batches_) {
    if (name.second == id && may_act(tenant, name.first)) return &live.batch;
  }
  return nullptr;
}

Result<OpenedBatch> MemoryState::open_batch(BatchSpec spec, WallTime now) {
  const ContentFingerprint fingerprint = content_fingerprint(spec);
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
  BatchAccounts accounts;
  for (const auto& [name, live] : batches_) accounts.add(live.batch);
  PARKD_RETURN_IF_ERROR(accounts.check_open(spec, {}, options_));
  const Batch batch = new_batch(std::move(spec), now, options_);
  batches_[{batch.spec.tenant, batch.id}] = {batch, fingerprint};
  return OpenedBatch{batch, false};
}

Result<Batch> MemoryState::seal_batch(const std::string& id, const std::string& tenant,
                                      WallTime now) {
  Batch* batch = find_batch(id, tenant);
  if (batch == nullptr) return no_such_batch(id);
  seal(*batch, now);
  return *batch;
}

Result<Batch> MemoryState::cancel_batch(const std::string& id, const std::string& tenant,
                                        WallTime now, Wakeups& wakeups) {
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
    PARKD_RETURN_IF_ERROR(cancel(job_id, "", now, wakeups).status());
  }
  return *batch;
}

Result<Batch> MemoryState::get_batch(const std::string& id, const std::string& tenant) {
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

Result<std::vector<Batch>> MemoryState::list_batches(const BatchFilter& filter) {
  const Batch* after = find_batch(filter.after, filter.tenant.value_or(""));
  if (!filter.after.empty() && after == nullptr) return no_batch_to_list_after(filter.after);
  std::vector<Batch> found;
  for (const auto& [name, live] : batches_) {
    if (!is_listed(live.batch, filter)) continue;
    if (after == nullptr || is_newer(*after, live.batch)) found.push_back(live.batch);
  }
  std::sort(found.begin(), found.end(), is_newer);
  if (static_cast<int64_t>(found.size()) > filter.limit) {
    found.resize(static_cast<size_t>(std::max(filter.limit, 0)));
  }
  return found;
}

Result<std::optional<Batch>> MemoryState::next_batch_work(const BatchWorkRequest& request) {
  const Batch* oldest = nullptr;
  for (const auto& [name, live] : batches_) {
    if (!is_wanted(live.batch, request)) continue;
    if (oldest == nullptr || is_older(live.batch, *oldest)) oldest = &live.batch;
  }
  return oldest == nullptr ? std::nullopt : std::optional(*oldest);
}

Result<Batch> MemoryState::advance_batch(const std::string& id, FileProgress progress,
                                         WallTime now) {
  Batch* batch = find_batch(id, "");
  if (batch == nullptr) return no_such_batch(id);
  if (!batch->spec.file) return not_of_a_file(id);
  advance(*batch, std::move(progress), now);
  return *batch;
}

Result<std::optional<Batch>> MemoryState::next_webhook(const WebhookRequest& request,
                                                       WallTime now) {
  const Batch* first = nullptr;
  for (const auto& [name, live] : batches_) {
    if (!is_due(live.batch, request, now)) continue;
    if (first == nullptr || is_due_before(live.batch, *first)) first = &live.batch;
  }
  return first == nullptr ? std::nullopt : std::optional(*first);
}

Result<Batch> MemoryState::note_webhook(const std::string& id, const WebhookAttempt& attempt,
                                        WallTime now) {
  Batch* batch = find_batch(id, "");
  if (batch == nullptr) return no_such_batch(id);
  if (!batch->spec.file) return not_of_a_file(id);
  note_attempt(*batch, attempt, now);
  return *batch;
}

// --- reading

Result<JobRecord> MemoryState::get(JobId id, const std::string& tenant, WallTime now) const {
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

Result<ListAnswer> MemoryState::list(const ListFilter& filter) const {
  ListAnswer answer;
  for (auto it = jobs_.upper_bound(filter.after); it != jobs_.end(); ++it) {
    if (!is_listed(filter, it->second.job)) continue;
    if (static_cast<int64_t>(answer.jobs.size()) >= filter.limit) {
      answer.next_after = answer.jobs.empty() ? filter.after : answer.jobs.back().id;
      break;
    }
    answer.jobs.push_back(it->second.job);
  }
  return answer;
}

Result<FetchAnswer> MemoryState::fetch(const FetchRequest& request, WallTime now) const {
  FetchAnswer answer;
  int64_t bytes = 0;
  for (auto it = messages_.upper_bound(request.after_sequence); it != messages_.end(); ++it) {
    if (static_cast<int64_t>(answer.messages.size()) >= request.limit) break;
    if (bytes > request.bytes_max) break;
    const Message& message = it->second;
    if (message.tenant != request.tenant || message.mailbox_key != request.mailbox_key) continue;
    if (message.expires_at <= now) continue;
    answer.messages.push_back(message);
    bytes += page_bytes(message);
  }
  answer.is_full = cut_page(answer.messages, request);
  answer.next_sequence =
      answer.messages.empty() ? request.after_sequence : answer.messages.back().sequence;
  return answer;
}

Result<std::vector<Message>> MemoryState::take(const std::string& tenant,
                                               const std::string& mailbox_key,
                                               const std::vector<uint64_t>& sequences,
                                               WallTime now) {
  const Batch* batch = find_batch(mailbox_key, tenant);
  if (batch != nullptr && batch->keeps_results()) return results_are_kept(*batch);
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

Result<StoreStats> MemoryState::stats(WallTime now) const {
  StoreStats stats;
  stats.open_epoch = 1;
  stats.webhooks_pending = std::count_if(batches_.begin(), batches_.end(), [](const auto& entry) {
    return entry.second.batch.webhook.next_attempt_at.has_value();
  });
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

}  // namespace parkd
