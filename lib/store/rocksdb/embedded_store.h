// EmbeddedStore: the JobStore on RocksDB. This is its face; behind it a State
// (embedded_state.h), which two threads of its own work on (commit_loop.h), and
// the verbs, free functions by kind.
//
// Failure of a commit: StoreFailure (store_failure.h), and State::usable(),
// which heals.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "lib/base/clock.h"
#include "lib/store/job_store.h"
#include "lib/store/rocksdb/commit_loop.h"
#include "lib/store/rocksdb/embedded_state.h"
#include "lib/store/rocksdb/rocksdb_outbox.h"
#include "lib/store/rocksdb/rocksdb_store.h"
#include "lib/store/rocksdb/rocksdb_testing.h"

namespace parkd {

class EmbeddedStore final : public JobStore {
 public:
  EmbeddedStore(RocksDbStoreOptions options, RocksDbTesting testing, Clock& clock);
  ~EmbeddedStore() override { stop(); }

  // Opens the database, loads the index and starts the threads. Once, before
  // any verb. On a full disk it serves readers, and writes as soon as it can.
  Status start();

  void set_observer(StoreObserver observer) override;
  void stop() override { loop_.stop(); }

  // --- ClientStore
  void submit(std::vector<JobSpec> jobs, Completion<std::vector<SubmittedJob>> done) override;
  void cancel(JobId id, std::string tenant, Completion<CancelAnswer> done) override;
  void requeue(RequeueRequest request, Completion<std::vector<RequeuedJob>> done) override;
  void get(JobId id, std::string tenant, Completion<JobRecord> done) override;
  void list(ListFilter filter, Completion<ListAnswer> done) override;
  void fetch(FetchRequest request, Completion<FetchAnswer> done) override;
  void take(std::string tenant, std::string mailbox_key, std::vector<uint64_t> sequences,
            Completion<std::vector<Message>> done) override;
  void stats(Completion<StoreStats> done) override;

  // --- BatchStore
  void open_batch(BatchSpec spec, Completion<OpenedBatch> done) override;
  void seal_batch(std::string id, std::string tenant, Completion<Batch> done) override;
  void cancel_batch(std::string id, std::string tenant, Completion<Batch> done) override;
  void get_batch(std::string id, std::string tenant, Completion<Batch> done) override;
  void list_batches(BatchFilter filter, Completion<std::vector<Batch>> done) override;
  void next_batch_work(BatchWorkRequest request, Completion<std::optional<Batch>> done) override;
  void advance_batch(std::string id, FileProgress progress, Completion<Batch> done) override;
  void next_webhook(WebhookRequest request, Completion<std::optional<Batch>> done) override;
  void note_webhook(std::string id, WebhookAttempt attempt, Completion<Batch> done) override;

  // --- CallerStore
  void attach(JobId id, std::optional<std::chrono::seconds> grace,
              Completion<std::optional<std::chrono::seconds>> done) override;
  void keep(JobId id, Completion<bool> done) override;
  void adopt(Completion<std::vector<AttachedJob>> done) override;

  // --- DaemonStore
  void register_model(ModelRegistration model, Completion<ModelRegistered> done) override;
  void claim(ClaimRequest request, Completion<std::vector<Job>> done) override;
  void finish(std::vector<FinishItem> items, Completion<std::vector<FinishAnswer>> done) override;
  void release(std::vector<ReleaseItem> items,
               Completion<std::vector<ReleaseAnswer>> done) override;
  void note_deaths(DeathReport report, Completion<DeathsAnswer> done) override;
  void purge(Completion<PurgeAnswer> done) override;

  // --- RocksDbOutbox
  void read_outbox(size_t messages_max, size_t bytes_max, Completion<OutboxPage> done);
  void drop_delivered(uint64_t through, Completion<int64_t> done);
  void find_message(JobId id, Completion<std::optional<MessagePlace>> done);
  void forget_requests(std::vector<RequestPlace> places, Completion<int64_t> done);
  const OutboxIdentity& outbox_identity() const { return outbox_identity_; }

 private:
  embedded::State state_;  // the loop's, from start() on
  embedded::CommitLoop loop_;
  OutboxIdentity outbox_identity_;  // constant after start()
};

}  // namespace parkd
