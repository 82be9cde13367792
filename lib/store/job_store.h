// JobStore: the durable queue and its mailbox, as a few deep verbs.
//
// Each verb is one transaction, idempotent, fenced by (id, run_lease) where it acts on a claimed
// job, and asynchronous: it returns at once and its completion is called exactly once, on a thread
// of the store (memory: inside the call). A completion must not block and must not call the store:
// it pushes into an Inbox. Verbs may be called from any thread. After stop() every verb completes
// with unavailable.
//
// What is durable when a completion says ok: submit, finish, cancel, release, take, requeue,
// note_deaths, and the verbs that change a batch: synced. Claims are not: an embedded store
// re-queues every unfinished job when it is opened again.
//
// Implementations: lib/store/memory (the reference semantics), lib/store/rocksdb (the embedded
// default). tests/store/conformance runs one suite on all of them. The table of verbs:
// lib/store/README.md.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "lib/base/clock.h"
#include "lib/base/health.h"
#include "lib/base/status.h"
#include "lib/job/batch.h"
#include "lib/job/job.h"
#include "lib/store/depth.h"

namespace parkd {

template <class T>
using Completion = std::function<void(Result<T>)>;

struct StoreOptions {
  std::chrono::seconds retention_default{3600};
  std::chrono::seconds history_retention{30 * 24 * 3600};
  std::chrono::seconds idempotency_retention_min{24 * 3600};
  DepthLimits limits;                                  // of each model
  std::map<std::string, DepthLimits> limits_of_model;  // instead of them
  int64_t batch_jobs_max = kSubmitJobsMax;  // jobs in one submit, and members of one batch
  int64_t open_batches_max = 1000;          // unfinished batches of a tenant
  int64_t batches_bytes_max = 64 << 20;     // all that are remembered in RAM; of a tenant half

  const DepthLimits& limits_of(const std::string& model) const {
    const auto own = limits_of_model.find(model);
    return own == limits_of_model.end() ? limits : own->second;
  }
};

// -------------------------------------------------------------------------------------------------
// submit

struct SubmittedJob {
  JobId id = 0;
  std::string mailbox_key;
  bool existed = false;   // the idempotency key named a job already accepted with the same content
  bool finished = false;  // ... which has finished since
};

// -------------------------------------------------------------------------------------------------
// models

// A model a daemon serves, and which files it serves it from.
struct ModelRegistration {
  std::string name;
  std::string content_hash;  // lib/model/content_hash.h
  int32_t context_tokens = 0;
};

struct ModelRegistered {
  bool same = true;          // false: others answer under this name from other files
  std::string content_hash;  // the name's
};

// -------------------------------------------------------------------------------------------------
// claim

// Limits beside max_jobs do not change the order: what they leave behind is passed over and keeps
// its place. A tenant that is passed over keeps its turn: it comes next when it fits, and is owed
// one largest job at most, so that a newcomer waits for no more. Room counts critical jobs too.
struct ClaimRequest {
  std::string model;
  int32_t max_jobs = 0;  // in all

  // At most so many jobs of a tenant: of one that is named, and of each that is not. Empty: no
  // limit.
  std::map<std::string, int32_t> tenant_room{};
  std::optional<int32_t> others_room{};

  // Only jobs of at most this need_tokens. A claim looks past larger ones, but not without bound:
  // what the stores promise at any depth stands in lib/store/README.md. In the embedded store a
  // limit of 2^k - 1 finds every job that fits.
  std::optional<int64_t> need_tokens_max{};

  // Only these jobs, wherever they stand, up to max_jobs of them; empty: any. The limits above are
  // for the order alone. They are charged as ever; whose turn it is, it stays.
  std::vector<JobId> only{};

  // How many jobs of this tenant the claim may hand out.
  int32_t room_of(const std::string& tenant) const {
    const auto named = tenant_room.find(tenant);
    const int32_t room =
        named != tenant_room.end() ? named->second : others_room.value_or(max_jobs);
    return std::clamp(room, 0, std::max(max_jobs, 0));
  }
  bool fits(int64_t need_tokens) const {
    return !need_tokens_max || need_tokens <= *need_tokens_max;
  }
};

// -------------------------------------------------------------------------------------------------
// finish

struct FinishItem {
  JobId id = 0;
  RunLease lease;
  Ending ending;
};

enum class FinishAnswer {
  finished_now,
  already_by_this_lease,  // an earlier finish of this very run was committed: not an error
  lease_lost,             // another run, or a cancel, ended or owns the job: drop the result
  finished_late,  // as one of the first two, but what was written is late_ending() of the item's
};

// -------------------------------------------------------------------------------------------------
// release

// Gives a claimed job back to the queue. A spent attempt clears its poison notes: it ran, and the
// process lived.
struct ReleaseItem {
  JobId id = 0;
  RunLease lease;
  bool spend_attempt = false;      // an execution failed with a retryable code
  std::optional<WallTime> run_at;  // back-off: not before this
};

enum class ReleaseAnswer { released, lease_lost };

// -------------------------------------------------------------------------------------------------
// deaths

// A job that was in the engine when a process died, and the run it was.
struct DeathNote {
  JobId id = 0;
  RunLease lease;
};

// The death of one process of this queue's. Noted: it crashed on an engine thread, or lost its
// device; else it was killed, or the power went.
struct DeathReport {
  bool noted = false;
  std::vector<DeathNote> present;  // all that was in the engine
};

struct DeathsAnswer {
  int64_t suspects = 0;     // jobs of this report that are suspects now
  int64_t quarantined = 0;  // ended by it
};

// -------------------------------------------------------------------------------------------------
// cancel

enum class CancelAnswer {
  cancelled,         // it was waiting; its cancelled message is stored
  cancel_requested,  // it is claimed: the claimer is told and will finish it as cancelled
  already_finished,
  not_found,
  cancelling,  // it was waiting and never runs: a daemon ends it (PostgresClient alone)
};

// -------------------------------------------------------------------------------------------------
// requeue

// Finished jobs that did not complete and whose message is still there: those of `ids`, or all with
// one of these error codes, or all members of a batch; of what is given, all must hold (ids and a
// batch are not given together).
struct RequeueRequest {
  std::string tenant;  // empty: any tenant's (the caller is privileged)
  std::vector<JobId> ids;
  std::vector<std::string> error_codes;  // "run_timeout", "cancelled" ...; empty: any
  std::string model;                     // empty: any
  int32_t limit = 10'000;
  std::string batch_id{};  // empty: any
};

// -------------------------------------------------------------------------------------------------
// batches (batch.h)

struct BatchFilter {
  std::optional<std::string> tenant;
  std::string after;  // a batch id: those opened before it; empty: from the newest
  int32_t limit = 100;
};

// -------------------------------------------------------------------------------------------------
// reading

// Where a job is now: live, a message, a history row, or nothing.
using JobRecord = std::variant<std::monostate, Job, Message, HistoryRow>;

struct ListFilter {
  std::optional<std::string> tenant;
  std::optional<std::string> model;
  std::optional<JobState> state;
  JobId after = 0;  // ids greater than this, ascending
  int32_t limit = 100;
  std::optional<std::string> batch_id{};
  std::optional<std::string> mailbox_key{};
  std::optional<std::string> custom_id{};
};

struct ListAnswer {
  std::vector<Job> jobs;  // at most `limit`
  // Where the list goes on; empty: there is no more. What no index finds is looked for among so
  // many jobs a page (lib/store/README.md), so a page may have fewer than `limit`, or none, and not
  // be the last.
  std::optional<JobId> next_after{};
};

struct FetchRequest {
  std::string tenant;
  std::string mailbox_key;
  uint64_t after_sequence = 0;  // the cursor: messages later than this
  int32_t limit = 100;
  bool skip_damaged = false;  // go on behind messages whose bytes are damaged
};

// Messages later than `after`, up to `through`, that cannot all be read: their bytes are damaged.
struct DamagedRange {
  uint64_t after = 0;
  uint64_t through = 0;
};

struct FetchAnswer {
  std::vector<Message> messages;  // ascending by sequence, expired ones left out
  // Cursor for the next fetch; the request's when nothing came. It does not pass damage, and no
  // message behind it is in the page, unless the request says skip_damaged.
  uint64_t next_sequence = 0;
  std::optional<DamagedRange> damaged{};
};

struct ModelDepth {
  std::string model;
  int64_t scheduled = 0;
  int64_t queued = 0;
  int64_t claimed = 0;
  std::optional<WallTime> oldest_created_at;  // of the queued ones
  int64_t n_daemons = 0;  // that have it, of those that share the store; embedded: not known, 0
};

struct StoreStats {
  std::vector<ModelDepth> models;
  int64_t messages = 0;     // may count expired ones until their period is dropped
  int64_t syncs = 0;        // fsync-class commits since open
  int64_t commits = 0;      // write batches since open
  uint64_t open_epoch = 0;  // how many times this store was opened
  // Of a database that daemons share:
  int64_t fence_epoch = 0;         // grows when it is not the server it was (restart, promotion)
  int64_t sessions = 0;            // opened since the start; above their number: reconnects
  int64_t uncertain_finishes = 0;  // finishes sent again because their answer was lost
  bool healthy = true;  // false: the last commit failed; verbs answer unavailable until it heals
  std::string health_error;  // why, while not healthy
  // Of a queue whose mailbox is elsewhere (lib/store/outbox): messages that wait to be delivered,
  // and why they are not; the queue itself is none the worse for it.
  int64_t undelivered_messages = 0;
  std::string mailbox_error;
  // What an operator should know of the store, beside its health: accepted losses, damage, turns
  // that do not come.
  std::vector<HealthNotice> notices;
};

struct PurgeAnswer {
  int64_t messages = 0;
  int64_t history_rows = 0;
  int64_t deadlines_missed = 0;  // queued jobs ended because their deadline passed
};

// What a store tells its daemon unasked. Called on a store thread (memory: inside the verb), after
// the commit; must only push into an Inbox.
struct StoreObserver {
  std::function<void(const std::string& model)> work_available;
  std::function<void(const std::string& tenant, const std::string& mailbox_key)> message_stored;
  std::function<void(JobId id, RunLease lease)> cancel_requested;
};

class JobStore {
 public:
  virtual ~JobStore() = default;

  // Before any verb; at most once.
  virtual void set_observer(StoreObserver observer) = 0;

  // Accepts all of `jobs` or none. Errors: invalid (param = "jobs[i].field"), conflict (idempotency
  // key of another content, a batch that takes no more), exhausted (depth.h: all jobs count,
  // members of batches and those with a label included). A batch_id that names a batch of the
  // tenant makes a member of it; any other is a label of the submitter's own, without an account.
  virtual void submit(std::vector<JobSpec> jobs, Completion<std::vector<SubmittedJob>> done) = 0;

  // Says that this daemon is about to claim jobs of a model. Where daemons share the store, the
  // files of the first one count: the others claim only if theirs are the same. Idempotent. An
  // embedded store has one daemon, which no other contradicts.
  virtual void register_model(ModelRegistration model, Completion<ModelRegistered> done) {
    done(ModelRegistered{true, std::move(model.content_hash)});
  }

  // Up to max_jobs queued jobs of the model, in order: critical first; then tenants by fair share
  // of need_tokens (start-time fair queueing); in a tenant by order_key, then id, among the jobs
  // that fit need_tokens_max. Priorities order inside a tenant only, but for critical, which is
  // not charged. Each gets a new lease. Jobs whose deadline has passed are not handed out;
  // purge() ends them.
  virtual void claim(ClaimRequest request, Completion<std::vector<Job>> done) = 0;

  // Ends claimed jobs: each leaves the queue and its message and history row enter, in one commit;
  // answers in the order of `items`. A bad item never fails its neighbours.
  virtual void finish(std::vector<FinishItem> items,
                      Completion<std::vector<FinishAnswer>> done) = 0;

  // A job that comes back without a spent attempt is charged to its tenant once, when it is claimed
  // again: the tenant is then as one that was passed over.
  virtual void release(std::vector<ReleaseItem> items,
                       Completion<std::vector<ReleaseAnswer>> done) = 0;

  // Writes down which jobs were in the engine at a death, makes suspects of them and ends those
  // that killed twice alone as quarantined: judge_death in lib/store/rules.h. Told again, a run's
  // death changes nothing; jobs that have ended are passed over.
  virtual void note_deaths(DeathReport report, Completion<DeathsAnswer> done) = 0;

  // `tenant` empty: any tenant's job (the caller is privileged).
  virtual void cancel(JobId id, std::string tenant, Completion<CancelAnswer> done) = 0;

  // Makes a new job of each finished one the request names, under the same mailbox key; the old
  // message stays. A job is requeued once: asked for again, by id, it answers what it became. The
  // order is that of the old jobs' ends. All or none. Errors: invalid (no ids, codes or batch),
  // exhausted (as submit's).
  virtual void requeue(RequeueRequest request, Completion<std::vector<RequeuedJob>> done) = 0;

  // Errors: invalid (param = the field), conflict (idempotency key of another content), exhausted
  // (batches of the tenant; where batches are kept in RAM, their bytes).
  virtual void open_batch(BatchSpec spec, Completion<OpenedBatch> done) = 0;
  // Both are idempotent and answer the batch as it is then; cancelling seals, ends the members that
  // wait and asks for the end of those that are claimed. None of them is claimed from one commit
  // on; where daemons share the store the ends themselves are several. `tenant` empty: any.
  // Errors: not_found.
  virtual void seal_batch(std::string id, std::string tenant, Completion<Batch> done) = 0;
  virtual void cancel_batch(std::string id, std::string tenant, Completion<Batch> done) = 0;
  // With live members counted. Errors: not_found.
  virtual void get_batch(std::string id, std::string tenant, Completion<Batch> done) = 0;
  // The newest first. Errors: invalid (param = "after": no such batch, or none of the tenant's).
  virtual void list_batches(BatchFilter filter, Completion<std::vector<Batch>> done) = 0;

  virtual void get(JobId id, std::string tenant, Completion<JobRecord> done) = 0;
  virtual void list(ListFilter filter, Completion<ListAnswer> done) = 0;

  virtual void fetch(FetchRequest request, Completion<FetchAnswer> done) = 0;
  // Removes the named messages of a key and returns those that were still there: of two takers, one
  // gets a message. History rows stay. Not to be repeated blindly: after unavailable the messages
  // are where they were or gone, so a taker that must not lose any fetches them first, and takes
  // what it has stored.
  virtual void take(std::string tenant, std::string mailbox_key, std::vector<uint64_t> sequences,
                    Completion<std::vector<Message>> done) = 0;

  // Housekeeping, called every few seconds: wakes scheduled jobs that are due, ends waiting jobs
  // past their deadline (the earliest first), seals batches past theirs, drops expired messages,
  // history rows, idempotency keys and batches. Bounded work a call.
  virtual void purge(Completion<PurgeAnswer> done) = 0;

  virtual void stats(Completion<StoreStats> done) = 0;

  // Completes what was accepted, syncs, closes. Blocks; idempotent.
  virtual void stop() = 0;
};

}  // namespace parkd
