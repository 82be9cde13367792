// ForwardingStore: every verb goes to the store behind it; tests override those they play with.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "lib/store/job_store.h"

namespace parkd {

class ForwardingStore : public JobStore {
 public:
  explicit ForwardingStore(std::shared_ptr<JobStore> store) : store_(std::move(store)) {}

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
  void submit_and_claim(JobSpec job, Completion<SubmittedAndClaimed> done) override {
    store_->submit_and_claim(std::move(job), std::move(done));
  }
  void finish(std::vector<FinishItem> items, Completion<std::vector<FinishAnswer>> done) override {
    store_->finish(std::move(items), std::move(done));
  }
  void release(std::vector<ReleaseItem> items,
               Completion<std::vector<ReleaseAnswer>> done) override {
    store_->release(std::move(items), std::move(done));
  }
  void note_deaths(DeathReport report, Completion<DeathsAnswer> done) override {
    store_->note_deaths(std::move(report), std::move(done));
  }
  void cancel(JobId id, std::string tenant, Completion<CancelAnswer> done) override {
    store_->cancel(id, std::move(tenant), std::move(done));
  }
  void requeue(RequeueRequest request, Completion<std::vector<RequeuedJob>> done) override {
    store_->requeue(std::move(request), std::move(done));
  }
  void attach(JobId id, std::optional<std::chrono::seconds> grace,
              Completion<std::optional<std::chrono::seconds>> done) override {
    store_->attach(id, grace, std::move(done));
  }
  void detach(JobId id, std::string tenant, Completion<std::optional<CancelAnswer>> done) override {
    store_->detach(id, std::move(tenant), std::move(done));
  }
  void keep(JobId id, Completion<bool> done) override { store_->keep(id, std::move(done)); }
  void adopt(Completion<std::vector<AttachedJob>> done) override { store_->adopt(std::move(done)); }
  void open_batch(BatchSpec spec, Completion<OpenedBatch> done) override {
    store_->open_batch(std::move(spec), std::move(done));
  }
  void seal_batch(std::string id, std::string tenant, Completion<Batch> done) override {
    store_->seal_batch(std::move(id), std::move(tenant), std::move(done));
  }
  void cancel_batch(std::string id, std::string tenant, Completion<Batch> done) override {
    store_->cancel_batch(std::move(id), std::move(tenant), std::move(done));
  }
  void get_batch(std::string id, std::string tenant, Completion<Batch> done) override {
    store_->get_batch(std::move(id), std::move(tenant), std::move(done));
  }
  void list_batches(BatchFilter filter, Completion<std::vector<Batch>> done) override {
    store_->list_batches(std::move(filter), std::move(done));
  }
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
  void purge(Completion<PurgeAnswer> done) override { store_->purge(std::move(done)); }
  void stats(Completion<StoreStats> done) override { store_->stats(std::move(done)); }
  void stop() override { store_->stop(); }

 protected:
  const std::shared_ptr<JobStore> store_;
};

}  // namespace parkd
