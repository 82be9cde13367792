// Random walks and real threads through the dispatcher: whatever happens in whatever order, every
// job ends in exactly one message, and idle means that everything is back.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <iostream>
#include <map>
#include <random>
#include <set>
#include <thread>

#include "lib/base/blocking_pool.h"
#include "lib/base/inbox.h"
#include "lib/base/log.h"
#include "tests/dispatch/world.h"

namespace parkd {
namespace {

// One walk: submits, ends, failures, cancels, time, a store and a model that come and go, and lost
// claims.
class Walk {
 public:
  explicit Walk(unsigned seed) : random_(seed), world_(40, 6, 5) { world_.ready(); }

  void run(int n_jobs) {
    while (static_cast<int>(jobs_.size()) < n_jobs) step();
    world_.store.faults.clear();
    const auto done = [&] {
      return world_.mailbox().size() == jobs_.size() && world_.dispatcher.stats()->live.empty();
    };
    for (int i = 0; i < 10'000 && !done(); ++i) rest();
    world_.settle();
  }

  // Adds what happened to `outcomes`, `retried` and `lost`.
  void expect_every_job_ended_once(std::map<std::string, int64_t>& outcomes, int64_t& retried,
                                   int64_t& lost) {
    world_.dispatcher.check_idle();
    std::map<JobId, int> messages;
    std::map<std::string, int64_t> written;
    for (const Message& message : world_.mailbox()) {
      ++messages[message.job_id];
      ++written[std::string(to_string(message.ending.outcome))];
      const auto deadline = deadlines_.find(message.job_id);
      if (deadline == deadlines_.end() || message.ending.outcome != Outcome::completed) continue;
      EXPECT_LE(message.finished_at, deadline->second) << "job " << message.job_id;
    }
    // What is counted was written, though the store may write another end than it was sent; what
    // was written may be missing here: its answer was lost, and then its claim.
    EXPECT_LE(world_.model().outcomes["completed"], written["completed"]);
    for (const JobId id : jobs_) EXPECT_EQ(messages[id], 1) << "job " << id;
    EXPECT_EQ(messages.size(), jobs_.size());
    EXPECT_LE(world_.engine.blocks_peak(), 40);
    EXPECT_LE(world_.model().peak, Blocks{40});
    for (const auto& [outcome, n] : world_.model().outcomes) outcomes[outcome] += n;
    retried += world_.model().retried;
    lost += world_.model().leases_lost;
    outcomes["given back"] += world_.model().given_back;
    outcomes["claimed small"] += world_.model().claimed_small;
    outcomes["unloaded"] += unloaded_;
    outcomes["kept"] += kept_;
  }

 private:
  unsigned pick(unsigned n) { return static_cast<unsigned>(random_() % n); }

  void step() {
    switch (pick(14)) {
      case 0:
      case 1:
      case 2:
      case 3:
        return submit();
      case 4:
      case 5:
      case 6:
        return end_one();
      case 7:
        return cancel_one();
      case 8:
        return toggle_fault();
      case 9:
        world_.engine.answer_cancels = pick(2) == 0;
        return;
      case 10:
        if (pick(4) == 0) world_.lose_ownership();
        return;
      case 11:
        return come_or_go();
      default:
        world_.pass(milliseconds(pick(3000)));
        purge();
    }
  }

  void submit() {
    JobSpec spec = job_of(1 + pick(pick(10) == 0 ? 50 : 12));  // some are over the capacity
    if (pick(10) == 0) spec.n_choices = 1 + static_cast<int32_t>(pick(6));
    if (pick(20) == 0) spec.body = "bad";
    if (pick(20) == 0) spec.body = "throws";
    if (pick(8) == 0) spec.run_timeout = seconds(1 + pick(10));
    if (pick(8) == 0) spec.deadline = world_.clock.now() + seconds(1 + pick(20));
    spec.priority = static_cast<Priority>(pick(4));
    spec.tenant = "t" + std::to_string(pick(5));
    spec.max_attempts = 1 + static_cast<int32_t>(pick(3));
    jobs_.push_back(world_.submit(spec));
    if (spec.deadline) deadlines_[jobs_.back()] = *spec.deadline;
  }

  void end_one() {
    const auto running = world_.engine.running();
    if (running.empty()) return;
    const RequestId id = running[pick(static_cast<unsigned>(running.size()))];
    if (pick(5) == 0) {
      world_.engine.fail(id, pick(2) == 0 ? internal_error("scripted") : exhausted("scripted"));
    } else {
      world_.engine.complete(id);
    }
    world_.settle();
  }

  // One of the latest: most of the others have ended.
  void cancel_one() {
    if (jobs_.empty() || pick(2) != 0) return;
    const size_t latest = std::min<size_t>(jobs_.size(), 20);
    world_.cancel(jobs_[jobs_.size() - 1 - pick(static_cast<unsigned>(latest))]);
  }

  void toggle_fault() {
    const char* verbs[] = {"claim", "finish", "release"};
    const std::string verb = verbs[pick(3)];
    if (world_.store.faults.erase(verb) > 0) return;
    world_.store.faults[verb] =
        pick(2) == 0 || verb == "claim" ? FaultyStore::Fault::before : FaultyStore::Fault::after;
  }

  // The model is unloaded, kept after all, or comes back.
  void come_or_go() {
    switch (where_) {
      case Where::in:
        where_ = Where::leaving;
        world_.dispatcher.unload_model("m", [this] { where_ = Where::gone; });
        break;
      case Where::leaving:
        if (pick(2) == 0) return;
        world_.dispatcher.keep_model("m");
        ++kept_;
        where_ = Where::in;
        break;
      case Where::gone:
        return come_back();
    }
    world_.settle();
  }

  void come_back() {
    ++unloaded_;
    world_.dispatcher.check_idle();
    where_ = Where::in;
    world_.ready();
  }

  void purge() {
    world_.store.purge([](Result<PurgeAnswer>) {});
    world_.settle();
  }

  void rest() {
    if (where_ == Where::gone) come_back();
    for (const RequestId id : world_.engine.running()) world_.engine.complete(id);
    world_.settle();
    world_.pass(seconds(5));
    purge();
  }

  enum class Where { in, leaving, gone };

  std::mt19937 random_;
  World world_;
  Where where_ = Where::in;
  int64_t unloaded_ = 0;
  int64_t kept_ = 0;
  std::vector<JobId> jobs_;
  std::map<JobId, WallTime> deadlines_;  // of those that have one
};

TEST(DispatcherWalk, whatever_happens_every_job_ends_in_exactly_one_message) {
  configure_log(LogLevel::error, LogFormat::text);
  const unsigned seed = std::random_device()();
  std::cout << "seed " << seed << "\n";  // a CHECK would end the process before a trace is shown
  std::map<std::string, int64_t> outcomes;
  int64_t retried = 0;
  int64_t lost = 0;
  for (unsigned i = 0; i < 20; ++i) {
    SCOPED_TRACE("seed " + std::to_string(seed + i));
    Walk walk(seed + i);
    walk.run(150);
    walk.expect_every_job_ended_once(outcomes, retried, lost);
    if (testing::Test::HasFailure()) return;
  }
  // 3000 jobs with one chance in 5 to 20 for each: a walk that misses one of them walks too little.
  for (const char* outcome :
       {"completed", "cancelled", "deadline_missed", "failed:run_timeout", "failed:too_large",
        "failed:invalid_request", "failed:internal", "failed:out_of_resources", "given back",
        "claimed small", "unloaded", "kept"}) {
    EXPECT_GT(outcomes[outcome], 0) << outcome;
  }
  EXPECT_GT(retried, 0);
  EXPECT_GT(lost, 0);
}

// B3: 10,000 submits, none over the units, all stored once.
TEST(DispatcherWalk, ten_thousand_jobs_go_through_a_small_pool) {
  configure_log(LogLevel::error, LogFormat::text);
  World world(64, 16, 8);
  world.ready();
  std::mt19937 random(7);
  constexpr int kJobs = 10'000;
  int submitted = 0;
  int64_t ended = 0;
  while (ended < kJobs) {
    for (int i = 0; i < 32 && submitted < kJobs; ++i, ++submitted) {
      JobSpec spec = job_of(1 + static_cast<int64_t>(random() % 20));
      spec.mailbox_key = "box" + std::to_string(submitted % 100);
      world.submit(spec);
    }
    for (const RequestId id : world.engine.running()) world.engine.complete(id);
    world.flush();
    const auto outcomes = world.model().outcomes;
    ended = outcomes.count("completed") > 0 ? outcomes.at("completed") : 0;
  }
  EXPECT_EQ(world.model().leases_lost, 0);
  EXPECT_LE(world.engine.blocks_peak(), 64);
  world.dispatcher.check_idle();
}

// The real loop: its own thread, blocking threads, an engine that answers from another thread, and
// submitters, cancellers and readers of the stats beside it. What TSan looks at.
TEST(DispatcherThreads, jobs_from_many_threads_all_end_once_and_a_drain_ends_the_loop) {
  configure_log(LogLevel::error, LogFormat::text);
  SystemClock clock;
  StoreOptions store_options = World::store_options();
  const auto store = make_memory_store(store_options, clock);
  BlockingPool blocking(2, 0);
  DispatcherOptions options;
  options.finish_delay = milliseconds(1);
  Dispatcher dispatcher(options, *store, clock,
                        [&](std::function<void()> task) { return blocking.run(std::move(task)); });
  FakeEngine engine(kBlockSize, [&](GenerationResult r) { dispatcher.on_result(std::move(r)); });
  StoreObserver observer;
  Inbox<std::string> stored;
  observer.work_available = [&](const std::string& m) { dispatcher.work_available(m); };
  observer.cancel_requested = [&](JobId id, RunLease l) { dispatcher.cancel_requested(id, l); };
  observer.message_stored = [&](const std::string&, const std::string& key) { stored.push(key); };
  store->set_observer(observer);
  ModelPort port;
  port.engine = &engine;
  port.parts = {{Blocks{20}, 8}};
  port.block_size = kBlockSize;
  port.lot_places = 8;
  port.prepare = World::prepare;
  port.render = [](const EndedRun&) { return std::string("text"); };
  dispatcher.model_ready("m", port);
  std::atomic<bool> engine_stops{false};
  std::thread loop([&] { dispatcher.run(); });
  std::thread worker([&] {
    while (!engine_stops) {
      engine.complete_any();
      std::this_thread::yield();
    }
  });
  constexpr int kSubmitters = 4;
  constexpr int kJobsEach = 100;
  std::vector<std::thread> submitters;
  for (int t = 0; t < kSubmitters; ++t) {
    submitters.emplace_back([&] {
      for (int i = 0; i < kJobsEach; ++i) {
        JobSpec spec = job_of(1 + i % 10);
        store->submit({spec}, [](Result<std::vector<SubmittedJob>> answer) {
          ASSERT_TRUE(answer.ok()) << answer.status().to_string();
        });
        if (i % 7 == 0) {
          store->cancel(static_cast<JobId>(1 + i), "", [](Result<CancelAnswer>) {});
        }
        static_cast<void>(dispatcher.stats()->find(1));
      }
    });
  }
  for (std::thread& submitter : submitters) submitter.join();
  int messages = 0;
  while (messages < kSubmitters * kJobsEach) {
    messages += static_cast<int>(stored.wait_all().size());
  }
  dispatcher.drain();
  while (!dispatcher.drained()) std::this_thread::yield();
  dispatcher.close();
  loop.join();
  engine_stops = true;
  worker.join();
  blocking.stop();
  dispatcher.check_idle();
  FetchAnswer fetched;
  store->fetch({"default", "box", 0, 1000}, [&](Result<FetchAnswer> a) { fetched = a.value(); });
  std::set<JobId> ids;
  for (const Message& message : fetched.messages) ids.insert(message.job_id);
  EXPECT_EQ(ids.size(), static_cast<size_t>(kSubmitters * kJobsEach));
  EXPECT_EQ(messages, kSubmitters * kJobsEach);
}

}  // namespace
}  // namespace parkd
