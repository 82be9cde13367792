#include "tests/store/outbox/outbox_home.h"

#include <chrono>
#include <thread>
#include <utility>

#include "lib/store/wait_for.h"

namespace parkd {
namespace {

class SettledStore final : public JobStore {
 public:
  explicit SettledStore(std::unique_ptr<JobStore> store) : store_(std::move(store)) {}

  void set_observer(StoreObserver observer) override { store_->set_observer(std::move(observer)); }
  void submit(std::vector<JobSpec> jobs, Completion<std::vector<SubmittedJob>> done) override {
    store_->submit(std::move(jobs), std::move(done));
  }
  void register_model(ModelRegistration model, Completion<ModelRegistered> done) override {
    store_->register_model(std::move(model), std::move(done));
  }
  void claim(ClaimRequest request, Completion<std::vector<Job>> done) override {
    store_->claim(std::move(request), std::move(done));
  }
  void finish(std::vector<FinishItem> items, Completion<std::vector<FinishAnswer>> done) override {
    settled(std::move(done), [&](auto ended) { store_->finish(std::move(items), ended); });
  }
  void release(std::vector<ReleaseItem> items,
               Completion<std::vector<ReleaseAnswer>> done) override {
    settled(std::move(done), [&](auto ended) { store_->release(std::move(items), ended); });
  }
  void note_deaths(DeathReport report, Completion<DeathsAnswer> done) override {
    settled(std::move(done), [&](auto ended) { store_->note_deaths(report, ended); });
  }
  void cancel(JobId id, std::string tenant, Completion<CancelAnswer> done) override {
    settled(std::move(done), [&](auto ended) { store_->cancel(id, tenant, ended); });
  }
  void requeue(RequeueRequest request, Completion<std::vector<RequeuedJob>> done) override {
    store_->requeue(std::move(request), std::move(done));
  }
  void open_batch(BatchSpec spec, Completion<OpenedBatch> done) override {
    store_->open_batch(std::move(spec), std::move(done));
  }
  void seal_batch(std::string id, std::string tenant, Completion<Batch> done) override {
    store_->seal_batch(std::move(id), std::move(tenant), std::move(done));
  }
  void cancel_batch(std::string id, std::string tenant, Completion<Batch> done) override {
    settled(std::move(done), [&](auto ended) { store_->cancel_batch(id, tenant, ended); });
  }
  void get_batch(std::string id, std::string tenant, Completion<Batch> done) override {
    store_->get_batch(std::move(id), std::move(tenant), std::move(done));
  }
  void list_batches(BatchFilter filter, Completion<std::vector<Batch>> done) override {
    store_->list_batches(std::move(filter), std::move(done));
  }
  void attach(JobId id, std::optional<std::chrono::seconds> grace,
              Completion<std::optional<std::chrono::seconds>> done) override {
    store_->attach(id, grace, std::move(done));
  }
  void keep(JobId id, Completion<bool> done) override { store_->keep(id, std::move(done)); }
  void adopt(Completion<std::vector<AttachedJob>> done) override { store_->adopt(std::move(done)); }
  void next_batch_work(BatchWorkRequest request, Completion<std::optional<Batch>> done) override {
    store_->next_batch_work(std::move(request), std::move(done));
  }
  void advance_batch(std::string id, FileProgress progress, Completion<Batch> done) override {
    store_->advance_batch(std::move(id), std::move(progress), std::move(done));
  }
  void next_webhook(WebhookRequest request, Completion<std::optional<Batch>> done) override {
    store_->next_webhook(std::move(request), std::move(done));
  }
  void note_webhook(std::string id, WebhookAttempt attempt, Completion<Batch> done) override {
    store_->note_webhook(std::move(id), std::move(attempt), std::move(done));
  }
  void get(JobId id, std::string tenant, Completion<JobRecord> done) override {
    store_->get(id, std::move(tenant), std::move(done));
  }
  void list(ListFilter filter, Completion<ListAnswer> done) override {
    store_->list(std::move(filter), std::move(done));
  }
  void fetch(FetchRequest request, Completion<FetchAnswer> done) override {
    store_->fetch(std::move(request), std::move(done));
  }
  void take(std::string tenant, std::string mailbox_key, std::vector<uint64_t> sequences,
            Completion<std::vector<Message>> done) override {
    store_->take(std::move(tenant), std::move(mailbox_key), std::move(sequences), std::move(done));
  }
  void purge(Completion<PurgeAnswer> done) override {
    settled(std::move(done), [&](auto ended) { store_->purge(ended); });
  }
  void stats(Completion<StoreStats> done) override { store_->stats(std::move(done)); }
  void stop() override { store_->stop(); }

 private:
  template <class T, class Verb>
  void settled(Completion<T> done, Verb verb) {
    Result<T> answer = wait_for<T>(verb);
    if (answer.ok() && !settle(*store_)) {
      answer = Result<T>(unavailable("the outbox was not delivered in ten seconds"));
    }
    done(std::move(answer));
  }

  std::unique_ptr<JobStore> store_;
};

}  // namespace

OutboxOptions outbox_options(const std::string& dir, const std::string& dsn) {
  OutboxOptions options;
  options.queue.dir = dir;
  options.mailbox.dsn = dsn;
  options.mailbox.verb_limit = std::chrono::milliseconds(500);
  return options;
}

std::unique_ptr<JobStore> make_settled(std::unique_ptr<JobStore> store) {
  return std::make_unique<SettledStore>(std::move(store));
}

bool settle(JobStore& store) {
  const auto give_up = std::chrono::steady_clock::now() + std::chrono::minutes(5);  // it hangs
  for (;;) {
    const auto stats = wait_for<StoreStats>([&](auto done) { store.stats(std::move(done)); });
    if (!stats.ok()) return false;
    if (stats->undelivered_messages == 0) return true;
    if (std::chrono::steady_clock::now() > give_up) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

}  // namespace parkd
