// kill -9 of a real process on the file system that forgets what was not synced: to the store it is
// a power cut.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <iostream>
#include <map>
#include <random>
#include <set>
#include <sstream>
#include <string>

#include "lib/store/rocksdb/rocksdb_store.h"
#include "tests/support/store_driver.h"
#include "tests/support/temp_dir.h"

namespace parkd {
namespace {

struct Acknowledged {
  std::map<std::string, JobId> submitted;
  std::set<std::string> finished;
};

// Starts the child, reads `n_lines` of it, kills it and reads the rest of what it said.
void run_and_kill(const std::string& dir, const std::string& prefix, int n_lines,
                  Acknowledged& acknowledged) {
  std::array<int, 2> ends{};
  ASSERT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
  std::string program = PARKD_POWER_CUT_CHILD;
  std::string dir_argument = dir;
  std::string prefix_argument = prefix;
  std::array<char*, 4> arguments = {program.data(), dir_argument.data(), prefix_argument.data(),
                                    nullptr};
  pid_t child = 0;
  ASSERT_EQ(::posix_spawn(&child, program.c_str(), &actions, nullptr, arguments.data(), environ),
            0);
  posix_spawn_file_actions_destroy(&actions);
  ::close(ends[1]);

  FILE* lines = ::fdopen(ends[0], "r");
  std::array<char, 256> line{};
  for (int n = 0; std::fgets(line.data(), line.size(), lines) != nullptr; ++n) {
    std::istringstream words(line.data());
    std::string verb;
    std::string key;
    words >> verb >> key;
    if (verb == "submitted") words >> acknowledged.submitted[key];
    if (verb == "finished") acknowledged.finished.insert(key);
    if (n == n_lines) ::kill(child, SIGKILL);
  }
  std::fclose(lines);
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFSIGNALED(status)) << "the child ended by itself with " << WEXITSTATUS(status);
}

TEST(Kill, nine_loses_nothing_that_was_acknowledged) {
  const uint64_t seed = std::random_device()();
  std::cout << "seed " << seed << std::endl;
  std::mt19937_64 random(seed);
  TempDir dir;
  Acknowledged acknowledged;
  for (int round = 0; round < 10; ++round) {
    run_and_kill(dir.path(), "r" + std::to_string(round) + "-", static_cast<int>(random() % 60),
                 acknowledged);
    ASSERT_FALSE(testing::Test::HasFatalFailure()) << "round " << round;

    SystemClock clock;
    RocksDbStoreOptions options;
    options.dir = dir.path() + "/queue";
    auto opened = open_rocksdb_store(options, clock);
    ASSERT_TRUE(opened.ok()) << opened.status().to_string();
    StoreDriver driver(**opened);
    for (const auto& [key, id] : acknowledged.submitted) {
      const auto record = driver.get(id, "");
      const auto box = driver.fetch({"default", key, 0, 10});
      const bool is_live = std::holds_alternative<Job>(*record);
      EXPECT_FALSE(std::holds_alternative<std::monostate>(*record)) << key << " is lost";
      EXPECT_EQ(box->messages.size(), is_live ? 0u : 1u) << key;
      EXPECT_FALSE(is_live && acknowledged.finished.count(key) != 0) << key << " is unfinished";
    }
  }
  EXPECT_GT(acknowledged.finished.size(), 10u);
}

}  // namespace
}  // namespace parkd
