// Delivery: takes messages from the outbox to the PostgreSQL mailbox, in the order of their
// commits.
//
// Owner: OutboxStore. A thread of its own ("pg-deliver") and one connection. Takes and housekeeping
// run on that thread too, between two batches: then no message is on its way, and each lies in the
// outbox or in the database. A batch whose answer was lost is uncertain until announce() has told
// how far the database got.
//
// The order is what makes all the rest simple: what the database has is always a beginning of the
// store's sequences, so one number says what was delivered, on both sides.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <vector>

#include "lib/base/clock.h"
#include "lib/base/inbox.h"
#include "lib/base/status.h"
#include "lib/base/thread.h"
#include "lib/base/thread_safety.h"
#include "lib/store/client_store.h"
#include "lib/store/completion.h"
#include "lib/store/daemon_store.h"
#include "lib/store/outbox/outbox_store.h"
#include "lib/store/postgres/postgres_mailbox.h"
#include "lib/store/rocksdb/rocksdb_outbox.h"

namespace parkd {

class Delivery {
 public:
  using Deadline = std::chrono::steady_clock::time_point;

  Delivery(const OutboxOptions& options, PostgresMailbox::Origin origin, ClientStore& queue,
           RocksDbOutbox& outbox, Clock& clock);
  ~Delivery() { stop(); }

  // One try to reach the database, then the thread. Errors: conflict, internal.
  Status start();
  // Finishes the batch under way, if any; what is left is delivered after the next start.
  void stop();

  // --- any thread
  void wake();
  // Of two takers one gets a message, wherever it lies.
  void take(std::string tenant, std::string mailbox_key, std::vector<uint64_t> sequences,
            Completion<std::vector<Message>> done);
  // The database's housekeeping; adds what it dropped to `answer`. A database that is away is left
  // for the next time.
  void maintain(PurgeAnswer answer, Completion<PurgeAnswer> done);

  // Messages later than this have never left the queue's own mailbox.
  uint64_t dropped_through() const { return dropped_through_; }
  // Why nothing is delivered; empty when all is well.
  std::string trouble() const;
  std::vector<HealthNotice> notices() const { return mailbox_.notices(); }
  void interrupt_if_overdue() { mailbox_.interrupt_if_overdue(); }

 private:
  using Task = std::function<void()>;  // empty: a wake-up

  void run();
  void run_tasks(const std::vector<Task>& tasks);
  void try_to_deliver();
  Status deliver_all();
  Status ensure_announced();
  Status drop(uint64_t through);
  void settle(const Status& status);
  void note(const Status& status);
  Result<std::vector<Message>> take_now(const std::string& tenant, const std::string& mailbox_key,
                                        const std::vector<uint64_t>& sequences, Deadline deadline);
  Result<std::vector<Message>> take_delivered(const std::string& tenant,
                                              const std::string& mailbox_key,
                                              const std::vector<uint64_t>& sequences,
                                              Deadline deadline);

  const OutboxOptions& options_;
  ClientStore& queue_;
  RocksDbOutbox& outbox_;
  Clock& clock_;

  // Delivery thread (and start(), before it).
  PostgresMailbox mailbox_;
  bool announced_ = false;       // and nothing is uncertain
  bool filled_ = true;           // there may be something to deliver
  uint64_t sent_through_;        // messages later than this were never sent
  uint64_t last_sequence_;       // the largest we know of
  uint64_t delivered_here_ = 0;  // delivered by this process
  std::chrono::milliseconds backoff_{0};
  std::chrono::steady_clock::time_point next_try_{};

  std::atomic<uint64_t> dropped_through_;
  mutable std::mutex mutex_;
  std::string trouble_ PARKD_GUARDED_BY(mutex_);
  Inbox<Task> inbox_;
  Thread thread_;
};

}  // namespace parkd
