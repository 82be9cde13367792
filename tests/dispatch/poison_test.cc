// The poison rule from the dispatcher's side: who may be in the engines together, what the file of
// running ids says, and that the search for a job that kills the process ends without harm to
// others.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <iostream>
#include <random>
#include <set>

#include "lib/base/log.h"
#include "lib/ipc/running_ids.h"
#include "tests/dispatch/world.h"
#include "tests/support/temp_dir.h"

namespace parkd {
namespace {

std::vector<Job> claim_by_hand(JobStore& store, int32_t n) {
  std::vector<Job> claimed;
  store.claim({"m", n}, [&](Result<std::vector<Job>> jobs) { claimed = std::move(jobs).value(); });
  return claimed;
}

DeathReport death_of(const std::vector<Job>& present) {
  DeathReport report;
  report.noted = true;
  for (const Job& job : present) report.present.push_back({job.id, job.lease});
  return report;
}

// Makes suspects of the first n jobs of the queue: a process died with them.
void make_suspects(World& world, int32_t n) {
  const auto claimed = claim_by_hand(world.store, n);
  ASSERT_EQ(claimed.size(), static_cast<size_t>(n));
  world.store.note_deaths(death_of(claimed), [](Result<DeathsAnswer> answer) {
    ASSERT_TRUE(answer.ok()) << answer.status().to_string();
  });
  world.store.lose_claims();
}

std::set<JobId> running(const World& world, const std::vector<JobId>& ids) {
  std::set<JobId> found;
  for (const JobId id : ids) {
    if (world.phase(id) == LivePhase::running) found.insert(id);
  }
  return found;
}

TEST(Poison, suspects_run_group_by_group_with_nothing_else_in_the_engine) {
  World world(100);
  std::vector<JobId> ids;
  for (int i = 0; i < 5; ++i) ids.push_back(world.submit(job_of(2)));
  make_suspects(world, 4);  // in two groups of two
  world.ready();
  const auto first = running(world, ids);
  EXPECT_EQ(first.size(), 2u);
  EXPECT_EQ(first.count(ids[4]), 0u) << "no suspect: it waits";
  for (const JobId id : ids) {
    if (first.count(id) > 0 || id == ids[4]) continue;
    EXPECT_NE(world.dispatcher.stats()->find(id)->waits_for.find("by itself"), std::string::npos);
  }
  world.complete_nth(0);
  EXPECT_EQ(running(world, ids).size(), 1u) << "the other half waits for the first half's end";
  world.complete_nth(1);
  const auto second = running(world, ids);
  EXPECT_EQ(second.size(), 2u);
  EXPECT_EQ(second.count(ids[4]), 0u);
  world.complete_nth(2);
  world.complete_nth(3);
  EXPECT_EQ(running(world, ids), std::set<JobId>{ids[4]});
  world.complete_all();
  EXPECT_EQ(world.mailbox().size(), 5u);
  world.dispatcher.check_idle();
}

TEST(Poison, a_parked_suspect_lets_the_engines_run_empty_and_then_runs_alone) {
  World world(100);
  const JobId suspect = world.submit(job_of(2));
  make_suspects(world, 1);
  JobSpec spec = job_of(2);
  spec.priority = Priority::critical;  // claimed before it
  const JobId before = world.submit(spec);
  world.port.lot_places = 1;
  world.ready();
  ASSERT_EQ(world.phase(before), LivePhase::running);
  ASSERT_EQ(world.phase(suspect), LivePhase::parked);
  const JobId after = world.submit(spec);
  world.complete_nth(0);
  EXPECT_EQ(world.phase(suspect), LivePhase::running);
  EXPECT_NE(world.phase(after), LivePhase::running);
  world.complete_all();
  EXPECT_EQ(world.mailbox().size(), 3u);
  world.dispatcher.check_idle();
}

TEST(Poison, suspects_of_another_model_keep_the_engines_of_all_models_to_themselves) {
  World world(100);
  world.submit(job_of(2));
  make_suspects(world, 1);
  world.ready();
  FakeEngine other_engine(kBlockSize,
                          [&](GenerationResult r) { world.dispatcher.on_result(std::move(r)); });
  ModelPort other = world.port;
  other.engine = &other_engine;
  world.dispatcher.model_ready("other", other);
  JobSpec spec = job_of(2);
  spec.model = "other";
  world.submit(spec);
  EXPECT_EQ(world.engine.running().size(), 1u);
  EXPECT_TRUE(other_engine.running().empty());
  world.complete_nth(0);
  EXPECT_EQ(other_engine.running().size(), 1u);
  other_engine.complete(other_engine.running().front());
  world.settle();
  world.complete_all();
  world.dispatcher.check_idle();
}

TEST(Poison, a_cancelled_and_a_late_suspect_leave_their_group_s_lot) {
  World world(100);
  JobSpec spec = job_of(2);
  spec.deadline = world.clock.now() + seconds(5);
  std::vector<JobId> parked;
  for (int i = 0; i < 4; ++i) parked.push_back(world.submit(spec));
  make_suspects(world, 4);
  world.ready();
  for (const JobId id : running(world, parked)) {
    parked.erase(std::find(parked.begin(), parked.end(), id));
  }
  ASSERT_EQ(parked.size(), 2u);
  EXPECT_EQ(world.cancel(parked[0]), CancelAnswer::cancel_requested);
  world.pass(seconds(5));
  world.flush();
  EXPECT_EQ(world.message(parked[0]).ending.outcome, Outcome::cancelled);
  EXPECT_EQ(world.message(parked[1]).ending.outcome, Outcome::deadline_missed);
  world.complete_all();
  EXPECT_EQ(world.mailbox().size(), 4u);
  world.dispatcher.check_idle();
}

TEST(Poison, nothing_is_claimed_before_the_store_has_noted_the_last_death) {
  World world(100);
  std::vector<JobId> ids;
  for (int i = 0; i < 2; ++i) ids.push_back(world.submit(job_of(2)));
  const auto died = claim_by_hand(world.store, 2);
  world.store.lose_claims();
  world.store.faults["note_deaths"] = FaultyStore::Fault::after;  // done, and the answer is lost
  int noted = 0;
  world.dispatcher.report_left_behind(death_of(died), [&] { ++noted; });
  world.ready();
  for (int i = 0; i < 5; ++i) world.pass(seconds(10));
  EXPECT_EQ(noted, 0);
  EXPECT_EQ(world.store.calls["claim"], 1) << "the one by hand";
  EXPECT_GT(world.store.calls["note_deaths"], 2);
  EXPECT_GT(world.dispatcher.next_due(), Micros(0)) << "it does not spin meanwhile";
  world.store.faults.clear();
  world.pass(seconds(6));
  EXPECT_EQ(noted, 1);
  EXPECT_EQ(running(world, ids).size(), 1u) << "told thrice, it still are two suspects of one each";
  world.complete_all();
  world.dispatcher.check_idle();
}

TEST(Poison, what_a_dead_process_had_claimed_is_free_at_once) {
  World world(100);
  const JobId id = world.submit(job_of(2));
  const auto died = claim_by_hand(world.store, 1);  // a store that has not missed it yet
  world.dispatcher.report_left_behind(death_of(died), [] {});
  world.ready();
  EXPECT_EQ(world.phase(id), LivePhase::running);
  EXPECT_EQ(std::get<Job>(world.get(id)).deaths_alone, 1);
  world.complete_all();
  world.dispatcher.check_idle();
}

TEST(Poison, a_store_that_refuses_the_notes_does_not_stop_the_work) {
  World world(100);
  const JobId id = world.submit(job_of(2));
  world.store.faults["note_deaths"] = FaultyStore::Fault::before;
  world.store.answers["note_deaths"] = corrupt("scripted");
  bool noted = false;
  world.dispatcher.report_left_behind({true, {{id, {1, 1}}}}, [&] { noted = true; });
  world.ready();
  EXPECT_TRUE(noted);
  EXPECT_EQ(world.phase(id), LivePhase::running);
}

// --- running ids

struct Watched {
  TempDir dir;
  std::unique_ptr<RunningIds> ids = RunningIds::create(dir.path(), "q", 16).value();
  bool device_lost = false;

  DispatcherOptions options() {
    DispatcherOptions options;
    options.running_ids = ids.get();
    options.device_lost = [this] { device_lost = true; };
    return options;
  }
  // As the next process would find it.
  LeftRunning left() {
    const std::string copy = dir.path() + "/copy";
    std::filesystem::create_directories(copy);
    std::filesystem::copy_file(dir.path() + "/running_ids", copy + "/running_ids",
                               std::filesystem::copy_options::overwrite_existing);
    LeftRunning left = take_left_running(copy, "q").value();
    forget_left_running(copy);
    return left;
  }
  std::set<JobId> present() {
    std::set<JobId> present;
    for (const RunningId& running : left().present) present.insert(running.id);
    return present;
  }
};

// A world that keeps its running ids, its model ready.
class PoisonOfRunningIds : public ::testing::Test {
 protected:
  PoisonOfRunningIds() { world.ready(); }

  std::vector<JobId> submit_jobs(int n) {
    std::vector<JobId> ids;
    for (int i = 0; i < n; ++i) ids.push_back(world.submit(job_of(5)));
    return ids;
  }
  void fail_what_runs(const Status& why) {
    for (const RequestId id : world.engine.running()) world.engine.fail(id, why);
    world.settle();
  }

  const Status device_lost = unavailable("the device was lost: scripted");
  Watched watched;
  World world{10, 8, 16, watched.options()};
};

TEST_F(PoisonOfRunningIds, the_running_ids_are_those_in_the_engine_at_any_time) {
  const JobId a = world.submit(job_of(5));
  const JobId b = world.submit(job_of(5));
  const JobId parked = world.submit(job_of(5));
  EXPECT_EQ(watched.present(), (std::set<JobId>{a, b}));
  world.complete_nth(0);
  EXPECT_EQ(watched.present(), (std::set<JobId>{b, parked}));
  world.engine.answer_cancels = false;
  world.lose_ownership();
  EXPECT_EQ(watched.present(), (std::set<JobId>{b, parked})) << "lost, but still in the engine";
  world.complete_all();
  world.complete_all();
  EXPECT_TRUE(watched.present().empty());
}

TEST_F(PoisonOfRunningIds, a_lost_device_is_a_noted_death_and_spends_no_attempt) {
  const std::vector<JobId> ids = submit_jobs(3);
  world.store.faults["note_deaths"] = FaultyStore::Fault::before;
  fail_what_runs(device_lost);
  EXPECT_TRUE(watched.device_lost);
  EXPECT_EQ(world.model().running, 0) << "nothing is started on it any more";
  EXPECT_EQ(watched.left().word, kDeviceLostWord);
  EXPECT_EQ(watched.present(), (std::set<JobId>{ids[0], ids[1]}));
  EXPECT_EQ(std::get<Job>(world.get(ids[0])).state, JobState::claimed)
      << "nobody gets it before the store knows that it is suspect";
  world.dispatcher.stop_now();
  world.settle();
  EXPECT_FALSE(world.dispatcher.drained());
  world.store.faults.clear();
  world.pass(seconds(1));
  EXPECT_TRUE(world.dispatcher.drained());
  for (const JobId id : ids) {
    const Job job = std::get<Job>(world.get(id));
    EXPECT_EQ(job.state, JobState::queued);
    EXPECT_EQ(job.attempts, 0);
    EXPECT_EQ(job.suspect_group != 0, id != ids[2]) << "the parked one was not there";
  }
  world.dispatcher.check_idle();
}

// Memory that was short says nothing about who ran: no death, nobody is a suspect, one attempt
// each.
TEST_F(PoisonOfRunningIds, memory_that_was_short_is_no_death_and_spends_an_attempt) {
  const std::vector<JobId> ids = submit_jobs(2);
  fail_what_runs(exhausted("cudaMallocAsync of 12 bytes: out of memory"));
  EXPECT_FALSE(watched.device_lost);
  for (const JobId id : ids) {
    const Job job = std::get<Job>(world.get(id));
    EXPECT_EQ(job.attempts, 1);
    EXPECT_EQ(job.interruptions, 0);
    EXPECT_EQ(job.suspect_group, 0u);
  }
}

TEST_F(PoisonOfRunningIds, workers_of_a_lost_device_that_answer_late_give_their_jobs_back_too) {
  world.engine.answer_cancels = false;
  const JobId first = world.submit(job_of(5));
  const JobId late = world.submit(job_of(5));
  world.engine.fail(world.engine.running().front(), device_lost);
  world.settle();
  EXPECT_EQ(std::get<Job>(world.get(first)).state, JobState::queued);
  world.dispatcher.stop_now();
  world.settle();
  EXPECT_FALSE(world.dispatcher.drained());
  world.engine.fail(world.engine.running().front(), device_lost);
  world.settle();
  EXPECT_TRUE(world.dispatcher.drained());
  for (const JobId id : {first, late}) {
    const Job job = std::get<Job>(world.get(id));
    EXPECT_EQ(job.state, JobState::queued);
    EXPECT_EQ(job.attempts, 0);
    EXPECT_NE(job.suspect_group, 0u) << "both were there";
  }
  world.dispatcher.check_idle();
}

// --- the search

// A process of the daemon, until it dies of the poison job: what it had in its engine then.
std::vector<DeathNote> live_until_death(World& world, JobId poison) {
  for (;;) {
    for (const LiveJob& live : world.dispatcher.stats()->live) {
      if (live.id != poison || live.phase != LivePhase::running) continue;
      std::vector<DeathNote> present;
      for (const LiveJob& there : world.dispatcher.stats()->live) {
        if (there.phase != LivePhase::running) continue;
        present.push_back({there.id, std::get<Job>(world.get(there.id)).lease});
      }
      return present;
    }
    if (world.engine.running().empty()) return {};
    world.engine.complete(world.engine.running().front());
    world.settle();
    world.flush();  // its ending is stored, or the next suspects start
  }
}

TEST(Poison, one_poison_job_among_64_is_found_in_log2_and_two_deaths_and_no_other_is_harmed) {
  configure_log(LogLevel::error, LogFormat::text);
  const unsigned seed = std::random_device()();
  std::cout << "seed " << seed << "\n";
  std::mt19937 random(seed);
  ManualClock clock{from_unix_us(1'800'000'000'000'000)};
  std::shared_ptr<JobStore> store = make_memory_store(World::store_options(), clock);
  std::vector<JobId> ids;
  JobId poison = 0;
  std::vector<DeathNote> present;
  int deaths = 0;
  for (int process = 0; process < 20; ++process) {
    World world(1000, 128, 64, {}, store);
    if (process == 0) {
      for (int i = 0; i < 64; ++i) ids.push_back(world.submit(job_of(2)));
      poison = ids[random() % 64];
    } else {
      world.dispatcher.report_left_behind({true, present}, [] {});
    }
    world.ready();
    present = live_until_death(world, poison);
    if (present.empty()) break;
    ++deaths;
    EXPECT_LE(present.size(), std::max(size_t{1}, size_t{64} >> (deaths - 1)))
        << "death " << deaths;
    world.store.lose_claims();
  }
  std::cout << deaths << " deaths\n";
  EXPECT_LE(deaths, 6 + 2);
  World last(1000, 128, 64, {}, store);
  last.ready();
  last.complete_all();
  for (const JobId id : ids) {
    EXPECT_EQ(last.message(id).ending.outcome,
              id == poison ? Outcome::quarantined : Outcome::completed);
  }
  last.dispatcher.check_idle();
}

}  // namespace
}  // namespace parkd
