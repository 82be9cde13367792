#include "lib/ipc/instance_lock.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>

#include "lib/base/text.h"

namespace parkd {
namespace {

namespace fs = std::filesystem;

class InstanceLockTest : public testing::Test {
 protected:
  InstanceLockTest() : dir_(fs::temp_directory_path() / ("parkd-lock-" + random_hex(8))) {
    fs::create_directory(dir_);
  }
  ~InstanceLockTest() override { fs::remove_all(dir_); }
  const fs::path dir_;
};

// A process that holds the lock until it is killed.
class Holder {
 public:
  explicit Holder(const std::string& dir) {
    std::array<int, 2> ready{};
    if (::pipe(ready.data()) != 0) return;
    pid_ = ::fork();
    if (pid_ == 0) {
      auto lock = InstanceLock::acquire(dir);
      const char said = lock.ok() ? 'y' : 'n';
      if (::write(ready[1], &said, 1) != 1) ::_exit(1);
      for (;;) ::pause();
    }
    char said = 'n';
    has_it_ = ::read(ready[0], &said, 1) == 1 && said == 'y';
    ::close(ready[0]);
    ::close(ready[1]);
  }
  ~Holder() { kill(); }
  void kill() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
    pid_ = -1;
  }
  pid_t pid() const { return pid_; }
  bool has_it() const { return has_it_; }

 private:
  pid_t pid_ = -1;
  bool has_it_ = false;
};

TEST_F(InstanceLockTest, a_second_daemon_is_refused_and_told_the_pid_of_the_first) {
  Holder holder(dir_.string());
  ASSERT_TRUE(holder.has_it());
  const auto second = InstanceLock::acquire(dir_.string());
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.status().code(), StatusCode::conflict);
  EXPECT_NE(second.status().message().find("pid " + std::to_string(holder.pid())),
            std::string::npos)
      << second.status().message();
  EXPECT_NE(second.status().message().find(dir_.string()), std::string::npos);
}

TEST_F(InstanceLockTest, the_lock_of_a_killed_daemon_is_free_at_once) {  // B10
  Holder holder(dir_.string());
  ASSERT_TRUE(holder.has_it());
  holder.kill();
  EXPECT_TRUE(InstanceLock::acquire(dir_.string()).ok());
}

TEST_F(InstanceLockTest, the_file_of_a_dead_daemon_whose_pid_lives_again_holds_nobody_up) {  // B10
  std::ofstream(dir_ / "parkd.lock") << ::getpid() << "\n";
  EXPECT_TRUE(InstanceLock::acquire(dir_.string()).ok());
}

TEST_F(InstanceLockTest, a_second_lock_in_the_same_process_is_refused_too) {
  const auto first = InstanceLock::acquire(dir_.string());
  ASSERT_TRUE(first.ok());
  EXPECT_EQ(InstanceLock::acquire(dir_.string()).status().code(), StatusCode::conflict);
}

TEST_F(InstanceLockTest, it_is_free_again_when_its_owner_lets_go) {
  std::optional<InstanceLock> kept;
  {
    auto first = InstanceLock::acquire(dir_.string());
    ASSERT_TRUE(first.ok());
    kept.emplace(std::move(first).value());
  }
  EXPECT_FALSE(InstanceLock::acquire(dir_.string()).ok()) << "moving it keeps it";
  kept.reset();
  EXPECT_TRUE(InstanceLock::acquire(dir_.string()).ok());
}

TEST_F(InstanceLockTest, it_knows_whether_its_directory_is_still_there) {
  const auto lock = InstanceLock::acquire(dir_.string());
  ASSERT_TRUE(lock.ok());
  EXPECT_TRUE(lock->is_in_place());
  const fs::path aside = dir_.string() + ".aside";
  fs::rename(dir_, aside);
  EXPECT_FALSE(lock->is_in_place());
  fs::create_directory(dir_);
  std::ofstream(dir_ / "parkd.lock") << "another file\n";
  EXPECT_FALSE(lock->is_in_place()) << "replaced";
  fs::remove_all(dir_);
  fs::rename(aside, dir_);
  EXPECT_TRUE(lock->is_in_place()) << "put back";
  fs::remove_all(dir_);
  EXPECT_FALSE(lock->is_in_place());
}

TEST_F(InstanceLockTest, two_directories_are_two_daemons) {
  fs::create_directory(dir_ / "a");
  fs::create_directory(dir_ / "b");
  const auto a = InstanceLock::acquire((dir_ / "a").string());
  const auto b = InstanceLock::acquire((dir_ / "b").string());
  EXPECT_TRUE(a.ok() && b.ok());
}

TEST_F(InstanceLockTest, a_directory_that_is_not_there_is_named) {
  const auto lock = InstanceLock::acquire((dir_ / "nowhere").string());
  ASSERT_FALSE(lock.ok());
  EXPECT_EQ(lock.status().param(), "daemon.state_dir");
  EXPECT_NE(lock.status().message().find("nowhere/parkd.lock"), std::string::npos);
}

}  // namespace
}  // namespace parkd
