// FullDisk: a daemon with its state on a small disk that a test fills. Needs root
// (PARKD_NEEDS_ROOT).
#pragma once

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <set>
#include <string>

#include "tests/e2e/jobs.h"
#include "tests/support/small_disk.h"

namespace parkd::testing {

class FullDisk : public ::testing::Test {
 protected:
  void start(int64_t disk_mb, const std::string& min_free_disk_mb, DaemonSetup setup = {}) {
    setup.min_free_disk_mb = min_free_disk_mb;
    setup.drain_timeout_s = 2;
    setup.max_num_seqs = 4;
    daemon_ = std::make_unique<DaemonProcess>(setup);
    disk_ = std::make_unique<SmallDisk>(daemon_->directory() + "/state", disk_mb,
                                        SmallDisk::Kind::tmpfs);
    start_again();
    client_ = daemon_->client();
  }
  void start_again() {
    ASSERT_TRUE(daemon_->start()) << daemon_->log();
    daemon_->wait_for_model();
  }
  void TearDown() override {
    if (daemon_ != nullptr && daemon_->running()) daemon_->kill();
    disk_.reset();
  }

  HttpAnswer get(const std::string& path) { return must(client_->get(path)); }
  int ready() { return get("/readyz").status; }
  bool has_notice(const std::string& code) {
    const bool in_metrics =
        get("/metrics").text.find("parkd_notice{code=\"" + code + "\"} 1") != std::string::npos;
    const bool in_ready =
        get("/readyz").text.find("\"code\":\"" + code + "\"") != std::string::npos;
    EXPECT_EQ(in_metrics, in_ready);
    return in_ready;
  }

  // Its answer; acknowledged ones are remembered.
  HttpAnswer submit_one() {
    json::object job = chat_job("box");
    const std::string name = "j" + std::to_string(n_submits_++);
    job["custom_id"] = name;
    job["metadata"] = {{"filler", std::string(3000, 'x')}};
    const HttpAnswer answer = must(client_->post("/v1/jobs", job));
    if (answer.status == 202) accepted_.insert(name);
    return answer;
  }
  // Submits until the store has met the end of the disk.
  HttpAnswer submit_until_refused() {
    for (;;) {
      const HttpAnswer answer = submit_one();
      if (answer.status != 202) return answer;
    }
  }

  std::map<std::string, int> messages() {
    std::map<std::string, int> found;
    std::string cursor;
    for (;;) {
      const HttpAnswer page =
          get("/v1/mailbox/box?limit=500" + (cursor.empty() ? "" : "&cursor=" + cursor));
      EXPECT_EQ(page.status, 200) << page.text;
      const json::array some = messages_of(page);
      if (page.status != 200 || some.empty()) return found;
      for (const json::value& message : some) ++found[text_at(message, "custom_id")];
      cursor = text_at(page.json, "next_cursor");
    }
  }
  void expect_all_once() {
    ASSERT_TRUE(daemon_->wait_until([&] {
      const HttpAnswer live = get("/v1/jobs?limit=1");
      return live.status == 200 && find(live.json, "jobs")->get_array().empty();
    })) << daemon_->log();
    const auto found = messages();
    for (const std::string& name : accepted_) EXPECT_EQ(found.count(name), 1u) << "lost: " << name;
    for (const auto& [name, n] : found) EXPECT_EQ(n, 1) << "doubled: " << name;
  }

  std::unique_ptr<DaemonProcess> daemon_;
  std::unique_ptr<SmallDisk> disk_;
  std::unique_ptr<HttpClient> client_;
  std::set<std::string> accepted_;
  int n_submits_ = 0;
};

}  // namespace parkd::testing
