// Batches of files on a real daemon: each line ends once, wherever the daemon dies.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <boost/json.hpp>
#include <iostream>
#include <random>
#include <string>
#include <vector>

#include "lib/base/kill_point.h"
#include "lib/base/text.h"
#include "tests/e2e/file_batch.h"
#include "tests/support/daemon_process.h"

namespace parkd::testing {
namespace {

namespace json = boost::json;

TEST(FileBatchesOfADaemon, end_each_line_once_wherever_it_dies) {
  const uint64_t seed = random_u64() % 1'000'000;
  std::cout << "seed " << seed << "\n";
  std::mt19937_64 random(seed);
  DaemonSetup setup;
  setup.max_num_seqs = 16;
  DaemonProcess daemon(setup);
  BatchClient client(daemon);
  ASSERT_TRUE(daemon.start()) << daemon.log();
  const std::string file = client.upload(batch_requests());
  daemon.kill();

  std::vector<std::string> deaths{"random"};
  for (const std::string_view point : kill_point_names()) {
    if (point.substr(0, 6) != "batch.") continue;
    deaths.push_back(std::string(point) + ":1");
    if (point == "batch.portion_submitted") deaths.push_back(std::string(point) + ":2");
  }
  ASSERT_EQ(deaths.size(), 5u);
  for (const std::string& death : deaths) {
    SCOPED_TRACE(death);
    const std::string key = "Idempotency-Key: " + death + "\r\n";
    if (death == "random") {
      ASSERT_TRUE(daemon.start()) << daemon.log();
    } else {
      ASSERT_TRUE(daemon.start({{"PARKD_KILL_AT", death}})) << daemon.log();
    }
    client.open(file, key);
    if (death == "random") {
      ::usleep(static_cast<useconds_t>(random() % 400'000));
      daemon.kill();
    } else {
      const auto end = daemon.wait_for_end(std::chrono::seconds(120));
      ASSERT_TRUE(end && WIFSIGNALED(*end) && WTERMSIG(*end) == SIGKILL)
          << "the point was never passed\n"
          << daemon.log().substr(0, 4000);
    }
    ASSERT_TRUE(daemon.start()) << daemon.log();
    // Its key names it, whether its answer came or not.
    const std::string id(client.open(file, key).at("id").as_string());
    const json::object batch = client.completed(id);
    ASSERT_FALSE(batch.empty()) << daemon.log();
    client.expect_each_line_once(batch);
    daemon.kill();
  }
}

}  // namespace
}  // namespace parkd::testing
