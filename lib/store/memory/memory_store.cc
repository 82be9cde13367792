#include "lib/store/memory/memory_store.h"

#include <mutex>
#include <utility>

#include "lib/store/drop_clock.h"
#include "lib/store/job_store.h"
#include "lib/store/memory/memory_state.h"

namespace parkd {
namespace {

class MemoryStore final : public JobStore {
 public:
  MemoryStore(StoreOptions options, Clock& clock)
      : clock_(clock), drop_clock_(clock, std::nullopt), state_(std::move(options)) {}

  void set_observer(StoreObserver observer) override { observer_ = std::move(observer); }

  void submit(std::vector<JobSpec> jobs, Completion<std::vector<SubmittedJob>> done) override {
    run<std::vector<SubmittedJob>>(
        [&](WallTime now, Wakeups& wakeups) {
          return state_.submit(std::move(jobs), now, wakeups);
        },
        done);
  }
  void register_model(ModelRegistration model, Completion<ModelRegistered> done) override {
    run<ModelRegistered>(
        [&](WallTime, Wakeups&) {
          return ModelRegistered{true, std::move(model.content_hash)};
        },
        done);
  }
  void claim(ClaimRequest request, Completion<std::vector<Job>> done) override {
    run<std::vector<Job>>([&](WallTime now, Wakeups&) { return state_.claim(request, now); }, done);
  }
  void finish(std::vector<FinishItem> items, Completion<std::vector<FinishAnswer>> done) override {
    run<std::vector<FinishAnswer>>(
        [&](WallTime now, Wakeups& wakeups) {
          return state_.finish(std::move(items), now, wakeups);
        },
        done);
  }
  void release(std::vector<ReleaseItem> items,
               Completion<std::vector<ReleaseAnswer>> done) override {
    run<std::vector<ReleaseAnswer>>(
        [&](WallTime now, Wakeups& wakeups) { return state_.release(items, now, wakeups); }, done);
  }
  void note_deaths(DeathReport report, Completion<DeathsAnswer> done) override {
    run<DeathsAnswer>(
        [&](WallTime now, Wakeups& wakeups) { return state_.note_deaths(report, now, wakeups); },
        done);
  }
  void cancel(JobId id, std::string tenant, Completion<CancelAnswer> done) override {
    run<CancelAnswer>(
        [&](WallTime now, Wakeups& wakeups) { return state_.cancel(id, tenant, now, wakeups); },
        done);
  }
  void attach(JobId id, std::optional<std::chrono::seconds> grace,
              Completion<std::optional<std::chrono::seconds>> done) override {
    run<std::optional<std::chrono::seconds>>(
        [&](WallTime, Wakeups&) { return state_.attach(id, grace); }, done);
  }
  void keep(JobId id, Completion<bool> done) override {
    run<bool>([&](WallTime, Wakeups&) { return state_.keep(id); }, done);
  }
  void adopt(Completion<std::vector<AttachedJob>> done) override {
    run<std::vector<AttachedJob>>([&](WallTime, Wakeups&) { return state_.adopt(); }, done);
  }
  void requeue(RequeueRequest request, Completion<std::vector<RequeuedJob>> done) override {
    run<std::vector<RequeuedJob>>(
        [&](WallTime now, Wakeups& wakeups) { return state_.requeue(request, now, wakeups); },
        done);
  }
  void open_batch(BatchSpec spec, Completion<OpenedBatch> done) override {
    run<OpenedBatch>(
        [&](WallTime now, Wakeups&) { return state_.open_batch(std::move(spec), now); }, done);
  }
  void seal_batch(std::string id, std::string tenant, Completion<Batch> done) override {
    run<Batch>([&](WallTime now, Wakeups&) { return state_.seal_batch(id, tenant, now); }, done);
  }
  void cancel_batch(std::string id, std::string tenant, Completion<Batch> done) override {
    run<Batch>([&](WallTime now,
                   Wakeups& wakeups) { return state_.cancel_batch(id, tenant, now, wakeups); },
               done);
  }
  void get_batch(std::string id, std::string tenant, Completion<Batch> done) override {
    run<Batch>([&](WallTime, Wakeups&) { return state_.get_batch(id, tenant); }, done);
  }
  void list_batches(BatchFilter filter, Completion<std::vector<Batch>> done) override {
    run<std::vector<Batch>>([&](WallTime, Wakeups&) { return state_.list_batches(filter); }, done);
  }
  void next_batch_work(BatchWorkRequest request, Completion<std::optional<Batch>> done) override {
    run<std::optional<Batch>>([&](WallTime, Wakeups&) { return state_.next_batch_work(request); },
                              done);
  }
  void advance_batch(std::string id, FileProgress progress, Completion<Batch> done) override {
    run<Batch>(
        [&](WallTime now, Wakeups&) { return state_.advance_batch(id, std::move(progress), now); },
        done);
  }
  void next_webhook(WebhookRequest request, Completion<std::optional<Batch>> done) override {
    run<std::optional<Batch>>(
        [&](WallTime now, Wakeups&) { return state_.next_webhook(request, now); }, done);
  }
  void note_webhook(std::string id, WebhookAttempt attempt, Completion<Batch> done) override {
    run<Batch>([&](WallTime now, Wakeups&) { return state_.note_webhook(id, attempt, now); }, done);
  }
  void get(JobId id, std::string tenant, Completion<JobRecord> done) override {
    run<JobRecord>([&](WallTime now, Wakeups&) { return state_.get(id, tenant, now); }, done);
  }
  void list(ListFilter filter, Completion<ListAnswer> done) override {
    run<ListAnswer>([&](WallTime, Wakeups&) { return state_.list(filter); }, done);
  }
  void fetch(FetchRequest request, Completion<FetchAnswer> done) override {
    run<FetchAnswer>([&](WallTime now, Wakeups&) { return state_.fetch(request, now); }, done);
  }
  void take(std::string tenant, std::string mailbox_key, std::vector<uint64_t> sequences,
            Completion<std::vector<Message>> done) override {
    run<std::vector<Message>>(
        [&](WallTime now, Wakeups&) { return state_.take(tenant, mailbox_key, sequences, now); },
        done);
  }
  void purge(Completion<PurgeAnswer> done) override {
    run<PurgeAnswer>(
        [&](WallTime now, Wakeups& wakeups) {
          return state_.purge(now, drop_clock_.now(), wakeups);
        },
        done);
  }
  void stats(Completion<StoreStats> done) override {
    run<StoreStats>([&](WallTime now, Wakeups&) { return state_.stats(now); }, done);
  }
  void stop() override {
    const std::lock_guard lock(mutex_);
    stopped_ = true;
  }

 private:
  template <class T, class Verb>
  void run(Verb verb, const Completion<T>& done) {
    Wakeups wakeups;
    Result<T> answer = unavailable("the store has stopped");
    {
      const std::lock_guard lock(mutex_);
      if (!stopped_) {
        const WallTime now = clock_.now();
        state_.promote_due(now, wakeups);
        answer = verb(now, wakeups);
      }
    }
    tell(observer_, wakeups);
    done(std::move(answer));
  }

  Clock& clock_;
  StoreObserver observer_;  // constant once verbs are called

  std::mutex mutex_;  // guards all below. Verbs complete inside the call: there is no thread to ask
  bool stopped_ = false;
  DropClock drop_clock_;
  MemoryState state_;
};

}  // namespace

std::unique_ptr<JobStore> make_memory_store(StoreOptions options, Clock& clock) {
  return std::make_unique<MemoryStore>(std::move(options), clock);
}

}  // namespace parkd
