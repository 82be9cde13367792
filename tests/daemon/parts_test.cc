// The daemon's small parts: tenants, waiting readers, the socket's file, URLs, systemd's watchdog.
#include <gtest/gtest.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstring>
#include <fstream>
#include <functional>

#include "daemon/api/mailbox_waiters.h"
#include "daemon/api/tenants.h"
#include "daemon/health/health_board.h"
#include "daemon/sd_notify.h"
#include "lib/http/http_server.h"
#include "lib/http/socket_file.h"
#include "tests/support/temp_dir.h"

namespace parkd {
namespace {

constexpr uid_t kSomebody = 3'999'999'999u;  // not root, not us, not in the user database

TEST(HealthBoard, a_notice_stands_until_it_is_cleared_and_only_some_refuse_work) {
  HealthBoard board;
  board.raise({"clock_skew", "the clock is 90 s behind", false});
  EXPECT_TRUE(board.may_accept().ok());
  board.raise({"state_dir_gone", "/x is gone", true});
  board.raise({"clock_skew", "the clock is 91 s behind", false});
  ASSERT_EQ(board.notices().size(), 2u);
  EXPECT_EQ(board.notices().front().text, "the clock is 91 s behind");
  EXPECT_EQ(board.may_accept().code(), StatusCode::unavailable);
  EXPECT_EQ(board.may_accept().message(), "/x is gone");
  board.clear("state_dir_gone");
  board.clear("never_raised");
  EXPECT_TRUE(board.may_accept().ok());
  EXPECT_EQ(board.notices().size(), 1u);
}

TEST(Tenants, a_uid_is_mapped_by_the_configuration_else_by_its_name) {
  DaemonConfig config;
  config.tenants = {{std::to_string(kSomebody), "lab"}};
  Tenants tenants(config);
  EXPECT_EQ(tenants.caller(kSomebody, "")->tenant, "lab");
  EXPECT_FALSE(tenants.caller(kSomebody, "")->privileged);
  EXPECT_EQ(tenants.caller(kSomebody - 1, "")->tenant, "uid-" + std::to_string(kSomebody - 1));
  EXPECT_EQ(tenants.caller(0, "")->tenant, "root");
}

TEST(Tenants, only_root_and_the_daemons_own_user_act_for_others) {
  DaemonConfig config;
  config.tenants = {{std::to_string(kSomebody), "lab"}};
  Tenants tenants(config);
  EXPECT_TRUE(tenants.caller(kSomebody, "lab").ok()) << "its own tenant by name";
  const auto refused = tenants.caller(kSomebody, "other");
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.status().code(), StatusCode::denied);
  EXPECT_EQ(refused.status().param(), "tenant");
  EXPECT_EQ(tenants.caller(0, "other")->tenant, "other");
  EXPECT_EQ(tenants.caller(::geteuid(), "other")->tenant, "other");
  EXPECT_TRUE(tenants.caller(::geteuid(), "other")->privileged);
}

// A user of this name in the user database of the process that runs `body`; needs root.
int with_user(const std::string& name, uid_t uid, const std::function<int()>& body) {
  const pid_t child = ::fork();
  if (child == 0) {
    TempDir directory;
    const std::string path = directory.path() + "/passwd";
    std::ofstream(path) << name << ":x:" << uid << ":" << uid << "::/:/bin/false\n";
    const bool shown = ::unshare(CLONE_NEWNS) == 0 &&
                       ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
                       ::mount(path.c_str(), "/etc/passwd", nullptr, MS_BIND, nullptr) == 0;
    ::_exit(shown ? body() : 100);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

TEST(Tenants, nobody_is_default_or_anothers_number_for_its_name) {
  if (::geteuid() != 0) GTEST_SKIP() << "SKIPPED: needs root to show another user database";
  for (const std::string name : {"default", "uid-77"}) {
    EXPECT_EQ(
        with_user(name, kSomebody,
                  [&] {
                    DaemonConfig config;
                    Tenants tenants(config);
                    const auto refused = tenants.caller(kSomebody, "");
                    if (refused.ok() || refused.status().param() != "tenant") return 1;
                    if (refused.status().message().find("daemon.tenants") == std::string::npos) {
                      return 2;
                    }
                    if (tenants.caller(kSomebody, name).ok()) return 3;
                    config.tenants = {{name, name}};
                    Tenants granted(config);
                    const auto own = granted.caller(kSomebody, "");
                    return own.ok() && own->tenant == name && !own->privileged ? 0 : 4;
                  }),
        0)
        << name;
  }
  DaemonConfig config;
  EXPECT_FALSE(Tenants(config).caller(kSomebody, "default").ok()) << "asked for by name";
}

TEST(Tenants, critical_is_granted_by_name) {
  DaemonConfig config;
  config.critical_tenants = {"ops"};
  const Tenants tenants(config);
  EXPECT_TRUE(tenants.may_be_critical("ops"));
  EXPECT_FALSE(tenants.may_be_critical("lab"));
}

TEST(MailboxWaiters, a_message_wakes_the_readers_of_its_key_and_tenant_only) {
  boost::asio::io_context io;
  MailboxWaiters waiters(io);
  std::string calls;
  const auto add = [&](const char* tenant, const char* key, char name) {
    return waiters.add(tenant, key, std::chrono::seconds(1000),
                       [&calls, name](MailboxWaiters::Call call) {
                         calls += name;
                         calls += call == MailboxWaiters::Call::try_again ? '+' : '-';
                       });
  };
  const auto a = add("red", "k", 'a');
  const auto b = add("red", "k", 'b');
  const auto c = add("blue", "k", 'c');
  waiters.wake("red", "k");
  EXPECT_EQ(calls, "a+b+");
  waiters.remove(a);
  calls.clear();
  waiters.wake("red", "k");
  EXPECT_EQ(calls, "b+");
  calls.clear();
  waiters.wake_all();
  EXPECT_TRUE(calls == "b+c+" || calls == "c+b+") << calls;
  calls.clear();
  waiters.end_all();
  EXPECT_EQ(calls.size(), 4u);
  EXPECT_NE(calls.find("b-"), std::string::npos);
  EXPECT_NE(calls.find("c-"), std::string::npos);
  waiters.remove(b);
  waiters.remove(c);
  calls.clear();
  waiters.wake("blue", "k");
  EXPECT_EQ(calls, "");
}

TEST(MailboxWaiters, a_waiter_gives_up_when_its_time_is_over) {
  boost::asio::io_context io;
  MailboxWaiters waiters(io);
  int gave_up = 0;
  const auto waiter =
      waiters.add("red", "k", std::chrono::seconds(0), [&](MailboxWaiters::Call call) {
        if (call == MailboxWaiters::Call::give_up) ++gave_up;
      });
  io.run();
  EXPECT_EQ(gave_up, 1);
}

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

TEST(Url, escapes_are_decoded_or_refused) {
  std::string out;
  EXPECT_TRUE(url_decode("a%2Fb%20c", out));
  EXPECT_EQ(out, "a/b c");
  EXPECT_TRUE(url_decode("%41", out));
  EXPECT_EQ(out, "A");
  for (const char* broken : {"%", "%4", "%zz", "x%4g"}) EXPECT_FALSE(url_decode(broken, out));
}

TEST(Watchdog, a_manager_that_does_not_read_stops_nobody) {
  const TempDir directory;
  const std::string path = directory.path() + "/notify";
  const int deaf = ::socket(AF_UNIX, SOCK_DGRAM, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, path.c_str(), sizeof address.sun_path - 1);
  ASSERT_EQ(::bind(deaf, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  ::setenv("NOTIFY_SOCKET", path.c_str(), 1);
  for (int i = 0; i < 1000; ++i) sd_notify("WATCHDOG=1");
  ::unsetenv("NOTIFY_SOCKET");
  char text[64];
  EXPECT_EQ(::recv(deaf, text, sizeof text, 0), 10) << "the first were heard";
  ::close(deaf);
}

TEST(Watchdog, its_interval_comes_from_systemd) {
  ::unsetenv("WATCHDOG_USEC");
  EXPECT_FALSE(watchdog_interval().has_value());
  ::setenv("WATCHDOG_USEC", "30000000", 1);
  ASSERT_TRUE(watchdog_interval().has_value());
  EXPECT_EQ(*watchdog_interval(), std::chrono::seconds(30));
  ::setenv("WATCHDOG_PID", std::to_string(::getpid()).c_str(), 1);
  EXPECT_TRUE(watchdog_interval().has_value());
  ::setenv("WATCHDOG_PID", std::to_string(::getpid() + 1).c_str(), 1);
  EXPECT_FALSE(watchdog_interval().has_value()) << "meant for another process";
  ::unsetenv("WATCHDOG_PID");
  ::setenv("WATCHDOG_USEC", "soon", 1);
  EXPECT_FALSE(watchdog_interval().has_value());
  ::unsetenv("WATCHDOG_USEC");
}

}  // namespace
}  // namespace parkd
