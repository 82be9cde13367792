// Random verbs on PostgreSQL, with restarts, against the memory store as the oracle.
//
// Both hear the same verbs at the same times. Ids and sequences are each store's own (a refused row
// uses one up here), so jobs are told apart by a custom_id that is never used twice. Fair shares
// across tenants are each store's own too: the shared model is claimed whole.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <iostream>
#include <map>
#include <random>

#include "lib/store/memory/memory_store.h"
#include "tests/store/postgres/test_database.h"
#include "tests/support/store_driver.h"

namespace parkd {
namespace {

using std::chrono::hours;
using std::chrono::minutes;
using std::chrono::seconds;

std::string text_of(const JobRecord& record) {
  if (const Job* job = std::get_if<Job>(&record)) {
    const JobSpec& spec = job->spec;
    std::string text =
        "job " + spec.custom_id + " " + spec.model + "/" + spec.tenant + "/" + spec.mailbox_key +
        " " + std::string(to_string(job->state)) + " attempts " + std::to_string(job->attempts) +
        " deaths " + std::to_string(job->interruptions) + "/" + std::to_string(job->deaths_alone) +
        (job->suspect_group != 0 ? " suspect" : "") + " order " + to_rfc3339(job->order_key) +
        " created " + to_rfc3339(job->created_at) + " body " + spec.body + " seed " +
        std::to_string(spec.seed.value_or(0)) + " retention " +
        std::to_string(spec.retention->count()) + " leased " +
        std::to_string(job->lease != RunLease{});
    if (spec.run_at) text += " run_at " + to_rfc3339(*spec.run_at);
    if (spec.deadline) text += " deadline " + to_rfc3339(*spec.deadline);
    return text;
  }
  if (const Message* message = std::get_if<Message>(&record)) {
    return "message of " + message->custom_id + " " +
           std::string(to_string(message->ending.outcome)) + " " + message->ending.error_code +
           " " + std::to_string(message->ending.status_code) + " body " + message->ending.body +
           " attempts " + std::to_string(message->attempts) + " ran " +
           std::to_string(message->lease != RunLease{}) + " finished " +
           to_rfc3339(message->finished_at) + " expires " + to_rfc3339(message->expires_at);
  }
  if (const HistoryRow* row = std::get_if<HistoryRow>(&record)) {
    return "history of " + row->custom_id + " " + std::string(to_string(row->outcome)) + " " +
           row->tenant + " " + to_rfc3339(row->finished_at);
  }
  return "nothing";
}

template <class T>
std::string text_of(const Result<std::vector<T>>& rows, bool sorted) {
  if (!rows.ok()) return rows.status().to_string();
  std::vector<std::string> texts;
  for (const T& row : *rows) texts.push_back(text_of(JobRecord(row)));
  if (sorted) std::sort(texts.begin(), texts.end());
  std::string text = std::to_string(texts.size()) + " of:";
  for (const std::string& one : texts) text += "\n" + one;
  return text;
}

struct Ids {
  JobId ours = 0;
  JobId oracles = 0;
};
struct Claim {
  Ids ids;
  RunLease ours;
  RunLease oracles;
};

class Walk {
 public:
  Walk(uint64_t seed, TestDatabase& database)
      : random_(seed), database_(database), oracle_store_(make_memory_store({}, clock_)) {
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

  void compare_all() {
    ListFilter filter;
    filter.limit = 1'000'000;
    ASSERT_EQ(text_of(store_->list(filter), true), text_of(oracle_->list(filter), true));
    for (const auto& [custom_id, ids] : jobs_) {
      ASSERT_EQ(text_of(*store_->get(ids.ours, "")), text_of(*oracle_->get(ids.oracles, "")));
    }
    for (const std::string& tenant : kTenants) {
      for (const std::string& key : kKeys) ASSERT_NO_FATAL_FAILURE(compare_box(tenant, key));
    }
  }

 private:
  template <class T>
  const T& any_of(const std::vector<T>& values) {
    return values[random_() % values.size()];
  }
  bool chance(int percent) { return static_cast<int>(random_() % 100) < percent; }
  Ids any_job() {
    if (jobs_.empty()) return {4711, 4711};
    auto at = jobs_.begin();
    std::advance(at, static_cast<std::ptrdiff_t>(random_() % jobs_.size()));
    return at->second;
  }

  void open() {
    PostgresOptions options = quiet_options(database_.dsn());
    options.test_clock = &clock_;
    options.beat = hours(1);
    options.ttl = hours(24 * 3650);
    auto opened = open_postgres_store(std::move(options), {});
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
    const auto oracles = oracle_->submit(specs);
    ASSERT_EQ(ours.ok(), oracles.ok())
        << ours.status().to_string() << " / " << oracles.status().to_string();
    if (!ours.ok()) {
      ASSERT_EQ(ours.status().code(), oracles.status().code());
      ASSERT_EQ(ours.status().param(), oracles.status().param());
      return;
    }
    for (size_t i = 0; i < specs.size(); ++i) {
      ASSERT_EQ(ours->at(i).existed, oracles->at(i).existed);
      ASSERT_EQ(ours->at(i).finished, oracles->at(i).finished);
      ASSERT_EQ(ours->at(i).mailbox_key, oracles->at(i).mailbox_key);
      const Ids ids{ours->at(i).id, oracles->at(i).id};
      const auto [at, fresh] = pairs_.emplace(ids.ours, ids.oracles);
      ASSERT_EQ(at->second, ids.oracles) << "the key named another job";
      if (!ours->at(i).existed) jobs_[specs[i].custom_id] = ids;
    }
  }

  JobSpec any_spec() {
    JobSpec spec;
    spec.model = any_of(kModels);
    spec.tenant = spec.model == "shared" ? any_of(kTenants) : kTenants[0];
    spec.mailbox_key = any_of(kKeys);
    spec.custom_id = std::to_string(++n_specs_);
    spec.priority = static_cast<Priority>(random_() % 4);
    spec.body = "{\"n\":" + std::to_string(random_() % 1000) + "}";
    spec.seed = random_();
    spec.prompt_tokens = static_cast<int32_t>(random_() % 1000);
    spec.max_new_tokens = static_cast<int32_t>(random_() % 1000);
    if (chance(20)) spec.run_at = clock_.now() + minutes(random_() % 200);
    if (chance(20)) spec.deadline = clock_.now() + seconds(random_() % 7200);
    if (chance(30)) spec.retention = seconds(60 + random_() % (30 * 24 * 3600 - 60));
    if (chance(20)) spec.batch_id = "b";
    if (chance(30)) {
      spec.idempotency_key = "i" + std::to_string(random_() % 20);
      if (chance(70)) {
        const auto known = keyed_.find({spec.tenant, spec.idempotency_key});
        if (known != keyed_.end()) {
          // The very same again, which for a key that has expired is a new job of the old name.
          JobSpec again = known->second;
          return again;
        }
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
      const auto by_tenant = [](const Job& a, const Job& b) {
        const auto key = [](const Job& j) {
          return std::pair(j.spec.priority != Priority::critical, j.spec.tenant);
        };
        return key(a) < key(b);
      };
      std::stable_sort(ours->begin(), ours->end(), by_tenant);
      std::stable_sort(oracles->begin(), oracles->end(), by_tenant);
    }
    ASSERT_EQ(text_of(ours, false), text_of(oracles, false));
    for (size_t i = 0; i < ours->size(); ++i) {
      claims_.push_back(
          {{ours->at(i).id, oracles->at(i).id}, ours->at(i).lease, oracles->at(i).lease});
    }
  }

  void finish() {
    std::vector<FinishItem> ours;
    std::vector<FinishItem> oracles;
    for (uint64_t n = random_() % 4; n > 0 && !claims_.empty(); --n) {
      const Claim claim = any_of(claims_);
      Ending ending;
      ending.body = chance(80) ? "{\"answer\":" + std::to_string(random_() % 1000) + "}"
                               : "text " + std::to_string(random_() % 9);
      if (chance(30)) {
        ending.outcome = Outcome::failed;
        ending.error_code = chance(50) ? "internal" : "invalid_request";
      }
      ours.push_back({claim.ids.ours, claim.ours, ending});
      oracles.push_back({claim.ids.oracles, claim.oracles, ending});
    }
    const auto answers = store_->finish(ours).value();
    const auto expected = oracle_->finish(oracles).value();
    for (size_t i = 0; i < expected.size(); ++i) {
      if (answers[i] == expected[i]) continue;
      // How long an end is remembered after its history row expired is each store's own.
      ASSERT_NE(answers[i], FinishAnswer::finished_now);
      ASSERT_NE(expected[i], FinishAnswer::finished_now);
      ASSERT_EQ(text_of(*oracle_->get(oracles[i].id, "")), "nothing");
    }
  }

  void release() {
    std::vector<ReleaseItem> ours;
    std::vector<ReleaseItem> oracles;
    // One at a time: which of two releases of a run in one call counts is each store's own.
    if (!claims_.empty()) {
      const Claim claim = any_of(claims_);
      std::optional<WallTime> run_at;
      if (chance(40)) run_at = clock_.now() + seconds(random_() % 600);
      const bool spend = chance(50);
      ours.push_back({claim.ids.ours, claim.ours, spend, run_at});
      oracles.push_back({claim.ids.oracles, claim.oracles, spend, run_at});
    }
    ASSERT_EQ(store_->release(ours).value(), oracle_->release(oracles).value());
  }

  void die() {
    DeathReport ours;
    DeathReport oracles;
    ours.noted = oracles.noted = chance(70);
    for (uint64_t n = random_() % 4; n > 0 && !claims_.empty(); --n) {
      const Claim claim = any_of(claims_);
      ours.present.push_back({claim.ids.ours, claim.ours});
      oracles.present.push_back({claim.ids.oracles, claim.oracles});
    }
    const DeathsAnswer said = store_->note_deaths(ours).value();
    const DeathsAnswer expected = oracle_->note_deaths(oracles).value();
    ASSERT_EQ(said.suspects, expected.suspects);
    ASSERT_EQ(said.quarantined, expected.quarantined);
  }

  void cancel() {
    const Ids ids = any_job();
    const std::string tenant = chance(50) ? "" : any_of(kTenants);
    ASSERT_EQ(*store_->cancel(ids.ours, tenant), *oracle_->cancel(ids.oracles, tenant));
  }

  std::map<std::string, uint64_t> sequences_of(const FetchAnswer& box) {
    std::map<std::string, uint64_t> sequences;
    for (const Message& message : box.messages)
      sequences[text_of(JobRecord(message))] = message.sequence;
    return sequences;
  }

  void compare_box(const std::string& tenant, const std::string& key) {
    const FetchRequest all{tenant, key, 0, 1'000'000};
    ASSERT_EQ(text_of(Result(store_->fetch(all)->messages), true),
              text_of(Result(oracle_->fetch(all)->messages), true));
  }

  void take() {
    const std::string& tenant = any_of(kTenants);
    const std::string& key = any_of(kKeys);
    ASSERT_NO_FATAL_FAILURE(compare_box(tenant, key));
    const FetchRequest all{tenant, key, 0, 1'000'000};
    const auto ours = sequences_of(*store_->fetch(all));
    const auto oracles = sequences_of(*oracle_->fetch(all));
    std::vector<uint64_t> from_ours;
    std::vector<uint64_t> from_oracle;
    for (const auto& [text, sequence] : ours) {
      if (!chance(30)) continue;
      from_ours.push_back(sequence);
      from_oracle.push_back(oracles.at(text));
    }
    ASSERT_EQ(text_of(store_->take(tenant, key, from_ours), true),
              text_of(oracle_->take(tenant, key, from_oracle), true));
  }

  void look() {
    const Ids ids = any_job();
    const std::string tenant = chance(50) ? "" : any_of(kTenants);
    ASSERT_EQ(text_of(*store_->get(ids.ours, tenant)), text_of(*oracle_->get(ids.oracles, tenant)));
    ListFilter filter;
    if (chance(50)) filter.tenant = any_of(kTenants);
    if (chance(50)) filter.model = any_of(kModels);
    if (chance(50)) filter.state = static_cast<JobState>(random_() % 3);
    filter.limit = static_cast<int32_t>(random_() % 10);
    ListFilter oracles = filter;
    const Ids after = any_job();
    filter.after = after.ours;
    oracles.after = after.oracles;
    ASSERT_EQ(text_of(store_->list(filter), false), text_of(oracle_->list(oracles), false));
  }

  void purge() {
    const auto ours = store_->purge();
    const auto oracles = oracle_->purge();
    ASSERT_TRUE(ours.ok() && oracles.ok());
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
    std::vector<ReleaseItem> releases;
    const auto lost = oracle_->list(claimed);
    for (const Job& job : *lost) releases.push_back({job.id, job.lease, false, std::nullopt});
    ASSERT_TRUE(oracle_->release(releases).ok());
    purge();
  }

  inline static const std::vector<std::string> kModels = {"solo-a", "solo-b", "shared"};
  inline static const std::vector<std::string> kTenants = {"t", "u", "v"};
  inline static const std::vector<std::string> kKeys = {"box", "box2", "b"};

  std::mt19937_64 random_;
  TestDatabase& database_;
  ManualClock clock_{from_unix_us(int64_t{1'790'000'000} * 1'000'000)};
  std::unique_ptr<JobStore> oracle_store_;
  std::unique_ptr<StoreDriver> oracle_;
  std::unique_ptr<JobStore> real_store_;
  std::unique_ptr<StoreDriver> store_;
  int n_specs_ = 0;
  std::map<std::string, Ids> jobs_;  // by custom_id; the latest of a repeated key
  std::map<JobId, JobId> pairs_;     // ours -> the oracle's
  std::vector<Claim> claims_;
  std::map<std::pair<std::string, std::string>, JobSpec> keyed_;
};

TEST(RandomWalk, postgres_answers_as_the_memory_store_does) {
  const char* given = std::getenv("PARKD_WALK_SEED");
  const uint64_t seed = given != nullptr
                            ? std::strtoull(given, nullptr, 10)
                            : (uint64_t{std::random_device()()} << 32) | std::random_device()();
  const char* given_steps = std::getenv("PARKD_WALK_STEPS");
  const int n_steps = given_steps != nullptr ? std::atoi(given_steps) : 800;
  std::cout << "seed " << seed << " (again with PARKD_WALK_SEED=" << seed << ")" << std::endl;
  TestDatabase database;
  Walk steps(seed, database);
  for (int i = 0; i < n_steps; ++i) {
    steps.step();
    ASSERT_FALSE(testing::Test::HasFatalFailure()) << "step " << i;
    if (i % 200 == 199) steps.compare_all();
    ASSERT_FALSE(testing::Test::HasFatalFailure()) << "after step " << i;
  }
}

}  // namespace
}  // namespace parkd
