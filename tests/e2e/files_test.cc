// Files on a real daemon: what it holds of a large one, and that an acknowledged file survives its
// death at any point of an upload, while a file that is there is always whole.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <boost/json.hpp>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <map>
#include <mutex>
#include <random>
#include <string>
#include <vector>

#include "lib/base/kill_point.h"
#include "lib/base/text.h"
#include "lib/base/thread.h"
#include "tests/support/daemon_process.h"
#include "tests/support/file_form.h"
#include "tests/support/needs_plain_memory.h"
#include "tests/support/raw_peer.h"

namespace parkd::testing {
namespace {

namespace fs = std::filesystem;
namespace json = boost::json;

constexpr size_t kMb = 1 << 20;

// The one way in which a file of that name is filled, so that whoever finds it knows its bytes.
std::string bytes_of(const std::string& filename) {
  std::seed_seq seeds(filename.begin(), filename.end());
  std::mt19937_64 random(seeds);
  std::string bytes(random() % (3 * kMb), '\0');
  for (size_t i = 0; i + 8 <= bytes.size(); i += 8) {
    const uint64_t value = random();
    std::memcpy(bytes.data() + i, &value, sizeof value);
  }
  return bytes;
}

int64_t peak_rss_kb(pid_t pid) {
  std::ifstream status("/proc/" + std::to_string(pid) + "/status");
  for (std::string line; std::getline(status, line);) {
    if (line.rfind("VmHWM:", 0) == 0) return std::stoll(line.substr(6));
  }
  return 0;
}

void forget_peak(pid_t pid) {
  std::ofstream("/proc/" + std::to_string(pid) + "/clear_refs") << 5;  // proc(5)
}

json::value call(const std::string& socket, const std::string& method, const std::string& target) {
  RawPeer peer(socket);
  const RawAnswer answer = peer.call(method, target);
  json::error_code error;
  const json::value value = json::parse(answer.body, error);
  EXPECT_FALSE(error) << target << ": " << answer.body;
  return value;
}

TEST(FilesOfADaemon, a_large_one_is_never_held_in_memory) {
  PARKD_NEEDS_PLAIN_MEMORY();
  DaemonProcess daemon({});
  ASSERT_TRUE(daemon.start()) << daemon.log();
  daemon.wait_for_model();
  constexpr size_t kBytes = 190 * kMb;
  const std::string piece(kMb, 'x');

  forget_peak(daemon.pid());
  const int64_t before_kb = peak_rss_kb(daemon.pid());
  RawPeer peer(daemon.socket());
  ASSERT_TRUE(peer.send(file_upload_head("in.jsonl", kBytes)));
  for (size_t sent = 0; sent < kBytes; sent += kMb) ASSERT_TRUE(peer.send(piece));
  ASSERT_TRUE(peer.send(kFileFormTail));
  const RawAnswer uploaded = peer.read();
  ASSERT_EQ(uploaded.status, 200) << uploaded.body;
  const int64_t upload_kb = peak_rss_kb(daemon.pid()) - before_kb;
  const std::string id(json::parse(uploaded.body).at("id").as_string());

  forget_peak(daemon.pid());
  const int64_t between_kb = peak_rss_kb(daemon.pid());
  ASSERT_TRUE(peer.send(RawPeer::request("GET", "/v1/files/" + id + "/content")));
  EXPECT_NE(peer.read_head().head.find("Content-Length: " + std::to_string(kBytes)),
            std::string::npos);
  size_t n_read = 0;
  while (n_read < kBytes) {
    const std::string some = peer.read_some();
    ASSERT_FALSE(some.empty()) << "cut after " << n_read;
    ASSERT_EQ(some.find_first_not_of('x'), some.npos);
    n_read += some.size();
  }
  EXPECT_EQ(n_read, kBytes);
  const int64_t download_kb = peak_rss_kb(daemon.pid()) - between_kb;
  std::cout << "190 MiB: upload +" << upload_kb << " KiB, download +" << download_kb << " KiB\n";
  EXPECT_LT(upload_kb, 64 << 10);
  EXPECT_LT(download_kb, 64 << 10);
}

// Clients that upload without pause, and what was acknowledged to them.
class Uploaders {
 public:
  explicit Uploaders(DaemonProcess& daemon, uint64_t seed) : daemon_(daemon), seed_(seed) {}

  void start(int n_clients) {
    for (int i = 0; i < n_clients; ++i) {
      clients_.emplace_back(Thread::Options{"uploader", 0}, [this, i] { run(i); });
    }
  }
  void stop() {
    stopping_ = true;
    clients_.clear();
  }

  // What is there is whole, and of what was acknowledged all is there. Deletes what it has seen, so
  // that a test does not fill the disk.
  void check_after_restart() {
    const std::lock_guard lock(mutex_);
    std::map<std::string, std::string> found;  // by id: the name
    const json::value list = call(daemon_.socket(), "GET", "/v1/files");
    for (const json::value& file : list.at("data").as_array()) {
      const std::string id(file.at("id").as_string());
      const std::string name(file.at("filename").as_string());
      RawPeer peer(daemon_.socket());
      const RawAnswer content = peer.call("GET", "/v1/files/" + id + "/content");
      EXPECT_EQ(content.status, 200);
      EXPECT_TRUE(content.body == bytes_of(name)) << name << " is not what was uploaded";
      found[id] = name;
    }
    for (const auto& [id, name] : acknowledged_) {
      EXPECT_EQ(found.count(id), 1u) << "the acknowledged " << name << " is gone";
      found.erase(id);
    }
    n_found_in_doubt_ += found.size();
    EXPECT_LE(found.size(), static_cast<size_t>(n_in_doubt_.exchange(0)));
  }
  size_t n_acknowledged() const {
    const std::lock_guard lock(mutex_);
    return acknowledged_.size();
  }
  size_t n_found_in_doubt() const { return n_found_in_doubt_; }
  void delete_all() {
    const std::lock_guard lock(mutex_);
    const json::value list = call(daemon_.socket(), "GET", "/v1/files");
    for (const json::value& file : list.at("data").as_array()) {
      call(daemon_.socket(), "DELETE", "/v1/files/" + std::string(file.at("id").as_string()));
    }
    acknowledged_.clear();
  }

  // Uploads wait, none is on its way.
  void pause() {
    is_paused_ = true;
    while (n_under_way_ > 0) ::usleep(1000);
  }
  void go_on() { is_paused_ = false; }

 private:
  void run(int number) {
    for (int i = 0; !stopping_; ++i) {
      ++n_under_way_;
      if (is_paused_) {
        --n_under_way_;
        ::usleep(1000);
        continue;
      }
      upload(std::to_string(seed_) + "-" + std::to_string(number) + "-" + std::to_string(i) +
             ".jsonl");
      --n_under_way_;
    }
  }

  void upload(const std::string& name) {
    const std::string bytes = bytes_of(name);
    RawPeer peer(daemon_.socket());
    if (!peer.connected()) {
      ::usleep(1000);
      return;
    }
    const bool sent = peer.send(file_upload_head(name, bytes.size()) + bytes + kFileFormTail);
    const RawAnswer answer = sent ? peer.read() : RawAnswer{};
    if (answer.status == 200) {
      const std::lock_guard lock(mutex_);
      acknowledged_[std::string(json::parse(answer.body).at("id").as_string())] = name;
    } else if (sent && answer.status == 0) {
      ++n_in_doubt_;
    }
  }

  DaemonProcess& daemon_;
  const uint64_t seed_;
  std::atomic<bool> stopping_{false};
  std::atomic<bool> is_paused_{false};
  std::atomic<int> n_under_way_{0};
  std::atomic<int> n_in_doubt_{0};  // whole, and the answer was lost
  size_t n_found_in_doubt_ = 0;
  mutable std::mutex mutex_;
  std::map<std::string, std::string> acknowledged_;  // by id: the name
  std::vector<Thread> clients_;
};

TEST(FilesOfADaemon, an_acknowledged_one_survives_its_death_at_any_point) {
  const bool long_run = std::getenv("PARKD_LONG") != nullptr;
  const uint64_t seed = random_u64() % 1'000'000;
  std::cout << "seed " << seed << "\n";
  std::mt19937_64 random(seed);
  DaemonProcess daemon({});
  Uploaders uploaders(daemon, seed);
  uploaders.start(3);
  std::vector<std::string> points{"random"};
  for (const std::string_view point : kill_point_names()) {
    if (point.substr(0, 7) == "upload.") points.emplace_back(point);
  }
  ASSERT_EQ(points.size(), 4u);
  size_t n_kills = 0;
  for (int round = 0; round < (long_run ? 20 : 2); ++round) {
    for (const std::string& point : points) {
      SCOPED_TRACE(point);
      if (point == "random") {
        ASSERT_TRUE(daemon.start()) << daemon.log();
        const size_t before = uploaders.n_acknowledged();
        while (uploaders.n_acknowledged() < before + 1 + random() % 5) ::usleep(1000);
        daemon.kill();
      } else {
        daemon.start({{"PARKD_KILL_AT", point + ":" + std::to_string(1 + random() % 8)}});
        const auto end = daemon.wait_for_end(std::chrono::seconds(60));
        ASSERT_TRUE(end && WIFSIGNALED(*end) && WTERMSIG(*end) == SIGKILL)
            << "the point was never passed\n"
            << daemon.log().substr(0, 4000);
      }
      ++n_kills;
      uploaders.pause();
      ASSERT_TRUE(daemon.start()) << daemon.log();
      EXPECT_TRUE(fs::is_empty(daemon.directory() + "/state/files/uploads"))
          << "a cut-off upload is still there";
      uploaders.check_after_restart();
      uploaders.delete_all();
      daemon.kill();
      uploaders.go_on();
    }
  }
  uploaders.stop();
  std::cout << n_kills << " kills, " << uploaders.n_found_in_doubt()
            << " files were there whose answer was lost\n";
}

}  // namespace
}  // namespace parkd::testing
