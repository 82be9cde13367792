// jobctl batch run is a batch of parkd's: looked at and cancelled from elsewhere, and by Ctrl-C.
#include <signal.h>
#include <unistd.h>

#include "tests/e2e/batch_run.h"

namespace parkd::testing {
namespace {

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

class BatchRunStop : public BatchRun {
 protected:
  static constexpr size_t kLines = 40;

  void SetUp() override {
    std::string input;
    for (size_t i = 0; i < kLines; ++i) input += batch_line("i" + std::to_string(i), 1500);
    write_input(input);
    ASSERT_TRUE(daemon_.start());
  }
  std::string mark() const { return out() + ".parkd-run"; }
  std::vector<std::string> batches() const {
    std::vector<std::string> ids;
    const json::value run = json::parse(text_of(mark()));
    for (const json::value& batch : find(run, "batches")->get_array()) {
      ids.push_back(text_at(batch, "id"));
    }
    return ids;
  }
  json::value batch(const std::string& id) const {
    return must(daemon_.client()->get("/v1/batches/" + id)).json;
  }
  // The lines that did not complete, all of them cancelled.
  size_t n_cancelled() const {
    size_t n = 0;
    for (const auto& [custom_id, line] : results()) {
      const auto code = jobctl::failure_code(line);
      if (!code) continue;
      EXPECT_EQ(*code, "cancelled") << json::serialize(line);
      ++n;
    }
    return n;
  }
};

TEST_F(BatchRunStop, a_run_is_known_by_its_batch_and_can_be_cancelled_from_elsewhere) {
  ChildProcess run(jobctl_argv(daemon_, command({"--retention", "5m"})));
  while (n_lines() < 2) ::usleep(2000);
  ASSERT_EQ(batches().size(), 1u);
  const std::string id = batches().front();
  EXPECT_TRUE(has(run.err(), "run " + id + ": jobctl batch status|cancel " + id)) << run.err();

  for (const std::string& word : {id, mark(), out()}) {
    const JobctlResult status = run_jobctl(daemon_, {"batch", "status", word});
    EXPECT_EQ(status.exit_code, 0) << status.err;
    EXPECT_TRUE(has(status.out, id)) << status.out;
  }
  EXPECT_EQ(number_at(batch(id), "total"), static_cast<int64_t>(kLines));
  EXPECT_FALSE(text_at(batch(id), "sealed_at").empty()) << "all lines are submitted";

  const JobctlResult cancelled = run_jobctl(daemon_, {"batch", "cancel", mark()});
  EXPECT_EQ(cancelled.exit_code, 0) << cancelled.err;
  EXPECT_EQ(run.wait(), 1) << run.err();
  EXPECT_TRUE(has(run.err(), " cancelled, as \"")) << run.err();
  EXPECT_TRUE(has(run.err(), "\nrun " + id + "\n")) << "the summary has it: " << run.err();
  ASSERT_EQ(results().size(), kLines);
  const size_t n = n_cancelled();
  EXPECT_GT(n, 0u);
  EXPECT_EQ(text_at(batch(id), "status"), "finished");

  // What was cancelled runs again, as another batch.
  const JobctlResult again = this->run({"--retry-failed=cancelled"});
  EXPECT_EQ(again.exit_code, 0) << again.err;
  EXPECT_EQ(n_cancelled(), 0u);
  EXPECT_NE(batches().front(), id);
  EXPECT_EQ(number_at(batch(batches().front()), "total"), static_cast<int64_t>(n));
}

TEST_F(BatchRunStop, what_names_no_run_is_said) {
  EXPECT_EQ(run_jobctl(daemon_, {"batch", "cancel", "batch_1"}).exit_code, 4);
  const JobctlResult none = run_jobctl(daemon_, {"batch", "status", mark()});
  EXPECT_EQ(none.exit_code, 2);
  EXPECT_TRUE(has(none.err, mark())) << none.err;
}

TEST_F(BatchRunStop, lines_that_a_cancelled_run_never_submitted_are_cancelled_too) {
  {
    ChildProcess first(jobctl_argv(daemon_, command()));
    while (n_lines() < 2) ::usleep(2000);
    first.signal(SIGTERM);
    EXPECT_EQ(first.wait(), 5) << first.err();
    EXPECT_TRUE(has(first.err(),
                    "go on. Continue with the same command; end them: jobctl batch "
                    "cancel " +
                        batches().front()))
        << first.err();
  }
  // As if half of the lines had not been sent: their keys are another run's.
  json::object run_file = json::parse(text_of(mark())).as_object();
  run_file["id"] = "0123456789abcdef01234567";
  std::ofstream(mark(), std::ios::trunc) << json::serialize(run_file);
  EXPECT_EQ(run_jobctl(daemon_, {"batch", "cancel", batches().front()}).exit_code, 0);
  const JobctlResult rest = run();
  EXPECT_EQ(rest.exit_code, 1) << rest.err;
  EXPECT_EQ(results().size(), kLines);
  EXPECT_GT(n_cancelled(), 0u);
  EXPECT_TRUE(has(rest.err, "was cancelled before this line was submitted")) << rest.err;
}

TEST_F(BatchRunStop, a_second_interrupt_cancels_the_run) {
  ChildProcess run(jobctl_argv(daemon_, command()));
  while (n_lines() < 2) ::usleep(2000);
  run.signal(SIGINT);
  while (!has(run.err(), "Ctrl-C again")) ::usleep(2000);
  EXPECT_TRUE(text_at(batch(batches().front()), "cancel_at").empty()) << "one stops waiting alone";
  run.signal(SIGINT);
  EXPECT_EQ(run.wait(), 5) << run.err();
  EXPECT_TRUE(has(run.err(), "run " + batches().front() + " is cancelled")) << run.err();
  EXPECT_FALSE(text_at(batch(batches().front()), "cancel_at").empty());
  const JobctlResult rest = this->run();
  EXPECT_EQ(rest.exit_code, 1) << rest.err;
  EXPECT_EQ(results().size(), kLines);
  EXPECT_GT(n_cancelled(), 0u);
}

TEST_F(BatchRunStop, an_interrupt_cancels_where_it_was_told_to) {
  ChildProcess run(jobctl_argv(daemon_, command({"--cancel-on-interrupt"})));
  while (n_lines() < 2) ::usleep(2000);
  run.signal(SIGTERM);
  EXPECT_EQ(run.wait(), 5) << run.err();
  EXPECT_FALSE(text_at(batch(batches().front()), "cancel_at").empty()) << run.err();
}

// A cancel that cannot be carried out is said, and the run is not.
TEST_F(BatchRunStop, a_cancel_that_does_not_reach_parkd_is_said) {
  ChildProcess run(jobctl_argv(daemon_, command({"--cancel-on-interrupt"})));
  while (n_lines() < 2) ::usleep(2000);
  daemon_.kill();
  run.signal(SIGTERM);
  EXPECT_EQ(run.wait(), 5) << run.err();
  EXPECT_TRUE(has(run.err(), "could not be cancelled and goes on")) << run.err();
  EXPECT_TRUE(has(run.err(), "jobctl batch cancel " + batches().front())) << run.err();
}

TEST(BatchRunBatches, more_lines_than_a_batch_holds_are_several_batches) {
  DaemonSetup setup;
  setup.max_num_seqs = 4;
  setup.worker_threads = 2;
  setup.more_daemon = "  max_batch_jobs: 100\n";
  DaemonProcess daemon(setup);
  ASSERT_TRUE(daemon.start());
  const std::string in = daemon.directory() + "/in.jsonl";
  const std::string out = daemon.directory() + "/out.jsonl";
  {
    std::ofstream input(in);
    for (int i = 0; i < 230; ++i) input << batch_line("i" + std::to_string(i), 1);
  }
  const JobctlResult run = run_jobctl(daemon, {"batch", "run", in, "-o", out});
  EXPECT_EQ(run.exit_code, 0) << run.err;
  const JobctlResult status = run_jobctl(daemon, {"--json", "batch", "status", out});
  EXPECT_EQ(status.exit_code, 0) << status.err;
  std::istringstream lines(status.out);
  int64_t total = 0;
  int64_t n = 0;
  for (std::string line; std::getline(lines, line); ++n) {
    const json::value batch = json::parse(line);
    EXPECT_LE(number_at(batch, "total"), 100);
    EXPECT_EQ(number_at(batch, "total"), number_at(batch, "completed")) << line;
    total += number_at(batch, "total");
  }
  EXPECT_EQ(total, 230) << status.out;
  EXPECT_GE(n, 3);
}

}  // namespace
}  // namespace parkd::testing
