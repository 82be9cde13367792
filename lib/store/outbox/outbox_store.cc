#include "lib/store/outbox/outbox_store.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <iterator>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "lib/base/inbox.h"
#include "lib/base/text.h"
#include "lib/base/thread.h"
#include "lib/store/answer_caught.h"
#include "lib/store/batch_rules.h"
#include "lib/store/outbox/delivery.h"
#include "lib/store/postgres/postgres_mailbox.h"
#include "lib/store/postgres/storable.h"
#include "lib/store/rocksdb/rocksdb_outbox.h"
#include "lib/store/rules.h"
#include "lib/store/wait_for.h"

namespace parkd {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

Status stopped() {
  return unavailable("the store has stopped");
}

bool by_sequence(const Message& a, const Message& b) {
  return a.sequence < b.sequence;
}

// Both parts ascending; a message that was delivered between the two reads is in both.
FetchAnswer merge(const FetchRequest& request, FetchAnswer queue, FetchAnswer delivered) {
  FetchAnswer answer;
  answer.next_sequence = request.after_sequence;
  std::vector<Message>& all = answer.messages;
  // Behind a part that is full there is more of it, which comes before what the other has there.
  uint64_t through = UINT64_MAX;
  for (const FetchAnswer* part : {&queue, &delivered}) {
    if (part->is_full) through = std::min(through, part->next_sequence);
  }
  std::merge(std::make_move_iterator(queue.messages.begin()),
             std::make_move_iterator(queue.messages.end()),
             std::make_move_iterator(delivered.messages.begin()),
             std::make_move_iterator(delivered.messages.end()), std::back_inserter(all),
             by_sequence);
  std::erase_if(all, [&](const Message& message) { return message.sequence > through; });
  const auto twin = [](const Message& a, const Message& b) { return a.sequence == b.sequence; };
  all.erase(std::unique(all.begin(), all.end(), twin), all.end());
  // Behind damage in the queue's own part there may be messages that should have come first.
  if (queue.damaged && !request.skip_damaged) {
    std::erase_if(all,
                  [&](const Message& message) { return message.sequence > queue.damaged->after; });
  }
  answer.is_full = cut_page(all, request) || through != UINT64_MAX;
  if (!all.empty()) answer.next_sequence = all.back().sequence;
  if (!queue.damaged || (answer.is_full && answer.next_sequence <= queue.damaged->after)) {
    return answer;
  }
  answer.damaged = queue.damaged;
  if (request.skip_damaged && !answer.is_full) {
    answer.next_sequence = std::max(answer.next_sequence, queue.damaged->through);
  }
  return answer;
}

class OutboxStore final : public JobStore {
 public:
  OutboxStore(OutboxOptions options, Clock& clock) : options_(std::move(options)), clock_(clock) {}
  ~OutboxStore() override { stop(); }

  Status start() {
    RocksDbStoreOptions queue = options_.queue;
    queue.outbox_filled = [this] { wake_delivery(); };
    PARKD_ASSIGN_OR_RETURN(OpenedOutbox opened, open_rocksdb_store_with_outbox(queue, clock_));
    queue_ = std::move(opened.store);
    outbox_ = std::make_unique<RocksDbOutbox>(std::move(opened.outbox));
    const PostgresMailbox::Origin origin{outbox_->identity().store, outbox_->identity().epoch,
                                         random_hex(16)};
    reader_ = std::make_unique<PostgresMailbox>(options_.mailbox, origin, "parkd-read");
    {
      const std::lock_guard lock(mutex_);
      delivery_ = std::make_unique<Delivery>(options_, origin, *queue_, *outbox_, clock_);
    }
    PARKD_RETURN_IF_ERROR(delivery_->start());
    read_thread_ = Thread({"pg-read", 0}, [this] { read_loop(); });
    watch_thread_ = Thread({"pg-watch", 0}, [this] { watch_loop(); });
    return {};
  }

  void set_observer(StoreObserver observer) override { queue_->set_observer(std::move(observer)); }

  void submit(std::vector<JobSpec> jobs, Completion<std::vector<SubmittedJob>> done) override {
    // Refused now: at the delivery it would be too late.
    const Status storable = check_storable(jobs);
    if (!storable.ok()) {
      done(storable);
      return;
    }
    queue_->submit(std::move(jobs), std::move(done));
  }
  void register_model(ModelRegistration model, Completion<ModelRegistered> done) override {
    queue_->register_model(std::move(model), std::move(done));
  }
  void claim(ClaimRequest request, Completion<std::vector<Job>> done) override {
    queue_->claim(std::move(request), std::move(done));
  }
  void finish(std::vector<FinishItem> items, Completion<std::vector<FinishAnswer>> done) override {
    queue_->finish(std::move(items), std::move(done));
  }
  void release(std::vector<ReleaseItem> items,
               Completion<std::vector<ReleaseAnswer>> done) override {
    queue_->release(std::move(items), std::move(done));
  }
  void note_deaths(DeathReport report, Completion<DeathsAnswer> done) override {
    queue_->note_deaths(std::move(report), std::move(done));
  }
  void cancel(JobId id, std::string tenant, Completion<CancelAnswer> done) override {
    queue_->cancel(id, std::move(tenant), std::move(done));
  }
  void attach(JobId id, std::optional<std::chrono::seconds> grace,
              Completion<std::optional<std::chrono::seconds>> done) override {
    queue_->attach(id, grace, std::move(done));
  }
  void keep(JobId id, Completion<bool> done) override { queue_->keep(id, std::move(done)); }
  void adopt(Completion<std::vector<AttachedJob>> done) override { queue_->adopt(std::move(done)); }
  void requeue(RequeueRequest request, Completion<std::vector<RequeuedJob>> done) override {
    queue_->requeue(std::move(request), std::move(done));
  }
  void open_batch(BatchSpec spec, Completion<OpenedBatch> done) override {
    queue_->open_batch(std::move(spec), std::move(done));
  }
  void seal_batch(std::string id, std::string tenant, Completion<Batch> done) override {
    queue_->seal_batch(std::move(id), std::move(tenant), std::move(done));
  }
  void cancel_batch(std::string id, std::string tenant, Completion<Batch> done) override {
    queue_->cancel_batch(std::move(id), std::move(tenant), std::move(done));
  }
  void get_batch(std::string id, std::string tenant, Completion<Batch> done) override {
    queue_->get_batch(std::move(id), std::move(tenant), std::move(done));
  }
  void list_batches(BatchFilter filter, Completion<std::vector<Batch>> done) override {
    queue_->list_batches(std::move(filter), std::move(done));
  }
  void next_batch_work(BatchWorkRequest request, Completion<std::optional<Batch>> done) override {
    queue_->next_batch_work(std::move(request), std::move(done));
  }
  void advance_batch(std::string id, FileProgress progress, Completion<Batch> done) override {
    queue_->advance_batch(std::move(id), std::move(progress), std::move(done));
  }
  void next_webhook(WebhookRequest request, Completion<std::optional<Batch>> done) override {
    queue_->next_webhook(std::move(request), std::move(done));
  }
  void note_webhook(std::string id, WebhookAttempt attempt, Completion<Batch> done) override {
    queue_->note_webhook(std::move(id), std::move(attempt), std::move(done));
  }
  void list(ListFilter filter, Completion<ListAnswer> done) override {
    queue_->list(std::move(filter), std::move(done));
  }

  void get(JobId id, std::string tenant, Completion<JobRecord> done) override {
    queue_->get(id, std::move(tenant), [this, id, done](Result<JobRecord> record) {
      if (!record.ok() || !std::holds_alternative<HistoryRow>(*record)) {
        done(std::move(record));
        return;
      }
      read_later<JobRecord>(done, [this, id, past = std::move(record).value()](Deadline deadline) {
        return get_delivered(id, past, deadline);
      });
    });
  }

  // What waits in the outbox first, then what the database has: a message that is delivered in
  // between is in both, and one that is in neither does not exist.
  void fetch(FetchRequest request, Completion<FetchAnswer> done) override {
    queue_->fetch(request, [this, request, done](Result<FetchAnswer> waiting) {
      const bool is_whole = request.limit <= 0 || !waiting.ok() ||
                            request.after_sequence >= delivery_->dropped_through();
      if (is_whole) {
        done(std::move(waiting));
        return;
      }
      read_later<FetchAnswer>(
          done, [this, request, waiting = std::move(waiting).value()](Deadline deadline) {
            return fetch_delivered(request, waiting, deadline);
          });
    });
  }

  void take(std::string tenant, std::string mailbox_key, std::vector<uint64_t> sequences,
            Completion<std::vector<Message>> done) override {
    queue_->get_batch(mailbox_key, tenant, [=, this](const Result<Batch>& batch) {
      if (batch.ok() && batch->keeps_results()) return done(results_are_kept(*batch));
      delivery_->take(tenant, mailbox_key, sequences,
                      [this, done](Result<std::vector<Message>> taken) {
                        forget_requests(std::move(taken), done);
                      });
    });
  }

  void purge(Completion<PurgeAnswer> done) override {
    queue_->purge([this, done](Result<PurgeAnswer> answer) {
      if (!answer.ok()) {
        done(std::move(answer));
        return;
      }
      delivery_->maintain(*answer, done);
    });
  }

  void stats(Completion<StoreStats> done) override {
    queue_->stats([this, done](Result<StoreStats> stats) {
      if (!stats.ok()) {
        done(std::move(stats));
        return;
      }
      read_later<StoreStats>(
          done, [this, stats = std::move(stats).value()](Deadline) { return add_mailbox(stats); });
    });
  }

  void stop() override {
    const std::lock_guard one_at_a_time(stop_mutex_);
    if (queue_ == nullptr || is_stopped_) return;
    is_stopped_ = true;
    queue_->stop();  // its last completions still find the threads below
    if (delivery_ != nullptr) delivery_->stop();
    reads_.close();
    read_thread_.join();
    {
      const std::lock_guard lock(mutex_);
      watch_ends_ = true;
    }
    watch_wakes_.notify_all();
    watch_thread_.join();
    reader_->close();
  }

 private:
  using Deadline = steady_clock::time_point;
  using Task = std::function<void()>;

  // On the queue's state thread: the queue may have something to deliver before there is a
  // Delivery, which looks by itself when it starts.
  void wake_delivery() {
    const std::lock_guard lock(mutex_);
    if (delivery_ != nullptr) delivery_->wake();
  }

  // What was taken cannot be requeued: the queue still has the requests of those that failed. A
  // crash before this leaves them until they expire.
  void forget_requests(Result<std::vector<Message>> taken,
                       const Completion<std::vector<Message>>& done) {
    std::vector<RequestPlace> places;
    for (const Message& message : taken.ok() ? *taken : std::vector<Message>()) {
      if (message.ending.outcome == Outcome::completed) continue;
      places.push_back({message.ending.error_code, message.sequence});
    }
    if (places.empty()) {
      done(std::move(taken));
      return;
    }
    outbox_->forget_requests(std::move(places), [done, taken = std::move(taken)](
                                                    const Result<int64_t>&) { done(taken); });
  }

  // --- the read thread

  void read_loop() {
    for (;;) {
      const std::vector<Task> tasks = reads_.wait_all();
      if (tasks.empty() && reads_.closed()) return;
      for (const Task& task : tasks) task();
    }
  }

  template <class T, class Read>
  void read_later(const Completion<T>& done, Read read) {
    const Deadline deadline = steady_clock::now() + options_.mailbox.verb_limit;
    if (!reads_.push([done, deadline, read = std::move(read)] {
          answer_caught(done, [&] { return read(deadline); });
        })) {
      done(stopped());
    }
  }

  // Runs a verb of the mailbox until it answers something other than "the database is away".
  template <class T, class Verb>
  Result<T> with_retries(Deadline deadline, Verb verb) {
    for (milliseconds pause{20};; pause = std::min(2 * pause, milliseconds(500))) {
      // Who has waited behind others for all its time does not make those behind it wait too.
      const std::string trouble = delivery_->trouble();
      if (!trouble.empty() && steady_clock::now() > deadline) return unavailable(trouble);
      Result<T> result = verb();
      if (result.ok() || result.status().code() != StatusCode::unavailable) return result;
      if (reads_.closed() || steady_clock::now() + pause > deadline) return result;
      std::this_thread::sleep_for(pause);
    }
  }

  Result<FetchAnswer> fetch_delivered(const FetchRequest& request, const FetchAnswer& waiting,
                                      Deadline deadline) {
    PARKD_ASSIGN_OR_RETURN(FetchAnswer delivered, with_retries<FetchAnswer>(deadline, [&] {
                             return reader_->fetch(request, clock_.now());
                           }));
    return merge(request, waiting, std::move(delivered));
  }

  Result<JobRecord> get_delivered(JobId id, const JobRecord& past, Deadline deadline) {
    PARKD_ASSIGN_OR_RETURN(const std::optional<MessagePlace> place,
                           wait_for<std::optional<MessagePlace>>(
                               [&](auto done) { outbox_->find_message(id, std::move(done)); }));
    const WallTime now = clock_.now();
    // Not in the outbox, and never delivered: taken from there.
    const bool is_gone =
        !place || place->expires_at <= now || place->sequence > delivery_->dropped_through();
    if (is_gone) return past;
    PARKD_ASSIGN_OR_RETURN(
        std::optional<Message> message, with_retries<std::optional<Message>>(deadline, [&] {
          return reader_->find(place->tenant, place->mailbox_key, place->sequence, now);
        }));
    return message ? JobRecord(std::move(*message)) : past;
  }

  Result<StoreStats> add_mailbox(StoreStats stats) {
    stats.undelivered_messages = stats.messages;
    stats.mailbox_error = delivery_->trouble();
    for (HealthNotice& notice : delivery_->notices()) stats.notices.push_back(std::move(notice));
    if (!stats.mailbox_error.empty()) return stats;  // at once: not after a wait for what is away
    const Result<int64_t> count = reader_->count();
    if (count.ok()) {
      stats.messages += *count;
    } else {
      stats.mailbox_error = count.status().message();
    }
    return stats;
  }

  // Cuts statements that hang.
  void watch_loop() {
    std::unique_lock lock(mutex_);
    while (!watch_wakes_.wait_for(lock, std::chrono::seconds(1), [this] { return watch_ends_; })) {
      lock.unlock();
      delivery_->interrupt_if_overdue();
      reader_->interrupt_if_overdue();
      lock.lock();
    }
  }

  const OutboxOptions options_;
  Clock& clock_;

  // Constant after start().
  std::unique_ptr<JobStore> queue_;
  std::unique_ptr<RocksDbOutbox> outbox_;
  std::unique_ptr<Delivery> delivery_;

  std::unique_ptr<PostgresMailbox> reader_;  // read thread
  Inbox<Task> reads_;
  std::mutex mutex_;  // guards delivery_ while it is made, and watch_ends_
  std::condition_variable watch_wakes_;
  bool watch_ends_ = false;
  std::mutex stop_mutex_;  // one stop() at a time; guards is_stopped_
  bool is_stopped_ = false;
  Thread read_thread_;
  Thread watch_thread_;
};

}  // namespace

Result<std::unique_ptr<JobStore>> open_outbox_store(OutboxOptions options, Clock& clock) {
  auto store = std::make_unique<OutboxStore>(std::move(options), clock);
  PARKD_RETURN_IF_ERROR(store->start());
  return std::unique_ptr<JobStore>(std::move(store));
}

}  // namespace parkd
