// OtherUser: a piece of a test that runs as another Unix user, in a process of its own.
//
// The child must not use what other threads of the test hold: fork it before there are any, and
// give it plain values. It ends with the number its body returns; 0 is well.
#pragma once

#include <grp.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <functional>
#include <utility>
#include <vector>

#include "lib/base/check.h"
#include "tests/support/needs_root.h"

namespace parkd::testing {

// Uids of nobody else: 65534 is nobody's, the others are in no user database.
inline constexpr uid_t kMallory = 65534;
inline constexpr uid_t kBob = 64001;
inline constexpr uid_t kEve = 64002;

inline bool is_long() {
  return std::getenv("PARKD_LONG") != nullptr;
}

class OtherUser {
 public:
  // `files`: descriptors it may have open; `groups`: that it is in, beside its own.
  OtherUser(uid_t uid, std::function<int()> body, rlim_t files = 1024,
            const std::vector<gid_t>& groups = {}) {
    PARKD_CHECK(::pipe(go_) == 0 && ::pipe(says_) == 0, "pipe");
    pid_ = ::fork();
    PARKD_CHECK(pid_ >= 0, "fork");
    if (pid_ != 0) {
      ::close(go_[0]);
      ::close(says_[1]);
      return;
    }
    ::close(go_[1]);
    ::close(says_[0]);
    current_ = this;
    const rlimit limit{files, files};
    const bool became = ::setrlimit(RLIMIT_NOFILE, &limit) == 0 &&
                        ::setgroups(groups.size(), groups.data()) == 0 && ::setgid(uid) == 0 &&
                        ::setuid(uid) == 0;
    ::_exit(became ? body() : 200);
  }
  ~OtherUser() {
    if (pid_ > 0) {
      ::kill(pid_, SIGKILL);
      ::waitpid(pid_, nullptr, 0);
    }
    ::close(go_[1]);
    ::close(says_[0]);
  }
  OtherUser(const OtherUser&) = delete;
  OtherUser& operator=(const OtherUser&) = delete;

  // --- in the child
  static void say() { PARKD_CHECK(::write(current_->says_[1], "!", 1) == 1, "say"); }
  static void wait_for_go() {
    char byte = 0;
    (void)!::read(current_->go_[0], &byte, 1);
  }

  // --- in the parent
  // Waits for the child's next say(); false when it ended instead.
  bool hear() {
    char byte = 0;
    return ::read(says_[0], &byte, 1) == 1;
  }
  void go() { PARKD_CHECK(::write(go_[1], "!", 1) == 1, "go"); }
  void kill() { ::kill(pid_, SIGKILL); }
  // Its exit code; -N when signal N ended it.
  int wait() {
    int status = 0;
    PARKD_CHECK(::waitpid(std::exchange(pid_, -1), &status, 0) > 0, "waitpid");
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  }

 private:
  static inline OtherUser* current_ = nullptr;  // of the child
  pid_t pid_ = -1;
  int go_[2] = {-1, -1};
  int says_[2] = {-1, -1};
};

}  // namespace parkd::testing
