// WaitingStore: a store of threads, as one whose verbs complete inside the call: for tests that
// play a dispatcher by hand. News of work are told inside the verbs as well: those that the store
// tells on its own threads are left out, for they may come after its answer.
#pragma once

#include <functional>
#include <future>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "tests/support/forwarding_store.h"

namespace parkd {

class WaitingStore final : public ForwardingStore {
 public:
  // `work_in`: the model that has news after a submit or a release.
  WaitingStore(std::unique_ptr<JobStore> store, std::string work_in)
      : ForwardingStore(std::move(store)), work_in_(std::move(work_in)) {}

  void set_observer(StoreObserver observer) override {
    work_available_ = std::exchange(observer.work_available, [](const std::string&) {});
    store_->set_observer(std::move(observer));
  }
  void submit(std::vector<JobSpec> jobs, Completion<std::vector<SubmittedJob>> done) override {
    wait<std::vector<SubmittedJob>>(
        std::move(done), [&](auto answer) { store_->submit(std::move(jobs), std::move(answer)); });
    if (work_available_) work_available_(work_in_);
  }
  void claim(ClaimRequest request, Completion<std::vector<Job>> done) override {
    wait<std::vector<Job>>(std::move(done), [&](auto answer) {
      store_->claim(std::move(request), std::move(answer));
    });
  }
  void finish(std::vector<FinishItem> items, Completion<std::vector<FinishAnswer>> done) override {
    wait<std::vector<FinishAnswer>>(
        std::move(done), [&](auto answer) { store_->finish(std::move(items), std::move(answer)); });
  }
  void release(std::vector<ReleaseItem> items,
               Completion<std::vector<ReleaseAnswer>> done) override {
    wait<std::vector<ReleaseAnswer>>(std::move(done), [&](auto answer) {
      store_->release(std::move(items), std::move(answer));
    });
    if (work_available_) work_available_(work_in_);
  }
  void note_deaths(DeathReport report, Completion<DeathsAnswer> done) override {
    wait<DeathsAnswer>(std::move(done), [&](auto answer) {
      store_->note_deaths(std::move(report), std::move(answer));
    });
  }
  void cancel(JobId id, std::string tenant, Completion<CancelAnswer> done) override {
    wait<CancelAnswer>(std::move(done),
                       [&](auto answer) { store_->cancel(id, tenant, std::move(answer)); });
  }
  void get(JobId id, std::string tenant, Completion<JobRecord> done) override {
    wait<JobRecord>(std::move(done),
                    [&](auto answer) { store_->get(id, tenant, std::move(answer)); });
  }
  void list(ListFilter filter, Completion<ListAnswer> done) override {
    wait<ListAnswer>(std::move(done),
                     [&](auto answer) { store_->list(filter, std::move(answer)); });
  }
  void fetch(FetchRequest request, Completion<FetchAnswer> done) override {
    wait<FetchAnswer>(std::move(done),
                      [&](auto answer) { store_->fetch(std::move(request), std::move(answer)); });
  }
  void take(std::string tenant, std::string mailbox_key, std::vector<uint64_t> sequences,
            Completion<std::vector<Message>> done) override {
    wait<std::vector<Message>>(std::move(done), [&](auto answer) {
      store_->take(tenant, mailbox_key, std::move(sequences), std::move(answer));
    });
  }
  void purge(Completion<PurgeAnswer> done) override {
    wait<PurgeAnswer>(std::move(done), [&](auto answer) { store_->purge(std::move(answer)); });
  }
  void stats(Completion<StoreStats> done) override {
    wait<StoreStats>(std::move(done), [&](auto answer) { store_->stats(std::move(answer)); });
  }

 private:
  // Calls `done` on the caller's thread.
  template <class T, class Verb>
  static void wait(Completion<T> done, Verb verb) {
    std::promise<Result<T>> said;
    verb([&said](Result<T> answer) { said.set_value(std::move(answer)); });
    done(said.get_future().get());
  }

  const std::string work_in_;
  std::function<void(const std::string&)> work_available_;
};

}  // namespace parkd
