#include "lib/http/socket_file.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string>

#include "tests/support/temp_dir.h"

namespace parkd {
namespace {

// Each is a process: a socket is known by the pid behind it. Those that are over hold theirs until
// all have tried.
TEST(SocketFile, of_two_that_start_at_once_one_gets_the_path) {
  constexpr int kRounds = 100;
  const TempDir dir;
  const std::string path = dir.path() + "/parkd.sock";
  for (int round = 0; round < kRounds; ++round) {
    int go[2];
    int said[2];
    int over[2];
    ASSERT_TRUE(::pipe(go) == 0 && ::pipe(said) == 0 && ::pipe(over) == 0);
    pid_t children[2];
    for (pid_t& child : children) {
      child = ::fork();
      ASSERT_GE(child, 0);
      if (child != 0) continue;
      ::close(go[1]);
      ::close(over[1]);
      char byte = 0;
      (void)!::read(go[0], &byte, 1);  // ends when the parent closes it
      SocketFile file(path, 0600, "");
      byte = file.listen(std::chrono::milliseconds(0)).ok() ? '+' : '-';
      (void)!::write(said[1], &byte, 1);
      (void)!::read(over[0], &byte, 1);
      ::_exit(0);
    }
    ::close(go[0]);
    ::close(over[0]);
    ::close(said[1]);
    ::close(go[1]);
    std::string answers(2, ' ');
    ASSERT_EQ(::read(said[0], &answers[0], 1), 1);
    ASSERT_EQ(::read(said[0], &answers[1], 1), 1);
    EXPECT_TRUE(answers == "+-" || answers == "-+") << answers << " in round " << round;
    ::close(over[1]);
    ::close(said[0]);
    for (const pid_t child : children) ::waitpid(child, nullptr, 0);
  }
}

}  // namespace
}  // namespace parkd
