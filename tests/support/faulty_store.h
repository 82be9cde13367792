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

#include "tests/support/forwarding_store.h"

namespace parkd {

class FaultyStore final : public ForwardingStore {
 public:
  enum class Fault { before, after };
  using ForwardingStore::ForwardingStore;

  std::map<std::string, Fault> faults;  // by verb: claim, finish, release, note_deaths
  std::map<std::string, Status>
      answers;                       // what a fault says; unavailable where nothing stands here
  std::map<std::string, int> calls;  // by verb
  bool hold_claims = false;          // claims are done, but their answers stay on the way
  bool hold_submits = false;         // likewise, of submit_and_claim()
  bool claims_at_once = true;        // what submit_and_claim() has submitted
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
  // As a store that others share.
  void submit_and_claim(JobSpec job, Completion<SubmittedAndClaimed> done) override {
    through<SubmittedAndClaimed>(
        "submit_and_claim", std::move(done), [&](Completion<SubmittedAndClaimed> answer) {
          Result<SubmittedAndClaimed> said = internal_error("no answer");
          const std::string model = job.model;
          store_->submit_and_claim(std::move(job), [&](auto submitted) { said = submitted; });
          if (said.ok() && claims_at_once) {
            ClaimRequest request{model, 1};
            request.only = {said->submitted.id};
            store_->claim(std::move(request), [&](Result<std::vector<Job>> jobs) {
              if (jobs.ok() && !jobs->empty()) said->claimed = jobs->front();
            });
          }
          if (said.ok() && said->claimed) {
            claimed_.push_back({said->claimed->id, said->claimed->lease, false, std::nullopt});
          }
          if (!hold_submits) return answer(said);
          held_.push_back([answer, said] { answer(said); });
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

  std::vector<std::function<void()>> held_;
  std::vector<ReleaseItem> claimed_;  // all that was ever claimed, since the last lose_claims()
};

}  // namespace parkd
