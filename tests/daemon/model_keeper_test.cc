// ModelKeeper with real models, engines and a dispatcher that is played by hand, so that what it
// says comes late.
#include "daemon/models/model_keeper.h"
#include "lib/dispatch/token_feed.h"

#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <string>
#include <thread>
#include <variant>
#include <vector>

#include "lib/backend/models_outlook.h"
#include "lib/store/memory/memory_store.h"
#include "tests/support/forwarding_store.h"
#include "tests/support/temp_dir.h"
#include "tests/support/tiny_model.h"

namespace parkd {
namespace {

using std::chrono::seconds;

// Whose registrations are answered when the test likes.
class SlowStore final : public ForwardingStore {
 public:
  using ForwardingStore::ForwardingStore;
  void register_model(ModelRegistration model, Completion<ModelRegistered> done) override {
    if (!holds) return store_->register_model(std::move(model), std::move(done));
    held.push_back([this, model = std::move(model), done = std::move(done)]() mutable {
      store_->register_model(std::move(model), std::move(done));
    });
  }
  void let_go() {
    for (auto& each : std::exchange(held, {})) each();
  }

  bool holds = false;
  std::vector<std::function<void()>> held;
};

StoreOptions store_options() {
  StoreOptions options;
  options.retention_default = std::chrono::hours(1);
  return options;
}

DispatcherOptions dispatcher_options() {
  DispatcherOptions options;
  options.models = {"a", "b"};
  return options;
}

// Models "a" and "b", of which one fits; the test's thread is control and dispatcher.
class Keeper : public ::testing::Test {
 protected:
  Keeper() {
    for (const char* name : {"a", "b"}) {
      ModelConfig model;
      model.name = name;
      model.local_path = directory_.path() + "/" + name + ".gguf";
      model.params.device = Device::cpu;
      model.params.kvcache_mem_cpu_mb = 4;
      model.params.max_num_seqs = 2;
      model.pool.worker_threads = 1;
      model.lot_jobs = 4;
      EXPECT_TRUE(testing::write_tiny_model(model.local_path, {}).ok());
      config_.models.push_back(std::move(model));
    }
  }
  ~Keeper() override {
    keeper_->begin_stop();
    dispatcher_.close();
    keeper_->stop_engines();
    blocking_.stop();
  }

  void start() {
    const int64_t bytes = look_at_models(config_).models[0].memory.total();
    keeper_ = std::make_unique<ModelKeeper>(ModelKeeper::Parts{
        io_, config_, store_, dispatcher_, blocking_, tokens_, clock_, bytes + bytes / 2,
        [this](std::shared_ptr<const ModelTable> table) { table_ = std::move(table); }});
    keeper_->start();
  }

  // What the store counts in its queue.
  void queue(const std::map<std::string, int64_t>& depths) {
    StoreStats stats;
    for (const auto& [model, queued] : depths) {
      ModelDepth depth;
      depth.model = model;
      depth.queued = queued;
      stats.models.push_back(depth);
    }
    keeper_->saw_queue(stats);
  }
  void control() {
    io_.restart();
    io_.poll();
  }
  void dispatch() {
    while (dispatcher_.run_once()) {
    }
  }
  template <class Holds>
  bool run_until(const Holds& holds) {
    for (int i = 0; i < 60'000; ++i) {  // milliseconds at least, before it counts as hung
      control();
      dispatch();
      if (holds()) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
      clock_.advance(std::chrono::milliseconds(1));
    }
    return false;
  }
  ModelState state(const std::string& name) { return table_->at(name).state; }
  bool run_until(const std::string& name, ModelState wanted) {
    return run_until([&] { return state(name) == wanted; });
  }
  int64_t loads(const std::string& name) { return table_->at(name).stay.loads; }
  bool completes_a_job(const std::string& model) {
    JobSpec spec;
    spec.model = model;
    spec.body = R"({"messages":[{"role":"user","content":"a"}],"max_tokens":2})";
    spec.prompt_tokens = 8;
    spec.max_new_tokens = 2;
    JobId id = 0;
    store_.submit({spec}, [&](Result<std::vector<SubmittedJob>> jobs) { id = jobs->front().id; });
    dispatcher_.work_available(model);
    return run_until([&] {
      bool completed = false;
      store_.get(id, "default", [&](Result<JobRecord> record) {
        const auto* message = std::get_if<Message>(&*record);
        completed = message != nullptr && message->ending.outcome == Outcome::completed;
      });
      return completed;
    });
  }

  TempDir directory_;
  Config config_;
  ManualClock clock_{from_unix_us(1'800'000'000'000'000)};
  SlowStore store_{make_memory_store(store_options(), clock_)};
  BlockingPool blocking_{2, 0};
  Dispatcher dispatcher_{dispatcher_options(), store_, clock_,
                         [this](auto task) { return blocking_.run(std::move(task)); }};
  boost::asio::io_context io_;
  TokenFeed tokens_{[] {}};
  std::unique_ptr<ModelKeeper> keeper_;
  std::shared_ptr<const ModelTable> table_;
};

TEST_F(Keeper, nothing_is_loaded_before_the_queue_was_seen_and_then_what_has_jobs) {
  start();
  ASSERT_TRUE(run_until("a", ModelState::unloaded));
  ASSERT_TRUE(run_until("b", ModelState::unloaded));
  EXPECT_EQ(loads("a"), 0);
  queue({{"b", 1}});
  ASSERT_TRUE(run_until("b", ModelState::ready));
  EXPECT_EQ(loads("a"), 0);
  EXPECT_TRUE(completes_a_job("b"));
}

TEST_F(Keeper, a_queue_that_cannot_be_counted_is_no_reason_to_load_nothing) {
  start();
  keeper_->saw_queue(unavailable("the database is away"));
  EXPECT_TRUE(run_until("a", ModelState::ready));
}

// Asked to leave, kept, asked again; then it hears that the first time came about.
TEST_F(Keeper, that_a_model_was_let_go_the_time_before_is_no_news) {
  start();
  queue({{"a", 1}});
  ASSERT_TRUE(run_until("a", ModelState::ready));
  clock_.advance(seconds(20));
  queue({{"b", 1}});
  ASSERT_EQ(state("a"), ModelState::unloading);
  dispatch();
  queue({});
  ASSERT_EQ(state("a"), ModelState::ready);
  queue({{"b", 1}});
  ASSERT_EQ(state("a"), ModelState::unloading);
  ASSERT_TRUE(run_until("b", ModelState::ready));
  EXPECT_EQ(state("a"), ModelState::unloaded);
  EXPECT_EQ(loads("a"), 1);
  EXPECT_TRUE(completes_a_job("b"));
}

// Asked to leave before the store knew it, kept, registered; then it hears that it was let go.
TEST_F(Keeper, a_model_that_is_registered_after_all_keeps_its_engine) {
  store_.holds = true;
  start();
  queue({{"a", 1}});
  ASSERT_TRUE(run_until([&] { return store_.held.size() == 1; }));
  clock_.advance(seconds(20));
  queue({{"b", 1}});
  ASSERT_EQ(state("a"), ModelState::unloading);
  store_.let_go();
  dispatch();
  queue({});
  control();
  ASSERT_TRUE(run_until("a", ModelState::ready));
  EXPECT_TRUE(completes_a_job("a"));
}

TEST_F(Keeper, a_load_that_fails_the_second_time_is_tried_again_a_minute_later) {
  config_.idle_unload = seconds(1);
  config_.models.pop_back();
  start();
  queue({{"a", 1}});
  ASSERT_TRUE(run_until("a", ModelState::ready));
  clock_.advance(seconds(20));
  queue({});
  ASSERT_TRUE(run_until("a", ModelState::unloaded));
  const std::string path = config_.models[0].local_path;
  std::ifstream file(path, std::ios::binary);
  const std::string bytes{std::istreambuf_iterator<char>(file), {}};
  std::string other = bytes;
  other.back() = static_cast<char>(other.back() ^ 1);
  std::fstream(path, std::ios::in | std::ios::out | std::ios::binary) << other;
  queue({{"a", 2}});
  ASSERT_TRUE(run_until("a", ModelState::failed));
  EXPECT_FALSE(table_->at("a").is_hopeless());
  EXPECT_NE(table_->at("a").failure.find("again in a minute"), std::string::npos)
      << table_->at("a").failure;
  clock_.advance(seconds(59));
  queue({{"a", 2}});
  EXPECT_EQ(state("a"), ModelState::failed);
  clock_.advance(seconds(1));
  queue({{"a", 2}});
  EXPECT_EQ(loads("a"), 3) << "the third";
  ASSERT_TRUE(run_until("a", ModelState::failed)) << "the file is as it was";
}

TEST_F(Keeper, a_model_whose_file_is_not_there_stays_failed) {
  config_.models[1].local_path = directory_.path() + "/lost.gguf";
  start();
  queue({{"b", 1}});
  ASSERT_TRUE(run_until("a", ModelState::ready)) << "it holds nobody up";
  EXPECT_EQ(state("b"), ModelState::failed);
  EXPECT_TRUE(table_->at("b").is_hopeless());
}

}  // namespace
}  // namespace parkd
