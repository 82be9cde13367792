// jobctl's commands and exit codes against a real daemon.
#include <gtest/gtest.h>

#include "tests/e2e/child_process.h"
#include "tests/e2e/jobs.h"

namespace parkd::testing {
namespace {

class Jobctl : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    daemon_ = new DaemonProcess(DaemonSetup{});
    ASSERT_TRUE(daemon_->start()) << daemon_->log();
    daemon_->wait_for_model();
  }
  static void TearDownTestSuite() {
    delete daemon_;
    daemon_ = nullptr;
  }
  static JobctlResult jobctl(const std::vector<std::string>& arguments,
                             const std::string& input = "") {
    return run_jobctl(*daemon_, arguments, input);
  }

  static DaemonProcess* daemon_;
};

DaemonProcess* Jobctl::daemon_ = nullptr;

TEST_F(Jobctl, submit_and_wait_prints_the_answer) {
  const std::vector<std::string> command = {"submit", "--model",       "tiny",     "--prompt",
                                            "Hello.", "--max-tokens",  "8",        "--temperature",
                                            "0",      "--mailbox-key", "greeting", "--wait"};
  const JobctlResult first = jobctl(command);
  EXPECT_EQ(first.exit_code, 0) << first.err;
  EXPECT_EQ(jobctl(command).out, first.out) << "temperature 0 answers the same again";
  const HttpAnswer page = must(daemon_->client()->get("/v1/mailbox/greeting"));
  EXPECT_EQ(jobctl::answer_text(messages_of(page).at(0)) + "\n", first.out);
}

TEST_F(Jobctl, submit_reads_a_body_from_standard_input_and_answers_json) {
  const JobctlResult result =
      jobctl({"--json", "submit", "--file", "-", "--max-tokens", "3", "--wait"},
             R"({"messages":[{"role":"user","content":"x"}]})");
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(number_at(json::parse(result.out), "response.body.usage.completion_tokens"), 3);
}

TEST_F(Jobctl, a_job_can_be_followed_listed_and_cancelled) {
  const JobctlResult submitted =
      jobctl({"--json", "submit", "--prompt", "x", "--run-at", "+8h", "--custom-id", "later",
              "--mailbox-key", "followed", "--priority", "low", "--deadline", "+2d"});
  ASSERT_EQ(submitted.exit_code, 0) << submitted.err;
  const std::string id = std::to_string(number_at(json::parse(submitted.out), "id"));
  EXPECT_NE(jobctl({"status", id}).out.find("scheduled"), std::string::npos);
  EXPECT_NE(jobctl({"list", "--state", "scheduled"}).out.find("later"), std::string::npos);
  const JobctlResult waited =
      jobctl({"submit", "--prompt", "x", "--run-at", "+8h", "--wait", "--wait-timeout", "1s"});
  EXPECT_EQ(waited.exit_code, 124) << waited.err;
  const JobctlResult cancelled = jobctl({"cancel", id});
  EXPECT_EQ(cancelled.exit_code, 0) << cancelled.err;
  EXPECT_NE(cancelled.out.find("cancelled"), std::string::npos);
  EXPECT_EQ(jobctl({"status", id}).exit_code, 1) << "it did not complete";
  EXPECT_NE(jobctl({"mailbox", "followed", "--take"}).out.find("(later)"), std::string::npos);
  EXPECT_NE(jobctl({"mailbox", "followed"}).err.find("no message"), std::string::npos);
}

TEST_F(Jobctl, pool_and_models_show_the_model) {
  const JobctlResult pool = jobctl({"pool"});
  EXPECT_EQ(pool.exit_code, 0);
  EXPECT_NE(pool.out.find("tiny"), std::string::npos);
  const JobctlResult models = jobctl({"models"});
  EXPECT_EQ(models.exit_code, 0);
  EXPECT_NE(models.out.find("ready"), std::string::npos) << models.out;
}

TEST_F(Jobctl, exit_codes_tell_failures_apart) {
  EXPECT_EQ(jobctl({"submit", "--prompt", "x", "--colour", "red"}).exit_code, 2);
  const JobctlResult bad = jobctl({"submit", "--prompt", "x", "--temperature", "5"});
  EXPECT_EQ(bad.exit_code, 2);
  EXPECT_NE(bad.err.find("temperature"), std::string::npos) << bad.err;
  EXPECT_EQ(jobctl({"submit", "--file", "-"}, "not json").exit_code, 2);
  EXPECT_EQ(jobctl({"submit", "--prompt", "x", "--deadline", "+5x"}).exit_code, 2);
  EXPECT_EQ(jobctl({"status", "999999999"}).exit_code, 4);
  ChildProcess nobody({JOBCTL_BINARY, "--socket", daemon_->directory() + "/none", "pool"});
  EXPECT_EQ(nobody.wait(), 3);
  EXPECT_NE(nobody.err().find("/none"), std::string::npos) << nobody.err();
}

}  // namespace
}  // namespace parkd::testing
