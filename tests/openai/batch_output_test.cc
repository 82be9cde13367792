#include "lib/openai/batch_output.h"

#include <gtest/gtest.h>

#include <boost/json.hpp>
#include <iostream>
#include <random>
#include <string>

#include "lib/openai/completion_response.h"
#include "lib/openai/wire.h"

namespace parkd {
namespace {

namespace json = boost::json;

Message message_of(Ending ending) {
  Message message;
  message.job_id = 42;
  message.custom_id = "a\"b";
  message.ending = std::move(ending);
  return message;
}

Message completed(std::string body) {
  Ending ending;
  ending.body = std::move(body);
  return message_of(std::move(ending));
}

Message ended(std::string_view code, std::string body = {}) {
  Ending ending = ended_as(code, "the message");
  ending.error_param = "messages[0]";
  ending.body = std::move(body);
  return message_of(std::move(ending));
}

TEST(BatchOutput, a_completed_member_is_a_response_of_200_with_the_body_as_it_stands) {
  EXPECT_EQ(render_batch_line(completed(R"({"id":"chatcmpl-42", "n":1.50,"t":"a\nb"})")),
            R"({"id":"batch_req_42","custom_id":"a\"b","response":{"status_code":200,)"
            R"("request_id":"job-42","body":{"id":"chatcmpl-42", "n":1.50,"t":"a\nb"}},)"
            R"("error":null})"
            "\n");
  EXPECT_TRUE(is_output_line(completed("{}")));
}

TEST(BatchOutput, a_refused_member_is_a_response_of_4xx_with_the_error_inside) {
  for (const std::string code : {"invalid_request", "too_large", "context_length_exceeded"}) {
    const Message message = ended(code);
    EXPECT_FALSE(is_output_line(message));
    EXPECT_EQ(render_batch_line(message),
              R"({"id":"batch_req_42","custom_id":"a\"b","response":{"status_code":400,)"
              R"("request_id":"job-42","body":{"error":{"message":"the message",)"
              R"("type":"invalid_request_error","param":"messages[0]","code":")" +
                  code + R"("}}},"error":null})" + "\n");
  }
}

TEST(BatchOutput, a_member_that_was_not_answered_is_an_error_without_response) {
  const std::pair<std::string, std::string> codes[] = {
      {"run_timeout", "run_timeout"},
      {"model_unavailable", "model_unavailable"},
      {"internal", "internal"},
      {"device_lost", "device_lost"},
      {"out_of_resources", "out_of_resources"},
      {"cancelled", "batch_cancelled"},
      {"deadline_missed", "batch_expired"},
      {"quarantined", "quarantined"},
  };
  EXPECT_EQ(std::size(codes) + 3, std::size(kEndingCodes)) << "the refusals are the other three";
  for (const auto& [code, shown] : codes) {
    for (const std::string body : {"", R"({"choices":[]})"}) {
      const Message message = ended(code, body);
      EXPECT_FALSE(is_output_line(message));
      EXPECT_EQ(render_batch_line(message),
                R"({"id":"batch_req_42","custom_id":"a\"b","response":null,"error":{"code":")" +
                    shown + R"(","message":"the message"}})" + "\n");
    }
  }
}

TEST(BatchOutput, a_line_is_the_same_whatever_else_its_message_says) {
  Message message = completed("{}");
  const std::string line = render_batch_line(message);
  message.sequence = 7;
  message.attempts = 2;
  message.batch_id = message.mailbox_key = message.metadata = "x";
  message.created_at = message.finished_at = message.expires_at = from_unix_us(1);
  message.ending.prompt_tokens = 3;
  EXPECT_EQ(render_batch_line(message), line);
}

bool has_line_break(const std::string& text) {
  for (const char* one : {"\n", "\r", "\xC2\x85", "\xE2\x80\xA8", "\xE2\x80\xA9"}) {
    if (text.find(one) != text.npos) return true;
  }
  return false;
}

// The line is one, and what Boost's parser reads in it.
json::value read_line(const Message& message) {
  const std::string line = render_batch_line(message);
  EXPECT_EQ(line.back(), '\n');
  EXPECT_FALSE(has_line_break(line.substr(0, line.size() - 1))) << line;
  return json::parse(line.substr(0, line.size() - 1));
}

TEST(BatchOutput, is_one_line_for_every_reader_whatever_the_body_holds) {
  const std::string body =
      "{\r\n  \"a\": [1,\n2],\r\"b\\n\": \"\\r\\n\",\n\"\xE2\x80\xA8\": "
      "\"\xC2\x85 \xC2\x86 \xE2\x80\xA9\xE2\x80\xAA\xE2\"\n}";
  Message message = completed(body.substr(0, body.size() - 4) + "\"\n}");
  message.custom_id = "\xE2\x80\xA8 \n \xC2\x85";
  const json::value line = read_line(message);
  EXPECT_EQ(line.at("custom_id"), json::value(message.custom_id));
  EXPECT_EQ(line.at("response").at("body"), json::parse(message.ending.body));
  EXPECT_EQ(render_batch_line(completed("{\r\n \"a\"\r:\n1}")),
            render_batch_line(completed("{ \"a\":1}")));
  const std::string damaged = render_batch_line(completed(body + "\n\"a\n"));
  EXPECT_EQ(damaged.find('\n'), damaged.size() - 1);
}

// JSON with blanks and breaks wherever they may stand.
class RandomJson {
 public:
  explicit RandomJson(uint64_t seed) : random_(seed) {}

  std::string value(int depth) {
    switch (random_() % (depth > 0 ? 6 : 4)) {
      case 0:
        return blank() + std::to_string(random_() % 1000) + blank();
      case 1:
        return blank() + "null" + blank();
      case 4:
        return blank() + "[" + list(depth, false) + "]" + blank();
      case 5:
        return blank() + "{" + list(depth, true) + "}" + blank();
      default:
        return blank() + text() + blank();
    }
  }

 private:
  std::string blank() {
    const std::string blanks[] = {"", "", "", " ", "\n", "\r\n", "\r", "\t\n "};
    return blanks[random_() % 8];
  }
  std::string text() {
    const std::string parts[] = {"a",
                                 "\\n",
                                 "\\\\",
                                 "\\\"",
                                 "\xC2\x85",
                                 "\xC3\x85",
                                 "\xE2\x80\xA8",
                                 "\xE2\x80\xA9",
                                 "\xE2\x80\xA6",
                                 "\\u2028",
                                 "\xF0\x9F\x98\x80"};
    std::string text;
    for (size_t n = random_() % 6; n > 0; --n) text += parts[random_() % std::size(parts)];
    return "\"" + text + "\"";
  }
  std::string list(int depth, bool has_names) {
    std::string list;
    const size_t n = random_() % 4;
    for (size_t i = 0; i < n; ++i) {
      if (i > 0) list += ",";
      if (has_names) list += blank() + "\"" + std::to_string(i) + "\"" + blank() + ":";
      list += value(depth - 1);
    }
    return n == 0 ? blank() : list;
  }

  std::mt19937_64 random_;
};

TEST(BatchOutput, a_random_body_is_read_back_from_its_line) {
  const uint64_t seed = std::random_device{}();
  std::cout << "seed " << seed << "\n";
  RandomJson random(seed);
  int n_with_breaks = 0;
  for (int i = 0; i < 2000; ++i) {
    Message message = completed(random.value(4));
    message.custom_id = random.value(0);
    n_with_breaks += has_line_break(message.ending.body);
    const json::value line = read_line(message);
    ASSERT_EQ(line.at("response").at("body"), json::parse(message.ending.body))
        << message.ending.body;
    ASSERT_EQ(line.at("custom_id"), json::value(message.custom_id));
  }
  EXPECT_GT(n_with_breaks, 500);
}

TEST(BatchOutput, usage_is_what_the_body_says) {
  CompletionResponse response;
  response.prompt_tokens = 11;
  response.completion_tokens = 7;
  response.choices.push_back({.content = "a", .finish_reason = "stop", .logprobs = {}});
  EXPECT_EQ(usage_of(completed(render_chat_completion(response))),
            (BatchUsage{.input = 11, .output = 7}));
  EXPECT_EQ(usage_of(completed(render_text_completion(response))),
            (BatchUsage{.input = 11, .output = 7}));
  response.reasoning_tokens = 3;
  const std::string body = render_chat_completion(response);
  EXPECT_EQ(usage_of(completed(body)), (BatchUsage{.input = 11, .output = 7, .reasoning = 3}));
  EXPECT_EQ(usage_of(ended("run_timeout", body)), BatchUsage{});
  response.reasoning_tokens = 3;
  response.cached_tokens = 5;
  EXPECT_EQ(usage_of(completed(render_response(response, {}))),
            (BatchUsage{.input = 11, .cached = 5, .output = 7, .reasoning = 3}));
  EXPECT_EQ(usage_of(completed(R"({"usage":{"prompt_tokens":11,"completion_tokens":7.0,)"
                               R"("prompt_tokens_details":{"cached_tokens":4}}})")),
            (BatchUsage{.input = 11, .cached = 4, .output = 7}));
}

TEST(BatchOutput, usage_is_nothing_where_the_body_says_nothing) {
  for (const std::string body : {"", "{}", "[]", "{", R"({"usage")", R"({"usage":null})",
                                 R"({"usage":{"prompt_tokens":"1","completion_tokens":-1}})",
                                 R"({"usage":{"prompt_tokens_details":4}})", R"({"usage":{"pro)"}) {
    EXPECT_EQ(usage_of(completed(body)), BatchUsage{}) << body;
  }
}

TEST(Wire, a_run_that_timed_out_without_a_text_is_no_response) {
  const json::value shown = json::parse(render_message(ended("run_timeout")));
  EXPECT_TRUE(shown.at("response").is_null());
  EXPECT_EQ(shown.at("error").at("code"), "run_timeout");
  const json::value refused = json::parse(render_message(ended("too_large")));
  EXPECT_EQ(refused.at("response").at("status_code"), 400);
  EXPECT_EQ(refused.at("response").at("body").at("error").at("code"), "too_large");
  EXPECT_TRUE(refused.at("error").is_null());
}

TEST(Wire, a_request_refused_in_the_middle_of_its_run_is_its_text_and_an_error) {
  const json::value shown = json::parse(render_message(ended("invalid_request", R"({"a":1})")));
  EXPECT_EQ(shown.at("response").at("body"), json::parse(R"({"a":1})"));
  EXPECT_EQ(shown.at("error").at("code"), "invalid_request");
}

}  // namespace
}  // namespace parkd
