// Batches of files on real daemons of one database.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>

#include <boost/json.hpp>
#include <chrono>
#include <string>

#include "tests/e2e/file_batch.h"
#include "tests/e2e/postgres_world.h"

namespace parkd::testing {
namespace {

TEST(PostgresBatches, what_a_daemon_left_in_the_middle_of_a_file_another_ends) {
  PostgresWorld world;
  DaemonSetup setup;
  setup.max_num_seqs = 8;
  DaemonProcess& first = world.add_daemon(setup);
  ASSERT_TRUE(first.start({{"PARKD_KILL_AT", "batch.portion_submitted:1"}})) << first.log();
  first.wait_for_model();
  BatchClient client(first);
  const std::string file = client.upload(batch_requests());
  client.open(file);
  const auto end = first.wait_for_end(std::chrono::seconds(120));
  ASSERT_TRUE(end && WIFSIGNALED(*end) && WTERMSIG(*end) == SIGKILL) << first.log();
  const std::string id = world.value("SELECT id FROM parkd.batches");
  EXPECT_EQ(world.number("SELECT total FROM parkd.batches"), 1000) << "members that are not noted";
  EXPECT_EQ(world.number("SELECT reached FROM parkd.file_batches"), 0);

  DaemonProcess& second = world.start_daemon(setup);
  BatchClient other(second);
  const boost::json::object batch = other.completed(id);
  ASSERT_FALSE(batch.empty()) << second.log();
  other.expect_each_line_once(batch);
  EXPECT_EQ(world.number("SELECT count(*) FROM parkd.mailbox"), kBatchLines);
  EXPECT_EQ(world.number("SELECT count(*) FROM parkd.jobs"), 0);
}

}  // namespace
}  // namespace parkd::testing
