// kill -9 at every named point and at random, under load, on one queue directory from first to
// last. CI size: every kill point once and 20 random kills; PARKD_LONG=1: 10 to 20 times as many.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <iostream>
#include <iterator>
#include <string_view>
#include <vector>

#include "lib/base/kill_point.h"
#include "lib/base/text.h"
#include "tests/crash/crash_world.h"

namespace parkd::testing {
namespace {

// All points but those of the pair rocksdb + postgres, of uploads, of batches of files and of their
// webhooks: tests/store/outbox and, in tests/e2e, files_test.cc, file_batches_test.cc and
// webhooks_test.cc kill there.
std::vector<std::string_view> points() {
  std::vector<std::string_view> all;
  for (const std::string_view point : kill_point_names()) {
    const std::string_view what = point.substr(0, point.find('.'));
    if (what != "outbox" && what != "upload" && what != "batch" && what != "webhook") {
      all.push_back(point);
    }
  }
  return all;
}

// Points that only a stopping daemon passes.
bool needs_drain(std::string_view point) {
  return point == "drain.before_release" || point == "release.after_commit";
}

// Passed a few times a minute at most.
bool is_rare(std::string_view point) {
  return point == "purge.mid" || point == "cancel.after_commit";
}

bool died_by_sigkill(std::optional<int> status) {
  return status && WIFSIGNALED(*status) && WTERMSIG(*status) == SIGKILL;
}

// Starts the daemon with its kill point armed and waits for its end. A drain may find nothing to
// give back, and then ends well: it is tried again.
std::optional<int> run_until_end(CrashWorld& world, std::string_view point,
                                 const std::string& target) {
  constexpr int kDrainsMax = 20;
  for (int i = 0;; ++i) {
    world.daemon().start({{"PARKD_KILL_AT", target}});
    if (needs_drain(point) && world.wait_for_load()) world.daemon().signal(SIGTERM);
    const auto end = world.daemon().wait_for_end(std::chrono::seconds(60));
    const bool ended_well = end && WIFEXITED(*end) && WEXITSTATUS(*end) == 0;
    if (!ended_well || !needs_drain(point) || i == kDrainsMax) return end;
  }
}

// Points an engine thread passes in the middle of a step: there is a job in the engine.
bool is_in_a_step(std::string_view point) {
  return point.substr(0, 7) == "engine.";
}

std::string log_from(const CrashWorld& world, std::streamoff offset) {
  std::ifstream log(world.log_path());
  log.seekg(offset);
  return {std::istreambuf_iterator<char>(log), {}};
}

// Starts the daemon again. Returns how many jobs were in its engine when it died, as it finds them
// in its state directory; nothing when it did not start.
std::optional<int> start_and_count_the_dead(CrashWorld& world) {
  std::ifstream log(world.log_path(), std::ios::ate);
  const std::streamoff offset = log.tellg();
  if (!world.daemon().start()) return std::nullopt;
  const std::string since = log_from(world, offset);
  const std::string event = "death.found jobs=";
  const size_t found = since.find(event);
  return found == since.npos ? 0 : std::stoi(since.substr(found + event.size()));
}

struct Tally {
  std::map<std::string, int> kills;
  int under_load = 0;  // something ran and something waited
  int total = 0;

  void count(const std::string& where, const Load& load) {
    ++kills[where];
    ++total;
    if (load.running > 0 && load.waiting > 0) ++under_load;
  }
};

TEST(Crash, acknowledged_jobs_end_in_exactly_one_message_wherever_the_daemon_dies) {
  const bool long_run = std::getenv("PARKD_LONG") != nullptr;
  const int rounds = long_run ? 20 : 1;
  const int random_kills = long_run ? 120 : 8;
  const uint64_t seed = random_u64() % 1'000'000;
  std::cout << "seed " << seed << "\n";
  std::mt19937_64 random(seed);
  CrashWorld world(seed);
  Tally tally;
  world.start_clients(3);

  for (int round = 0; round < rounds; ++round) {
    for (const std::string_view point : points()) {
      // The first passings of some points come before anything runs; later ones come under load.
      const uint64_t passing = is_rare(point) ? 1 + random() % 2 : 3 + random() % 12;
      const std::string target =
          std::string(point) + ":" + std::to_string(needs_drain(point) ? 1 : passing);
      SCOPED_TRACE(target);
      const auto end = run_until_end(world, point, target);
      ASSERT_TRUE(died_by_sigkill(end)) << "the point was never passed\n"
                                        << world.daemon().log().substr(0, 4000);
      tally.count(std::string(point), world.last_load());
      const auto in_engine = start_and_count_the_dead(world);
      ASSERT_TRUE(in_engine);
      if (is_in_a_step(point)) {
        EXPECT_GT(*in_engine, 0) << "it died in the middle of nobody's step";
      }
      world.check_after_restart();
      if (HasFatalFailure()) return;
      ASSERT_TRUE(world.wait_for_load());
      world.daemon().kill();
      tally.count("random", world.last_load());
    }
  }
  ASSERT_TRUE(world.daemon().start());
  int idle_kills = 0;
  for (int i = 0; i < random_kills; ++i) {
    ASSERT_TRUE(world.wait_for_load());
    ::usleep(static_cast<useconds_t>(random() % 30'000));
    EXPECT_GT(world.last_load().waiting, 0) << "the clients keep a backlog";
    world.daemon().kill();
    tally.count("random", world.last_load());
    const auto in_engine = start_and_count_the_dead(world);
    ASSERT_TRUE(in_engine);
    if (*in_engine == 0) ++idle_kills;
  }
  // Between a result and the next start the engine is empty for a moment.
  EXPECT_LE(idle_kills, 1 + random_kills / 20) << "of " << random_kills << " kills under load";
  world.check_after_restart();
  world.stop_clients();
  world.check_at_the_end();
  world.daemon().signal(SIGTERM);
  const auto end = world.daemon().wait_for_end(std::chrono::seconds(30));
  EXPECT_TRUE(end && WIFEXITED(*end) && WEXITSTATUS(*end) == 0) << "the last stop was not clean";

  for (const auto& [point, kills] : tally.kills)
    std::cout << kills << " kills at " << point << "\n";
  std::cout << tally.total << " kills, " << tally.under_load
            << " with a job running and one waiting, " << world.submits_in_doubt()
            << " submits cut off, " << world.n_acknowledged() << " jobs acknowledged\n";
  for (const std::string_view point : points()) {
    EXPECT_GT(tally.kills[std::string(point)], 0) << point << " was never hit";
  }
  EXPECT_GE(tally.total, 30);
  EXPECT_GT(world.submits_in_doubt(), 0) << "no kill fell into a submit";
}

}  // namespace
}  // namespace parkd::testing
