// jobctl batch run: what comes back, and that it comes back once, whatever dies in between.
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <iostream>
#include <random>

#include "lib/base/text.h"
#include "tests/e2e/batch_run.h"

namespace parkd::testing {
namespace {

TEST_F(BatchRun, each_line_gets_an_openai_result_line) {
  std::string input = batch_line("a", 3) + batch_line("b", 4) + "\n";
  json::object bad = json::parse(batch_line("bad", 3)).as_object();
  bad["body"].as_object()["temperature"] = 9;
  input += json::serialize(bad) + "\n" + batch_line("c", 5);
  json::object biased = json::parse(batch_line("biased", 6)).as_object();
  biased["body"].as_object()["logit_bias"] = {{tiny_token('a'), 100}};
  biased["body"].as_object()["frequency_penalty"] = 0.5;
  input += json::serialize(biased) + "\n";
  write_input(input);
  ASSERT_TRUE(daemon_.start());
  const JobctlResult result = run();
  EXPECT_EQ(result.exit_code, 1) << "a line failed: " << result.err;
  EXPECT_NE(result.err.find("4 completed, 1 failed, 4 truncated"), std::string::npos) << result.err;
  const auto lines = results();
  ASSERT_EQ(lines.size(), 5u);
  EXPECT_EQ(jobctl::answer_text(lines.at("biased")), "aaaaaa");
  EXPECT_EQ(number_at(lines.at("b"), "response.status_code"), 200);
  EXPECT_EQ(number_at(lines.at("b"), "response.body.usage.completion_tokens"), 4);
  EXPECT_TRUE(find(lines.at("b"), "error")->is_null());
  EXPECT_FALSE(text_at(lines.at("b"), "id").empty());
  EXPECT_EQ(number_at(lines.at("bad"), "response.status_code"), 400);
  EXPECT_EQ(text_at(lines.at("bad"), "response.body.error.param"), "temperature")
      << json::serialize(lines.at("bad"));
  EXPECT_TRUE(find(lines.at("bad"), "error")->is_null());

  // OUT has them now; parkd has them no more.
  const std::string id = text_at(lines.at("b"), "id").substr(std::string("batch_req_").size());
  const json::value past = must(daemon_.client()->get("/v1/jobs/" + id)).json;
  EXPECT_EQ(text_at(past, "outcome"), "completed");
  EXPECT_EQ(find(past, "response"), nullptr) << json::serialize(past);

  const std::string before = output();
  const JobctlResult again = run();
  EXPECT_EQ(output(), before) << "nothing was left to do";
  EXPECT_EQ(again.exit_code, 1);
  EXPECT_NE(again.err.find("4 completed, 1 failed, 4 truncated"), std::string::npos) << again.err;
}

TEST_F(BatchRun, lines_for_all_endpoints_stand_in_one_batch) {
  json::object text = json::parse(batch_line("text", 3)).as_object();
  text["url"] = "/v1/completions";
  const json::object bias = {{tiny_token('a'), 100}};  // none ends before its limit
  text["body"] =
      json::object{{"model", "tiny"}, {"prompt", "Once"}, {"max_tokens", 3}, {"logit_bias", bias}};
  json::object texts = text;
  texts["custom_id"] = "texts";
  texts["body"].as_object()["prompt"] = json::array{"Once", "Twice"};
  json::object response = text;
  response["custom_id"] = "response";
  response["url"] = "/v1/responses";
  response["body"] = json::object{
      {"model", "tiny"}, {"input", "Once"}, {"max_output_tokens", 3}, {"logit_bias", bias}};
  write_input(batch_line("chat", 3) + json::serialize(text) + "\n" + json::serialize(texts) + "\n" +
              json::serialize(response) + "\n");
  ASSERT_TRUE(daemon_.start());
  const JobctlResult result = run();
  EXPECT_EQ(result.exit_code, 0) << result.err;
  const auto lines = results();
  EXPECT_EQ(text_at(lines.at("chat"), "response.body.object"), "chat.completion");
  EXPECT_EQ(text_at(lines.at("text"), "response.body.object"), "text_completion");
  EXPECT_EQ(find(lines.at("texts"), "response.body.choices")->as_array().size(), 2u);
  EXPECT_EQ(text_at(lines.at("response"), "response.body.object"), "response");
  EXPECT_EQ(jobctl::answer_text(lines.at("response")), "aaa");
  EXPECT_NE(result.err.find(", 4 truncated"), std::string::npos) << result.err;
}

TEST_F(BatchRun, a_result_line_holds_the_daemons_own_bytes_numbers_included) {
  write_input(batch_line("b", 4));
  ASSERT_TRUE(daemon_.start());
  const JobctlResult run = run_jobctl(daemon_, {"batch", "run", in(), "-o", "-"});
  EXPECT_EQ(run.exit_code, 0) << run.err;
  const std::string id =
      text_at(json::parse(run.out), "id").substr(std::string("batch_req_").size());
  const std::string message = must(daemon_.client()->get("/v1/jobs/" + id)).text;
  const size_t begin = message.find("\"response\":");
  const std::string response =
      message.substr(begin, message.find(",\"prompt_tokens\":", begin) - begin);
  EXPECT_NE(run.out.find(response), std::string::npos) << response;
}

TEST_F(BatchRun, a_batch_with_unusable_lines_is_refused_with_their_numbers) {
  write_input(batch_line("a", 3) + "{broken\n" + batch_line("a", 3) + "{\"body\":{}}\n");
  const JobctlResult result = run();
  EXPECT_EQ(result.exit_code, 2);
  for (const char* part : {"line 2 is not JSON", "line 3 repeats custom_id \"a\" of line 1",
                           "line 4 has no custom_id"}) {
    EXPECT_NE(result.err.find(part), std::string::npos) << part << " is missing in " << result.err;
  }
}

TEST_F(BatchRun, an_interrupted_run_says_how_to_go_on_and_goes_on) {
  std::string input;
  for (int i = 0; i < 40; ++i) input += batch_line("i" + std::to_string(i), 1500);
  write_input(input);
  ASSERT_TRUE(daemon_.start());
  {
    ChildProcess first(jobctl_argv(daemon_, command({"--deadline", "+1h"})));
    while (n_lines() < 3) ::usleep(2000);
    first.signal(SIGINT);
    EXPECT_EQ(first.wait(), 5) << first.err();
    EXPECT_NE(first.err().find("Continue with the same command"), std::string::npos) << first.err();
  }
  // A result was cut in the middle of its line.
  std::string torn = output();
  ASSERT_LT(n_lines(), 40u) << "the run was over before it was interrupted";
  torn.resize(torn.size() - 5);
  std::ofstream(out(), std::ios::trunc) << torn;
  const JobctlResult rest = run({"--deadline", "+1h", "--priority", "high"});
  EXPECT_EQ(rest.exit_code, 0) << rest.err;
  const auto lines = results();
  EXPECT_EQ(lines.size(), 40u);
  for (const auto& [custom_id, line] : lines) {
    EXPECT_EQ(number_at(line, "response.status_code"), 200) << json::serialize(line);
  }
}

// Nothing of it took this call's time: it waited in the mailbox.
TEST_F(BatchRun, results_that_ended_before_a_run_goes_on_are_not_of_its_rate) {
  std::string input;
  for (int i = 0; i < 20; ++i) input += batch_line("e" + std::to_string(i), 200);
  write_input(input);
  ASSERT_TRUE(daemon_.start());
  {
    ChildProcess first(jobctl_argv(daemon_, command()));
    while (n_lines() < 1) ::usleep(1000);
  }  // kill -9
  const auto n_live = [&] {
    return find(must(daemon_.client()->get("/v1/jobs")).json, "jobs")->get_array().size();
  };
  while (n_live() > 0) ::usleep(1000);
  ASSERT_LT(n_lines(), 20u) << "some wait in the mailbox";
  const JobctlResult rest = run();
  EXPECT_EQ(rest.exit_code, 0) << rest.err;
  EXPECT_EQ(results().size(), 20u);
  EXPECT_NE(rest.err.find("of these, 0 results with 0 prompt + 0 output tokens"), std::string::npos)
      << rest.err;
  EXPECT_NE(rest.err.find("(0 tokens/s)"), std::string::npos) << rest.err;
}

TEST_F(BatchRun, two_runs_do_not_write_to_one_output) {
  std::string input;
  for (int i = 0; i < 4; ++i) input += batch_line("i" + std::to_string(i), 3);
  write_input(input);
  ChildProcess first(jobctl_argv(daemon_, command()));  // waits: no daemon is there
  while (::access((out() + ".parkd-run").c_str(), F_OK) != 0) ::usleep(2000);
  EXPECT_EQ(run().exit_code, 4);
  ASSERT_TRUE(daemon_.start());
  EXPECT_EQ(first.wait(), 0) << first.err();
  EXPECT_EQ(results().size(), 4u);
}

TEST_F(BatchRun, each_line_comes_back_once_though_both_sides_are_killed) {
  const uint64_t seed = random_u64() % 1'000'000;
  std::cout << "seed " << seed << "\n";
  std::mt19937_64 random(seed);
  constexpr size_t kLines = 100;
  constexpr int kKills = 10;
  std::string input;
  for (size_t i = 0; i < kLines; ++i) {
    input += batch_line("line-" + std::to_string(i), 50 + static_cast<int>(random() % 200));
  }
  write_input(input);
  ASSERT_TRUE(daemon_.start());
  auto jobctl = std::make_unique<ChildProcess>(jobctl_argv(daemon_, command()));
  for (int kill = 0; kill < kKills; ++kill) {
    // Each kill falls after some progress, so that all of them fall into the batch.
    const size_t target = kLines * static_cast<size_t>(kill + 1) / (kKills + 2);
    while (n_lines() < target) ::usleep(1000);
    ::usleep(static_cast<useconds_t>(random() % 20'000));
    if (kill % 3 == 2) {
      jobctl.reset();  // kill -9
      jobctl = std::make_unique<ChildProcess>(jobctl_argv(daemon_, command()));
    } else {
      daemon_.kill();
      ASSERT_TRUE(daemon_.start());
    }
  }
  EXPECT_EQ(jobctl->wait(), 0) << jobctl->err();
  const auto lines = results();
  EXPECT_EQ(lines.size(), kLines);
  for (const auto& [custom_id, line] : lines) {
    EXPECT_EQ(number_at(line, "response.status_code"), 200) << json::serialize(line);
  }
  // The daemon has one message for each as well, and nothing is left in the queue.
  const HttpAnswer jobs = must(daemon_.client()->get("/v1/jobs"));
  EXPECT_EQ(find(jobs.json, "jobs")->get_array().size(), 0u) << jobs.text;
}

}  // namespace
}  // namespace parkd::testing
