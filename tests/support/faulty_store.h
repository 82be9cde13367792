// FaultyStore: a store that fails when the test says so, in front of one that does not.
//
// lose_claims() is what a daemon's lost heartbeat looks like: what it had claimed is queued again.
//
// `before`: the verb never reaches the store. `after`: it is done, but the answer is lost, which is
// what a connection that breaks at commit looks like.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "lib/store/job_store.h"

namespace parkd {

class FaultyStore final : public JobStore {
 public:
  enum class Fault { before, after };
  explicit FaultyStore(std::shared_ptr<JobStore> store) : store_(std::move(store)) {}

  std::map<std::string, Fault> faults;  // by verb: claim, finish, release, note_deaths
  std::map<std::string, Status>
      answers;                       // what a fault says; unavailable where nothing stands here
  std::map<std::string, int> calls;  // by verb
  bool hold_claims = false;          // claims are done, but their answers stay on the way
  bool hold_finishes = false;        // likewise
  std::vector<size_t> finish_sizes;  // items of each finish

  // Every claim ever answered is no longer the claimer's. Finished jobs keep their outcome.
  void lose_claims() {
    store_->release(std::exchange(claimed_, {}), [](Result<std::vector<ReleaseAnswer>>) {});
  }

  // The answers that were held arrive.
  void let_go() {
    for (const auto& answer : std::exchange(held_, {})) answer();
  }

  void set_observer(StoreObserver observer) override { store_->set_observer(std::move(observer)); }
  void submit(std::vector<JobSpec> jobs, Completion<std::vector<SubmittedJob>> done) override {
    store_->submit(std::move(jobs), std::move(done));
  }
  void claim(ClaimRequest request, Completion<std::vector<Job>> done) override {
    const auto note = [this](Completion<std::vector<Job>> then) {
      return [this, then = std::move(then)](Result<std::vector<Job>> jobs) {
        if (jobs.ok()) {
          for (const Job& job : *jobs) claimed_.push_back({job.id, job.lease, false, std::nullopt});
        }
        then(std::move(jobs));
      };
    };
    if (hold_claims) {
      store_->claim(request, note([this, done = std::move(done)](Result<std::vector<Job>> jobs) {
                      held_.push_back([done, jobs = std::move(jobs)] { done(jobs); });
                    }));
      return;
    }
    through<std::vector<Job>>("claim", std::move(done), [&](Completion<std::vector<Job>> answer) {
      store_->claim(request, note(std::move(answer)));
    });
  }
  void finish(std::vector<FinishItem> items, Completion<std::vector<FinishAnswer>> done) override {
    finish_sizes.push_back(items.size());
    if (hold_finishes) {
      done = [this, then = std::move(done)](Result<std::vector<FinishAnswer>> said) {
        held_.push_back([then, said = std::move(said)] { then(said); });
      };
    }
    through<std::vector<FinishAnswer>>("finish", std::move(done),
                                       [&](Completion<std::vector<FinishAnswer>> answer) {
                                         store_->finish(std::move(items), std::move(answer));
                                       });
  }
  void release(std::vector<ReleaseItem> items,
               Completion<std::vector<ReleaseAnswer>> done) override {
    through<std::vector<ReleaseAnswer>>("release", std::move(done),
                                        [&](Completion<std::vector<ReleaseAnswer>> answer) {
                                          store_->release(std::move(items), std::move(answer));
                                        });
  }
  void note_deaths(DeathReport report, Completion<DeathsAnswer> done) override {
    through<DeathsAnswer>("note_deaths", std::move(done), [&](Completion<DeathsAnswer> answer) {
      store_->note_deaths(std::move(report), std::move(answer));
    });
  }
  void cancel(JobId id, std::string tenant, Completion<CancelAnswer> done) override {
    store_->cancel(id, std::move(tenant), std::move(done));
  }
  void get(JobId id, std::string tenant, Completion<JobRecord> done) override {
    store_->get(id, std::move(tenant), std::move(done));
  }
  void list(ListFilter filter, Completion<std::vector<Job>> done) override {
    store_->list(std::move(filter), std::move(done));
  }
  void fetch(FetchRequest request, Completion<FetchAnswer> done) override {
    store_->fetch(std::move(request), std::move(done));
  }
  void take(std::string tenant, std::string mailbox_key, std::vector<uint64_t> sequences,
            Completion<std::vector<Message>> done) override {
    store_->take(std::move(tenant), std::move(mailbox_key), std::move(sequences), std::move(done));
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
    store_->cancel_batch(std::move(id), std::move(tenant), std::move(done));
  }
  void get_batch(std::string id, std::string tenant, Completion<Batch> done) override {
    store_->get_batch(std::move(id), std::move(tenant), std::move(done));
  }
  void list_batches(BatchFilter filter, Completion<std::vector<Batch>> done) override {
    store_->list_batches(std::move(filter), std::move(done));
  }
  void purge(Completion<PurgeAnswer> done) override { store_->purge(std::move(done)); }
  void stats(Completion<StoreStats> done) override { store_->stats(std::move(done)); }
  void stop() override { store_->stop(); }

 private:
  template <class T, class Verb>
  void through(const std::string& name, Completion<T> done, Verb verb) {
    ++calls[name];
    const auto fault = faults.find(name);
    if (fault == faults.end()) return verb(std::move(done));
    const auto scripted = answers.find(name);
    const Status why = scripted != answers.end() ? scripted->second : unavailable("scripted fault");
    if (fault->second == Fault::after) verb([](Result<T>) {});
    done(why);
  }

  const std::shared_ptr<JobStore> store_;
  std::vector<std::function<void()>> held_;
  std::vector<ReleaseItem> claimed_;  // all that was ever claimed, since the last lose_claims()
};

}  // namespace parkd
