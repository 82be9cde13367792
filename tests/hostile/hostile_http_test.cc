// One peer against all: what a Unix user with nothing but the socket can do to the others.
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <cstring>
#include <list>
#include <memory>
#include <string>
#include <thread>

#include "tests/hostile/other_user.h"
#include "tests/support/daemon_process.h"
#include "tests/support/raw_peer.h"

namespace parkd::testing {
namespace {

class HostileHttp : public ::testing::Test {
 protected:
  // Starts a daemon whose socket everybody may use; its tenants are its callers'.
  void start(const std::string& more_daemon = "", const DaemonProcess::Environment& env = {},
             const std::string& more_lot = "") {
    DaemonSetup setup;
    setup.more_lot = more_lot;
    setup.more_daemon =
        "  socket_mode: \"0666\"\n  tenants: {\"65534\": m, \"64001\": b, \"64002\": e}\n" +
        more_daemon;
    daemon_ = std::make_unique<DaemonProcess>(setup);
    ASSERT_EQ(::chmod(daemon_->directory().c_str(), 0711), 0);
    ASSERT_TRUE(daemon_->start(env)) << daemon_->log();
  }

  RawPeer peer() const { return RawPeer(daemon_->socket()); }

  int64_t metric(const std::string& name) const {
    const std::string page = peer().call("GET", "/metrics").body;
    const size_t at = page.find("\n" + name + " ");
    return at == page.npos ? -1 : std::atoll(page.c_str() + at + name.size() + 2);
  }

  void TearDown() override {
    if (daemon_ == nullptr) return;
    EXPECT_TRUE(daemon_->running()) << daemon_->log();
  }

  std::unique_ptr<DaemonProcess> daemon_;
};

TEST_F(HostileHttp, two_thousand_connections_of_one_user_keep_neither_root_nor_others_out) {
  PARKD_NEEDS_ROOT();
  start();
  constexpr int kConnections = 2000;
  OtherUser mallory(
      kMallory,
      [socket = daemon_->socket()] {
        std::list<RawPeer> held;
        int refused = 0;
        for (int i = 0; i < kConnections; ++i) {
          held.emplace_back(socket);
          if (!held.back().connected()) return 1;
          const RawAnswer answer = held.back().call("GET", "/healthz");
          if (answer.status == 503 &&
              answer.body.find("daemon.connections_max") != std::string::npos)
            ++refused;
          else if (answer.status != 200)
            return 2;
        }
        OtherUser::say();
        OtherUser::wait_for_go();
        return refused == kConnections - 512 ? 0 : 3;  // half of 1,024 are one user's
      },
      4096);
  ASSERT_TRUE(mallory.hear()) << "exit code " << mallory.wait();
  EXPECT_EQ(peer().call("GET", "/healthz").status, 200) << "root";
  OtherUser bob(kBob, [socket = daemon_->socket()] {
    return RawPeer(socket).call("GET", "/v1/jobs").status == 200 ? 0 : 1;
  });
  EXPECT_EQ(bob.wait(), 0);
  EXPECT_EQ(metric("parkd_connections_limit"), 1024);
  EXPECT_GE(metric("parkd_connections_refused_total"), kConnections - 512);
  mallory.go();
  EXPECT_EQ(mallory.wait(), 0);
}

TEST_F(HostileHttp, when_all_connections_are_taken_root_still_gets_in) {
  PARKD_NEEDS_ROOT();
  start("  connections_max: 64\n");
  const auto fill = [socket = daemon_->socket()] {
    std::list<RawPeer> held;
    for (int i = 0; i < 40; ++i) {
      held.emplace_back(socket);
      const int status = held.back().call("GET", "/healthz").status;
      if (status != 200 && status != 503) return 1;
    }
    OtherUser::say();
    OtherUser::wait_for_go();
    return 0;
  };
  OtherUser mallory(kMallory, fill);
  ASSERT_TRUE(mallory.hear());
  OtherUser eve(kEve, fill);
  ASSERT_TRUE(eve.hear());
  OtherUser bob(kBob, [socket = daemon_->socket()] {
    const RawAnswer answer = RawPeer(socket).call("GET", "/healthz");
    return answer.status == 503 && answer.body.find("kept for root") != std::string::npos ? 0 : 1;
  });
  EXPECT_EQ(bob.wait(), 0);
  EXPECT_EQ(metric("parkd_connections"), 49);
}

TEST_F(HostileHttp, long_polls_whose_clients_vanish_hold_no_place) {
  PARKD_NEEDS_ROOT();
  start();
  OtherUser mallory(kMallory, [socket = daemon_->socket()] {
    std::list<RawPeer> held;
    for (int i = 0; i < 500; ++i) {
      held.emplace_back(socket);
      if (!held.back().send(RawPeer::request("GET", "/v1/mailbox/none?wait_s=60"))) return 1;
    }
    OtherUser::say();
    OtherUser::wait_for_go();
    return 0;
  });
  ASSERT_TRUE(mallory.hear());
  ASSERT_TRUE(daemon_->wait_until([&] { return metric("parkd_connections") == 501; }));
  mallory.kill();
  EXPECT_TRUE(daemon_->wait_until([&] { return metric("parkd_connections") == 1; }));
}

std::string tiny_values(size_t bytes) {
  std::string text = R"({"jobs":[)";
  while (text.size() + 4 < bytes) text += "0,";
  text.back() = ']';
  return text + "}";
}

TEST_F(HostileHttp, three_bodies_of_tiny_values_at_once_stay_within_the_budget) {
  PARKD_NEEDS_ROOT();
  start();
  const std::string body = tiny_values(is_long() ? 64 << 20 : 24 << 20);
  const auto attack = [&body, socket = daemon_->socket()] {
    RawPeer peer(socket);
    OtherUser::wait_for_go();
    const RawAnswer answer = peer.call("POST", "/v1/jobs", body);
    const bool later =
        answer.status == 503 && answer.head.find("Retry-After: ") != std::string::npos;
    const bool never = answer.status == 400 && answer.body.find("memory") != std::string::npos;
    return later || never ? 0 : 1;
  };
  OtherUser mallory(kMallory, attack);
  OtherUser bob(kBob, attack);
  OtherUser eve(kEve, attack);
  for (OtherUser* each : {&mallory, &bob, &eve}) each->go();
  for (OtherUser* each : {&mallory, &bob, &eve}) EXPECT_EQ(each->wait(), 0);
  const int64_t peak = metric("parkd_parse_bytes_peak");
  EXPECT_GE(peak, static_cast<int64_t>(body.size()));
  EXPECT_LE(peak, metric("parkd_parse_bytes_limit"));
  EXPECT_EQ(metric("parkd_parse_bytes_limit"), int64_t{512} << 20);
  EXPECT_TRUE(daemon_->wait_until([&] { return metric("parkd_parse_bytes") == 0; }));
}

// What systemd is to the daemon: a socket that hears its WATCHDOG=1.
class Watchdog {
 public:
  explicit Watchdog(const std::string& path) : fd_(::socket(AF_UNIX, SOCK_DGRAM, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, path.c_str(), sizeof address.sun_path - 1);
    PARKD_CHECK(::bind(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0, "bind");
  }
  ~Watchdog() { ::close(fd_); }
  // Waits for the next one.
  void hear() {
    char text[4096];
    for (;;) {
      const ssize_t n = ::recv(fd_, text, sizeof text, 0);
      if (n > 0 && std::string(text, static_cast<size_t>(n)).find("WATCHDOG=1") == 0) return;
    }
  }

 private:
  int fd_;
};

TEST_F(HostileHttp, large_bodies_at_every_route_stop_neither_other_peers_nor_the_watchdog) {
  PARKD_NEEDS_ROOT();
  TempDir directory;
  Watchdog watchdog(directory.path() + "/notify");
  start("", {{"NOTIFY_SOCKET", directory.path() + "/notify"}, {"WATCHDOG_USEC", "600000"}});
  const std::string large = tiny_values(is_long() ? 60 << 20 : 8 << 20);
  OtherUser mallory(kMallory, [&large, socket = daemon_->socket()] {
    struct Case {
      const char* target;
      int status;
    };
    const Case cases[] = {{"/v1/jobs", 400},          {"/v1/batches", 413},
                          {"/v1/jobs/requeue", 413},  {"/v1/mailbox/k/take", 413},
                          {"/v1/jobs/1/cancel", 413}, {"/v1/batches/b/seal", 413}};
    for (int round = 0; round < (is_long() ? 10 : 2); ++round) {
      for (const Case& each : cases) {
        const RawAnswer answer = RawPeer(socket).call("POST", each.target, large);
        if (answer.status != each.status) return static_cast<int>(&each - cases) + 1;
      }
    }
    OtherUser::say();
    OtherUser::wait_for_go();
    return 0;
  });
  std::thread listener([&] {
    for (int i = 0; i < 5; ++i) watchdog.hear();
    mallory.hear();
    mallory.go();
  });
  RawPeer other = peer();
  for (int i = 0; i < 200; ++i) {
    ASSERT_EQ(other.call("GET", "/healthz").status, 200);
    ASSERT_EQ(other.call("GET", "/v1/mailbox/k").status, 200);
  }
  listener.join();
  EXPECT_EQ(mallory.wait(), 0) << "the number of the case that was answered otherwise";
}

TEST_F(HostileHttp, peers_that_write_a_byte_at_a_time_are_sent_away) {
  PARKD_NEEDS_ROOT();
  if (!is_long()) GTEST_SKIP() << "PARKD_LONG=1: it lasts as long as a header may";
  start();
  OtherUser mallory(kMallory, [socket = daemon_->socket()] {
    std::list<RawPeer> held;
    for (int i = 0; i < 500; ++i) {
      held.emplace_back(socket);
      if (!held.back().send("GET /healthz HTTP/1.1\r\nX: ")) return 1;
    }
    OtherUser::say();
    bool all_ended = false;
    while (!all_ended) {
      all_ended = true;
      for (RawPeer& each : held) {
        if (each.send("x")) all_ended = false;
      }
      ::usleep(100'000);
    }
    return 0;
  });
  ASSERT_TRUE(mallory.hear());
  EXPECT_EQ(peer().call("GET", "/healthz").status, 200);
  EXPECT_TRUE(daemon_->wait_until([&] { return metric("parkd_connections") == 1; }));
  EXPECT_EQ(mallory.wait(), 0);
}

TEST_F(HostileHttp, a_user_without_a_tenant_of_its_own_is_its_number_and_default_is_nobodys) {
  PARKD_NEEDS_ROOT();
  start();
  constexpr uid_t kUnnamed = 64003;  // neither in the user database nor in daemon.tenants
  OtherUser unnamed(kUnnamed, [socket = daemon_->socket()] {
    const auto as = [&](const std::string& tenant) {
      return RawPeer(socket).call("GET", "/v1/jobs", "", "X-Parkd-Tenant: " + tenant + "\r\n");
    };
    if (as("uid-64003").status != 200) return 1;
    for (const char* others : {"default", "root", "b", "uid-64001"}) {
      const RawAnswer refused = as(others);
      if (refused.status != 403) return 2;
      if (refused.body.find("uid-64003") == std::string::npos) return 3;
    }
    const RawAnswer opened = RawPeer(socket).call("POST", "/v1/batches", "{}");
    return opened.status == 201 ? 0 : 4;
  });
  EXPECT_EQ(unnamed.wait(), 0);
  const auto batches_of = [&](const std::string& tenant) {
    return peer().call("GET", "/v1/batches?of=jobs", "", "X-Parkd-Tenant: " + tenant + "\r\n").body;
  };
  EXPECT_EQ(batches_of("default").find("batch_"), std::string::npos);
  EXPECT_NE(batches_of("uid-64003").find("batch_"), std::string::npos);
}

TEST_F(HostileHttp, what_is_anothers_answers_like_what_never_was) {
  PARKD_NEEDS_ROOT();
  start();
  const std::string opened = peer().call("POST", "/v1/batches", R"({"idempotency_key":"k"})").body;
  const size_t at = opened.find("batch_");
  ASSERT_NE(at, std::string::npos) << opened;
  const std::string batch = opened.substr(at, 38);
  const RawAnswer job = peer().call(
      "POST", "/v1/jobs",
      R"({"body":{"messages":[{"role":"user","content":"x"}]},"run_at":"2090-01-01T00:00:00Z",)"
      R"("mailbox_key":"box","idempotency_key":"k"})");
  ASSERT_EQ(job.status, 202) << job.body;
  const std::string id = std::to_string(std::atoll(job.body.c_str() + job.body.find(':') + 1));
  OtherUser eve(kEve, [socket = daemon_->socket(), batch, id] {
    const std::string no_batch = "batch_00000000000000000000000000000000";
    const std::string no_id = "987654321";
    // The answers to both, but for the name that was asked for.
    const auto differ = [&](const char* method, const std::string& before, const std::string& after,
                            const std::string& anothers, const std::string& nobodys, int expected) {
      const std::string body = std::string_view(method) == "POST" ? "{}" : "";
      const auto ask = [&](const std::string& name) {
        RawAnswer answer = RawPeer(socket).call(method, before + name + after, body);
        for (size_t i = 0; (i = answer.body.find(name, i)) != std::string::npos;) {
          answer.body.replace(i, name.size(), "?");
        }
        return answer;
      };
      const RawAnswer a = ask(anothers), b = ask(nobodys);
      return a.status != expected || b.status != expected || a.body != b.body;
    };
    if (differ("GET", "/v1/batches?after=", "", batch, no_batch, 400)) return 1;
    if (differ("GET", "/v1/batches/", "", batch, no_batch, 404)) return 2;
    if (differ("POST", "/v1/batches/", "/seal", batch, no_batch, 404)) return 3;
    if (differ("POST", "/v1/batches/", "/cancel", batch, no_batch, 404)) return 4;
    if (differ("POST", "/v1/batches/", "/retry", batch, no_batch, 404)) return 21;
    const std::string digits = batch.substr(6), no_digits = no_batch.substr(6);
    if (differ("GET", "/v1/files/file-", "-output", digits, no_digits, 404)) return 22;
    if (differ("DELETE", "/v1/files/file-", "-errors", digits, no_digits, 404)) return 23;
    if (differ("GET", "/v1/jobs/", "", id, no_id, 404)) return 5;
    if (differ("POST", "/v1/jobs/", "/cancel", id, no_id, 404)) return 6;
    if (differ("GET", "/v1/mailbox/", "", "box", "never", 200)) return 7;
    const auto requeued = [&](const std::string& one) {
      return RawPeer(socket).call("POST", "/v1/jobs/requeue", "{\"ids\":[" + one + "]}").body;
    };
    if (requeued(id) != requeued(no_id)) return 8;
    // A key is its tenant's: another's is not met.
    if (RawPeer(socket)
            .call("POST", "/v1/batches", R"({"idempotency_key":"k","name":"x"})")
            .status != 201) {
      return 9;
    }
    return 0;
  });
  EXPECT_EQ(eve.wait(), 0) << "the number of the question whose answers differ";
}

TEST_F(HostileHttp, a_tenant_at_its_limits_is_refused_alone) {
  PARKD_NEEDS_ROOT();
  start("  max_open_batches: 2\n", {},
        "  limits: {max_queued_per_tenant: 2, max_scheduled_per_tenant: 2}\n");
  const auto take_all = [socket = daemon_->socket()] {
    const std::string one = R"({"body":{"messages":[{"role":"user","content":"x"}]})";
    const std::string later = one + R"(,"run_at":"2090-01-01T00:00:00Z","batch_id":"invented"})";
    const auto post = [&](const char* target, const std::string& body) {
      return RawPeer(socket).call("POST", target, body);
    };
    const auto is_refusal = [](const RawAnswer& answer, const std::string& limit) {
      return answer.status == 429 && answer.body.find(limit) != std::string::npos &&
             answer.head.find("Retry-After") != std::string::npos;
    };
    const RawAnswer many =
        post("/v1/jobs", R"({"jobs":[)" + one + "}," + one + R"(,"batch_id":"x"},)" + one + "}]}");
    if (!is_refusal(many, "limits.max_queued_per_tenant")) return 1;
    for (int i = 0; i < 2; ++i) {
      if (post("/v1/jobs", later).status != 202) return 2;
      if (post("/v1/batches", "{}").status != 201) return 3;
    }
    if (!is_refusal(post("/v1/jobs", later), "limits.max_scheduled_per_tenant")) return 4;
    if (!is_refusal(post("/v1/batches", "{}"), "daemon.max_open_batches")) return 5;
    return 0;
  };
  OtherUser mallory(kMallory, take_all);
  EXPECT_EQ(mallory.wait(), 0);
  OtherUser bob(kBob, take_all);
  EXPECT_EQ(bob.wait(), 0) << "what mallory took is not his";
}

}  // namespace
}  // namespace parkd::testing
