// StoreWalk: random verbs on a store, with restarts, against the memory store as the oracle.
//
// Both hear the same verbs at the same times. Ids and sequences are each store's own, so a job is
// known by its custom_id, which is never used twice, and a batch by its name; `ids_agree` adds that
// they are equal, for a store that counts as the oracle does. Fair shares across tenants are each
// store's own too, and start anew with it: a model of several tenants is claimed whole, and jobs
// are claimed a few at a time only where a single tenant is. A restart gives every claimed job
// back; the oracle is told so by releases. Beside it threads follow cursors through the mailboxes
// of the store: what lies there before its cursor each must have seen. Bursts of commits, each of
// which spans many periods of expiry, meet them: a page that is put together of several views
// skips.
#pragma once

#include <array>
#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "lib/base/clock.h"
#include "lib/store/job_store.h"
#include "tests/support/store_driver.h"

namespace parkd {

class StoreWalk {
 public:
  using Open = std::function<Result<std::unique_ptr<JobStore>>(Clock&)>;
  StoreWalk(uint64_t seed, bool ids_agree, Open open);
  ~StoreWalk();

  void step();
  // Everything there is, in both.
  void compare_all();

 private:
  struct JobPair {
    JobId ours = 0;
    JobId oracles = 0;
  };
  struct ClaimPair {
    JobPair job;
    RunLease ours;
    RunLease oracles;
  };
  struct BatchPair {
    std::string ours;
    std::string oracles;
  };
  // A spec as each store is given it: only batch ids differ.
  struct SpecPair {
    JobSpec ours;
    JobSpec oracles;
  };
  enum class Side { ours, oracles };

  void open();
  void close();
  void restart();
  void pass_time();

  void submit();
  SpecPair any_spec();
  ClaimRequest any_claim();
  void claim();
  void finish();
  void burst();
  void release();
  void cancel();
  void requeue();
  void die();
  void open_batch();
  void change_batch();
  void take();
  void look();
  void purge();
  void compare_box(const std::string& tenant, const std::string& key);
  void follow_boxes(size_t reader);  // a reading thread
  void check_cursor(const std::string& tenant, const std::string& key, const FetchAnswer& box);
  void compare_batch(const BatchPair& pair, const std::string& tenant);
  void know(const JobPair& pair, const std::string& custom_id);

  std::string text_of(const Job& job, Side side) const;
  std::string text_of(const Message& message, Side side) const;
  std::string text_of(const Batch& batch) const;
  std::string text_of(const JobRecord& record, Side side) const;
  std::string name_of_batch(const std::string& id, Side side) const;
  template <class T>
  std::string text_of(const Result<std::vector<T>>& rows, Side side, bool sorted) const;
  std::string custom_id_of(JobId id, Side side) const;

  template <class T>
  const T& any_of(const std::vector<T>& values) {
    return values[random_() % values.size()];
  }
  bool chance(int percent) { return static_cast<int>(random_() % 100) < percent; }
  JobPair any_job();
  std::string any_tenant_or_privileged();

  std::mt19937_64 random_;
  const bool ids_agree_;
  const Open open_;
  ManualClock clock_{from_unix_us(int64_t{1'790'000'000} * 1'000'000)};
  std::unique_ptr<JobStore> oracle_store_;
  std::unique_ptr<StoreDriver> oracle_;
  std::unique_ptr<JobStore> real_store_;
  std::unique_ptr<StoreDriver> store_;

  int n_specs_ = 0;
  int n_batches_ = 0;
  std::vector<JobPair> jobs_;
  std::map<JobId, std::string> our_names_, oracle_names_;  // id -> custom_id
  std::vector<ClaimPair> claims_;                          // old ones are kept to be tried again
  std::vector<BatchPair> batches_;
  std::map<std::string, std::string> our_batch_names_, oracle_batch_names_;
  std::map<std::pair<std::string, std::string>, SpecPair> keyed_;
  std::map<std::pair<std::string, std::string>, BatchSpec> keyed_batches_;

  static const std::vector<std::string> kTenants;
  static const std::vector<std::string> kKeys;

  struct Cursor {
    uint64_t at = 0;
    std::set<uint64_t> seen;
  };
  struct Reader {
    std::mutex reading;  // held for a page, and while the store is opened anew; guards the others
    std::map<std::pair<std::string, std::string>, Cursor> cursors;  // by tenant and mailbox key
    std::string trouble;
    std::thread thread;
  };
  static constexpr size_t kReaders = 6;
  std::array<Reader, kReaders> readers_;
  std::atomic<size_t> busy_box_{0};  // where a burst is, or was: readers look there more often
  std::atomic<bool> is_burst_{false};
  std::atomic<bool> has_ended_{false};
};

// PARKD_WALK_SEED, or a fresh one; says on standard output how to have it again.
uint64_t walk_seed();
// PARKD_WALK_STEPS, or `otherwise`.
int walk_steps(int otherwise);

// Walks `n_steps`, comparing everything now and then; a gtest failure names step and seed.
void walk(StoreWalk& steps, int n_steps, uint64_t seed);

}  // namespace parkd
