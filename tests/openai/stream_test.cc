// The parts of a stream: what a body asks for, chunks, the stored answer, and how far one has come.
#include <gtest/gtest.h>

#include <boost/json.hpp>
#include <string>
#include <vector>

#include "lib/openai/stored_answer.h"
#include "lib/openai/stream_chunks.h"
#include "lib/openai/stream_cursor.h"
#include "lib/openai/stream_request.h"

namespace parkd {
namespace {

namespace json = boost::json;

Status grants(size_t) {
  return {};
}

TEST(StreamRequest, is_taken_out_of_the_body_and_nothing_else_is_touched) {
  std::string body =
      R"({"model": "m", "stream" : true,"seed":18446744073709551615, "temperature":0.10000,)"
      R"("stream_options": {"include_usage": true, "include_obfuscation": false}, "x": "\u0065"})";
  const auto read = take_stream_request(body, grants);
  ASSERT_TRUE(read.ok());
  EXPECT_TRUE(read->stream);
  EXPECT_TRUE(read->include_usage);
  EXPECT_EQ(body,
            R"({"model":"m","seed":18446744073709551615,"temperature":0.10000,"x":"\u0065"})");
  std::string without = R"({ "model":"m" , "stop":"streams" })";
  ASSERT_TRUE(take_stream_request(without, grants).ok());
  EXPECT_EQ(without, R"({ "model":"m" , "stop":"streams" })");
}

TEST(StreamRequest, leaves_what_is_no_body_to_who_reads_it) {
  for (const char* text :
       {"", "[\"stream\"]", "{\"stream\":", "\"stream\"", "{\"stream\":true,}"}) {
    std::string body = text;
    const auto read = take_stream_request(body, grants);
    ASSERT_TRUE(read.ok()) << text;
    EXPECT_FALSE(read->stream);
    EXPECT_EQ(body, text);
  }
  std::string large = R"({"stream":true})";
  EXPECT_EQ(
      take_stream_request(large, [](size_t) { return unavailable("no memory"); }).status().code(),
      StatusCode::unavailable);
}

TEST(StreamCursor, goes_on_behind_what_was_sent) {
  StreamCursor cursor(2);
  EXPECT_EQ(cursor.take_content(0, "Hello"), "Hello");
  EXPECT_EQ(cursor.take_reasoning(1, "Hm"), "Hm");
  EXPECT_EQ(cursor.take_logprobs(0, 2), 0u);
  const std::string id = cursor.id("fp_1");
  auto again = StreamCursor::read(id, "fp_1", 2);
  ASSERT_TRUE(again) << id;
  // Cut otherwise, the same text.
  EXPECT_EQ(again->take_content(0, "He"), "");
  EXPECT_EQ(again->take_content(0, "llo, you"), ", you");
  EXPECT_EQ(again->take_content(0, "!"), "!");
  EXPECT_EQ(again->take_reasoning(1, "Hmm"), "m");
  EXPECT_EQ(again->take_logprobs(0, 3), 2u);
  EXPECT_EQ(again->take_logprobs(0, 1), 0u);
  EXPECT_FALSE(again->has_diverged_at_end());
  again->rewind();
  EXPECT_EQ(again->take_content(0, "Hello, you!"), "");
  EXPECT_EQ(again->take_reasoning(1, "Hmm"), "");
  EXPECT_EQ(again->take_logprobs(0, 4), 4u);
  EXPECT_FALSE(again->has_diverged_at_end());
}

TEST(StreamCursor, another_text_is_never_glued) {
  StreamCursor cursor(1);
  cursor.take_content(0, "Hello");
  for (const char* other : {"Hellp", "hello and more", "Hell", ""}) {
    auto again = StreamCursor::read(cursor.id("fp"), "fp", 1);
    ASSERT_TRUE(again);
    again->take_content(0, other);
    EXPECT_TRUE(again->has_diverged_at_end()) << other;
  }
}

TEST(StreamCursor, ids_that_are_none_are_none) {
  StreamCursor cursor(1);
  cursor.take_content(0, "Hello");
  const std::string id = cursor.id("fp");
  EXPECT_TRUE(StreamCursor::read(id, "fp", 1));
  EXPECT_FALSE(StreamCursor::read(id, "fp", 2));
  EXPECT_FALSE(StreamCursor::read(id, "f", 1));
  EXPECT_FALSE(StreamCursor::read(id, "fp2", 1));
  for (size_t n = 0; n < id.size() - 16; ++n) {
    EXPECT_FALSE(StreamCursor::read(id.substr(0, n), "fp", 1)) << n;
  }
  for (const char* wrong : {"", "fp", "fp:", "fp:1", "fp:1.2.3.4.5.", "fp:-1.2.3.4.5",
                            "fp:1.2.3.4.z", "fp:99999999999999999999.2.3.4.5", "fp:1.2.3.4.5,"}) {
    EXPECT_FALSE(StreamCursor::read(wrong, "fp", 1)) << wrong;
  }
  EXPECT_EQ(StreamCursor(17).id("fp"), "") << "an id of so many choices outweighs what it brings";
}

CompletionResponse answer_of(bool is_chat) {
  CompletionResponse response;
  response.job_id = 42;
  response.created_at = from_unix_us(1'800'000'000'000'000);
  response.model = "m";
  response.system_fingerprint = "fp";
  CompletionChoice choice;
  choice.content = "Pa\"ris \xe2\x98\x83";
  choice.finish_reason = "stop";
  choice.logprobs = {{{"Pa", -0.25F}, {{"Pa", -0.25F}, {"Ly", -3.5F}}},
                     {{"\"ris ", -0.5F}, {}},
                     {{"\xe2\x98", -2}, {{"\xe2\x98", -2}}},
                     {{"\x83", -3}, {{"\x83", -3}}}};
  response.choices.push_back(choice);
  if (is_chat) {
    choice.reasoning = "Hm.";
    choice.tool_calls = {{"id1", "get", "{}"}, {"id2", "put", "{\"a\":1}"}};
    choice.finish_reason = "tool_calls";
    choice.logprobs.reset();
    response.choices.push_back(choice);
  }
  return response;
}

TEST(StoredAnswer, is_what_was_rendered) {
  const CompletionResponse response = answer_of(true);
  const auto stored = read_stored_answer(render_chat_completion(response));
  ASSERT_TRUE(stored.ok()) << stored.status().to_string();
  EXPECT_EQ(stored->endpoint, Endpoint::chat);
  EXPECT_EQ(stored->created_s, 1'800'000'000);
  EXPECT_EQ(stored->model, "m");
  EXPECT_EQ(stored->system_fingerprint, "fp");
  EXPECT_EQ(json::parse(stored->usage).at("total_tokens"), 0);
  ASSERT_EQ(stored->choices.size(), 2u);
  EXPECT_EQ(stored->choices[0].content, response.choices[0].content);
  EXPECT_EQ(stored->choices[0].finish_reason, "stop");
  EXPECT_EQ(stored->choices[1].reasoning, "Hm.");
  const json::value calls = json::parse(stored->choices[1].tool_calls);
  EXPECT_EQ(calls.at(1).at("index"), 1);
  EXPECT_EQ(calls.at(1).at("function").at("arguments"), "{\"a\":1}");
  // The same JSON that a stream shows of each token.
  ASSERT_EQ(stored->choices[0].logprobs.size(), 4u);
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(stored->choices[0].logprobs[i].token,
              chat_logprob_json(response.choices[0].logprobs->at(i)).token);
  }
}

TEST(StoredAnswer, of_a_completion_has_its_four_lists) {
  const CompletionResponse response = answer_of(false);
  const auto stored = read_stored_answer(render_text_completion(response));
  ASSERT_TRUE(stored.ok()) << stored.status().to_string();
  EXPECT_EQ(stored->endpoint, Endpoint::completions);
  EXPECT_EQ(stored->choices[0].content, response.choices[0].content);
  int64_t offset = 0;
  ASSERT_EQ(stored->choices[0].logprobs.size(), 4u);
  for (size_t i = 0; i < 4; ++i) {
    const LogprobJson shown = text_logprob_json(response.choices[0].logprobs->at(i), offset);
    const LogprobJson& kept = stored->choices[0].logprobs[i];
    EXPECT_EQ(kept.token, shown.token);
    EXPECT_EQ(kept.logprob, shown.logprob);
    EXPECT_EQ(kept.offset, shown.offset);
    // Of a list in which some tokens have others beside them, the rest have none.
    EXPECT_EQ(kept.top, shown.top == "null" ? "{}" : shown.top);
  }
}

TEST(StoredAnswer, of_what_is_none_says_so) {
  for (const char* wrong : {"", "{}", "[]", R"({"choices":3})", R"({"choices":[3]})"}) {
    EXPECT_EQ(read_stored_answer(wrong).status().code(), StatusCode::corrupt) << wrong;
  }
}

TEST(StreamChunks, are_openais) {
  ChunkHead head{Endpoint::chat, 42, 1'800'000'000, "m", "fp", false};
  EXPECT_EQ(
      render_chunk(head, {.choice = 1, .is_first = true, .content = "a\nb"}),
      R"({"id":"chatcmpl-42","object":"chat.completion.chunk","created":1800000000,"model":"m",)"
      R"("system_fingerprint":"fp","service_tier":"default","choices":[{"index":1,"delta":{"role":"assistant",)"
      R"("content":"a\nb"},"logprobs":null,"finish_reason":null}]})");
  head.include_usage = true;
  const json::value last = json::parse(render_chunk(head, {.finish_reason = "stop"}));
  EXPECT_EQ(last.at("choices").at(0).at("delta"), json::object());
  EXPECT_EQ(last.at("choices").at(0).at("finish_reason"), "stop");
  EXPECT_TRUE(last.at("usage").is_null());
  EXPECT_EQ(
      json::parse(render_usage_chunk(head, R"({"total_tokens":3})")).at("usage").at("total_tokens"),
      3);
  head.endpoint = Endpoint::completions;
  const json::value text = json::parse(render_chunk(head, {.content = "x"}));
  EXPECT_EQ(text.at("object"), "text_completion");
  EXPECT_EQ(text.at("id"), "cmpl-42");
  EXPECT_EQ(text.at("choices").at(0).at("text"), "x");
  EXPECT_EQ(render_event("{}", "7", "restarted"), "event: restarted\nid: 7\ndata: {}\n\n");
}

}  // namespace
}  // namespace parkd
