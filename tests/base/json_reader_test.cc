// One reader at every door: what it takes, and the words of what it refuses.
#include "lib/base/json_reader.h"

#include <gtest/gtest.h>

#include <boost/json.hpp>
#include <string>

#include "lib/openai/chat_request.h"
#include "lib/openai/submit.h"

namespace parkd {
namespace {

namespace json = boost::json;
using namespace std::string_literals;

Result<json::value> read(std::string_view text) {
  JsonMemory memory(text.size());
  auto value = read_json(text, "it", 32, memory);
  if (!value.ok()) return value;
  return json::value(*value, json::storage_ptr());  // out of `memory`
}

TEST(JsonReader, takes_every_value_and_a_byte_order_mark) {
  const std::string text =
      R"( {"a":[1,-2.5e3,"\u00e9\ud83d\ude00",true,null,{}],"b":{"a":18446744073709551615}} )";
  ASSERT_TRUE(read(text).ok()) << read(text).status().to_string();
  EXPECT_EQ(*read(text), json::parse(text));
  EXPECT_EQ(*read("\xEF\xBB\xBF" + text), json::parse(text));
  EXPECT_EQ(without_mark("\xEF\xBB\xBF{}"), "{}");
  EXPECT_EQ(without_mark("{}"), "{}");
}

struct Fault {
  std::string text;
  std::string message;
  std::string param;
};

TEST(JsonReader, a_refusal_says_place_cause_and_way_out) {
  const std::string nested = R"({"a":{"b":1,"c":2,"b":3}})";
  const Fault faults[] = {
      {"{\"a\":1,}", "it is not JSON, byte 8: a comma before the closing bracket", ""},
      {"[1,2,\n]", "it is not JSON, line 2, byte 1: a comma before the closing bracket", ""},
      {"{\n  \"a\": 1,\n  'b': 2\n}", "it is not JSON, line 3, byte 3: a single quote", ""},
      {"{\"a\":NaN}", "byte 6: NaN and Infinity are not JSON", ""},
      {"{\"a\":-Infinity}", "byte 7: NaN and Infinity are not JSON", ""},
      {"{\"a\":None}", "byte 6: None is Python's; JSON has null", ""},
      {"{\"a\":True}", "byte 6: true and false are written small in JSON", ""},
      {"{\"a\":\"caf\xE9\"}", "byte 10 (0xE9) is not UTF-8; is it Latin-1? iconv -f latin1", ""},
      {"{\"a\":\"x\nb\"}", "a raw control character (0x0A) in a string", ""},
      {"{\"a\":\"x\0b\"}"s, "byte 8: a NUL byte, which is not text; remove it", ""},
      {"{\"a\":1\0}"s, "byte 7: a NUL byte", ""},
      {R"({"a":"x\ud800y"})", "it is not JSON, byte 8: half of a surrogate pair, which is not text",
       ""},
      {R"({"a":"x\udc00y"})", "byte 8: half of a surrogate pair", ""},
      {R"({"a":"x\u0000y"})",
       "it cannot be taken, byte 8: \\u0000 in a string, which is not text; remove it", ""},
      {R"({"a\u0000":1})", "it cannot be taken, byte 4: \\u0000 in a string", ""},
      {R"({"a":1e999})", "it cannot be taken, byte 11: a number too large for a double", ""},
      {"\xFF\xFE{\0}\0"s, "byte 1: it is UTF-16, and UTF-8 is wanted (iconv -f utf-16 -t utf-8)",
       ""},
      {"{\0\"\0"s, "byte 1: it is UTF-16", ""},
      {"\0{\0\""s, "byte 1: it is UTF-16", ""},
      {"{} {}", "byte 4: a second object behind the first", ""},
      {"{\"a\":1 \"b\":2}", "byte 8: unexpected \"", ""},
      {"{\"a\":1", "byte 7: it ends in the middle of a value", ""},
      {"{", "one line is one whole object (jq -c . makes that of pretty-printed JSON)", ""},
      {"", "it is not JSON, byte 1: it is empty", ""},
      {" \n ", "it is not JSON, byte 1: it is empty", ""},
      {"// x\n{}", "a comment; JSON has none", ""},
      {std::string(33, '[') + std::string(33, ']'), "it is nested deeper than 32 levels", ""},
      {R"({"a":1,"b":2,"a":3})",
       "it cannot be taken, byte 14: \"a\" is given twice in one object; give it once", "a"},
      {R"({"a":1, "\u0061" :3})", "it cannot be taken, byte 9: \"a\" is given twice", "a"},
      {nested, "byte 19: \"b\" is given twice", "b"},
      {"[{\"a\":1},\n{\"a\":1,\"a\":1}]", "line 2, byte 8: \"a\" is given twice", "a"},
  };
  for (const Fault& fault : faults) {
    const auto value = read(fault.text);
    ASSERT_FALSE(value.ok()) << fault.text;
    EXPECT_EQ(value.status().code(), StatusCode::invalid) << fault.text;
    EXPECT_NE(value.status().message().find(fault.message), std::string::npos)
        << fault.text << "\n  says: " << value.status().message();
    EXPECT_EQ(value.status().param(), fault.param);
  }
}

TEST(JsonReader, a_text_of_too_many_small_values_is_refused_before_it_is_read) {
  std::string text = "[";
  for (int i = 0; i < 200'000; ++i) text += "1,";
  text += "1]";
  JsonMemory memory(text.size());
  const auto value = read_json(text, "it", 32, memory);
  if (!value.ok()) {
    EXPECT_EQ(value.status().code(), StatusCode::invalid);
  }
  EXPECT_LE(memory.peak_bytes(), json_memory_bytes_max(text.size()));
}

TEST(JsonReader, a_float_without_a_fraction_is_a_whole_number) {
  EXPECT_EQ(whole_number(json::parse("42.0")), 42);
  EXPECT_EQ(whole_number(json::parse("4.2e1")), 42);
  EXPECT_EQ(whole_number(json::parse("-0.0")), 0);
  EXPECT_EQ(whole_number(json::parse("42.5")), std::nullopt);
  EXPECT_EQ(whole_number(json::parse("1e300")), std::nullopt);
  EXPECT_EQ(whole_number(json::parse("\"42\"")), std::nullopt);
}

// --- a submitted job

JobSpec submitted(const std::string& text) {
  auto parsed = parse_submit(text, {});
  EXPECT_TRUE(parsed.ok()) << text << ": " << parsed.status().to_string();
  return parsed.ok() ? parsed->jobs.at(0) : JobSpec{};
}

void expect_refused(const std::string& text, const std::string& has, const std::string& param) {
  const auto parsed = parse_submit(text, {});
  ASSERT_FALSE(parsed.ok()) << text;
  EXPECT_NE(parsed.status().message().find(has), std::string::npos)
      << text << "\n  says: " << parsed.status().message();
  EXPECT_EQ(parsed.status().param(), param) << text;
}

TEST(Submit, body_and_metadata_are_kept_as_they_stand) {
  const std::string body = "{ \"messages\": [ ],\t\"seed\" : 4.0,\"u\":\"\\u00e9\\/\", \"x\":1e2 }";
  const std::string metadata = "{ \"a\" :\"\\u0062\" }";
  for (const std::string& text :
       {"{\"body\":" + body + ",\"metadata\":" + metadata + "}",
        "\xEF\xBB\xBF { \"metadata\" : " + metadata + " , \"b\\u006fdy\" : " + body + " } ",
        "{\"jobs\":[ {\"metadata\":" + metadata + ",\"body\":" + body + "} ]}"}) {
    const JobSpec spec = submitted(text);
    EXPECT_EQ(spec.body, body) << text;
    EXPECT_EQ(spec.metadata, metadata) << text;
  }
}

TEST(Submit, a_member_given_twice_is_refused_wherever_it_stands) {
  expect_refused(R"({"body":{"n":1,"n":2}})", "byte 16: \"n\" is given twice in one object", "n");
  expect_refused(R"({"body":{},"model":"a","model":"b"})", "\"model\" is given twice", "model");
  expect_refused(R"({"jobs":[{"body":{"metadata":{"a":1,"a":1}}}]})", "\"a\" is given twice", "a");
}

TEST(Submit, whole_numbers_may_be_written_as_floats) {
  const JobSpec spec =
      submitted(R"({"body":{},"max_attempts":5.0,"run_timeout_s":8e0,"retention_s":3600.0})");
  EXPECT_EQ(spec.max_attempts, 5);
  EXPECT_EQ(spec.run_timeout, std::chrono::seconds(8));
  EXPECT_EQ(spec.retention, std::chrono::seconds(3600));
  expect_refused(R"({"body":{},"max_attempts":5.5})", "whole number from 1 to 100", "max_attempts");
}

TEST(Submit, who_knows_another_form_is_told_what_is_expected) {
  expect_refused(R"({"model":"m","messages":[{"role":"user","content":"Hi"}]})",
                 "messages stands beside it: put the chat request into body", "body");
  expect_refused(R"({"custom_id":"a","params":{"model":"m","max_tokens":5,"messages":[]}})",
                 "params is the word of Anthropic's batches, here it is body", "body");
  expect_refused(R"({"request":{}})", "request is called body here", "body");
  expect_refused("[{\"body\":{}}]", "a JSON array; send many jobs as {\"jobs\": [...]}", "");
  expect_refused(R"({"body":"{}"})", "not a text that holds one", "body");
  expect_refused(R"({"body":{},"custom_id":7})", "custom_id is 7; it must be a string, \"7\"",
                 "custom_id");
}

TEST(Submit, the_words_are_those_of_the_chat_body) {
  const std::string body = R"({"messages":[{"role":"user","content":"x\ud800"}]})";
  const std::string cause = "half of a surrogate pair, which is not text; remove it";
  EXPECT_NE(parse_submit("{\"body\":" + body + "}", {}).status().message().find(cause),
            std::string::npos);
  EXPECT_NE(parse_chat_request(body, {}).status().message().find(cause), std::string::npos);
}

}  // namespace
}  // namespace parkd
