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

TEST(PostgresBatches, of_responses_are_answered_and_counted) {
  PostgresWorld world;
  DaemonProcess& daemon = world.start_daemon({});
  BatchClient client(daemon);
  const auto line = [](const std::string& custom_id, const std::string& more) {
    return R"({"custom_id":")" + custom_id +
           R"(","method":"POST","url":"/v1/responses","body":{"model":"tiny","input":"Hi")" + more +
           "}}\n";
  };
  const std::string file =
      client.upload(line("a", R"(,"max_output_tokens":3)") +
                    line("b", R"(,"max_output_tokens":5)") + line("c", R"(,"max_tokens":5)"));
  const boost::json::object opened = client.call(
      "POST", "/v1/batches",
      R"({"input_file_id":")" + file + R"(","endpoint":"/v1/responses","completion_window":"1h"})");
  const boost::json::object batch = client.completed(std::string(opened.at("id").as_string()));
  ASSERT_FALSE(batch.empty()) << daemon.log();
  EXPECT_EQ(batch.at("request_counts"),
            (boost::json::object{{"total", 3}, {"completed", 2}, {"failed", 1}}));
  int64_t n_input = 0;
  int64_t n_output = 0;
  const std::string output = client.content(batch.at("output_file_id"));
  for (size_t at = 0; at < output.size(); at = output.find('\n', at) + 1) {
    const auto read = boost::json::parse(output.substr(at, output.find('\n', at) - at));
    const boost::json::value& body = read.at("response").at("body");
    EXPECT_EQ(body.at("object"), "response");
    n_input += body.at("usage").at("input_tokens").as_int64();
    n_output += body.at("usage").at("output_tokens").as_int64();
  }
  EXPECT_GT(n_output, 0);
  EXPECT_EQ(batch.at("usage").at("input_tokens").as_int64(), n_input);
  EXPECT_EQ(batch.at("usage").at("output_tokens").as_int64(), n_output);
  EXPECT_NE(client.content(batch.at("error_file_id")).find("it is max_output_tokens here"),
            std::string::npos);
}

}  // namespace
}  // namespace parkd::testing
