// What the memory store holds, and its verbs (job_store.h) at one moment, `now`.
//
// Not thread-safe: the memory store's lock is held during each call. A verb that is refused leaves
// no trace. Small and obvious before fast: verbs scan what they need.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "lib/base/status.h"
#include "lib/job/batch.h"
#include "lib/job/job.h"
#include "lib/store/batch_store.h"
#include "lib/store/caller_store.h"
#include "lib/store/client_store.h"
#include "lib/store/content.h"
#include "lib/store/daemon_store.h"
#include "lib/store/store_options.h"
#include "lib/store/store_stats.h"
#include "lib/store/wakeups.h"

namespace parkd {

class MemoryState {
 public:
  explicit MemoryState(StoreOptions options) : options_(std::move(options)) {}

  // Scheduled jobs whose time has come are queued: before every verb.
  void promote_due(WallTime now, Wakeups& wakeups);
  Result<std::vector<SubmittedJob>> submit(std::vector<JobSpec> specs, WallTime now,
                                           Wakeups& wakeups);
  Result<std::vector<Job>> claim(const ClaimRequest& request, WallTime now);
  Result<std::vector<FinishAnswer>> finish(std::vector<FinishItem> items, WallTime now,
                                           Wakeups& wakeups);
  Result<std::vector<ReleaseAnswer>> release(const std::vector<ReleaseItem>& items, WallTime now,
                                             Wakeups& wakeups);
  Result<DeathsAnswer> note_deaths(const DeathReport& report, WallTime now, Wakeups& wakeups);
  Result<CancelAnswer> cancel(JobId id, const std::string& tenant, WallTime now, Wakeups& wakeups);
  Result<std::optional<std::chrono::seconds>> attach(JobId id,
                                                     std::optional<std::chrono::seconds> grace);
  Result<bool> keep(JobId id);
  Result<std::vector<AttachedJob>> adopt();
  Result<std::vector<RequeuedJob>> requeue(const RequeueRequest& request, WallTime now,
                                           Wakeups& wakeups);
  Result<OpenedBatch> open_batch(BatchSpec spec, WallTime now);
  Result<Batch> seal_batch(const std::string& id, const std::string& tenant, WallTime now);
  Result<Batch> cancel_batch(const std::string& id, const std::string& tenant, WallTime now,
                             Wakeups& wakeups);
  Result<Batch> get_batch(const std::string& id, const std::string& tenant);
  Result<std::vector<Batch>> list_batches(const BatchFilter& filter);
  Result<std::optional<Batch>> next_batch_work(const BatchWorkRequest& request);
  Result<Batch> advance_batch(const std::string& id, FileProgress progress, WallTime now);
  Result<std::optional<Batch>> next_webhook(const WebhookRequest& request, WallTime now);
  Result<Batch> note_webhook(const std::string& id, const WebhookAttempt& attempt, WallTime now);
  Result<JobRecord> get(JobId id, const std::string& tenant, WallTime now) const;
  Result<ListAnswer> list(const ListFilter& filter) const;
  Result<FetchAnswer> fetch(const FetchRequest& request, WallTime now) const;
  Result<std::vector<Message>> take(const std::string& tenant, const std::string& mailbox_key,
                                    const std::vector<uint64_t>& sequences, WallTime now);
  // What expired by `drop_before` is forgotten.
  Result<PurgeAnswer> purge(WallTime now, WallTime drop_before, Wakeups& wakeups);
  Result<StoreStats> stats(WallTime now) const;

 private:
  struct Live {
    Job job;
    bool cancel_requested = false;
    std::optional<std::chrono::seconds> caller_grace{};  // attached
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
    ContentFingerprint fingerprint;
    std::optional<WallTime> expires_at;  // empty while the job lives
  };

  struct LiveBatch {
    Batch batch;
    ContentFingerprint fingerprint;  // of its spec as it came
  };

  using TenantKey = std::pair<std::string, std::string>;  // (tenant, batch id or idempotency key)
  using Keys = std::map<TenantKey, KnownKey>;

  // Start-time fair queueing (Goyal, Vin, Cheng 1996) of one model's tenants over need_tokens: a
  // job starts at its tenant's tag, which grows by its need; the virtual time is the latest start.
  struct Shares {
    int64_t virtual_time = 0;
    int64_t largest_need = 0;                 // of the jobs that were charged
    std::map<std::string, int64_t> next_tag;  // of each tenant that ever waited
    std::set<std::string> waiting;            // at the last claim

    // No job starts before: what a tenant that was passed over is owed is one largest job at most.
    int64_t earliest_start() const { return virtual_time - largest_need; }
  };

  Status check_depths(const DepthAccounts& n_new) const;
  // The accepted job this spec repeats, if any; conflict when the content differs.
  static Result<std::optional<SubmittedJob>> find_repeated(const JobSpec& spec, size_t index,
                                                           WallTime now, const Keys& keys);
  // What a claim that has given n_given jobs to each tenant gives next: a critical job, or the next
  // one of a tenant; nullptr when nothing is left within its limits.
  Job* next_job(const ClaimRequest& request, const std::map<std::string, int32_t>& n_given,
                WallTime now);
  // The next of those that it names.
  Job* next_named(const ClaimRequest& request, WallTime now);
  static Job* share_out(Shares& shares, const std::map<std::string, Job*>& first_of);
  // Takes back what the claim of a job charged.
  void uncharge(const JobSpec& spec);
  Live* find_claimed(JobId id, RunLease lease);
  // Moves a live job into its message, its history row and, if it has one, its dated key.
  void end(JobId id, RunLease lease, Ending ending, WallTime now, Wakeups& wakeups);
  static bool matches(const RequeueRequest& request, const Past& past);
  // `tenant` empty: any tenant's.
  Batch* find_batch(const std::string& id, const std::string& tenant);

  const StoreOptions options_;
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

}  // namespace parkd
