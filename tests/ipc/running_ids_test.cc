// The running ids, and the crash handler that notes why: read back after real deaths of real
// processes.
#include "lib/ipc/running_ids.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <optional>
#include <set>

#include "lib/base/thread.h"
#include "lib/ipc/crash_handler.h"
#include "tests/support/needs_root.h"
#include "tests/support/small_disk.h"
#include "tests/support/temp_dir.h"

namespace parkd {
namespace {

// Sanitizers end the process in their own way once the handler has given them the signal back.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kPlainDeaths = false;
#else
constexpr bool kPlainDeaths = true;
#endif

const std::string kQueue = "rocksdb:/var/lib/parkd/queue";

std::unique_ptr<RunningIds> create(const std::string& dir, int32_t places = 8) {
  auto ids = RunningIds::create(dir, kQueue, places);
  EXPECT_TRUE(ids.ok()) << ids.status().to_string();
  return std::move(ids).value();
}

LeftRunning take(const std::string& dir, const std::string& queue = kQueue) {
  auto left = take_left_running(dir, queue);
  EXPECT_TRUE(left.ok()) << left.status().to_string();
  return std::move(left).value();
}

std::set<JobId> ids_of(const LeftRunning& left) {
  std::set<JobId> ids;
  for (const RunningId& running : left.present) ids.insert(running.id);
  return ids;
}

// A daemon in short: two jobs run, a third has ended, then `die` is called on an engine thread or
// on another. Returns its wait status.
int die_with_two_jobs(const std::string& dir, bool on_engine_thread,
                      const std::function<void()>& die) {
  const pid_t child = ::fork();
  if (child == 0) {
    ::freopen("/dev/null", "w", stderr);  // a sanitizer's report of the death that is wanted
    const auto ids = create(dir);
    install_crash_handler(ids->word());
    ids->add(1, {7, 1});
    ids->remove(ids->add(2, {7, 2}));
    ids->add(3, {7, 3});
    Thread thread({"victim", 0}, [&] {
      std::optional<EngineThread> mark;
      if (on_engine_thread) mark.emplace();
      die();
    });
    thread.join();
    ::_exit(0);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return status;
}

// Not optimised away, and not a tail call.
int overflow(int depth) {  // NOLINT: endless on purpose
  volatile char frame[4096];
  frame[0] = static_cast<char>(depth);
  return depth < 0 ? 0 : overflow(depth + 1) + frame[0];
}

struct Crash {
  int signal;
  std::function<void()> die;
};

std::vector<Crash> crashes() {
  return {{SIGSEGV, [] { *reinterpret_cast<volatile int*>(8) = 1; }},
          {SIGSEGV, [] { overflow(1); }},
          {SIGSEGV, [] { ::raise(SIGSEGV); }},
          {SIGBUS, [] { ::raise(SIGBUS); }},
          {SIGFPE, [] { ::raise(SIGFPE); }},
          {SIGILL, [] { ::raise(SIGILL); }},
          {SIGABRT, [] { std::abort(); }},
          {SIGABRT, [] { std::terminate(); }}};
}

TEST(RunningIds, a_crash_on_an_engine_thread_is_noted_with_the_jobs_that_ran) {
  for (const Crash& crash : crashes()) {
    TempDir dir;
    const int status = die_with_two_jobs(dir.path(), true, crash.die);
    if (kPlainDeaths) {
      EXPECT_TRUE(WIFSIGNALED(status)) << status;
      EXPECT_EQ(WTERMSIG(status), crash.signal) << "the death stays what it is";
    }
    const LeftRunning left = take(dir.path());
    EXPECT_EQ(left.word, static_cast<uint32_t>(crash.signal));
    EXPECT_EQ(ids_of(left), (std::set<JobId>{1, 3}));
    EXPECT_EQ(left.present[0].lease, (RunLease{7, 1}));
  }
}

TEST(RunningIds, a_crash_on_another_thread_is_not_noted) {
  TempDir dir;
  die_with_two_jobs(dir.path(), false, [] { std::abort(); });
  const LeftRunning left = take(dir.path());
  EXPECT_EQ(left.word, kNoDeathNoted);
  EXPECT_EQ(ids_of(left), (std::set<JobId>{1, 3})) << "but who was there is known";
}

TEST(RunningIds, a_kill_9_leaves_the_ids_and_no_word) {
  TempDir dir;
  const int status = die_with_two_jobs(dir.path(), true, [] { ::kill(::getpid(), SIGKILL); });
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
  const LeftRunning left = take(dir.path());
  EXPECT_EQ(left.word, kNoDeathNoted);
  EXPECT_EQ(ids_of(left), (std::set<JobId>{1, 3}));
}

TEST(RunningIds, a_lost_device_is_noted_and_freezes_the_file_as_it_was) {
  TempDir dir;
  {
    const auto ids = create(dir.path());
    const int32_t place = ids->add(1, {1, 1});
    ids->note(kDeviceLostWord);
    ids->note(SIGSEGV);
    ids->remove(place);
    ids->add(2, {1, 2});
  }
  const LeftRunning left = take(dir.path());
  EXPECT_EQ(left.word, kDeviceLostWord) << "what came first stands";
  EXPECT_EQ(ids_of(left), std::set<JobId>{1});
}

TEST(RunningIds, an_orderly_end_leaves_nothing) {
  TempDir dir;
  create(dir.path())->add(1, {1, 1});
  EXPECT_TRUE(take(dir.path()).present.empty());
  EXPECT_FALSE(std::filesystem::exists(dir.path() + "/running_ids.noting"));
}

TEST(RunningIds, what_was_left_is_found_again_until_it_is_forgotten) {
  TempDir dir;
  die_with_two_jobs(dir.path(), true, [] { std::abort(); });
  EXPECT_EQ(take(dir.path()).present.size(), 2u);
  create(dir.path());  // a start that dies before the store has noted it
  EXPECT_EQ(take(dir.path()).present.size(), 2u);
  EXPECT_EQ(take(dir.path()).word, static_cast<uint32_t>(SIGABRT));
  forget_left_running(dir.path());
  EXPECT_TRUE(take(dir.path()).present.empty());
}

TEST(RunningIds, places_are_used_again) {
  TempDir dir;
  const auto ids = create(dir.path(), 2);
  for (int i = 0; i < 100; ++i) {
    const int32_t a = ids->add(1, {1, 1});
    const int32_t b = ids->add(2, {1, 2});
    EXPECT_NE(a, b);
    ids->remove(a);
    ids->remove(b);
  }
}

TEST(RunningIds, a_file_of_another_queue_is_dropped) {
  TempDir dir;
  die_with_two_jobs(dir.path(), true, [] { std::abort(); });
  EXPECT_TRUE(take(dir.path(), "postgres:other").present.empty());
  EXPECT_TRUE(take(dir.path()).present.empty()) << "and not kept";
}

std::string contents(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

TEST(RunningIds, damaged_files_are_dropped_and_a_new_one_is_made) {
  TempDir dir;
  die_with_two_jobs(dir.path(), true, [] { std::abort(); });
  const std::string path = dir.path() + "/running_ids";
  const std::string whole = contents(path);
  std::vector<std::string> damaged = {"",
                                      "x",
                                      whole.substr(0, 255),
                                      whole.substr(0, 300),
                                      whole + "x",
                                      std::string(whole.size(), '\xff')};
  damaged.push_back(whole);
  damaged.back()[8] = 9;  // version
  damaged.push_back(whole);
  damaged.back()[15] = 0x7f;  // places
  for (const std::string& bytes : damaged) {
    std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
    EXPECT_TRUE(take(dir.path()).present.empty()) << bytes.size() << " bytes";
    EXPECT_FALSE(std::filesystem::exists(path));
    create(dir.path());
  }
}

TEST(RunningIds, a_directory_that_cannot_be_written_is_an_error_that_names_the_file) {
  const auto ids = RunningIds::create("/nonexistent", kQueue, 4);
  EXPECT_NE(ids.status().message().find("/nonexistent/running_ids"), std::string::npos);
}

TEST(RunningIds, a_full_disk_leaves_them_in_memory_unless_the_file_has_its_blocks_already) {
  PARKD_NEEDS_ROOT();
  const TempDir dir;
  testing::SmallDisk disk(dir.path(), 1, testing::SmallDisk::Kind::tmpfs);
  disk.fill();
  {
    const auto ids = create(dir.path());
    EXPECT_FALSE(ids->is_kept());
    EXPECT_NE(ids->why_not_kept().find("No space left"), std::string::npos) << ids->why_not_kept();
    ids->add(1, {7, 1});
  }
  EXPECT_TRUE(take(dir.path()).present.empty());
  disk.make_room();
  EXPECT_TRUE(create(dir.path())->is_kept());
  EXPECT_TRUE(take(dir.path()).present.empty());
  disk.fill();
  EXPECT_TRUE(create(dir.path())->is_kept()) << "the file of the last process";
}

TEST(RunningIds, the_words_have_names_for_people) {
  EXPECT_EQ(describe_death_word(SIGSEGV), "SIGSEGV on an engine thread");
  EXPECT_EQ(describe_death_word(kDeviceLostWord), "the device was lost");
  EXPECT_NE(describe_death_word(kNoDeathNoted).find("killed"), std::string::npos);
}

}  // namespace
}  // namespace parkd
