// Random verbs on the embedded store, with restarts, against the memory store as the oracle.
//
// Both hear the same verbs at the same times; ids agree because both count from 1. A restart of the
// embedded store gives every claimed job back; the oracle is told so by releases. Fair shares
// across tenants restart too, so jobs are claimed one at a time only where a single tenant is; a
// model of several tenants is claimed whole.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <iostream>
#include <map>
#include <random>
#include <set>

#include "lib/store/memory/memory_store.h"
#include "lib/store/rocksdb/rocksdb_store.h"
#include "tests/support/store_driver.h"
#include "tests/support/temp_dir.h"

namespace parkd {
namespace {

using std::chrono::hours;
using std::chrono::minutes;
using std::chrono::seconds;

// What can be compared of a job: all but the lease, which each store counts in its own way.
std::string text_of(const Job& job) {
  const JobSpec& spec = job.spec;
  std::string text =
      "job " + std::to_string(job.id) + " " + spec.model + "/" + spec.tenant + "/" +
      spec.mailbox_key + " " + std::string(to_string(job.state)) + " attempts " +
      std::to_string(job.attempts) + " deaths " + std::to_string(job.interruptions) + "/" +
      std::to_string(job.deaths_alone) + (job.suspect_group != 0 ? " suspect" : "") + " order " +
      to_rfc3339(job.order_key) + " created " + to_rfc3339(job.created_at) + " body " + spec.body +
      " seed " + std::to_string(spec.seed.value_or(0)) + " claimed " + to_rfc3339(job.claimed_at);
  if (spec.run_at) text += " run_at " + to_rfc3339(*spec.run_at);
  if (spec.deadline) text += " deadline " + to_rfc3339(*spec.deadline);
  return text;
}

std::string text_of(const Message& message) {
  return "message " + std::to_string(message.sequence) + " of job " +
         std::to_string(message.job_id) + " " + std::string(to_string(message.ending.outcome)) +
         " " + message.ending.error_code + " body " + message.ending.body + " attempts " +
         std::to_string(message.attempts) + " ran " +
         std::to_string(static_cast<int>(message.lease != RunLease{})) + " finished " +
         to_rfc3339(message.finished_at) + " expires " + to_rfc3339(message.expires_at);
}

std::string text_of(const JobRecord& record) {
  if (const Job* job = std::get_if<Job>(&record)) return text_of(*job);
  if (const Message* message = std::get_if<Message>(&record)) return text_of(*message);
  if (const HistoryRow* row = std::get_if<HistoryRow>(&record)) {
    return "history " + std::to_string(row->job_id) + " " + std::string(to_string(row->outcome)) +
           " " + row->tenant + " " + to_rfc3339(row->finished_at);
  }
  return "nothing";
}

std::string text_of(const SubmittedJob& job) {
  return std::to_string(job.id) + " " + job.mailbox_key + (job.existed ? " existed" : "") +
         (job.finished ? " finished" : "");
}

std::string text_of(FinishAnswer answer) {
  return "finish answer " + std::to_string(static_cast<int>(answer));
}
std::string text_of(ReleaseAnswer answer) {
  return "release answer " + std::to_string(static_cast<int>(answer));
}
std::string text_of(CancelAnswer answer) {
  return "cancel answer " + std::to_string(static_cast<int>(answer));
}
std::string text_of(const DeathsAnswer& answer) {
  return std::to_string(answer.suspects) + " suspects, " + std::to_string(answer.quarantined) +
         " quarantined";
}
std::string text_of(const FetchAnswer& answer) {
  std::string text = "next " + std::to_string(answer.next_sequence);
  for (const Message& message : answer.messages) text += "\n" + text_of(message);
  return text;
}

template <class T>
std::string text_of(const std::vector<T>& values) {
  std::string text = std::to_string(values.size()) + " of:";
  for (const T& value : values) text += "\n" + text_of(value);
  return text;
}

template <class T>
std::string text_of(const Result<T>& result) {
  return result.ok() ? text_of(*result) : result.status().to_string();
}

// A claim as each store knows it; old ones are kept to be tried again.
struct Pair {
  JobId id = 0;
  RunLease ours;
  RunLease oracles;
};

class Walk {
 public:
  explicit Walk(uint64_t seed) : random_(seed), oracle_store_(make_memory_store({}, clock_)) {
    oracle_ = std::make_unique<StoreDriver>(*oracle_store_);
    open();
  }
  ~Walk() { close(); }

  void step() {
    const uint64_t what = random_() % 100;
    if (what < 30) return submit();
    if (what < 50) return claim();
    if (what < 65) return finish();
    if (what < 71) return release();
    if (what < 77) return cancel();
    if (what < 79) return die();
    if (what < 83) return take();
    if (what < 87) return look();
    if (what < 91) return purge();
    if (what < 99) return pass_time();
    restart();
  }

  // Everything there is, in both.
  void compare_all() {
    ListFilter filter;
    filter.limit = 1'000'000;
    same("list", store_->list(filter), oracle_->list(filter));
    for (JobId id = 1; id <= last_id_ + 1; ++id) {
      same("get", store_->get(id, ""), oracle_->get(id, ""));
    }
    for (const std::string& tenant : kTenants) {
      for (const std::string& key : kKeys) {
        const FetchRequest request{tenant, key, 0, 1'000'000};
        same("fetch", store_->fetch(request), oracle_->fetch(request));
      }
    }
  }

 private:
  template <class T>
  void same(const char* verb, const Result<T>& ours, const Result<T>& oracles) {
    ASSERT_EQ(text_of(ours), text_of(oracles)) << "in " << verb;
  }
  template <class T>
  const T& any_of(const std::vector<T>& values) {
    return values[random_() % values.size()];
  }
  bool chance(int percent) { return static_cast<int>(random_() % 100) < percent; }

  void open() {
    RocksDbStoreOptions options;
    options.dir = dir_.path() + "/queue";
    Result<std::unique_ptr<JobStore>> opened = open_rocksdb_store(options, clock_);
    ASSERT_TRUE(opened.ok()) << opened.status().to_string();
    real_store_ = std::move(opened).value();
    store_ = std::make_unique<StoreDriver>(*real_store_);
  }
  void close() {
    store_.reset();
    real_store_.reset();
  }

  void submit() {
    std::vector<JobSpec> specs;
    const uint64_t n_specs = 1 + random_() % 3;
    for (uint64_t i = 0; i < n_specs; ++i) specs.push_back(any_spec());
    const auto ours = store_->submit(specs);
    same("submit", ours, oracle_->submit(specs));
    for (size_t i = 0; ours.ok() && i < ours->size(); ++i) {
      last_id_ = std::max(last_id_, ours->at(i).id);
    }
  }

  JobSpec any_spec() {
    JobSpec spec;
    spec.model = any_of(kModels);
    spec.tenant = spec.model == "shared" ? any_of(kTenants) : kTenants[0];
    spec.mailbox_key = any_of(kKeys);
    spec.priority = static_cast<Priority>(random_() % 4);
    spec.body = "body " + std::to_string(random_() % 1000);
    spec.seed = random_();
    spec.prompt_tokens = static_cast<int32_t>(random_() % 1000);
    spec.max_new_tokens = static_cast<int32_t>(random_() % 1000);
    if (chance(20)) spec.run_at = clock_.now() + minutes(random_() % 200);
    if (chance(20)) spec.deadline = clock_.now() + seconds(random_() % 7200);
    if (chance(30)) spec.retention = seconds(60 + random_() % (30 * 24 * 3600 - 60));
    if (chance(20)) spec.batch_id = "b";
    if (chance(30)) {
      spec.idempotency_key = "i" + std::to_string(random_() % 20);
      // Often the same content again.
      if (chance(70)) {
        const auto known = keyed_.find({spec.tenant, spec.idempotency_key});
        if (known != keyed_.end()) return known->second;
      }
      keyed_[{spec.tenant, spec.idempotency_key}] = spec;
    }
    return spec;
  }

  void claim() {
    const std::string& model = any_of(kModels);
    const int32_t n_max = model == "shared" ? 1'000'000 : static_cast<int32_t>(1 + random_() % 4);
    auto ours = store_->claim(model, n_max);
    auto oracles = oracle_->claim(model, n_max);
    ASSERT_TRUE(ours.ok() && oracles.ok());
    if (model == "shared") {
      // The order across tenants is each store's own; inside a tenant it is the same.
      const auto by_tenant = [](const Job& a, const Job& b) {
        return a.spec.tenant < b.spec.tenant;
      };
      std::stable_sort(ours->begin(), ours->end(), by_tenant);
      std::stable_sort(oracles->begin(), oracles->end(), by_tenant);
    }
    same("claim", ours, oracles);
    ASSERT_EQ(ours->size(), oracles->size());
    for (size_t i = 0; i < ours->size(); ++i) {
      claims_.push_back({ours->at(i).id, ours->at(i).lease, oracles->at(i).lease});
    }
  }

  void finish() {
    std::vector<FinishItem> ours;
    std::vector<FinishItem> oracles;
    for (uint64_t n = random_() % 4; n > 0 && !claims_.empty(); --n) {
      const Pair pair = any_of(claims_);
      Ending ending;
      ending.body = "answer " + std::to_string(random_() % 1000);
      if (chance(30)) {
        ending.outcome = Outcome::failed;
        ending.error_code = chance(50) ? "internal" : "invalid_request";
      }
      ours.push_back({pair.id, pair.ours, ending});
      oracles.push_back({pair.id, pair.oracles, ending});
    }
    same("finish", store_->finish(ours), oracle_->finish(oracles));
  }

  void release() {
    std::vector<ReleaseItem> ours;
    std::vector<ReleaseItem> oracles;
    for (uint64_t n = random_() % 3; n > 0 && !claims_.empty(); --n) {
      const Pair pair = any_of(claims_);
      std::optional<WallTime> run_at;
      if (chance(40)) run_at = clock_.now() + seconds(random_() % 600);
      const bool spend = chance(50);
      ours.push_back({pair.id, pair.ours, spend, run_at});
      oracles.push_back({pair.id, pair.oracles, spend, run_at});
    }
    same("release", store_->release(ours), oracle_->release(oracles));
  }

  void die() {
    DeathReport ours;
    DeathReport oracles;
    ours.noted = oracles.noted = chance(70);
    for (uint64_t n = random_() % 4; n > 0 && !claims_.empty(); --n) {
      const Pair pair = any_of(claims_);
      ours.present.push_back({pair.id, pair.ours});
      oracles.present.push_back({pair.id, pair.oracles});
    }
    same("note_deaths", store_->note_deaths(ours), oracle_->note_deaths(oracles));
  }

  void cancel() {
    const JobId id = random_() % (last_id_ + 2);
    const std::string tenant = chance(50) ? "" : any_of(kTenants);
    same("cancel", store_->cancel(id, tenant), oracle_->cancel(id, tenant));
  }

  void take() {
    const std::string& tenant = any_of(kTenants);
    const std::string& key = any_of(kKeys);
    const auto box = oracle_->fetch({tenant, key, 0, 20});
    ASSERT_TRUE(box.ok());
    std::vector<uint64_t> sequences = {random_() % 100};
    for (const Message& message : box->messages) {
      if (chance(30)) sequences.push_back(message.sequence);
    }
    std::sort(sequences.begin(), sequences.end());
    same("take", store_->take(tenant, key, sequences), oracle_->take(tenant, key, sequences));
  }

  void look() {
    const JobId id = random_() % (last_id_ + 2);
    const std::string tenant = chance(50) ? "" : any_of(kTenants);
    same("get", store_->get(id, tenant), oracle_->get(id, tenant));
    ListFilter filter;
    if (chance(50)) filter.tenant = any_of(kTenants);
    if (chance(50)) filter.model = any_of(kModels);
    if (chance(50)) filter.state = static_cast<JobState>(random_() % 3);
    filter.after = random_() % (last_id_ + 1);
    filter.limit = static_cast<int32_t>(random_() % 10);
    same("list", store_->list(filter), oracle_->list(filter));
    const FetchRequest request{any_of(kTenants), any_of(kKeys), random_() % 200,
                               static_cast<int32_t>(random_() % 10)};
    same("fetch", store_->fetch(request), oracle_->fetch(request));
  }

  void purge() {
    const auto ours = store_->purge();
    const auto oracles = oracle_->purge();
    ASSERT_TRUE(ours.ok() && oracles.ok());
    // Not the counts of dropped rows: each store drops in portions of its own.
    ASSERT_EQ(ours->deadlines_missed, oracles->deadlines_missed);
  }

  void pass_time() {
    const uint64_t what = random_() % 10;
    if (what < 6) clock_.advance(seconds(random_() % 300));
    if (what == 6) clock_.advance(Micros(random_() % 3));
    if (what == 7 || what == 8) clock_.advance(hours(random_() % 8));
    if (what == 9) clock_.advance(hours(random_() % (24 * 12)));
  }

  void restart() {
    close();
    open();
    ListFilter claimed;
    claimed.state = JobState::claimed;
    claimed.limit = 1'000'000;
    const auto lost = oracle_->list(claimed);
    ASSERT_TRUE(lost.ok());
    std::vector<ReleaseItem> releases;
    for (const Job& job : *lost) releases.push_back({job.id, job.lease, false, std::nullopt});
    ASSERT_TRUE(oracle_->release(releases).ok());
    // Ends what was to be cancelled, as the release did; purge comes after it in the store's queue.
    purge();
  }

  inline static const std::vector<std::string> kModels = {"solo-a", "solo-b", "shared"};
  inline static const std::vector<std::string> kTenants = {"t", "u", "v"};
  inline static const std::vector<std::string> kKeys = {"box", "box2", "b"};

  std::mt19937_64 random_;
  ManualClock clock_{from_unix_us(int64_t{1'790'000'000} * 1'000'000)};
  TempDir dir_;
  std::unique_ptr<JobStore> oracle_store_;
  std::unique_ptr<StoreDriver> oracle_;
  std::unique_ptr<JobStore> real_store_;
  std::unique_ptr<StoreDriver> store_;
  JobId last_id_ = 0;
  std::vector<Pair> claims_;
  std::map<std::pair<std::string, std::string>, JobSpec> keyed_;
};

uint64_t fresh_seed() {
  const char* given = std::getenv("PARKD_WALK_SEED");
  if (given != nullptr) return std::strtoull(given, nullptr, 10);
  return (uint64_t{std::random_device()()} << 32) | std::random_device()();
}

TEST(RandomWalk, the_embedded_store_answers_as_the_memory_store_does) {
  uint64_t seed = fresh_seed();
  const char* given_steps = std::getenv("PARKD_WALK_STEPS");
  const int n_steps = given_steps != nullptr ? std::atoi(given_steps) : 800;
  for (int walk = 0; walk < 3; ++walk, ++seed) {
    std::cout << "seed " << seed << " (again with PARKD_WALK_SEED=" << seed << ")" << std::endl;
    Walk steps(seed);
    for (int i = 0; i < n_steps; ++i) {
      steps.step();
      ASSERT_FALSE(testing::Test::HasFatalFailure()) << "step " << i << ", seed " << seed;
      if (i % 500 == 499) steps.compare_all();
      ASSERT_FALSE(testing::Test::HasFatalFailure()) << "after step " << i << ", seed " << seed;
    }
  }
}

}  // namespace
}  // namespace parkd
