// StoreDriver: a JobStore's verbs as plain calls that wait for their completion.
//
// For tests, any thread but the store's. Also records what the store told its observer.
#pragma once

#include <future>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "lib/store/job_store.h"

namespace parkd {

class StoreDriver {
 public:
  struct Told {
    std::vector<std::string> work;                              // models
    std::vector<std::pair<std::string, std::string>> messages;  // (tenant, mailbox key)
    std::vector<std::pair<JobId, RunLease>> cancels;
  };

  // Takes the observer's place: before any verb.
  explicit StoreDriver(JobStore& store) : store_(store) {
    StoreObserver observer;
    observer.work_available = [told = told_](const std::string& model) {
      const std::lock_guard lock(told->mutex);
      told->what.work.push_back(model);
    };
    observer.message_stored = [told = told_](const std::string& tenant, const std::string& key) {
      const std::lock_guard lock(told->mutex);
      told->what.messages.emplace_back(tenant, key);
    };
    observer.cancel_requested = [told = told_](JobId id, RunLease lease) {
      const std::lock_guard lock(told->mutex);
      told->what.cancels.emplace_back(id, lease);
    };
    store_.set_observer(std::move(observer));
  }

  Result<std::vector<SubmittedJob>> submit(std::vector<JobSpec> jobs) {
    return wait<std::vector<SubmittedJob>>(
        [&](auto done) { store_.submit(std::move(jobs), std::move(done)); });
  }
  Result<SubmittedAndClaimed> submit_and_claim(JobSpec job) {
    return wait<SubmittedAndClaimed>(
        [&](auto done) { store_.submit_and_claim(std::move(job), std::move(done)); });
  }
  Result<ModelRegistered> register_model(ModelRegistration model) {
    return wait<ModelRegistered>(
        [&](auto done) { store_.register_model(std::move(model), std::move(done)); });
  }
  Result<std::vector<Job>> claim(std::string model, int32_t max_jobs) {
    return claim(ClaimRequest{std::move(model), max_jobs});
  }
  Result<std::vector<Job>> claim(ClaimRequest request) {
    return wait<std::vector<Job>>(
        [&](auto done) { store_.claim(std::move(request), std::move(done)); });
  }
  Result<std::vector<FinishAnswer>> finish(std::vector<FinishItem> items) {
    return wait<std::vector<FinishAnswer>>(
        [&](auto done) { store_.finish(std::move(items), std::move(done)); });
  }
  Result<std::vector<ReleaseAnswer>> release(std::vector<ReleaseItem> items) {
    return wait<std::vector<ReleaseAnswer>>(
        [&](auto done) { store_.release(std::move(items), std::move(done)); });
  }
  Result<DeathsAnswer> note_deaths(DeathReport report) {
    return wait<DeathsAnswer>(
        [&](auto done) { store_.note_deaths(std::move(report), std::move(done)); });
  }
  Result<CancelAnswer> cancel(JobId id, std::string tenant) {
    return wait<CancelAnswer>(
        [&](auto done) { store_.cancel(id, std::move(tenant), std::move(done)); });
  }
  Result<std::optional<std::chrono::seconds>> attach(
      JobId id, std::optional<std::chrono::seconds> grace = {}) {
    return wait<std::optional<std::chrono::seconds>>(
        [&](auto done) { store_.attach(id, grace, std::move(done)); });
  }
  Result<std::optional<CancelAnswer>> detach(JobId id, std::string tenant = "") {
    return wait<std::optional<CancelAnswer>>(
        [&](auto done) { store_.detach(id, std::move(tenant), std::move(done)); });
  }
  Result<bool> keep(JobId id) {
    return wait<bool>([&](auto done) { store_.keep(id, std::move(done)); });
  }
  Result<std::vector<AttachedJob>> adopt() {
    return wait<std::vector<AttachedJob>>([&](auto done) { store_.adopt(std::move(done)); });
  }
  Result<JobRecord> get(JobId id, std::string tenant) {
    return wait<JobRecord>([&](auto done) { store_.get(id, std::move(tenant), std::move(done)); });
  }
  Result<ListAnswer> list_page(ListFilter filter) {
    return wait<ListAnswer>([&](auto done) { store_.list(std::move(filter), std::move(done)); });
  }
  // Page after page, until there are `limit` or no more.
  Result<std::vector<Job>> list(ListFilter filter) {
    std::vector<Job> jobs;
    for (;;) {
      PARKD_ASSIGN_OR_RETURN(ListAnswer page, list_page(filter));
      filter.limit -= static_cast<int32_t>(page.jobs.size());
      std::move(page.jobs.begin(), page.jobs.end(), std::back_inserter(jobs));
      if (!page.next_after || filter.limit <= 0) return jobs;
      filter.after = *page.next_after;
    }
  }
  Result<FetchAnswer> fetch(FetchRequest request) {
    return wait<FetchAnswer>([&](auto done) { store_.fetch(std::move(request), std::move(done)); });
  }
  Result<std::vector<Message>> take(std::string tenant, std::string key,
                                    std::vector<uint64_t> sequences) {
    return wait<std::vector<Message>>([&](auto done) {
      store_.take(std::move(tenant), std::move(key), std::move(sequences), std::move(done));
    });
  }
  Result<std::vector<RequeuedJob>> requeue(RequeueRequest request) {
    return wait<std::vector<RequeuedJob>>(
        [&](auto done) { store_.requeue(std::move(request), std::move(done)); });
  }
  Result<OpenedBatch> open_batch(BatchSpec spec) {
    return wait<OpenedBatch>(
        [&](auto done) { store_.open_batch(std::move(spec), std::move(done)); });
  }
  Result<Batch> seal_batch(std::string id, std::string tenant) {
    return wait<Batch>(
        [&](auto done) { store_.seal_batch(std::move(id), std::move(tenant), std::move(done)); });
  }
  Result<Batch> cancel_batch(std::string id, std::string tenant) {
    return wait<Batch>(
        [&](auto done) { store_.cancel_batch(std::move(id), std::move(tenant), std::move(done)); });
  }
  Result<Batch> get_batch(std::string id, std::string tenant) {
    return wait<Batch>(
        [&](auto done) { store_.get_batch(std::move(id), std::move(tenant), std::move(done)); });
  }
  Result<std::vector<Batch>> list_batches(BatchFilter filter) {
    return wait<std::vector<Batch>>(
        [&](auto done) { store_.list_batches(std::move(filter), std::move(done)); });
  }
  Result<std::optional<Batch>> next_batch_work(BatchWorkRequest request) {
    return wait<std::optional<Batch>>(
        [&](auto done) { store_.next_batch_work(std::move(request), std::move(done)); });
  }
  Result<std::optional<Batch>> next_webhook(WebhookRequest request) {
    return wait<std::optional<Batch>>(
        [&](auto done) { store_.next_webhook(std::move(request), std::move(done)); });
  }
  Result<Batch> note_webhook(std::string id, WebhookAttempt attempt) {
    return wait<Batch>([&](auto done) {
      store_.note_webhook(std::move(id), std::move(attempt), std::move(done));
    });
  }
  Result<Batch> advance_batch(std::string id, FileProgress progress) {
    return wait<Batch>([&](auto done) {
      store_.advance_batch(std::move(id), std::move(progress), std::move(done));
    });
  }
  Result<PurgeAnswer> purge() {
    return wait<PurgeAnswer>([&](auto done) { store_.purge(std::move(done)); });
  }
  Result<StoreStats> stats() {
    return wait<StoreStats>([&](auto done) { store_.stats(std::move(done)); });
  }

  // What was told since the last call. A store tells before it completes the verb.
  Told told() {
    const std::lock_guard lock(told_->mutex);
    return std::exchange(told_->what, {});
  }

  JobStore& store() { return store_; }

 private:
  struct Shared {
    std::mutex mutex;
    Told what;
  };

  template <class T, class Call>
  Result<T> wait(Call call) {
    auto promise = std::make_shared<std::promise<Result<T>>>();
    std::future<Result<T>> future = promise->get_future();
    call(Completion<T>([promise](Result<T> result) { promise->set_value(std::move(result)); }));
    return future.get();
  }

  JobStore& store_;
  std::shared_ptr<Shared> told_ = std::make_shared<Shared>();
};

}  // namespace parkd
