// The daemon with its state on a small disk that fills up: it lives, says so, serves readers, loses
// and doubles nothing, goes on when there is room, stops and starts on the full disk.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>

#include "tests/e2e/full_disk.h"
#include "tests/support/needs_root.h"

namespace parkd::testing {
namespace {

constexpr auto kPatience = std::chrono::seconds(120);

TEST_F(FullDisk, the_daemon_lives_says_so_serves_readers_and_goes_on) {
  PARKD_NEEDS_ROOT();
  start(32, "0");  // refuses nothing before the store does
  const int rounds = std::getenv("PARKD_LONG") == nullptr ? 3 : 30;
  for (int round = 0; round < rounds; ++round) {
    for (int i = 0; i < 30; ++i) ASSERT_EQ(submit_one().status, 202);
    disk_->fill(300'000);
    const HttpAnswer refused = submit_until_refused();
    disk_->fill();
    EXPECT_EQ(refused.status, 503) << refused.text;
    EXPECT_NE(refused.text.find("No space left on device"), std::string::npos) << refused.text;
    EXPECT_EQ(ready(), 503);
    EXPECT_TRUE(has_notice("store_cannot_write"));
    (void)messages();  // 200 each
    EXPECT_EQ(get("/v1/jobs?limit=1").status, 200);
    disk_->make_room();
    ASSERT_TRUE(daemon_->wait_until([&] { return ready() == 200; })) << daemon_->log();
    EXPECT_FALSE(has_notice("store_cannot_write"));
    expect_all_once();
  }
  EXPECT_TRUE(daemon_->running()) << daemon_->log();
}

TEST_F(FullDisk, a_full_disk_holds_up_no_stop_and_no_start) {
  PARKD_NEEDS_ROOT();
  start(32, "0");
  for (int i = 0; i < 10; ++i) ASSERT_EQ(submit_one().status, 202);
  const std::string ended = std::to_string(number_at(submit_one().json, "id"));
  expect_all_once();
  disk_->fill(300'000);
  EXPECT_EQ(submit_until_refused().status, 503);
  disk_->fill();

  daemon_->signal(SIGTERM);
  const auto end = daemon_->wait_for_end(kPatience);
  ASSERT_TRUE(end && WIFEXITED(*end) && WEXITSTATUS(*end) == 0) << daemon_->log();

  // Started on the full disk, after a stop and after a kill.
  for (int i = 0; i < 2; ++i) {
    disk_->fill();  // what the stop has given back
    start_again();
    EXPECT_NE(daemon_->log().find("store.read_only"), std::string::npos) << daemon_->log();
    EXPECT_EQ(ready(), 503);
    EXPECT_TRUE(has_notice("store_cannot_write"));
    EXPECT_GE(messages().size(), 10u);
    EXPECT_EQ(get("/v1/jobs?limit=1").status, 200);
    EXPECT_EQ(get("/v1/jobs/" + ended + "/stream").status, 200);
    EXPECT_EQ(submit_one().status, 503);
    if (i == 0) daemon_->kill();
  }
  disk_->make_room();
  ASSERT_TRUE(daemon_->wait_until([&] { return ready() == 200; })) << daemon_->log();
  EXPECT_EQ(submit_one().status, 202);
  expect_all_once();
}

TEST_F(FullDisk, jobs_that_ran_when_it_filled_up_run_again_after_a_kill) {
  PARKD_NEEDS_ROOT();
  start(32, "0");
  for (int i = 0; i < 40; ++i) ASSERT_EQ(submit_one().status, 202);
  disk_->fill();
  EXPECT_EQ(submit_until_refused().status, 503);
  daemon_->kill();
  disk_->fill();
  start_again();
  EXPECT_EQ(ready(), 503);
  (void)messages();
  disk_->make_room();
  ASSERT_TRUE(daemon_->wait_until([&] { return ready() == 200; })) << daemon_->log();
  expect_all_once();
}

TEST_F(FullDisk, the_default_limit_makes_sense_on_a_small_disk) {
  PARKD_NEEDS_ROOT();
  start(64, "null");
  EXPECT_EQ(ready(), 200);
  EXPECT_EQ(submit_one().status, 202);
  disk_->fill(5 << 20);
  const HttpAnswer refused = submit_one();
  EXPECT_EQ(refused.status, 429) << refused.text;
  EXPECT_NE(refused.text.find("the limit is 8 MiB (daemon.min_free_disk_mb)"), std::string::npos)
      << refused.text;
  ASSERT_TRUE(daemon_->wait_until([&] { return ready() == 503; })) << daemon_->log();
  EXPECT_TRUE(has_notice("disk_low"));
  EXPECT_NE(daemon_->log().find("health.notice code=disk_low"), std::string::npos);
  expect_all_once();  // what is accepted goes on
  disk_->make_room();
  ASSERT_TRUE(daemon_->wait_until([&] { return ready() == 200; })) << daemon_->log();
  EXPECT_EQ(submit_one().status, 202);
  expect_all_once();
}

TEST_F(FullDisk, a_limit_larger_than_the_disk_is_told_as_such) {
  PARKD_NEEDS_ROOT();
  start(64, "512");
  const HttpAnswer refused = submit_one();
  EXPECT_EQ(refused.status, 429) << refused.text;
  EXPECT_NE(refused.text.find("the whole disk has 64 MiB, so give a smaller limit"),
            std::string::npos)
      << refused.text;
}

}  // namespace
}  // namespace parkd::testing
