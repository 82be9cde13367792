#include "lib/openai/completion_response.h"

#include <gtest/gtest.h>

#include <boost/json.hpp>
#include <limits>
#include <string>

#include "lib/openai/errors.h"

namespace parkd {
namespace {

namespace json = boost::json;

CompletionResponse sample() {
  CompletionResponse response;
  response.job_id = 42;
  response.created_at = from_unix_us(1'800'000'000'999'999);
  response.model = "smollm2-135m";
  response.system_fingerprint = "fp";
  response.prompt_tokens = 11;
  response.cached_tokens = 8;
  response.completion_tokens = 2;
  CompletionChoice choice;
  choice.content = "Pa\"ris\n";
  choice.finish_reason = "stop";
  choice.logprobs = {{{"Pa", -0.25F}, {{"Pa", -0.25F}, {"Ly", -3.5F}}},
                     {{"\xe2\x98", -std::numeric_limits<float>::infinity()}, {}}};
  response.choices.push_back(choice);
  response.figures = {.units = 4,
                      .queue_us = 1500,
                      .run_us = 2'000'007,
                      .prefill_us = 9,
                      .decode_us = 0,
                      .shared_tokens = 64,
                      .attempts = 1};
  response.figures.sampling.temperature = 0.5F;
  response.figures.sampling.top_k = 40;
  return response;
}

TEST(TextCompletion, is_openais_object_with_its_own_logprobs) {
  CompletionResponse response = sample();
  response.choices[0].logprobs->push_back({{"\x83", -0.5F}, {{"\x83", -0.5F}, {"", -1, "<end>"}}});
  response.choices[0].logprobs->push_back({{"!", -0.5F}, {{"!", -0.5F}, {"!", -2}}});
  const json::value body = json::parse(render_text_completion(response));
  EXPECT_EQ(body.at("id"), "cmpl-42");
  EXPECT_EQ(body.at("object"), "text_completion");
  EXPECT_EQ(body.at("created"), 1'800'000'000);
  EXPECT_EQ(body.at("usage").at("total_tokens"), 13);
  EXPECT_EQ(body.at("parkd").at("units"), 4);
  const json::value& choice = body.at("choices").at(0);
  EXPECT_EQ(choice.at("text"), "Pa\"ris\n");
  EXPECT_EQ(choice.at("finish_reason"), "stop");
  EXPECT_EQ(choice.as_object().if_contains("message"), nullptr);
  const json::value& logprobs = choice.at("logprobs");
  EXPECT_EQ(logprobs.at("tokens"), json::array({"Pa", "bytes:\\xe2\\x98", "bytes:\\x83", "!"}));
  EXPECT_EQ(logprobs.at("token_logprobs").at(1), -9999);
  EXPECT_EQ(logprobs.at("text_offset"), json::array({0, 2, 3, 3}))
      << "a character counts where it begins";
  const json::array& top = logprobs.at("top_logprobs").as_array();
  ASSERT_EQ(top.size(), 4u);
  EXPECT_EQ(top[0].at("Ly"), -3.5);
  EXPECT_TRUE(top[1].as_object().empty());
  EXPECT_EQ(top[2].at("<end>"), -1);
  EXPECT_EQ(top[3].as_object().size(), 1u);
  EXPECT_EQ(top[3].at("!"), -0.5) << "the likelier of two that are written alike";
}

TEST(TextCompletion, logprobs_are_null_where_nobody_asked) {
  CompletionResponse response = sample();
  response.choices[0].logprobs->at(0).top.clear();
  const json::value chosen = json::parse(render_text_completion(response));
  EXPECT_TRUE(chosen.at("choices").at(0).at("logprobs").at("top_logprobs").is_null());
  response.choices[0].logprobs.reset();
  const json::value none = json::parse(render_text_completion(response));
  EXPECT_TRUE(none.at("choices").at(0).at("logprobs").is_null());
}

TEST(Response, is_openais_object_byte_for_byte) {
  CompletionResponse response = sample();
  response.choices[0].reasoning = "Hm.";
  response.reasoning_tokens = 1;
  ResponseEcho echo;
  echo.instructions = R"("Be \u0073hort.")";
  echo.max_output_tokens = 2;
  echo.metadata = R"({"a": "b"})";
  echo.parallel_tool_calls = false;
  echo.tool_choice = "none";
  response.choices[0].finish_reason = "length";
  const std::string body = render_response(response, echo);
  EXPECT_EQ(
      body.substr(0, body.find(",\"parkd\"")),
      R"({"id":"resp_42","object":"response","created_at":1800000000,"status":"incomplete",)"
      R"("background":false,"error":null,"incomplete_details":{"reason":"max_output_tokens"},)"
      R"("model":"smollm2-135m","system_fingerprint":"fp","service_tier":"default",)"
      R"("instructions":"Be \u0073hort.",)"
      R"("max_output_tokens":2,"metadata":{"a": "b"},"previous_response_id":null,)"
      R"("parallel_tool_calls":false,"tool_choice":"none","tools":[],)"
      R"("reasoning":{"effort":null,"summary":null},"temperature":0.5,"top_p":1,)"
      R"("text":{"format":{"type":"text"}},"truncation":"disabled",)"
      R"("output":[{"type":"reasoning","id":"rs_42","status":"incomplete","summary":[],)"
      R"("content":[{"type":"reasoning_text","text":"Hm."}]},)"
      R"({"type":"message","id":"msg_42","status":"incomplete","role":"assistant",)"
      R"("content":[{"type":"output_text","text":"Pa\"ris\n","annotations":[]}]}],)"
      R"("usage":{"input_tokens":11,"output_tokens":2,)"
      R"("output_tokens_details":{"reasoning_tokens":1},"total_tokens":13,)"
      R"("input_tokens_details":{"cached_tokens":8,"cache_write_tokens":3}})");
  EXPECT_EQ(json::parse(body).at("parkd"),
            json::parse(render_chat_completion(response)).at("parkd"));
}

TEST(Response, says_how_it_ended_and_what_was_left_out) {
  CompletionResponse response = sample();
  const json::value done = json::parse(render_response(response, {}));
  EXPECT_EQ(done.at("status"), "completed");
  EXPECT_TRUE(done.at("incomplete_details").is_null());
  for (const char* name : {"instructions", "max_output_tokens", "error"}) {
    EXPECT_TRUE(done.at(name).is_null()) << name;
  }
  EXPECT_EQ(done.at("metadata"), json::object());
  EXPECT_EQ(done.at("tool_choice"), "auto");
  EXPECT_EQ(done.at("parallel_tool_calls"), true);
  ASSERT_EQ(done.at("output").as_array().size(), 1u) << "nothing was reasoned";
  EXPECT_EQ(done.at("output").at(0).at("status"), "completed");
  EXPECT_EQ(done.at("usage").at("output_tokens_details").at("reasoning_tokens"), 0);
  response.choices[0].finish_reason = "cancelled";
  const json::value stopped = json::parse(render_response(response, {}));
  EXPECT_EQ(stopped.at("status"), "cancelled");
  EXPECT_TRUE(stopped.at("incomplete_details").is_null());
  EXPECT_EQ(stopped.at("output").at(0).at("status"), "incomplete");
  response.choices.clear();
  const json::value not_begun = json::parse(render_response(response, {}));
  EXPECT_EQ(not_begun.at("status"), "cancelled");
  EXPECT_EQ(not_begun.at("output").at(0).at("content").at(0).at("text"), "");
}

TEST(CompletionResponse, is_openais_chat_completion_object) {
  const json::value body = json::parse(render_chat_completion(sample()));
  EXPECT_EQ(body.at("id"), "chatcmpl-42");
  EXPECT_EQ(body.at("object"), "chat.completion");
  EXPECT_EQ(body.at("created"), 1'800'000'000);
  EXPECT_EQ(body.at("model"), "smollm2-135m");
  EXPECT_EQ(body.at("system_fingerprint"), "fp");
  EXPECT_EQ(body.at("service_tier"), "default");
  const json::value& choice = body.at("choices").at(0);
  EXPECT_EQ(choice.at("index"), 0);
  EXPECT_EQ(choice.at("message").at("role"), "assistant");
  EXPECT_EQ(choice.at("message").at("content"), "Pa\"ris\n");
  EXPECT_TRUE(choice.at("message").at("refusal").is_null());
  EXPECT_EQ(choice.at("finish_reason"), "stop");
  EXPECT_EQ(body.at("usage").at("prompt_tokens"), 11);
  EXPECT_EQ(body.at("usage").at("prompt_tokens_details").at("cached_tokens"), 8);
  EXPECT_EQ(body.at("usage").at("completion_tokens"), 2);
  EXPECT_EQ(body.at("usage").at("total_tokens"), 13);
}

TEST(CompletionResponse, logprobs_show_token_bytes_and_alternatives) {
  const json::value body = json::parse(render_chat_completion(sample()));
  const json::value& content = body.at("choices").at(0).at("logprobs").at("content");
  EXPECT_EQ(content.at(0).at("token"), "Pa");
  EXPECT_EQ(content.at(0).at("logprob"), -0.25);
  EXPECT_EQ(json::serialize(content.at(0).at("bytes")), "[80,97]");
  EXPECT_EQ(content.at(0).at("top_logprobs").at(1).at("token"), "Ly");
  EXPECT_EQ(json::serialize(content.at(1).at("bytes")), "[226,152]") << "half a character";
  EXPECT_EQ(content.at(1).at("logprob"), -9999) << "JSON has no infinity";
  EXPECT_TRUE(content.at(1).at("top_logprobs").as_array().empty());
}

TEST(CompletionResponse, a_special_token_has_a_name_and_no_bytes) {
  CompletionResponse response = sample();
  response.choices[0].logprobs = {{{{"", -0.5F, "<|im_end|>"}, {{"", -0.5F, "<|im_end|>"}}}}};
  const json::value body = json::parse(render_chat_completion(response));
  const json::value& token = body.at("choices").at(0).at("logprobs").at("content").at(0);
  for (const json::value& shown : {token, token.at("top_logprobs").at(0)}) {
    EXPECT_EQ(shown.at("token"), "<|im_end|>");
    EXPECT_TRUE(shown.at("bytes").is_null());
  }
}

TEST(CompletionResponse, times_and_charges_stand_in_parkd) {
  const json::value body = json::parse(render_chat_completion(sample()));
  EXPECT_EQ(json::serialize(body.at("parkd").at("units")), "4");
  EXPECT_EQ(body.at("parkd").at("queue_ms").to_number<double>(), 1.5);
  EXPECT_EQ(body.at("parkd").at("run_ms").to_number<double>(), 2000.007);
  EXPECT_EQ(body.at("parkd").at("prefill_ms").to_number<double>(), 0.009);
  EXPECT_EQ(body.at("parkd").at("shared_tokens"), 64);
  EXPECT_EQ(body.at("parkd").at("attempts"), 1);
  const json::value& sampling = body.at("parkd").at("sampling");
  EXPECT_EQ(sampling.at("temperature").to_number<double>(), 0.5);
  EXPECT_EQ(sampling.at("repetition_penalty").to_number<double>(), 1);
  EXPECT_EQ(sampling.at("top_k"), 40);
}

TEST(CompletionResponse, two_runs_of_a_job_differ_in_parkd_alone) {  // I7
  CompletionResponse again = sample();
  again.figures = {
      .units = 8, .queue_us = 77, .run_us = 88, .prefill_us = 99, .decode_us = 11, .attempts = 2};
  const std::string first = render_chat_completion(sample());
  const std::string second = render_chat_completion(again);
  EXPECT_NE(first, second);
  EXPECT_EQ(first.substr(0, first.find("\"parkd\"")), second.substr(0, second.find("\"parkd\"")));
}

TEST(CompletionResponse, without_logprobs_and_fingerprint_they_are_null) {
  CompletionResponse response = sample();
  response.system_fingerprint.clear();
  response.choices[0].logprobs.reset();
  const json::value body = json::parse(render_chat_completion(response));
  EXPECT_TRUE(body.at("system_fingerprint").is_null());
  EXPECT_TRUE(body.at("choices").at(0).at("logprobs").is_null());
}

TEST(CompletionResponse, a_logprob_reads_back_as_the_same_float) {
  CompletionResponse response = sample();
  (*response.choices[0].logprobs)[0].chosen.logprob = -1.1920929e-07F;
  const json::value body = json::parse(render_chat_completion(response));
  const double shown =
      body.at("choices").at(0).at("logprobs").at("content").at(0).at("logprob").as_double();
  EXPECT_EQ(static_cast<float>(shown), -1.1920929e-07F);
}

TEST(ErrorBody, is_openais_error_object) {
  const json::value body =
      json::parse(render_error(invalid_param("messages[0].role", "it is \"robot\"")));
  EXPECT_EQ(body.at("error").at("message"), "it is \"robot\"");
  EXPECT_EQ(body.at("error").at("type"), "invalid_request_error");
  EXPECT_EQ(body.at("error").at("param"), "messages[0].role");
  EXPECT_EQ(body.at("error").at("code"), "invalid_request");
}

TEST(ErrorBody, a_server_error_says_so_and_nulls_what_it_lacks) {
  const json::value body = json::parse(render_error(503, "", "stopping", ""));
  EXPECT_EQ(body.at("error").at("type"), "server_error");
  EXPECT_TRUE(body.at("error").at("param").is_null());
  EXPECT_TRUE(body.at("error").at("code").is_null());
}

TEST(ErrorBody, each_status_code_has_its_http_status) {
  EXPECT_EQ(http_status_of(StatusCode::invalid), 400);
  EXPECT_EQ(http_status_of(StatusCode::not_found), 404);
  EXPECT_EQ(http_status_of(StatusCode::conflict), 409);
  EXPECT_EQ(http_status_of(StatusCode::exhausted), 429);
  EXPECT_EQ(http_status_of(StatusCode::unavailable), 503);
  EXPECT_EQ(http_status_of(StatusCode::internal), 500);
}

}  // namespace
}  // namespace parkd
