// The daemon's small parts: tenants, turns, default sampling, waiting readers, systemd's watchdog.
#include <gtest/gtest.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstring>
#include <fstream>
#include <functional>
#include <mutex>
#include <string>
#include <thread>

#include "daemon/api/mailbox_waiters.h"
#include "daemon/api/tenants.h"
#include "daemon/api/work.h"
#include "daemon/health/health_board.h"
#include "daemon/models/default_sampling.h"
#include "daemon/sd_notify.h"
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

TEST(DefaultSampling, is_the_configurations_else_the_models_else_openais) {
  ModelParams configured;
  configured.sampling = {{"temperature", 0.25}};
  ModelDefaults own;
  own.sampling = {{"temperature", 0.75}, {"top_p", 0.5}, {"repetition_penalty", 1.5}};
  own.top_k = 20;
  const SamplingParams both = default_sampling(configured, own);
  EXPECT_EQ(both.temperature, 0.25F);
  EXPECT_EQ(both.top_p, 0.5F);
  EXPECT_EQ(both.repetition_penalty, 1.5F);
  EXPECT_EQ(both.top_k, 20);
  EXPECT_EQ(both.min_p, 0.0F);
  configured.top_k = 0;
  EXPECT_EQ(default_sampling(configured, own).top_k, 0) << "off, and said so";
}

TEST(Tenants, a_uid_is_mapped_by_the_configuration_else_by_its_name) {
  DaemonConfig config;
  config.tenants = {{std::to_string(kSomebody), "lab"}};
  Tenants tenants(config);
  EXPECT_EQ(tenants.act_as(unix_peer(kSomebody), "")->tenant, "lab");
  EXPECT_FALSE(tenants.act_as(unix_peer(kSomebody), "")->is_privileged);
  EXPECT_EQ(tenants.act_as(unix_peer(kSomebody - 1), "")->tenant,
            "uid-" + std::to_string(kSomebody - 1));
  EXPECT_EQ(tenants.act_as(unix_peer(0), "")->tenant, "root");
}

TEST(Tenants, only_root_and_the_daemons_own_user_act_for_others) {
  DaemonConfig config;
  config.tenants = {{std::to_string(kSomebody), "lab"}};
  Tenants tenants(config);
  EXPECT_TRUE(tenants.act_as(unix_peer(kSomebody), "lab").ok()) << "its own tenant by name";
  const auto refused = tenants.act_as(unix_peer(kSomebody), "other");
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.status().code(), StatusCode::denied);
  EXPECT_EQ(refused.status().param(), "tenant");
  EXPECT_EQ(tenants.act_as(unix_peer(0), "other")->tenant, "other");
  EXPECT_EQ(tenants.act_as(unix_peer(::geteuid()), "other")->tenant, "other");
  EXPECT_TRUE(tenants.act_as(unix_peer(::geteuid()), "other")->is_privileged);
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
                    const auto refused = tenants.act_as(unix_peer(kSomebody), "");
                    if (refused.ok() || refused.status().param() != "tenant") return 1;
                    if (refused.status().message().find("daemon.tenants") == std::string::npos) {
                      return 2;
                    }
                    if (tenants.act_as(unix_peer(kSomebody), name).ok()) return 3;
                    config.tenants = {{name, name}};
                    Tenants granted(config);
                    const auto own = granted.act_as(unix_peer(kSomebody), "");
                    return own.ok() && own->tenant == name && !own->is_privileged ? 0 : 4;
                  }),
        0)
        << name;
  }
  DaemonConfig config;
  EXPECT_FALSE(Tenants(config).act_as(unix_peer(kSomebody), "default").ok()) << "asked for by name";
}

TEST(Tenants, critical_is_granted_by_name) {
  DaemonConfig config;
  config.critical_tenants = {"ops"};
  config.tenants = {{std::to_string(kSomebody), "ops"}};
  Tenants tenants(config);
  EXPECT_TRUE(tenants.act_as(unix_peer(kSomebody), "")->may_be_critical);
  EXPECT_FALSE(tenants.act_as(unix_peer(kSomebody - 1), "")->may_be_critical);
  EXPECT_TRUE(tenants.act_as(unix_peer(0), "lab")->may_be_critical) << "root";
}

TEST(TurnQueue, users_take_turns) {
  BlockingPool pool(1, 0);
  TurnQueue queue(pool, 1);
  std::mutex first_runs;
  first_runs.lock();
  std::string order;
  std::atomic<int> n_done{0};
  const auto note = [&](const std::string& account, char name) {
    queue.run(account, [&order, &n_done, name] {
      order += name;
      ++n_done;
    });
  };
  queue.run("uid 1", [&] { const std::lock_guard lock(first_runs); });
  for (int i = 0; i < 3; ++i) note("uid 1", 'a');
  note("uid 2", 'b');
  note("uid 3", 'c');
  first_runs.unlock();
  while (n_done < 5) std::this_thread::yield();
  pool.stop();
  EXPECT_LT(order.find('b'), 3u) << order;
  EXPECT_LT(order.find('c'), 3u) << order;
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
