// What other Unix users can reach of a daemon: its socket where they are in its group, and none of
// the files in which prompts and answers lie.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "tests/e2e/child_process.h"
#include "tests/hostile/other_user.h"
#include "tests/support/daemon_process.h"
#include "tests/support/raw_peer.h"

namespace parkd::testing {
namespace {

namespace fs = std::filesystem;

constexpr gid_t kClients = 64010;  // in no group database
constexpr uid_t kService = 64004;  // whom a daemon runs as

DaemonSetup for_clients() {
  DaemonSetup setup;
  setup.more_daemon = "  socket_group: \"64010\"\n  tenants: {\"64001\": b, \"64002\": e}\n";
  return setup;
}

constexpr const char* kJob =
    R"({"body":{"messages":[{"role":"user","content":"a secret"}],"max_tokens":4},"mailbox_key":"box"})";

TEST(HostileFiles, a_member_of_the_sockets_group_works_and_reads_no_file_and_others_get_nothing) {
  PARKD_NEEDS_ROOT();
  DaemonProcess daemon(for_clients());
  ASSERT_EQ(::chmod(daemon.directory().c_str(), 0755), 0);
  ASSERT_TRUE(daemon.start()) << daemon.log();
  daemon.wait_for_model();
  struct stat socket {};
  ASSERT_EQ(::stat(daemon.socket().c_str(), &socket), 0);
  EXPECT_EQ(socket.st_gid, kClients);
  EXPECT_EQ(socket.st_mode & 0777, 0660u);

  const auto work = [path = daemon.socket()] {
    RawPeer peer(path);
    if (!peer.connected()) return 1;
    if (peer.call("POST", "/v1/jobs", kJob).status != 202) return 2;
    const RawAnswer page = peer.call("GET", "/v1/mailbox/box?wait_s=60");
    return page.body.find("\"outcome\":\"completed\"") != std::string::npos ? 0 : 3;
  };
  OtherUser bob(kBob, work, 1024, {kClients});
  EXPECT_EQ(bob.wait(), 0);

  std::vector<std::string> files;
  for (const auto& entry : fs::recursive_directory_iterator(daemon.directory() + "/state")) {
    files.push_back(entry.path());
  }
  EXPECT_GT(files.size(), 5u);
  OtherUser eve(
      kEve,
      [&files, state = daemon.directory() + "/state"] {
        if (::open(state.c_str(), O_RDONLY | O_CLOEXEC) >= 0) return 1;
        for (size_t i = 0; i < files.size(); ++i) {
          if (::open(files[i].c_str(), O_RDONLY | O_CLOEXEC) >= 0) return 2;
          if (::open(files[i].c_str(), O_WRONLY | O_CLOEXEC) >= 0) return 3;
        }
        return ::open((state + "/mine").c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600) >= 0 ? 4 : 0;
      },
      1024, {kClients});
  EXPECT_EQ(eve.wait(), 0) << "a member of the socket's group";

  const auto connects = [path = daemon.socket()] { return RawPeer(path).connected() ? 1 : 0; };
  OtherUser mallory(kMallory, connects);
  EXPECT_EQ(mallory.wait(), 0) << "is in no group of the socket's";
  OtherUser near(kEve, connects, 1024,
                 {0});  // of the daemon's own group, as before there was a key
  EXPECT_EQ(near.wait(), 0) << "is in the group of the data's owner";
}

// A parkd that kService runs, in a directory of its own.
class ServiceDaemon {
 public:
  // `binary`: a descriptor; `model`: a file that everybody may read.
  ServiceDaemon(int binary, const std::string& model, const std::string& group)
      : binary_("/proc/self/fd/" + std::to_string(binary)) {
    std::ofstream(config())
        << "daemon:\n  state_dir: " << directory_.path() << "/state\n  socket: " << socket()
        << "\n  socket_group: \"" << group
        << "\"\n  min_free_disk_mb: 1\nmodels:\n  - name: tiny\n    local_path: " << model
        << "\n    params: {kvcache_mem_cpu: 16}\n";
  }
  std::vector<std::string> argv() const { return {binary_, "--config", config(), "--strict"}; }
  std::string socket() const { return directory_.path() + "/parkd.sock"; }

 private:
  std::string config() const { return directory_.path() + "/parkd.yaml"; }

  TempDir directory_;
  const std::string binary_;
};

TEST(HostileFiles, a_group_that_the_daemon_is_not_in_or_that_is_none_is_refused_with_the_way_out) {
  PARKD_NEEDS_ROOT();
  const int binary = ::open(PARKD_BINARY, O_RDONLY);  // the path may be closed to others
  ASSERT_GE(binary, 0);
  const auto refused = [binary](const std::string& group, std::vector<std::string> words) {
    return [=] {
      ServiceDaemon service(binary, "/nowhere", group);
      ChildProcess daemon(service.argv());
      if (daemon.wait() != 1) return 1;
      const std::string said = daemon.err();
      for (const std::string& word : words) {
        if (said.find(word) == std::string::npos) {
          std::fprintf(stderr, "%s\n", said.c_str());
          return 2;
        }
      }
      return ::access(service.socket().c_str(), F_OK) == 0 ? 3 : 0;
    };
  };
  OtherUser outside(kService, refused("64010", {"daemon.socket_group", "64010", "uid 64004",
                                                "is not in", "SupplementaryGroups=64010"}));
  EXPECT_EQ(outside.wait(), 0);
  OtherUser nobodys(kService, refused("no-such-group", {"daemon.socket_group", "no-such-group",
                                                        "is not a group of this machine"}));
  EXPECT_EQ(nobodys.wait(), 0);
  OtherUser inside(kService,
                   [binary] {
                     ServiceDaemon service(binary, "/nowhere", "64010");
                     ChildProcess daemon(service.argv());
                     const auto answers = [&] {
                       return RawPeer(service.socket()).call("GET", "/healthz").status == 200;
                     };
                     for (int i = 0; !answers(); ++i) {
                       if (i == 30'000) return 4;  // after minutes
                       ::usleep(2000);
                     }
                     struct stat socket {};
                     if (::stat(service.socket().c_str(), &socket) != 0) return 1;
                     if (socket.st_gid != kClients || (socket.st_mode & 0777) != 0660) return 2;
                     daemon.signal(SIGTERM);
                     return daemon.wait() == 0 ? 0 : 3;
                   },
                   1024, {kClients});
  EXPECT_EQ(inside.wait(), 0);
  ::close(binary);
}

TEST(HostileFiles, strict_refuses_what_others_could_read_or_replace_and_else_it_is_said) {
  DaemonProcess daemon(DaemonSetup{});
  ASSERT_TRUE(daemon.start()) << daemon.log();
  daemon.signal(SIGTERM);
  ASSERT_TRUE(daemon.wait_for_end(std::chrono::seconds(60)));
  const std::string state = daemon.directory() + "/state";
  struct Case {
    std::string path;
    mode_t mode;
    mode_t sound;
    const char* why;
    std::string remedy;
  };
  const std::vector<Case> cases = {
      {state, 0755, 0711, "daemon.state_dir", "chmod 711 " + state},
      {state + "/queue", 0750, 0700, "rocksdb_dir", "chmod -R go-rwx " + state + "/queue"},
      {daemon.directory(), 0777, 0755, "daemon.socket", "chmod go-w " + daemon.directory()},
      {daemon.config_path(), 0664, 0644, "--config", "chmod go-w " + daemon.config_path()},
  };
  for (const Case& each : cases) {
    ASSERT_EQ(::chmod(each.path.c_str(), each.mode), 0);
    ChildProcess strict({PARKD_BINARY, "--config", daemon.config_path(), "--strict"});
    EXPECT_EQ(strict.wait(), 1) << each.path;
    EXPECT_NE(strict.err().find(each.why), std::string::npos) << strict.err();
    EXPECT_NE(strict.err().find(each.remedy), std::string::npos) << strict.err();
    ASSERT_EQ(::chmod(each.path.c_str(), each.sound), 0);
  }
  for (const Case& each : cases) ASSERT_EQ(::chmod(each.path.c_str(), each.mode), 0);
  ASSERT_TRUE(daemon.start()) << daemon.log();
  for (const Case& each : cases) {
    EXPECT_NE(daemon.log().find("daemon.open_to_others path=" + each.path), std::string::npos)
        << daemon.log();
  }
}

TEST(HostileFiles, a_core_dump_would_have_to_be_asked_for) {
  DaemonProcess daemon(DaemonSetup{});
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_CORE, &before), 0);
  const rlimit all{before.rlim_max, before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_CORE, &all), 0);
  const bool started = daemon.start();
  ::setrlimit(RLIMIT_CORE, &before);
  ASSERT_TRUE(started) << daemon.log();
  rlimit its{};
  ASSERT_EQ(::prlimit(daemon.pid(), RLIMIT_CORE, nullptr, &its), 0);
  EXPECT_LE(its.rlim_cur, 1u) << "1: no file and no helper of core_pattern";
}

TEST(HostileFiles, every_file_of_a_daemons_life_is_its_own_users_alone) {
  for (const mode_t umask_given : {0, 022}) {
    const mode_t before = ::umask(umask_given);
    DaemonProcess daemon(DaemonSetup{});
    const auto check = [&](const char* when) {
      const std::string state = daemon.directory() + "/state";
      EXPECT_EQ(fs::status(state).permissions(), fs::perms(0711)) << when;
      int n_files = 0;
      for (const auto& entry : fs::recursive_directory_iterator(state)) {
        std::error_code gone;
        const fs::file_status is = fs::symlink_status(entry.path(), gone);
        if (!fs::exists(is)) continue;  // compacted away meanwhile
        const fs::perms own = fs::is_directory(is) ? fs::perms(0700) : fs::perms(0600);
        EXPECT_EQ(is.permissions(), own) << entry.path() << ", " << when;
        ++n_files;
      }
      EXPECT_GT(n_files, 5) << when;
    };
    const auto live = [&](const std::string& key) {
      RawPeer peer(daemon.socket());
      const std::string body =
          R"({"jobs":[{"body":{"messages":[{"role":"user","content":"x"}],"max_tokens":4},)"
          R"("mailbox_key":")" +
          key + R"("}]})";
      EXPECT_EQ(peer.call("POST", "/v1/batches", R"({"name":"n"})").status, 201);
      EXPECT_EQ(peer.call("POST", "/v1/jobs", body).status, 202);
      EXPECT_NE(peer.call("GET", "/v1/mailbox/" + key + "?wait_s=60").body.find("outcome"),
                std::string::npos);
    };
    bool started = daemon.start();
    if (started) {
      live("one");
      check("running");
      daemon.kill();
      check("killed");
      started = daemon.start();
    }
    if (started) {
      live("two");
      check("started again");
      daemon.signal(SIGTERM);
      daemon.wait_for_end(std::chrono::seconds(60));
      check("stopped");
    }
    ::umask(before);
    EXPECT_TRUE(started) << daemon.log();
  }
}

}  // namespace
}  // namespace parkd::testing
