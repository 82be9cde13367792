// The HTTP face of a real daemon.
#include <grp.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <set>
#include <thread>

#include "lib/base/clock.h"
#include "tests/e2e/child_process.h"
#include "tests/e2e/jobs.h"

namespace parkd::testing {
namespace {

// One daemon for all tests of the API: they use keys of their own.
class Api : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    DaemonSetup setup;
    setup.max_num_seqs = 4;
    setup.more_daemon = "  max_request_bytes: 2097152\n  socket_mode: \"0666\"\n";
    daemon_ = new DaemonProcess(setup);
    ASSERT_TRUE(daemon_->start()) << daemon_->log();
    daemon_->wait_for_model();
  }
  static void TearDownTestSuite() {
    delete daemon_;
    daemon_ = nullptr;
  }

  // What the daemon writes back to raw bytes, until it closes the connection.
  static std::string raw(const std::string& bytes) {
    const int socket = ::socket(AF_UNIX, SOCK_STREAM, 0);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, daemon_->socket().c_str(), sizeof address.sun_path - 1);
    EXPECT_EQ(::connect(socket, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    for (size_t sent = 0; sent < bytes.size();) {
      const ssize_t n = ::send(socket, bytes.data() + sent, bytes.size() - sent, MSG_NOSIGNAL);
      if (n <= 0) break;
      sent += static_cast<size_t>(n);
    }
    std::string answer;
    char buffer[4096];
    for (ssize_t n = 0; (n = ::recv(socket, buffer, sizeof buffer, 0)) > 0;) {
      answer.append(buffer, static_cast<size_t>(n));
    }
    ::close(socket);
    return answer;
  }

  static DaemonProcess* daemon_;
  std::unique_ptr<HttpClient> client_ = daemon_->client();
};

DaemonProcess* Api::daemon_ = nullptr;

TEST_F(Api, a_job_ends_in_one_message_with_an_openai_body) {
  json::object job = chat_job("one", 5);
  job["custom_id"] = "mine";
  job["metadata"] = {{"team", "blue"}};
  const int64_t id = submit(*client_, job);
  const json::array messages = wait_for_messages(*client_, "one", 1);
  ASSERT_EQ(messages.size(), 1u);
  const json::value& message = messages[0];
  EXPECT_EQ(number_at(message, "id"), id);
  EXPECT_EQ(text_at(message, "custom_id"), "mine");
  EXPECT_EQ(text_at(message, "mailbox_key"), "one");
  EXPECT_EQ(text_at(message, "model"), "tiny");
  EXPECT_EQ(text_at(message, "outcome"), "completed");
  EXPECT_EQ(text_at(message, "metadata.team"), "blue");
  EXPECT_EQ(number_at(message, "response.status_code"), 200);
  EXPECT_EQ(text_at(message, "response.body.object"), "chat.completion");
  EXPECT_EQ(number_at(message, "response.body.usage.completion_tokens"), 5);
  EXPECT_EQ(number_at(message, "completion_tokens"), 5);
  EXPECT_TRUE(find(message, "error")->is_null());
  EXPECT_FALSE(text_at(message, "expires_at").empty());
  const HttpAnswer again = must(client_->get("/v1/jobs/" + std::to_string(id)));
  EXPECT_EQ(text_at(again.json, "outcome"), "completed") << again.text;
}

TEST_F(Api, a_completions_job_goes_on_from_its_prompt) {
  json::object job;
  job["endpoint"] = "/v1/completions";
  job["mailbox_key"] = "text";
  job["body"] = json::object{
      {"prompt", "Once upon a time"}, {"max_tokens", 3}, {"n", 2},
      {"temperature", 0.5},           {"logprobs", 2},   {"logit_bias", {{tiny_token('a'), 100}}}};
  const int64_t id = submit(*client_, job);
  const json::array messages = wait_for_messages(*client_, "text", 1);
  ASSERT_EQ(messages.size(), 1u);
  const json::value* body = find(messages[0], "response.body");
  ASSERT_NE(body, nullptr) << json::serialize(messages[0]);
  EXPECT_EQ(text_at(*body, "object"), "text_completion");
  EXPECT_EQ(text_at(*body, "id"), "cmpl-" + std::to_string(id));
  const json::array& choices = body->at("choices").as_array();
  ASSERT_EQ(choices.size(), 2u);
  EXPECT_EQ(choices[1].at("text"), "aaa");
  EXPECT_EQ(choices[1].at("logprobs").at("text_offset"), json::array({0, 1, 2}));
  EXPECT_EQ(number_at(*body, "usage.completion_tokens"), 6);
  EXPECT_EQ(find(*body, "parkd.sampling.temperature")->to_number<double>(), 0.5);
  EXPECT_EQ(jobctl::answer_text(messages[0]), "choice 0:\naaa\nchoice 1:\naaa");
  job["body"].as_object()["echo"] = true;
  const HttpAnswer refused = must(client_->post("/v1/jobs", job));
  EXPECT_EQ(refused.status, 400);
  EXPECT_EQ(text_at(refused.json, "error.param"), "echo") << refused.text;
}

TEST_F(Api, each_prompt_of_a_completions_job_is_answered_as_it_would_be_alone) {
  const auto answer_to = [this](const std::string& key, const json::value& prompt) {
    json::object job;
    job["endpoint"] = "/v1/completions";
    job["mailbox_key"] = key;
    job["body"] = json::object{{"prompt", prompt}, {"max_tokens", 6},    {"n", 2},
                               {"seed", 11},       {"temperature", 1.0}, {"logprobs", 1}};
    submit(*client_, job);
    const json::array messages = wait_for_messages(*client_, key, 1);
    const json::value* body = find(messages.at(0), "response.body");
    EXPECT_NE(body, nullptr) << json::serialize(messages.at(0));
    EXPECT_EQ(number_at(messages.at(0), "prompt_tokens"), number_at(*body, "usage.prompt_tokens"));
    return *body;
  };
  const json::value ids = json::array{80, 81, 82};
  const json::value both = answer_to("prompts-both", json::array{"Once upon a time", ids});
  const json::value one = answer_to("prompts-one", "Once upon a time");
  const json::value other = answer_to("prompts-other", ids);
  json::array expected = one.at("choices").as_array();
  for (const json::value& choice : other.at("choices").as_array()) expected.push_back(choice);
  ASSERT_EQ(expected.size(), 4u);
  for (size_t i = 0; i < expected.size(); ++i) expected[i].as_object()["index"] = i;
  EXPECT_EQ(both.at("choices"), expected);
  EXPECT_NE(expected[0].at("text"), expected[2].at("text"));
  for (const char* figure : {"usage.prompt_tokens", "usage.completion_tokens", "parkd.units"}) {
    EXPECT_EQ(number_at(both, figure), number_at(one, figure) + number_at(other, figure)) << figure;
  }
}

TEST_F(Api, prompts_that_do_not_fit_into_a_job_are_refused_by_their_place) {
  const auto refusal = [this](const std::string& body) {
    const json::value job =
        json::object{{"endpoint", "/v1/completions"}, {"body", json::parse(body)}};
    const HttpAnswer answer = must(client_->post("/v1/jobs", job));
    EXPECT_EQ(answer.status, 400) << answer.text;
    return text_at(answer.json, "error.param") + ": " + text_at(answer.json, "error.message");
  };
  EXPECT_EQ(refusal(R"({"prompt":["a","b","c"],"n":2})"),
            "prompt: prompt has 3 prompts and n is 2, so the job has 6 sequences; model tiny runs "
            "at most 4 sequences of a job at a time (max_num_seqs): give a job at most 2 prompts");
  EXPECT_EQ(refusal(R"({"prompt":["a",[1,999999]]})").substr(0, 28),
            "prompt[1][1]: prompt[1][1] i");
}

TEST_F(Api, biases_choose_tokens_and_a_penalty_breaks_what_repeats) {
  const auto text_with = [this](const std::string& key, const json::object& members) {
    json::object job = chat_job(key, 12);
    json::object& body = job["body"].as_object();
    body["temperature"] = 0;
    for (const auto& member : members) body[member.key()] = member.value();
    submit(*client_, job);
    return jobctl::answer_text(wait_for_messages(*client_, key, 1).at(0));
  };
  const std::string a = tiny_token('a');
  const std::string b = tiny_token('b');
  EXPECT_EQ(text_with("bias", {{"logit_bias", {{a, 60}, {b, 50}}}}), std::string(12, 'a'));
  EXPECT_EQ(text_with("ban", {{"logit_bias", {{a, -100}, {b, 50}}}}), std::string(12, 'b'));
  const std::string broken =
      text_with("penalty", {{"logit_bias", {{a, 60}, {b, 50}}}, {"frequency_penalty", 2}});
  EXPECT_EQ(broken.find_first_not_of("ab"), std::string::npos) << broken;
  EXPECT_EQ(broken.substr(0, 1), "a") << broken;
  EXPECT_NE(broken.find('b'), std::string::npos) << broken;
}

TEST_F(Api, a_taken_result_leaves_a_history_row_and_an_unknown_job_is_404) {
  const int64_t id = submit(*client_, chat_job("history"));
  wait_for_messages(*client_, "history", 1);
  EXPECT_EQ(messages_of(must(client_->post("/v1/mailbox/history/take", json::object()))).size(),
            1u);
  EXPECT_EQ(messages_of(must(client_->get("/v1/mailbox/history"))).size(), 0u);
  const HttpAnswer row = must(client_->get("/v1/jobs/" + std::to_string(id)));
  EXPECT_EQ(row.status, 200);
  EXPECT_EQ(text_at(row.json, "outcome"), "completed");
  EXPECT_EQ(find(row.json, "response"), nullptr) << "the answer is gone with the message";
  EXPECT_EQ(must(client_->get("/v1/jobs/999999999")).status, 404);
}

TEST_F(Api, bad_submits_are_refused_by_field) {
  struct Case {
    const char* job;
    const char* param;
  };
  const Case cases[] = {
      {R"({"body":{"messages":[{"role":"user","content":"x"}],"temperature":3}})", "temperature"},
      {R"({"body":{"messages":[]}})", "messages"},
      {R"({"body":{"messages":[{"role":"nobody","content":"x"}]}})", "messages[0].role"},
      {R"({"body":{"messages":[{"role":"user","content":"x"}],"stream":true}})", "stream"},
      {R"({"body":{"messages":[{"role":"user","content":"x"}],"tools":[{}]}})", "tools[0].type"},
      {R"({"body":{"messages":[{"role":"user","content":"x"}],"temprature":1}})", "temprature"},
      {R"({"body":{"messages":[{"role":"user","content":"x"}],"presence_penalty":3}})",
       "presence_penalty"},
      {R"({"body":{"messages":[{"role":"user","content":"x"}],"logit_bias":{"2000000000":1}}})",
       "logit_bias"},
      {R"({"body":{"messages":[{"role":"user","content":"x"}]},"priority":"urgent"})", "priority"},
      {R"({"body":{"messages":[{"role":"user","content":"x"}]},"deadline":"soon"})", "deadline"},
      {R"({"body":{"messages":[{"role":"user","content":"x"}]},"deadline":"2001-01-01T00:00:00Z"})",
       "deadline"},
      {R"({"body":{"messages":[{"role":"user","content":"x"}]},"retention_s":5})", "retention_s"},
      {R"({"body":{"messages":[{"role":"user","content":"x"}]},"model":"huge"})", "model"},
      {R"({"body":{"messages":[{"role":"user","content":"x"}],"model":"b"},"model":"tiny"})",
       "body.model"},
      {R"({"body":{"messages":[{"role":"user","content":"x"}]},"colour":"red"})", "colour"},
      {R"({"body":"text"})", "body"},
      {R"({"jobs":[]})", "jobs"},
      {R"({"body":{"n":1,"n":2,"messages":[{"role":"user","content":"x"}]}})", "n"},
      {R"({"messages":[{"role":"user","content":"x"}]})", "body"},
  };
  for (const Case& bad : cases) {
    SCOPED_TRACE(bad.job);
    const HttpAnswer answer = must(client_->post_text("/v1/jobs", bad.job));
    EXPECT_EQ(answer.status, 400);
    EXPECT_FALSE(text_at(answer.json, "error.message").empty()) << answer.text;
    const std::string param = text_at(answer.json, "error.param");
    EXPECT_NE(param.find(bad.param), std::string::npos) << answer.text;
  }
  const HttpAnswer unknown = must(client_->post_text(
      "/v1/jobs", R"({"body":{"messages":[{"role":"user","content":"x"}],"model":"gpt-4o"}})"));
  EXPECT_EQ(
      text_at(unknown.json, "error.message"),
      "there is no model \"gpt-4o\" here; there is tiny: name one as model (jobctl: --model)");
}

TEST_F(Api, a_page_of_a_list_says_whether_there_are_more) {
  const json::object job = far_future(chat_job("paged"));
  const HttpAnswer accepted =
      must(client_->post("/v1/jobs", json::object{{"jobs", json::array{job, job, job}}}));
  ASSERT_EQ(accepted.status, 202) << accepted.text;
  const auto has_more = [](const HttpAnswer& page) {
    return find(page.json, "has_more")->as_bool();
  };
  const auto page_after = [&](int64_t after) {
    return must(client_->get("/v1/jobs?state=scheduled&limit=2&after=" + std::to_string(after)));
  };
  const HttpAnswer first = page_after(0);
  EXPECT_TRUE(has_more(first)) << first.text;
  EXPECT_EQ(find(first.json, "jobs")->get_array().size(), 2u);
  const HttpAnswer second = page_after(number_at(first.json, "next_after"));
  EXPECT_FALSE(has_more(second)) << second.text;
  EXPECT_EQ(find(second.json, "jobs")->get_array().size(), 1u);
  EXPECT_FALSE(has_more(page_after(number_at(second.json, "next_after"))));

  for (int i = 0; i < 3; ++i) must(client_->post("/v1/batches", json::object()));
  const HttpAnswer newest = must(client_->get("/v1/batches?of=jobs&limit=2"));
  EXPECT_TRUE(has_more(newest)) << newest.text;
  EXPECT_EQ(find(newest.json, "data")->get_array().size(), 2u);
  EXPECT_FALSE(has_more(must(client_->get("/v1/batches?of=jobs&limit=1000"))));
}

TEST_F(Api, a_member_that_could_start_only_after_its_batchs_deadline_is_refused) {
  const HttpAnswer opened = must(client_->post("/v1/batches", json::object()));  // a day
  json::object never = far_future(chat_job("never"));
  never["batch_id"] = text_at(opened.json, "id");
  const HttpAnswer refused = must(client_->post("/v1/jobs", never));
  EXPECT_EQ(refused.status, 400) << refused.text;
  EXPECT_EQ(text_at(refused.json, "error.param"), "run_at") << refused.text;
  EXPECT_NE(text_at(refused.json, "error.message").find("is not before the deadline of batch"),
            std::string::npos)
      << refused.text;
}

TEST_F(Api, of_many_jobs_all_are_accepted_or_none) {
  json::object good = far_future(chat_job("atomic"));
  json::object bad = good;
  bad["body"].as_object()["top_p"] = 0;
  const HttpAnswer refused =
      must(client_->post("/v1/jobs", json::object{{"jobs", json::array{good, bad, good}}}));
  EXPECT_EQ(refused.status, 400);
  EXPECT_EQ(text_at(refused.json, "error.param").rfind("jobs[1].", 0), 0u) << refused.text;
  const HttpAnswer list = must(client_->get("/v1/jobs?state=scheduled"));
  EXPECT_EQ(list.text.find("\"atomic\""), std::string::npos) << "a refusal leaves no trace";

  const HttpAnswer accepted =
      must(client_->post("/v1/jobs", json::object{{"jobs", json::array{good, good}}}));
  ASSERT_EQ(accepted.status, 202) << accepted.text;
  const json::array jobs = find(accepted.json, "jobs")->get_array();
  ASSERT_EQ(jobs.size(), 2u);
  for (const json::value& job : jobs) {
    const std::string url = "/v1/jobs/" + std::to_string(number_at(job, "id"));
    EXPECT_EQ(text_at(must(client_->get(url)).json, "state"), "scheduled");
    EXPECT_EQ(text_at(must(client_->post(url + "/cancel", json::object())).json, "cancel"),
              "cancelled");
  }
  for (const json::value& message : wait_for_messages(*client_, "atomic", 2)) {
    EXPECT_EQ(text_at(message, "outcome"), "cancelled");
    EXPECT_EQ(text_at(message, "error.code"), "cancelled");
  }
}

TEST_F(Api, an_idempotency_key_makes_a_repeated_submit_the_same_job) {
  json::object job = chat_job("repeat");
  job["idempotency_key"] = "once";
  const int64_t id = submit(*client_, job);
  EXPECT_EQ(submit(*client_, job), id);
  wait_for_messages(*client_, "repeat", 1);
  const HttpAnswer third = must(client_->post("/v1/jobs", job));
  EXPECT_EQ(number_at(third.json, "id"), id);
  EXPECT_TRUE(flag_at(third.json, "existed"));
  EXPECT_TRUE(flag_at(third.json, "finished"));
  job["priority"] = "high";
  EXPECT_EQ(must(client_->post("/v1/jobs", job)).status, 409) << "the same key, another content";
}

TEST_F(Api, a_repeated_submit_is_the_same_job_however_its_json_is_written) {
  const auto post = [this](const std::string& text) {
    return must(client_->post_text("/v1/jobs", text));
  };
  const HttpAnswer first = post(
      R"({"model":"tiny","idempotency_key":"written","body":{"messages":[{"role":"user","content":"é"}],"max_tokens":4}})");
  ASSERT_EQ(first.status, 202) << first.text;
  const HttpAnswer again = post(
      "\xEF\xBB\xBF"
      R"({"idempotency_key":"written","model":"tiny",
          "body":{"max_tokens":40e-1,"messages":[{"content":"\u00e9","role":"user"}]}})");
  EXPECT_EQ(again.status, 202) << again.text;
  EXPECT_EQ(number_at(again.json, "id"), number_at(first.json, "id"));
  EXPECT_TRUE(flag_at(again.json, "existed"));
}

// Whether the times of a submission still hold is asked of what is new, not of what was accepted.
TEST_F(Api, a_submit_sent_again_after_its_deadline_finds_its_job) {
  SystemClock clock;
  json::object job = chat_job("late");
  int64_t id = 0;
  WallTime deadline{};
  for (int seconds = 1; id == 0; seconds *= 2) {  // until one is accepted before it passes
    ASSERT_LT(seconds, 600);
    deadline = clock.now() + std::chrono::seconds(seconds);
    job["deadline"] = to_rfc3339(deadline);
    job["idempotency_key"] = "late-" + std::to_string(seconds);
    const HttpAnswer answer = must(client_->post("/v1/jobs", job));
    if (answer.status == 202) id = number_at(answer.json, "id");
  }
  const std::string request = json::serialize(job["body"]);
  const std::vector<std::string> by_jobctl = {"--json",
                                              "submit",
                                              "--file",
                                              "-",
                                              "--mailbox-key",
                                              "late",
                                              "--deadline",
                                              text_at(job, "deadline"),
                                              "--idempotency-key",
                                              text_at(job, "idempotency_key")};
  while (clock.now() <= deadline) ::usleep(2000);

  const HttpAnswer again = must(client_->post("/v1/jobs", job));
  EXPECT_EQ(again.status, 202) << again.text;
  EXPECT_EQ(number_at(again.json, "id"), id);
  EXPECT_TRUE(flag_at(again.json, "existed"));
  // A batch is sent again whole: the member that exists does not stop those that are new.
  const HttpAnswer both =
      must(client_->post("/v1/jobs", {{"jobs", json::array{job, chat_job("late")}}}));
  EXPECT_EQ(both.status, 202) << both.text;
  EXPECT_NE(both.text.find("\"id\":" + std::to_string(id)), std::string::npos) << both.text;
  json::object is_new = job;
  is_new["idempotency_key"] = "another";
  const HttpAnswer refused = must(client_->post("/v1/jobs", {{"jobs", json::array{job, is_new}}}));
  EXPECT_EQ(refused.status, 400) << refused.text;
  EXPECT_EQ(text_at(refused.json, "error.param"), "jobs[1].deadline") << refused.text;

  const JobctlResult sent = run_jobctl(*daemon_, by_jobctl, request);
  EXPECT_EQ(sent.exit_code, 0) << sent.err;
  EXPECT_NE(sent.out.find(std::to_string(id)), std::string::npos) << sent.out;
}

TEST_F(Api, a_cursor_pages_through_a_mailbox_without_gaps) {
  for (int i = 0; i < 5; ++i) submit(*client_, chat_job("pages"));
  wait_for_messages(*client_, "pages", 5);
  std::set<int64_t> ids;
  std::string cursor;
  std::vector<size_t> sizes;
  do {
    const HttpAnswer page = must(
        client_->get("/v1/mailbox/pages?limit=2" + (cursor.empty() ? "" : "&cursor=" + cursor)));
    const json::array messages = messages_of(page);
    sizes.push_back(messages.size());
    for (const json::value& message : messages) ids.insert(number_at(message, "id"));
    cursor = text_at(page.json, "next_cursor");
  } while (sizes.back() > 0 && sizes.size() < 10);
  EXPECT_EQ(sizes, (std::vector<size_t>{2, 2, 1, 0}));
  EXPECT_EQ(ids.size(), 5u);
  // A cursor at the end hears of the next message.
  submit(*client_, chat_job("pages"));
  const HttpAnswer next = must(client_->get("/v1/mailbox/pages?wait_s=60&cursor=" + cursor));
  EXPECT_EQ(messages_of(next).size(), 1u);
}

TEST_F(Api, bad_queries_are_refused_by_name) {
  const char* targets[] = {"/v1/mailbox/k?limit=0",   "/v1/mailbox/k?wait_s=61",
                           "/v1/mailbox/k?cursor=12", "/v1/mailbox/k?limit=ten",
                           "/v1/jobs?state=running",  "/v1/jobs?limit=100000"};
  for (const char* target : targets) {
    SCOPED_TRACE(target);
    const HttpAnswer answer = must(client_->get(target));
    EXPECT_EQ(answer.status, 400);
    EXPECT_FALSE(text_at(answer.json, "error.param").empty()) << answer.text;
  }
  EXPECT_EQ(must(client_->get("/v1/nothing")).status, 404);
  EXPECT_EQ(must(client_->post("/metrics", json::object())).status, 405);
}

TEST_F(Api, of_two_takers_one_gets_each_message) {
  constexpr size_t kJobs = 24;
  json::array jobs;
  for (size_t i = 0; i < kJobs; ++i) jobs.push_back(chat_job("taken", 1));
  ASSERT_EQ(must(client_->post("/v1/jobs", json::object{{"jobs", jobs}})).status, 202);
  wait_for_messages(*client_, "taken", kJobs);
  std::vector<int64_t> taken[2];
  std::vector<std::thread> takers;
  for (auto& mine : taken) {
    takers.emplace_back([&mine] {
      const auto client = daemon_->client();
      for (int round = 0; round < 24; ++round) {
        const auto answer =
            must(client->post("/v1/mailbox/taken/take", json::object{{"limit", 3}}));
        for (const json::value& message : messages_of(answer)) {
          mine.push_back(number_at(message, "id"));
        }
      }
    });
  }
  for (auto& taker : takers) taker.join();
  std::set<int64_t> all(taken[0].begin(), taken[0].end());
  all.insert(taken[1].begin(), taken[1].end());
  EXPECT_EQ(all.size(), kJobs);
  EXPECT_EQ(taken[0].size() + taken[1].size(), kJobs) << "a message came to both";
}

TEST_F(Api, named_messages_are_taken_and_the_others_stay) {
  submit(*client_, chat_job("named"));
  submit(*client_, chat_job("named"));
  const json::array messages = wait_for_messages(*client_, "named", 2);
  const json::object take{{"cursors", json::array{text_at(messages[1], "cursor")}}};
  const json::array taken = messages_of(must(client_->post("/v1/mailbox/named/take", take)));
  ASSERT_EQ(taken.size(), 1u);
  EXPECT_EQ(number_at(taken[0], "id"), number_at(messages[1], "id"));
  const json::array left = messages_of(must(client_->get("/v1/mailbox/named")));
  ASSERT_EQ(left.size(), 1u);
  EXPECT_EQ(number_at(left[0], "id"), number_at(messages[0], "id"));
}

TEST_F(Api, tenants_do_not_see_each_other) {
  const auto red = daemon_->client("red");
  const auto blue = daemon_->client("blue");
  const int64_t id = submit(*red, chat_job("shared-key"));
  EXPECT_EQ(text_at(wait_for_messages(*red, "shared-key", 1)[0], "tenant"), "red");
  EXPECT_EQ(messages_of(must(blue->get("/v1/mailbox/shared-key"))).size(), 0u);
  const std::string url = "/v1/jobs/" + std::to_string(id);
  EXPECT_EQ(must(blue->get(url)).status, 404);
  EXPECT_EQ(must(blue->post(url + "/cancel", json::object())).status, 404);
  EXPECT_EQ(must(client_->get(url)).status, 200) << "the daemon's own user sees every job";
  submit(*red, far_future(chat_job("hidden")));
  EXPECT_EQ(must(blue->get("/v1/jobs")).text.find("hidden"), std::string::npos);
  EXPECT_NE(must(red->get("/v1/jobs")).text.find("hidden"), std::string::npos);
}

// In a child that is another user: the kernel tells the daemon who it is.
int as_nobody(const std::string& socket) {
  constexpr uid_t kNobody = 65534;
  if (::setgroups(0, nullptr) != 0 || ::setgid(kNobody) != 0 || ::setuid(kNobody) != 0) return 10;
  HttpClient own(socket, "", std::chrono::seconds(60));
  const auto accepted = own.post("/v1/jobs", chat_job("nobodys"));
  if (!accepted.ok() || accepted->status != 202) return 11;
  const auto message = own.get("/v1/mailbox/nobodys?wait_s=60");
  if (!message.ok() || message->text.find("\"tenant\":\"root\"") != std::string::npos) return 12;
  HttpClient other(socket, "root", std::chrono::seconds(60));
  const auto as_root = other.get("/v1/mailbox/one");
  if (!as_root.ok() || as_root->status != 403) return 13;
  json::object job = chat_job("nobodys");
  job["tenant"] = "root";
  const auto for_root = own.post("/v1/jobs", job);
  if (!for_root.ok() || for_root->status != 403) return 14;
  if (text_at(for_root->json, "error.param") != "tenant") return 14;
  job = chat_job("nobodys");
  job["priority"] = "critical";
  const auto critical = own.post("/v1/jobs", job);
  if (!critical.ok() || text_at(critical->json, "error.param") != "priority") return 15;
  return 0;
}

TEST_F(Api, another_user_is_its_own_tenant_and_no_other) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root to become another user";
  ASSERT_EQ(::chmod(daemon_->directory().c_str(), 0711), 0);
  const pid_t child = ::fork();
  if (child == 0) ::_exit(as_nobody(daemon_->socket()));
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0) << "the number of the step of as_nobody() that failed";
}

TEST_F(Api, metrics_name_what_operators_need) {
  submit(*client_, chat_job("metrics", 3));
  wait_for_messages(*client_, "metrics", 1);
  const std::string text = must(client_->get("/metrics")).text;
  for (const char* name :
       {"parkd_build_info{version=", "parkd_queue_depth{model=\"tiny\",state=\"queued\"}",
        "parkd_queue_oldest_age_seconds", "parkd_jobs_parked", "parkd_jobs_running",
        "parkd_units_in_use", "parkd_units_capacity", "parkd_units_kept", "parkd_sequences_kept",
        "parkd_jobs_started_of_kept_total", "parkd_jobs_finished_total{", "outcome=\"completed\"",
        "parkd_prompt_tokens_total", "parkd_output_tokens_total",
        "parkd_finish_latency_seconds_bucket", "parkd_store_fsyncs_total"}) {
    EXPECT_NE(text.find(name), std::string::npos) << name << " is missing in\n" << text;
  }
}

TEST_F(Api, pipelined_requests_are_answered_in_order) {
  const std::string answer =
      raw("GET /healthz HTTP/1.1\r\nHost: p\r\n\r\n"
          "GET /v1/jobs/999999999 HTTP/1.1\r\nHost: p\r\n\r\n"
          "GET /v1/pool HTTP/1.1\r\nHost: p\r\nConnection: close\r\n\r\n");
  const size_t first = answer.find("\"status\":\"ok\"");
  const size_t second = answer.find("there is no job 999999999");
  const size_t third = answer.find("capacity_units");
  EXPECT_TRUE(first < second && second < third && third != std::string::npos) << answer;
}

TEST_F(Api, hostile_bytes_get_a_refusal_and_the_daemon_lives) {
  EXPECT_NE(raw("no http at all\r\n\r\n").find(" 400 "), std::string::npos);
  EXPECT_NE(raw("GET /v1/%zz HTTP/1.1\r\n\r\n").find(" 400 "), std::string::npos);
  EXPECT_NE(raw("GET / HTTP/1.1\r\nX: " + std::string(100'000, 'x') + "\r\n\r\n").find(" 400 "),
            std::string::npos);
  const std::string too_big =
      raw("POST /v1/jobs HTTP/1.1\r\nHost: p\r\nContent-Length: 900000000\r\n\r\n{");
  EXPECT_NE(too_big.find(" 413 "), std::string::npos) << too_big;
  EXPECT_NE(too_big.find("max_request_bytes"), std::string::npos) << too_big;
  EXPECT_EQ(must(client_->get("/healthz")).status, 200);
}

TEST_F(Api, curl_works) {
  ChildProcess curl({"/usr/bin/curl", "-sS", "--unix-socket", daemon_->socket(), "-d",
                     R"({"body":{"messages":[{"role":"user","content":"x"}],"max_tokens":2},)"
                     R"("mailbox_key":"curl"})",
                     "http://parkd/v1/jobs"});
  if (curl.wait() == 127) GTEST_SKIP() << "curl is not installed";
  EXPECT_NE(curl.out().find("\"mailbox_key\":\"curl\""), std::string::npos)
      << curl.out() << curl.err();
  EXPECT_EQ(wait_for_messages(*client_, "curl", 1).size(), 1u);
}

TEST(ApiLimits, a_job_whose_caller_waits_does_not_wait_for_its_tenants_batch) {
  DaemonSetup setup;
  setup.interactive_reserve = 0.25;
  setup.context_tokens = 4096;
  DaemonProcess daemon(setup);
  ASSERT_TRUE(daemon.start()) << daemon.log();
  daemon.wait_for_model();
  const auto client = daemon.client();
  constexpr size_t kBatch = 2000;  // more than any machine does while the stranger waits
  json::array batch;
  for (size_t i = 0; i < kBatch; ++i) batch.push_back(chat_job("batch", 3000));
  ASSERT_EQ(must(client->post("/v1/jobs", json::object{{"jobs", batch}})).status, 202);
  const int64_t id = submit(*client, chat_job("chat"));
  const HttpAnswer stranger =
      must(daemon.client("other")->get("/v1/mailbox/chat?wait_s=1&job=" + std::to_string(id)));
  EXPECT_EQ(messages_of(stranger).size(), 0u);
  EXPECT_NE(
      must(client->get("/metrics")).text.find("parkd_jobs_claimed_awaited_total{model=\"tiny\"} 0"),
      std::string::npos)
      << "a stranger hurries nobody on";
  const HttpAnswer page = must(client->get("/v1/mailbox/chat?wait_s=60&job=" + std::to_string(id)));
  EXPECT_EQ(messages_of(page).size(), 1u);
  EXPECT_LT(messages_of(must(client->get("/v1/mailbox/batch?limit=1000"))).size(), kBatch / 2)
      << "it came before the batch was done";
  EXPECT_NE(
      must(client->get("/metrics")).text.find("parkd_jobs_started_of_kept_total{model=\"tiny\"} 1"),
      std::string::npos);
}

TEST(ApiLimits, a_job_over_the_capacity_is_refused_with_both_numbers) {
  DaemonSetup setup;
  setup.kv_units = 4;
  DaemonProcess daemon(setup);
  ASSERT_TRUE(daemon.start());
  daemon.wait_for_model();
  const auto client = daemon.client();
  const HttpAnswer answer = must(client->post("/v1/jobs", chat_job("big", 1000)));
  EXPECT_EQ(answer.status, 400);
  const std::string why = text_at(answer.json, "error.message");
  EXPECT_NE(why.find(" 4"), std::string::npos) << "no capacity in: " << why;
  EXPECT_FALSE(text_at(answer.json, "error.param").empty()) << answer.text;
}

TEST(ApiLimits, a_full_account_answers_429_with_depth_and_limit) {
  DaemonSetup setup;
  setup.more_lot = "  limits:\n    max_scheduled_per_tenant: 2\n  queue:\n    backend: memory\n";
  DaemonProcess daemon(setup);
  ASSERT_TRUE(daemon.start()) << daemon.log();
  const auto client = daemon.client();
  submit(*client, far_future(chat_job("deep")));
  submit(*client, far_future(chat_job("deep")));
  const HttpAnswer answer = must(client->post("/v1/jobs", far_future(chat_job("deep"))));
  EXPECT_EQ(answer.status, 429) << answer.text;
  EXPECT_NE(text_at(answer.json, "error.message").find("2 scheduled jobs"), std::string::npos)
      << answer.text;
}

}  // namespace
}  // namespace parkd::testing
