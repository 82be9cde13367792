// A damaged store, from the refused start to the start on what jobctl could read of it.
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>

#include "tests/e2e/child_process.h"
#include "tests/e2e/jobs.h"

namespace parkd::testing {
namespace {

namespace fs = std::filesystem;

std::string read_bytes(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

TEST(StoreSalvage, after_a_refused_start_the_daemon_runs_what_waits_on_the_salvaged_store) {
  DaemonProcess daemon(DaemonSetup{});
  ASSERT_TRUE(daemon.start()) << daemon.log();
  daemon.wait_for_model();
  const std::string state = daemon.directory() + "/state";
  const std::string store = state + "/queue";
  int64_t last_id = 0;
  {
    const auto client = daemon.client();
    submit(*client, chat_job("done"));
    wait_for_messages(*client, "done", 1);
    for (int i = 0; i < 3; ++i) last_id = submit(*client, far_future(chat_job("later")));
    const JobctlResult busy = run_jobctl({"store", "salvage", state, "--replace"});
    EXPECT_EQ(busy.exit_code, 4) << busy.err;
    EXPECT_NE(busy.err.find("pid " + std::to_string(daemon.pid())), std::string::npos) << busy.err;
  }
  daemon.kill();

  // Damage before the last commits: the log's first third.
  fs::path log;
  for (const auto& entry : fs::directory_iterator(store)) {
    if (entry.path().extension() == ".log" && entry.file_size() > 0) log = entry.path();
  }
  ASSERT_FALSE(log.empty());
  std::string bytes = read_bytes(log);
  bytes[bytes.size() / 3] = static_cast<char>(bytes[bytes.size() / 3] ^ 1);
  std::ofstream(log, std::ios::binary | std::ios::trunc) << bytes;
  daemon.launch();
  const auto end = daemon.wait_for_end(std::chrono::seconds(120));
  ASSERT_TRUE(end && WIFEXITED(*end) && WEXITSTATUS(*end) != 0);
  EXPECT_NE(daemon.log().find("jobctl store salvage " + store + " --replace"), std::string::npos)
      << daemon.log();

  EXPECT_EQ(run_jobctl({"store", "salvage", state}).exit_code, 2) << "without a place";
  const std::string report = daemon.directory() + "/gone";
  const JobctlResult salvaged =
      run_jobctl({"store", "salvage", state, "--replace", "--report", report});
  ASSERT_EQ(salvaged.exit_code, 0) << salvaged.out << salvaged.err;
  EXPECT_NE(salvaged.out.find("GONE: "), std::string::npos) << salvaged.out;
  EXPECT_EQ(run_jobctl({"store", "verify", state}).exit_code, 0);
  std::istringstream lines(read_bytes(report));
  bool names_the_log = false;
  for (std::string line; std::getline(lines, line);) {
    const json::value finding = json::parse(line);
    names_the_log = names_the_log || text_at(finding, "file") == log.filename();
  }
  EXPECT_TRUE(names_the_log) << read_bytes(report);
  bool is_kept = false;
  for (const auto& entry : fs::directory_iterator(state)) {
    if (!entry.path().filename().string().starts_with("queue.damaged-")) continue;
    is_kept = read_bytes(entry.path() / log.filename()) == bytes;
  }
  EXPECT_TRUE(is_kept) << "the damaged store, as it was";

  ASSERT_TRUE(daemon.start()) << daemon.log();
  daemon.wait_for_model();
  const auto client = daemon.client();
  const HttpAnswer ready = must(client->get("/readyz"));
  EXPECT_NE(ready.text.find("store_loss_accepted"), std::string::npos) << ready.text;
  EXPECT_NE(ready.text.find("salvaged at"), std::string::npos) << ready.text;
  EXPECT_EQ(must(client->get("/v1/jobs/" + std::to_string(last_id))).status, 200);
  const int64_t id = submit(*client, chat_job("new"));
  EXPECT_GT(id, last_id + (int64_t{1} << 32));
  EXPECT_EQ(wait_for_messages(*client, "new", 1).size(), 1u);
  ASSERT_EQ(run_jobctl({"store", "acknowledge", state}).exit_code, 0);
  EXPECT_TRUE(daemon.wait_until([&] {
    return must(client->get("/readyz")).text.find("store_loss_accepted") == std::string::npos;
  }));
}

}  // namespace
}  // namespace parkd::testing
