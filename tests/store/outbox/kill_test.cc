// kill -9 between the finish and its delivery, in the middle of it, and before the outbox knows.
// The oracle is what the process said before it died.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <map>
#include <random>
#include <set>
#include <sstream>
#include <string>

#include "tests/store/outbox/outbox_home.h"
#include "tests/store/postgres/test_database.h"
#include "tests/support/store_driver.h"
#include "tests/support/temp_dir.h"

namespace parkd {
namespace {

struct Acknowledged {
  std::map<std::string, JobId> submitted;
  std::set<std::string> finished;
};

// Starts the child with `kill_at` armed, or kills it after `n_lines` of it when that is empty;
// reads all it said.
void run_until_killed(const std::string& dir, const std::string& dsn, const std::string& prefix,
                      const std::string& kill_at, int n_lines, Acknowledged& acknowledged) {
  std::array<int, 2> ends{};
  ASSERT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
  posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
  std::array<std::string, 4> words = {PARKD_OUTBOX_CHILD, dir, dsn, prefix};
  std::array<char*, 5> arguments = {words[0].data(), words[1].data(), words[2].data(),
                                    words[3].data(), nullptr};
  if (!kill_at.empty()) ::setenv("PARKD_KILL_AT", kill_at.c_str(), 1);
  pid_t child = 0;
  const int spawned =
      ::posix_spawn(&child, words[0].c_str(), &actions, nullptr, arguments.data(), environ);
  ::unsetenv("PARKD_KILL_AT");
  posix_spawn_file_actions_destroy(&actions);
  ::close(ends[1]);
  ASSERT_EQ(spawned, 0);

  FILE* lines = ::fdopen(ends[0], "r");
  std::array<char, 256> line{};
  for (int n = 0; std::fgets(line.data(), line.size(), lines) != nullptr; ++n) {
    std::istringstream words_of_line(line.data());
    std::string verb;
    std::string key;
    words_of_line >> verb >> key;
    if (verb == "submitted") words_of_line >> acknowledged.submitted[key];
    if (verb == "finished") acknowledged.finished.insert(key);
    if (kill_at.empty() && n == n_lines) ::kill(child, SIGKILL);
    ASSERT_LT(n, 100'000) << kill_at << " was never passed";
  }
  std::fclose(lines);
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFSIGNALED(status)) << "the child ended by itself with " << WEXITSTATUS(status);
}

// Every acknowledged job is live or has one message, here and in the database.
void check(const std::string& dir, TestDatabase& database, const Acknowledged& acknowledged) {
  SystemClock clock;
  auto opened = open_outbox_store(outbox_options(dir, database.dsn()), clock);
  ASSERT_TRUE(opened.ok()) << opened.status().to_string();
  StoreDriver driver(**opened);
  ASSERT_TRUE(settle(**opened));
  for (const auto& [key, id] : acknowledged.submitted) {
    const auto record = driver.get(id, "");
    ASSERT_TRUE(record.ok()) << record.status().to_string();
    const auto box = driver.fetch({"default", key, 0, 10});
    ASSERT_TRUE(box.ok()) << box.status().to_string();
    const bool is_live = std::holds_alternative<Job>(*record);
    EXPECT_EQ(std::holds_alternative<Message>(*record), !is_live) << key << " is lost";
    EXPECT_EQ(box->messages.size(), is_live ? 0u : 1u) << key;
    EXPECT_FALSE(is_live && acknowledged.finished.count(key) != 0) << key << " is unfinished";
  }
  EXPECT_EQ(database.number("SELECT count(*) - count(DISTINCT origin_job) FROM parkd.mailbox"), 0)
      << "a job has two messages";
  EXPECT_GE(database.number("SELECT count(*) FROM parkd.mailbox"),
            static_cast<int64_t>(acknowledged.finished.size()));
}

TEST(OutboxKill, nine_at_any_point_of_the_delivery_loses_nothing_and_doubles_nothing) {
  const uint64_t seed = std::random_device()();
  std::cout << "seed " << seed << std::endl;
  std::mt19937_64 random(seed);
  TempDir dir;
  TestDatabase database;
  Acknowledged acknowledged;
  int round = 0;
  const int repeats = std::getenv("PARKD_LONG") != nullptr ? 20 : 1;
  for (int repeat = 0; repeat < repeats; ++repeat) {
    for (const std::string point :
         {"finish.before_commit", "finish.after_commit", "outbox.before_deliver",
          "outbox.after_deliver", "outbox.after_drop", ""}) {
      const std::string kill_at =
          point.empty() ? "" : point + ":" + std::to_string(1 + random() % 12);
      SCOPED_TRACE(kill_at.empty() ? "anywhere" : kill_at);
      run_until_killed(dir.path() + "/queue", database.dsn(), "r" + std::to_string(round++) + "-",
                       kill_at, static_cast<int>(random() % 60), acknowledged);
      if (testing::Test::HasFatalFailure()) return;
      check(dir.path() + "/queue", database, acknowledged);
      if (testing::Test::HasFailure()) return;
    }
  }
  EXPECT_GT(acknowledged.finished.size(), 10u);
}

}  // namespace
}  // namespace parkd
