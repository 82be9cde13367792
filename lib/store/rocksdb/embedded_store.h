// EmbeddedStore: the JobStore on RocksDB. Two threads of its own:
//
//   state thread ("store")       owns the index, the claims, and all reads; builds commits
//   sync thread  ("store-sync")  writes and syncs one commit at a time
//
// so that a claim never waits for the disk to sync. Verbs arrive in the inbox; those that write
// gather while a commit is under way and become the next one (natural group commit: nothing is
// delayed when the store is idle). Failure of a commit: see heal().
//
// Out of memory (or any exception): the disk is the truth and the state in RAM a copy that can be
// read again, so there is no code that takes half a change back.
//   - A verb that throws before Commit::begin() has changed nothing: it alone is refused.
//   - Behind it, the commit being built is given up (its verbs are refused, nothing of it is on
//     disk) and the store is torn: see tear(). The same when a claim throws.
//   - Before the bytes are handed to RocksDB the memory that it will want is made sure of, for it
//     is not safe against exceptions in the middle of a call: one out of its write ends the process
//     (a log line, then as after a crash), for what it left is unknown.
//   - On disk, and then it throws: torn. The verbs are answered as done; one whose answer cannot be
//     made is told "unavailable", and finds out when it asks again.
// A torn store answers "unavailable" until it has read its rows again, at once or every second. It
// keeps the claims; what tenants were charged for fairness begins anew, as after a restart.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "lib/base/clock.h"
#include "lib/base/inbox.h"
#include "lib/base/thread.h"
#include "lib/store/answer_caught.h"
#include "lib/store/batch_accounts.h"
#include "lib/store/drop_clock.h"
#include "lib/store/job_store.h"
#include "lib/store/rocksdb/commit.h"
#include "lib/store/rocksdb/database.h"
#include "lib/store/rocksdb/queue_index.h"
#include "lib/store/rocksdb/record_codec.h"
#include "lib/store/rocksdb/rocksdb_outbox.h"

namespace parkd {

class EmbeddedStore final : public JobStore {
 public:
  EmbeddedStore(RocksDbStoreOptions options, RocksDbTesting testing, Clock& clock);
  ~EmbeddedStore() override { stop(); }

  // Opens the database, loads the index and starts the threads. Once, before any verb. On a full
  // disk it serves readers, and writes as soon as it can.
  Status start();

  void set_observer(StoreObserver observer) override;
  void submit(std::vector<JobSpec> jobs, Completion<std::vector<SubmittedJob>> done) override;
  void register_model(ModelRegistration model, Completion<ModelRegistered> done) override;
  void claim(ClaimRequest request, Completion<std::vector<Job>> done) override;
  void finish(std::vector<FinishItem> items, Completion<std::vector<FinishAnswer>> done) override;
  void release(std::vector<ReleaseItem> items,
               Completion<std::vector<ReleaseAnswer>> done) override;
  void note_deaths(DeathReport report, Completion<DeathsAnswer> done) override;
  void cancel(JobId id, std::string tenant, Completion<CancelAnswer> done) override;
  void requeue(RequeueRequest request, Completion<std::vector<RequeuedJob>> done) override;
  void open_batch(BatchSpec spec, Completion<OpenedBatch> done) override;
  void seal_batch(std::string id, std::string tenant, Completion<Batch> done) override;
  void cancel_batch(std::string id, std::string tenant, Completion<Batch> done) override;
  void get_batch(std::string id, std::string tenant, Completion<Batch> done) override;
  void list_batches(BatchFilter filter, Completion<std::vector<Batch>> done) override;
  void get(JobId id, std::string tenant, Completion<JobRecord> done) override;
  void list(ListFilter filter, Completion<ListAnswer> done) override;
  void fetch(FetchRequest request, Completion<FetchAnswer> done) override;
  void take(std::string tenant, std::string mailbox_key, std::vector<uint64_t> sequences,
            Completion<std::vector<Message>> done) override;
  void purge(Completion<PurgeAnswer> done) override;
  void stats(Completion<StoreStats> done) override;
  void stop() override;

  // The verbs of RocksDbOutbox (embedded_outbox.cc).
  void read_outbox(size_t messages_max, size_t bytes_max, Completion<OutboxPage> done);
  void drop_delivered(uint64_t through, Completion<int64_t> done);
  void find_message(JobId id, Completion<std::optional<MessagePlace>> done);
  void forget_requests(std::vector<RequestPlace> places, Completion<int64_t> done);
  const OutboxIdentity& outbox_identity() const { return outbox_identity_; }

 private:
  struct Claim {
    RunLease lease;
    WallTime claimed_at{};
    bool cancel_requested = false;
  };
  // A verb on its way: one of `read` and `write` is set.
  struct Request {
    std::function<void()> read;
    // Decides the verb and adds it to the commit, or completes it at once when there is nothing to
    // write. False: must wait for the next commit (and nothing was added).
    std::function<bool(Commit&)> write;
    std::function<void(const Status&)> refuse;
    bool is_settled = false;  // from the sync thread: under_way_
    bool is_stop = false;
  };
  // A job that ends in the commit being built.
  struct Ended {
    record::StoredJob stored;
    Message message;
    Period* period = nullptr;
    std::string body;  // of the request, when it did not complete
  };
  // A finished job that requeue may make anew, or has.
  struct Requeueable {
    record::StoredRequest request;  // spec empty once it was requeued
    record::StoredHistory history;
  };

  // --- any thread
  template <class T>
  void push_read(Completion<T> done, std::function<void(const Completion<T>&)> verb);
  template <class T>
  void push_write(Completion<T> done, std::function<bool(const Completion<T>&, Commit&)> verb);
  void push(Request request);

  // --- sync thread (embedded_commit.cc)
  void sync_loop();
  void sync_one(Commit& commit);

  // --- state thread: verbs and commits (embedded_commit.cc)
  void run();
  void mend();
  void handle(Request& request);
  static void refuse(const Request& request, const Status& why);
  void build_commit();
  bool add_verbs(Commit& commit);
  void write_common_rows(Commit& commit);
  void settle(Commit& commit);
  void apply(Commit& commit);
  static void complete(const Commit& commit, const Status& status);

  // --- either thread: exceptions (embedded_commit.cc)
  // `act` again, after pauses, while it throws: it wants little memory, and a caller waits for it.
  // `tries_max` 0: without end. The last exception's status.
  template <class Act>
  static Status insist(const char* where, int tries_max, Act&& act) noexcept {
    Status tried = caught(where, act);
    for (int n = 1; !tried.ok() && (tries_max == 0 || n < tries_max); ++n) {
      wait_for_memory();
      tried = caught(where, act);
    }
    return tried;
  }
  static void wait_for_memory();

  // --- state thread: life (embedded_store.cc)
  void fail(const Status& why);
  // The state in RAM may be half changed: nothing is answered from it until it was read again.
  void tear();
  bool can_read() const { return database_ != nullptr && !is_torn_; }
  void wait_for_room();
  bool may_heal();
  void serve_readers_only();
  HealthNotice failure_notice() const;
  void promote_due(WallTime now);
  Status load();
  Status load_rows();
  Status load_meta();
  void load_drop_clock();
  void put_time_mark(rocksdb::WriteBatch& batch);
  Status load_jobs();
  Status usable();  // heals if it can; not ok: what verbs answer
  void heal();
  bool end_flagged(Commit& commit);

  // --- state thread: writing (embedded_write.cc)
  bool build_submit(std::vector<JobSpec>& specs, const Completion<std::vector<SubmittedJob>>& done,
                    Commit& commit);
  bool build_finish(std::vector<FinishItem>& items,
                    const Completion<std::vector<FinishAnswer>>& done, Commit& commit);
  bool build_release(const std::vector<ReleaseItem>& items,
                     const Completion<std::vector<ReleaseAnswer>>& done, Commit& commit);
  bool build_note_deaths(const DeathReport& report, const Completion<DeathsAnswer>& done,
                         Commit& commit);
  bool build_cancel(JobId id, const std::string& tenant, const Completion<CancelAnswer>& done,
                    Commit& commit);
  bool build_take(const std::string& tenant, const std::string& mailbox_key,
                  const std::vector<uint64_t>& sequences,
                  const Completion<std::vector<Message>>& done, Commit& commit);
  bool build_purge(const Completion<PurgeAnswer>& done, Commit& commit);
  Status sweep_due(WallTime now, PurgeAnswer& answer, Commit& commit);
  Status sweep_one(const record::Due& due, PurgeAnswer& answer, Commit& commit);
  // With what the commit holds already. Of several tenants of a model each is added to the next.
  Status check_depths(const DepthAccounts& n_new, const Commit& commit) const;
  Result<std::optional<SubmittedJob>> find_repeated(const JobSpec& spec, size_t index,
                                                    WallTime now) const;
  bool holds_lease(JobId id, RunLease lease) const;
  Result<FinishAnswer> answer_without_claim(const FinishItem& item) const;
  // Reads the job and makes its message; adds nothing to the commit yet.
  Result<Ended> prepare_end(JobId id, RunLease lease, Ending ending, WallTime now);
  void write_end(const Ended& ended, WallTime now, Commit& commit);
  void apply_end(JobId id);
  void put_job(const record::StoredJob& stored, Commit& commit);

  // --- state thread: batches and requeue (embedded_batches.cc)
  Status load_batches();
  // As the commit has it so far; null when there is none. `tenant` empty: any tenant's.
  const record::StoredBatch* find_batch(const std::string& id, const std::string& tenant,
                                        const Commit& commit) const;
  Batch& edit_batch(const std::string& id, Commit& commit);  // requires that it is there
  const record::StoredBatch* find_batch_by_key(const BatchSpec& spec, const Commit& commit) const;
  bool is_member(const JobSpec& spec) const;  // of a batch that is committed; else it has a label
  void write_batches(Commit& commit);
  void apply_batches(const Commit& commit);
  bool build_open_batch(const BatchSpec& spec, const Completion<OpenedBatch>& done, Commit& commit);
  bool build_seal_batch(const std::string& id, const std::string& tenant,
                        const Completion<Batch>& done, Commit& commit);
  bool build_cancel_batch(const std::string& id, const std::string& tenant,
                          const Completion<Batch>& done, Commit& commit);
  void sweep_batches(WallTime now, WallTime drop_before, Commit& commit);
  Result<Batch> do_get_batch(const std::string& id, const std::string& tenant);
  Result<std::vector<Batch>> do_list_batches(const BatchFilter& filter);
  bool build_requeue(const RequeueRequest& request,
                     const Completion<std::vector<RequeuedJob>>& done, Commit& commit);
  Result<std::vector<std::pair<uint64_t, JobId>>> requests_of(const RequeueRequest& request,
                                                              WallTime now);
  Result<std::vector<Requeueable>> find_requeueable(const RequeueRequest& request, WallTime now);
  Result<std::optional<Requeueable>> find_requeueable_job(JobId id, const RequeueRequest& request,
                                                          WallTime now);

  // --- state thread: reading (embedded_read.cc)
  void do_claim(const ClaimRequest& request, const Completion<std::vector<Job>>& done);
  Result<JobRecord> do_get(JobId id, const std::string& tenant);
  Result<ListAnswer> do_list(const ListFilter& filter);
  Result<FetchAnswer> do_fetch(const FetchRequest& request);
  // A period as all of a fetch sees it.
  struct PeriodView {
    const Period& period;
    rocksdb::ManagedSnapshot& snapshot;
    WallTime now;
  };
  Status fetch_period(const FetchRequest& request, const PeriodView& view,
                      std::vector<Message>& found, std::optional<DamagedRange>& damaged);
  static uint64_t find_end_of_damage(uint64_t last_read, uint64_t end,
                                     const std::function<rocksdb::Status(uint64_t)>& read);
  Result<StoreStats> do_stats();
  Result<record::StoredJob> read_job(JobId id) const;
  Result<Job> read_whole_job(JobId id, WallTime now) const;
  Result<record::StoredHistory> read_history(JobId id) const;
  Result<JobRecord> read_past(JobId id, const std::string& tenant, WallTime now) const;

  // --- state thread: the outbox (embedded_outbox.cc)
  bool has_outbox() const { return options_.outbox_filled != nullptr; }
  Result<OutboxPage> do_read_outbox(size_t messages_max, size_t bytes_max);
  bool build_drop_delivered(uint64_t through, const Completion<int64_t>& done, Commit& commit);
  bool build_forget_requests(const std::vector<RequestPlace>& places,
                             const Completion<int64_t>& done, Commit& commit);
  Result<std::optional<MessagePlace>> do_find_message(JobId id) const;
  // Of a message that is taken: its row goes in the same commit.
  void leave_outbox(uint64_t sequence, Commit& commit);
  Result<OutboxIdentity> read_outbox_identity() const;

  // Constant after construction.
  const RocksDbStoreOptions options_;
  const RocksDbTesting testing_;
  Clock& clock_;
  std::optional<DropClock> drop_clock_;  // from the first opening on
  SteadyTime mark_due_{};                // boot time at which the mark of the time is written again
  StoreObserver observer_;               // constant once verbs are called
  OutboxIdentity outbox_identity_;       // constant after start()

  // Owned by the state thread (start() runs before it).
  std::unique_ptr<Database>
      database_;  // null or read-only while a failed store cannot be opened again
  QueueIndex index_;
  std::unordered_map<JobId, Claim> claims_;
  std::map<std::string, record::StoredBatch> batches_;  // by id
  BatchAccounts batch_accounts_;                        // of them
  std::vector<JobId> flagged_;  // held: their cancel was asked for and no worker runs them
  std::deque<Request> waiting_;
  std::unique_ptr<Commit> under_way_;  // with the sync thread
  bool stopping_ = false;
  JobId next_id_ = 1;
  uint64_t last_sequence_ = 0;
  uint64_t open_epoch_ = 0;  // 0: never yet opened for writing
  uint64_t n_claims_ = 0;
  int64_t n_syncs_ = 0;
  int64_t n_commits_ = 0;
  std::string due_low_;  // everything below was swept: the iterator starts here, not in tombstones
  std::string outbox_low_;      // the same of what was delivered
  Status failure_;              // of the last commit or opening, until healed
  bool must_reopen_ = false;    // to heal: what the database holds is unknown
  bool is_torn_ = false;        // an exception left the state in RAM half changed
  std::string logged_failure_;  // in the log
  SteadyTime next_heal_{};
  // After a full disk: so much must be free before the database is opened again, or a while pass.
  int64_t room_needed_bytes_ = 0;
  SteadyTime heal_anyway_{};

  Inbox<Request> inbox_;    // to the state thread
  Inbox<Commit*> to_sync_;  // to the sync thread: under_way_
  std::mutex
      accepting_mutex_;  // orders verbs before the stop; held for a push, never while calling out
  bool accepting_ = false;  // guarded by accepting_mutex_
  std::mutex stop_mutex_;   // one stop() at a time
  Thread state_thread_;
  Thread sync_thread_;
};

}  // namespace parkd
