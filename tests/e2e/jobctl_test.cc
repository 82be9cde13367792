// jobctl's commands and exit codes against a real daemon.
#include <gtest/gtest.h>
#include <signal.h>

#include <fstream>
#include <thread>

#include "tests/e2e/child_process.h"
#include "tests/e2e/jobs.h"
#include "tools/jobctl/table.h"

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

TEST_F(Jobctl, submit_and_stream_prints_the_answer_of_each_choice) {
  const std::vector<std::string> body = {"--prompt", "Hello", "--max-tokens", "20", "--seed", "3"};
  const auto with = [&](std::vector<std::string> more) {
    std::vector<std::string> command = {"submit"};
    command.insert(command.end(), body.begin(), body.end());
    command.insert(command.end(), more.begin(), more.end());
    return jobctl(command);
  };
  const JobctlResult waited = with({"--wait"});
  const JobctlResult streamed = with({"--stream"});
  EXPECT_EQ(streamed.exit_code, 0) << streamed.err;
  EXPECT_EQ(streamed.out, waited.out);
  EXPECT_EQ(streamed.err, "");
  EXPECT_NE(with({"--stream", "--wait"}).exit_code, 0);
  const JobctlResult two = jobctl(
      {"submit", "--file", "-", "--stream"},
      R"({"messages":[{"role":"user","content":"Hello"}],"n":2,"max_tokens":5,"temperature":1})");
  EXPECT_EQ(two.exit_code, 0) << two.err;
  EXPECT_NE(two.out.find("\nchoice 1:\n"), std::string::npos) << two.out;
}

TEST_F(Jobctl, a_streamed_job_that_does_not_complete_is_told_of) {
  JobctlResult streamed;
  std::thread waits([&] {
    streamed = jobctl({"submit", "--prompt", "x", "--run-at", "+8h", "--stream"});
  });
  const auto client = daemon_->client();
  int64_t id = 0;
  EXPECT_TRUE(daemon_->wait_until([&] {
    const HttpAnswer page = must(client->get("/v1/jobs"));
    const json::array& jobs = find(page.json, "jobs")->get_array();
    if (!jobs.empty()) id = number_at(jobs[0], "id");
    return id != 0;
  }));
  // A daemon that stops does not end it.
  daemon_->signal(SIGTERM);
  EXPECT_TRUE(daemon_->wait_for_end(std::chrono::seconds(280)));
  EXPECT_TRUE(daemon_->start()) << daemon_->log();
  must(daemon_->client()->post("/v1/jobs/" + std::to_string(id) + "/cancel", json::object()));
  waits.join();
  EXPECT_EQ(streamed.exit_code, 1) << streamed.err;
  EXPECT_NE(streamed.err.find("waiting: unavailable: parkd is stopping"), std::string::npos)
      << streamed.err;
  EXPECT_NE(streamed.err.find("cancelled"), std::string::npos) << streamed.err;
}

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

TEST_F(Jobctl, submit_goes_on_from_a_text_where_the_endpoint_is_completions) {
  const JobctlResult result =
      jobctl({"--json", "submit", "--model", "tiny", "--endpoint", "/v1/completions", "--prompt",
              "Hello", "--max-tokens", "4", "--top-logprobs", "2", "--wait"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const json::value message = json::parse(result.out);
  EXPECT_EQ(text_at(message, "response.body.object"), "text_completion");
  EXPECT_EQ(
      find(message, "response.body.choices")->at(0).at("logprobs").at("tokens").as_array().size(),
      4u);
  const JobctlResult chat =
      jobctl({"submit", "--endpoint", "/v1/completions", "--prompt", "x", "--system", "y"});
  EXPECT_EQ(chat.exit_code, 2);
  EXPECT_NE(chat.err.find("--system is for endpoint /v1/chat/completions"), std::string::npos)
      << chat.err;
}

TEST_F(Jobctl, submit_asks_for_a_response_by_its_own_fields) {
  const std::vector<std::string> command = {
      "submit",     "--model",       "tiny",     "--prompt",  "Hello",
      "--endpoint", "/v1/responses", "--system", "Be short.", "--max-tokens",
      "3",          "--temperature", "0",        "--wait"};
  std::vector<std::string> as_json = command;
  as_json.insert(as_json.begin(), "--json");
  const JobctlResult result = jobctl(as_json);
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const json::value message = json::parse(result.out);
  EXPECT_EQ(text_at(message, "response.body.object"), "response");
  EXPECT_EQ(text_at(message, "response.body.instructions"), "Be short.");
  EXPECT_EQ(number_at(message, "response.body.max_output_tokens"), 3);
  EXPECT_EQ(jobctl(command).out, jobctl::answer_text(message) + "\n") << "its text alone";
  const JobctlResult streamed =
      jobctl({"submit", "--endpoint", "/v1/responses", "--prompt", "x", "--stream"});
  EXPECT_EQ(streamed.exit_code, 2);
  EXPECT_NE(streamed.err.find("--stream: an answer of /v1/responses comes as a whole"),
            std::string::npos)
      << streamed.err;
}

TEST_F(Jobctl, submit_prints_the_answers_to_all_prompts_of_a_body) {
  const JobctlResult result = jobctl(
      {"submit", "--model", "tiny", "--endpoint", "/v1/completions", "--file", "-", "--wait"},
      R"({"prompt":["a","b"],"max_tokens":2,"logit_bias":{")" + tiny_token('z') + R"(":100}})");
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.out, "choice 0:\nzz\nchoice 1:\nzz\n");
}

TEST_F(Jobctl, doctor_says_what_was_found_and_what_never_ran_on_a_gpu) {
  const JobctlResult found = jobctl({"doctor"});
  EXPECT_EQ(found.exit_code, 0) << found.out << found.err;
  EXPECT_NE(found.out.find("ok    cpu: "), std::string::npos) << found.out;
  EXPECT_NE(found.out.find("has never run on a GPU"), std::string::npos) << found.out;
  EXPECT_NE(found.out.find("ok    parkd: is ready\n"), std::string::npos) << found.out;
  EXPECT_NE(found.out.find("ok    model tiny: "), std::string::npos) << found.out;
  const JobctlResult missing = jobctl({"doctor", "--offline", "--config", "/nowhere/parkd.yaml"});
  EXPECT_EQ(missing.exit_code, 1);
  EXPECT_NE(missing.out.find("FAIL  config: "), std::string::npos) << missing.out;
}

TEST_F(Jobctl, submit_reads_a_body_from_standard_input_and_answers_json) {
  const JobctlResult result =
      jobctl({"--json", "submit", "--file", "-", "--max-tokens", "3", "--wait"},
             R"({"messages":[{"role":"user","content":"x"}]})");
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(number_at(json::parse(result.out), "response.body.usage.completion_tokens"), 3);
}

TEST_F(Jobctl, submit_takes_penalties_and_a_bodys_biases) {
  json::object body = chat_body("x", 12);
  body["temperature"] = 0;
  body["logit_bias"] = {{tiny_token('a'), 60}, {tiny_token('b'), 50}};
  const std::vector<std::string> command = {"submit", "--file", "-", "--wait"};
  EXPECT_EQ(jobctl(command, json::serialize(body)).out, std::string(12, 'a') + "\n");
  for (const char* option : {"--frequency-penalty", "--presence-penalty", "--repetition-penalty"}) {
    std::vector<std::string> words = command;
    words.insert(words.end(), {option, "2"});
    const JobctlResult result = jobctl(words, json::serialize(body));
    EXPECT_EQ(result.exit_code, 0) << result.err;
    if (option != std::string("--frequency-penalty")) continue;
    EXPECT_NE(result.out.find('b'), std::string::npos) << result.out;
  }
  const JobctlResult refused = jobctl({"submit", "--prompt", "x", "--presence-penalty", "3"});
  EXPECT_EQ(refused.exit_code, 2);
  EXPECT_NE(refused.err.find("presence_penalty is 3"), std::string::npos) << refused.err;
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

TEST_F(Jobctl, a_batch_is_opened_filled_sealed_and_counted) {
  const JobctlResult opened =
      jobctl({"batch", "open", "--name", "nightly", "--idempotency-key", "night-1"});
  ASSERT_EQ(opened.exit_code, 0) << opened.err;
  const std::string id = opened.out.substr(0, opened.out.find('\n'));
  EXPECT_EQ(jobctl({"batch", "open", "--name", "nightly", "--idempotency-key", "night-1"}).out,
            opened.out)
      << "the same key is the same batch";
  const std::string input = daemon_->directory() + "/batch.jsonl";
  std::ofstream(input)
      << R"({"custom_id":"a","body":{"messages":[{"role":"user","content":"q"}],"max_tokens":2}})"
      << "\n"
      << R"({"custom_id":"b","body":{"messages":[{"role":"user","content":"r"}],"max_tokens":2}})"
      << "\n";
  const JobctlResult added = jobctl({"batch", "add", id, input});
  EXPECT_NE(added.out.find("2 jobs added"), std::string::npos) << added.out << added.err;
  const JobctlResult again = jobctl({"batch", "add", id, input, "--seal"});
  EXPECT_NE(again.out.find("0 jobs added, 2 were there already"), std::string::npos) << again.err;
  wait_for_messages(*daemon_->client(), id, 2);
  const json::value batch = json::parse(jobctl({"--json", "batch", "status", id}).out);
  EXPECT_EQ(text_at(batch, "status"), "finished") << json::serialize(batch);
  EXPECT_EQ(text_at(batch, "name"), "nightly");
  EXPECT_EQ(number_at(batch, "completed"), 2);
  EXPECT_NE(must(daemon_->client()->get("/v1/batches?of=jobs")).text.find(id), std::string::npos);
  const JobctlResult sealed = jobctl({"batch", "add", id, input});
  EXPECT_EQ(sealed.exit_code, 0) << "what is there already may be added again: " << sealed.err;
  EXPECT_EQ(jobctl({"batch", "status", "batch_none"}).exit_code, 4);
  EXPECT_EQ(jobctl({"batch", "cancel", "batch_none"}).exit_code, 4);
}

TEST_F(Jobctl, what_did_not_complete_is_requeued_once) {
  const JobctlResult submitted = jobctl({"--json", "submit", "--prompt", "x", "--max-tokens", "2",
                                         "--run-at", "+8h", "--mailbox-key", "again"});
  const std::string id = std::to_string(number_at(json::parse(submitted.out), "id"));
  EXPECT_EQ(jobctl({"requeue", id}).exit_code, 4) << "it lives";
  ASSERT_EQ(jobctl({"cancel", id}).exit_code, 0);
  const JobctlResult requeued = jobctl({"--json", "requeue", id});
  ASSERT_EQ(requeued.exit_code, 0) << requeued.err;
  const json::value first = json::parse(requeued.out).at("jobs").at(0);
  EXPECT_EQ(std::to_string(number_at(first, "requeued_from")), id);
  EXPECT_EQ(text_at(first, "mailbox_key"), "again");
  const json::value second = json::parse(jobctl({"--json", "requeue", id}).out).at("jobs").at(0);
  EXPECT_EQ(number_at(second, "id"), number_at(first, "id"));
  EXPECT_TRUE(flag_at(second, "existed"));
  EXPECT_EQ(
      must(daemon_->client()->post("/v1/jobs/requeue", json::object{{"colour", "red"}})).status,
      400);
  EXPECT_EQ(must(daemon_->client()->post("/v1/jobs/requeue", json::object())).status, 400);
}

TEST_F(Jobctl, a_repeat_with_a_time_from_now_is_the_same_job) {
  const std::vector<std::string> words = {
      "--json",     "submit", "--prompt",          "x",    "--run-at", "+8h",
      "--deadline", "+9h",    "--idempotency-key", "again"};
  const json::value first = json::parse(jobctl(words).out);
  const JobctlResult repeated = jobctl(words);
  ASSERT_EQ(repeated.exit_code, 0) << repeated.err;
  EXPECT_EQ(number_at(json::parse(repeated.out), "id"), number_at(first, "id"));
  EXPECT_TRUE(flag_at(json::parse(repeated.out), "existed"));
  std::vector<std::string> other = words;
  other[3] = "y";
  EXPECT_EQ(jobctl(other).exit_code, 4) << "another prompt is another request";
  ASSERT_EQ(jobctl({"cancel", std::to_string(number_at(first, "id"))}).exit_code, 0);
  const JobctlResult ended = jobctl(words);
  EXPECT_EQ(ended.exit_code, 4);
  EXPECT_NE(ended.err.find("--deadline +9h and --run-at +8h is another instant each time"),
            std::string::npos)
      << ended.err;
}

TEST_F(Jobctl, a_batchs_failed_members_are_requeued_by_code) {
  const std::string id = text_at(json::parse(jobctl({"--json", "batch", "open"}).out), "id");
  for (const char* name : {"a", "b"}) {
    const HttpAnswer submitted =
        must(daemon_->client()->post("/v1/jobs", json::object{{"body", chat_body("x", 2)},
                                                              {"batch_id", id},
                                                              {"custom_id", name},
                                                              {"run_at", in_an_hour()},
                                                              {"mailbox_key", "of-batch"}}));
    ASSERT_EQ(submitted.status, 202) << submitted.text;
  }
  ASSERT_EQ(jobctl({"batch", "cancel", id}).exit_code, 0);
  EXPECT_NE(jobctl({"requeue", "--batch", id, "--code", "run_timeout"}).err.find("none failed so"),
            std::string::npos);
  EXPECT_EQ(jobctl({"requeue", "--batch", id, "17"}).exit_code, 2);
  const JobctlResult requeued =
      jobctl({"--json", "requeue", "--batch", id, "--code", "run_timeout,cancelled"});
  ASSERT_EQ(requeued.exit_code, 0) << requeued.err;
  EXPECT_EQ(json::parse(requeued.out).at("jobs").as_array().size(), 2u) << requeued.out;
  EXPECT_EQ(
      json::parse(jobctl({"--json", "requeue", "--batch", id}).out).at("jobs").as_array().size(),
      0u);
}

TEST_F(Jobctl, a_list_is_filtered_and_says_where_it_stopped) {
  for (int i = 0; i < 5; ++i) {
    ASSERT_EQ(jobctl({"submit", "--prompt", "x", "--run-at", "+8h", "--mailbox-key",
                      i % 2 == 0 ? "even" : "odd", "--custom-id", "n" + std::to_string(i)})
                  .exit_code,
              0);
  }
  const JobctlResult two = jobctl({"list", "--mailbox", "even", "--limit", "2"});
  EXPECT_NE(two.err.find("these are the first 2; there are more: --after "), std::string::npos)
      << two.err;
  EXPECT_NE(two.out.find(" n2 "), std::string::npos) << two.out;
  EXPECT_EQ(two.out.find(" n1 "), std::string::npos) << two.out;
  const size_t at = two.err.find("--after ") + 8;
  const JobctlResult rest = jobctl(
      {"list", "--mailbox", "even", "--after", two.err.substr(at, two.err.find(' ', at) - at)});
  EXPECT_NE(rest.out.find(" n4 "), std::string::npos) << rest.out;
  EXPECT_EQ(rest.err, "");
  const JobctlResult one = jobctl({"--json", "list", "--custom-id", "n3", "--state", "scheduled"});
  EXPECT_EQ(json::parse(one.out).at("jobs").as_array().size(), 1u) << one.out;
  EXPECT_EQ(jobctl({"list", "--state", "runing"}).exit_code, 2);
  const HttpAnswer unknown = must(daemon_->client()->get("/v1/jobs?stat=queued"));
  EXPECT_EQ(unknown.status, 400);
  EXPECT_NE(unknown.text.find("unknown query parameter stat"), std::string::npos) << unknown.text;
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

// --- the words of others on a terminal

TEST(JobctlTerminal, control_characters_of_an_answer_are_escaped_and_a_pipe_gets_the_bytes) {
  EXPECT_EQ(jobctl::escape_controls("a\x1b[2Jb\n\tc\x7f"), "a\\x1b[2Jb\n\tc\\x7f");
  EXPECT_EQ(jobctl::escape_controls("\xC2\x9B"
                                    "31m \xE2\x80\xAE \xC3\xA9 \xF0\x9F\x99\x82 \xFF"),
            "\\u009b31m \\u202e \xC3\xA9 \xF0\x9F\x99\x82 \\xff");
  EXPECT_EQ(jobctl::one_line("a\nb\x1b"), "a b\\x1b");

  DaemonProcess daemon({});
  ASSERT_TRUE(daemon.start()) << daemon.log();
  daemon.wait_for_model();
  json::object job = chat_job("box", 3);
  job["body"].as_object()["logit_bias"] = {{tiny_token('\x1b'), 100}};
  job["custom_id"] = "evil \x1b]0;";
  submit(*daemon.client(), job);
  wait_for_messages(*daemon.client(), "box", 1);
  const JobctlResult piped = run_jobctl(daemon, {"mailbox", "box"});
  EXPECT_NE(piped.out.find("\x1b\x1b\x1b\n"), std::string::npos) << piped.out;
  std::string command;
  for (const std::string& word : jobctl_argv(daemon, {"mailbox", "box"})) command += word + " ";
  ChildProcess terminal({"/usr/bin/script", "-qec", command, "/dev/null"});
  EXPECT_EQ(terminal.wait(), 0) << terminal.err();
  EXPECT_EQ(terminal.out().find('\x1b'), std::string::npos) << terminal.out();
  EXPECT_NE(terminal.out().find("\\x1b\\x1b\\x1b"), std::string::npos) << terminal.out();
  EXPECT_NE(terminal.out().find("evil \\x1b]0;"), std::string::npos) << terminal.out();
}

TEST(JobctlSubmit, an_empty_prompt_is_a_prompt_and_not_standard_input) {
  DaemonProcess daemon({});
  ASSERT_TRUE(daemon.start()) << daemon.log();
  daemon.wait_for_model();
  const JobctlResult result = run_jobctl(
      daemon, {"--json", "submit", "--prompt", "", "--max-tokens", "2", "--wait"},
      R"({"messages":[{"role":"user","content":"from standard input"}],"max_tokens":2})");
  EXPECT_EQ(result.exit_code, 0) << result.err;
  const JobctlResult longer = run_jobctl(
      daemon,
      {"--json", "submit", "--prompt", "from standard input", "--max-tokens", "2", "--wait"});
  EXPECT_LT(number_at(json::parse(result.out), "prompt_tokens"),
            number_at(json::parse(longer.out), "prompt_tokens"));
}

// --- a model that cannot be loaded

void break_model(const DaemonProcess& daemon) {
  std::ofstream(daemon.directory() + "/tiny.gguf") << "this is no model";
}

void wait_for_failure(const DaemonProcess& daemon) {
  while (must(daemon.client()->get("/v1/models")).text.find("\"state\":\"failed\"") ==
         std::string::npos) {
  }
}

std::string batch_file(const DaemonProcess& daemon, const std::string& more) {
  const std::string path = daemon.directory() + "/in.jsonl";
  std::ofstream(path) << R"({"custom_id":"a","body":{"messages":[{"role":"user","content":"q"}]})"
                      << more << "}\n";
  return path;
}

TEST(JobctlFailedModel, a_submit_to_it_is_refused) {
  DaemonProcess daemon({});
  break_model(daemon);
  ASSERT_TRUE(daemon.start()) << daemon.log();
  wait_for_failure(daemon);
  EXPECT_EQ(run_jobctl(daemon, {"submit", "--prompt", "x"}).exit_code, 3);
}

TEST(JobctlFailedModel, a_batch_that_waits_for_it_ends_with_the_reason_and_loses_nothing) {
  DaemonProcess daemon({});
  ASSERT_TRUE(daemon.start()) << daemon.log();
  const std::string input = batch_file(daemon, ",\"run_at\":\"" + in_an_hour() + "\"");
  ChildProcess run(
      jobctl_argv(daemon, {"batch", "run", input, "-o", daemon.directory() + "/out.jsonl"}));
  while (must(daemon.client()->get("/v1/jobs")).text.find("scheduled") == std::string::npos) {
  }
  daemon.kill();
  break_model(daemon);
  ASSERT_TRUE(daemon.start()) << daemon.log();
  EXPECT_EQ(run.wait(), 4) << run.err();
  EXPECT_NE(run.err().find("could not be loaded"), std::string::npos) << run.err();
  EXPECT_NE(run_jobctl(daemon, {"list"}).out.find("scheduled"), std::string::npos);
}

}  // namespace
}  // namespace parkd::testing
