// What a body of /v1/chat/completions may hold, and how every refusal names its field.
#include "lib/openai/chat_request.h"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "lib/job/bounds.h"

namespace parkd {
namespace {

// A body of one question and these further members: R"("n":2)".
std::string body_with(const std::string& members) {
  std::string body = R"({"messages":[{"role":"user","content":"Hi"}])";
  if (!members.empty()) body += "," + members;
  return body + "}";
}

Result<ChatRequest> parse(const std::string& body) {
  return parse_chat_request(body, RequestDefaults{});
}

ChatRequest parsed(const std::string& members) {
  auto request = parse(body_with(members));
  EXPECT_TRUE(request.ok()) << members << ": " << request.status().to_string();
  return request.ok() ? *request : ChatRequest{};
}

struct Refusal {
  const char* members;
  const char* param;
  const char* message_has;
};

void expect_refused(const std::string& body, const std::string& param, const std::string& has) {
  const auto request = parse(body);
  ASSERT_FALSE(request.ok()) << body;
  EXPECT_EQ(request.status().code(), StatusCode::invalid) << body;
  EXPECT_EQ(request.status().param(), param) << body;
  EXPECT_NE(request.status().message().find(has), std::string::npos)
      << body << "\n  says: " << request.status().message();
}

TEST(ChatRequest, a_full_body_is_read_field_by_field) {
  const ChatRequest request = parsed(
      R"("model":"m","max_tokens":96,"n":3,"temperature":0.5,"top_p":0.9,"top_k":40,"min_p":0.05,
         "presence_penalty":-0.5,"frequency_penalty":1.5,"repetition_penalty":1.25,
         "logit_bias":{"50":-100,"7":2.5},
         "seed":42,"stop":["a","bc"],"logprobs":true,"top_logprobs":5)");
  EXPECT_EQ(request.model, "m");
  ASSERT_EQ(request.messages.size(), 1u);
  EXPECT_EQ(request.messages[0].role, "user");
  EXPECT_EQ(request.messages[0].content, "Hi");
  EXPECT_EQ(request.max_tokens, 96);
  EXPECT_EQ(request.n, 3);
  EXPECT_EQ(request.sampling.temperature, 0.5F);
  EXPECT_EQ(request.sampling.top_p, 0.9F);
  EXPECT_EQ(request.sampling.top_k, 40);
  EXPECT_EQ(request.sampling.min_p, 0.05F);
  EXPECT_EQ(request.sampling.presence_penalty, -0.5F);
  EXPECT_EQ(request.sampling.frequency_penalty, 1.5F);
  EXPECT_EQ(request.sampling.repetition_penalty, 1.25F);
  EXPECT_EQ(request.sampling.logit_bias, (std::vector<TokenBias>{{50, -100.0F}, {7, 2.5F}}));
  EXPECT_EQ(request.seed, 42u);
  EXPECT_EQ(request.stop, (std::vector<std::string>{"a", "bc"}));
  EXPECT_TRUE(request.sampling.logprobs);
  EXPECT_EQ(request.sampling.top_logprobs, 5);
}

TEST(ChatRequest, what_is_left_out_or_null_means_the_models_default) {
  RequestDefaults defaults;
  defaults.sampling.temperature = 0.2F;
  defaults.sampling.top_p = 0.8F;
  defaults.sampling.top_k = 7;
  defaults.sampling.min_p = 0.1F;
  defaults.sampling.presence_penalty = 0.3F;
  defaults.sampling.frequency_penalty = 0.6F;
  defaults.max_tokens = 55;
  for (const char* members :
       {"", R"("temperature":null,"top_p":null,"top_k":null,"min_p":null,"max_tokens":null,
              "max_completion_tokens":null,"seed":null,"stop":null,"n":null,"tools":null,
              "presence_penalty":null,"frequency_penalty":null,"repetition_penalty":null,
              "logit_bias":null,"logprobs":null,"top_logprobs":null,"model":null,"stream":null,"user":null)"}) {
    const auto request = parse_chat_request(body_with(members), defaults);
    ASSERT_TRUE(request.ok()) << request.status().to_string();
    EXPECT_EQ(request->sampling.temperature, 0.2F);
    EXPECT_EQ(request->sampling.top_p, 0.8F);
    EXPECT_EQ(request->sampling.top_k, 7);
    EXPECT_EQ(request->sampling.min_p, 0.1F);
    EXPECT_EQ(request->sampling.presence_penalty, 0.3F);
    EXPECT_EQ(request->sampling.frequency_penalty, 0.6F);
    EXPECT_EQ(request->sampling.repetition_penalty, 1.0F);
    EXPECT_TRUE(request->sampling.logit_bias.empty());
    EXPECT_EQ(request->max_tokens, 55);
    EXPECT_EQ(request->n, 1);
    EXPECT_EQ(request->seed, std::nullopt);
    EXPECT_TRUE(request->stop.empty());
    EXPECT_TRUE(request->model.empty());
  }
}

TEST(ChatRequest, content_may_be_text_parts) {
  const auto request = parse(
      R"({"messages":[{"role":"developer","content":"Be brief."},
                      {"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]},
                      {"role":"assistant","content":"","refusal":null,"tool_calls":[]}]})");
  ASSERT_TRUE(request.ok()) << request.status().to_string();
  EXPECT_EQ(request->messages[0].role, "system") << "developer is read as system";
  EXPECT_EQ(request->messages[1].content, "a\nb");
  EXPECT_EQ(request->messages[1].parts, (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(request->messages[2].content, "");
}

TEST(ChatRequest, both_names_of_the_token_limit_work_but_not_with_two_numbers) {
  EXPECT_EQ(parsed(R"("max_completion_tokens":9)").max_tokens, 9);
  EXPECT_EQ(parsed(R"("max_tokens":9,"max_completion_tokens":9)").max_tokens, 9);
  expect_refused(body_with(R"("max_tokens":9,"max_completion_tokens":10)"), "max_completion_tokens",
                 "9 and 10");
}

TEST(ChatRequest, an_integer_may_be_written_with_a_fraction_of_zero) {
  EXPECT_EQ(parsed(R"("max_tokens":64.0,"n":2e0)").max_tokens, 64);
  const ChatRequest request =
      parsed(R"("seed":42.0,"n":2.0,"top_k":4e1,"logprobs":true,"top_logprobs":3.0)");
  EXPECT_EQ(request.seed, 42u);
  EXPECT_EQ(request.sampling.top_k, 40);
  EXPECT_EQ(request.sampling.top_logprobs, 3);
  EXPECT_EQ(parsed(R"("seed":-1.0)").seed, UINT64_MAX);
  EXPECT_EQ(parsed(R"("seed":9007199254740992.0)").seed, 9007199254740992u);
  expect_refused(body_with(R"("seed":9007199254740994.0)"), "seed", "beyond 2^53");
  expect_refused(body_with(R"("seed":42.5)"), "seed", "is 42.5; it must be an integer");
}

TEST(ChatRequest, what_earlier_answers_carry_is_kept_for_the_template) {
  const auto request = parse(
      R"({"messages":[{"role":"user","content":"Hi","name":"Bo"},
                      {"role":"assistant","content":"4","reasoning_content":"2+2","annotations":[],
                       "refusal":null,"audio":null,"function_call":null},
                      {"role":"assistant","content":"5","reasoning":"2+3","name":null}]})");
  ASSERT_TRUE(request.ok()) << request.status().to_string();
  using More = std::vector<std::pair<std::string, std::string>>;
  EXPECT_EQ(request->messages[0].more, (More{{"name", "Bo"}}));
  EXPECT_EQ(request->messages[1].more, (More{{"reasoning_content", "2+2"}}));
  EXPECT_EQ(request->messages[2].more, (More{{"reasoning_content", "2+3"}, {"reasoning", "2+3"}}))
      << "as transformers hands it on";
}

TEST(ChatRequest, what_a_message_reasons_has_two_names_but_one_text) {
  const auto request = parse(
      R"({"messages":[{"role":"user","content":"Hi"},
                      {"role":"assistant","content":"4","reasoning":"a","reasoning_content":"a"}]})");
  ASSERT_TRUE(request.ok()) << request.status().to_string();
  EXPECT_EQ(request->messages[1].more.size(), 2U);
  expect_refused(R"({"messages":[{"role":"assistant","content":"4","reasoning":"a",
                                  "reasoning_content":"b"}]})",
                 "messages[0].reasoning_content", "differ; give one");
}

TEST(ChatRequest, variables_of_the_template_are_so_long) {
  const auto with = [](size_t n_bytes) {  // 8 are {"x":""}
    return body_with(R"("chat_template_kwargs":{"x":")" + std::string(n_bytes - 8, 'y') + R"("})");
  };
  EXPECT_TRUE(parse(with(262144)).ok());
  expect_refused(with(262145), "chat_template_kwargs", "has 262145 bytes; the limit is 262144");
}

TEST(ChatRequest, top_p_0_is_taken_where_temperature_0_makes_it_mean_nothing) {
  EXPECT_EQ(parsed(R"("top_p":0,"temperature":0)").sampling.top_p, 1.0F);
  EXPECT_EQ(parsed(R"("temperature":0.0,"top_p":0.0)").sampling.top_p, 1.0F);
  expect_refused(body_with(R"("top_p":0,"temperature":0.5)"), "top_p",
                 "above 0 and at most 1 (0 is taken where temperature is 0, too)");
}

TEST(ChatRequest, a_field_of_another_api_is_told_with_the_word_that_is_used_here) {
  expect_refused(body_with(R"("system":"Be brief.")"), "system",
                 "not a known field; a system prompt is a message of role system");
  expect_refused(body_with(R"("stop_sequences":["a"])"), "stop_sequences", "it is stop here");
}

TEST(ChatRequest, seeds_keep_their_64_bits) {
  EXPECT_EQ(parsed(R"("seed":18446744073709551615)").seed, UINT64_MAX);
  EXPECT_EQ(parsed(R"("seed":-1)").seed, UINT64_MAX);
  EXPECT_EQ(parsed(R"("seed":9007199254740993)").seed, 9007199254740993u) << "past a double";
}

TEST(ChatRequest, limits_are_inclusive_where_they_are_said_to_be) {
  EXPECT_EQ(parsed(R"("temperature":0)").sampling.temperature, 0.0F);
  EXPECT_EQ(parsed(R"("temperature":2)").sampling.temperature, 2.0F);
  EXPECT_EQ(parsed(R"("top_p":1)").sampling.top_p, 1.0F);
  EXPECT_GT(parsed(R"("top_p":1e-60)").sampling.top_p, 0.0F) << "above 0 stays above 0 as a float";
  EXPECT_EQ(parsed(R"("top_k":-1)").sampling.top_k, 0) << "vLLM's word for off";
  EXPECT_EQ(parsed(R"("n":128)").n, 128);
  EXPECT_EQ(parsed(R"("presence_penalty":-2)").sampling.presence_penalty, -2.0F);
  EXPECT_EQ(parsed(R"("frequency_penalty":2)").sampling.frequency_penalty, 2.0F);
  EXPECT_EQ(parsed(R"("repetition_penalty":0.01)").sampling.repetition_penalty, 0.01F);
  EXPECT_EQ(parsed(R"("repetition_penalty":100)").sampling.repetition_penalty, 100.0F);
  EXPECT_EQ(parsed(R"("logit_bias":{"0":-100,"2147483647":100})").sampling.logit_bias.size(), 2u);
}

std::string biases(size_t n) {
  std::string members = R"("logit_bias":{)";
  for (size_t i = 0; i < n; ++i) {
    members += (i == 0 ? "\"" : ",\"") + std::to_string(i) + "\":1";
  }
  return members + "}";
}

TEST(ChatRequest, so_many_biases_and_no_more) {
  EXPECT_EQ(parsed(biases(300)).sampling.logit_bias.size(), 300u);
  expect_refused(body_with(biases(301)), "logit_bias", "has 301 tokens; the limit is 300");
}

TEST(ChatRequest, neutral_penalties_are_those_left_out) {
  const ChatRequest neutral = parsed(
      R"("frequency_penalty":0,"presence_penalty":0.0,"repetition_penalty":1,"logit_bias":{})");
  const ChatRequest left_out = parsed("");
  EXPECT_EQ(neutral.sampling.frequency_penalty, left_out.sampling.frequency_penalty);
  EXPECT_EQ(neutral.sampling.presence_penalty, left_out.sampling.presence_penalty);
  EXPECT_EQ(neutral.sampling.repetition_penalty, left_out.sampling.repetition_penalty);
  EXPECT_EQ(neutral.sampling.logit_bias, left_out.sampling.logit_bias);
}

TEST(ChatRequest, fields_that_cannot_change_the_output_are_accepted) {
  parsed(R"("user":"u","metadata":{"a":"b"},"store":true,"service_tier":"flex")");
  parsed(R"("safety_identifier":"s","prompt_cache_key":"k")");
}

TEST(ChatRequest, unsupported_fields_are_accepted_when_they_are_off) {
  parsed(R"("tools":[],"tool_choice":"none","functions":[],"response_format":{"type":"text"},
            "stream":false,"modalities":["text"],"skip_special_tokens":true,
            "chat_template_kwargs":{})");
}

TEST(ChatRequest, unsupported_fields_are_refused_by_name) {
  for (const char* members :
       {R"("functions":[{}])", R"("function_call":"auto")",
        R"("response_format":{"type":"json_object"})", R"("audio":{"voice":"x"})",
        R"("modalities":["text","audio"])", R"("prediction":{"type":"content"})",
        R"("reasoning_effort":"low")", R"("skip_special_tokens":false)",
        R"("chat_template":"{{ messages }}")", R"("stream_options":{"include_usage":true})",
        R"("best_of":3)", R"("ignore_eos":true)"}) {
    const std::string text(members);
    const std::string field = text.substr(1, text.find('"', 1) - 1);
    expect_refused(body_with(members), field, field + " is not supported yet");
  }
  expect_refused(body_with(R"("stream":true)"), "stream", "into its mailbox as a whole");
}

TEST(ChatRequest, a_template_is_given_its_arguments_as_they_stand) {
  const ChatTemplateOptions plain = parsed(R"("n":1)").template_options;
  EXPECT_TRUE(plain.add_generation_prompt);
  EXPECT_FALSE(plain.continue_final_message);
  EXPECT_TRUE(plain.arguments.is_undefined());

  const ChatTemplateOptions given =
      parsed(R"("chat_template_kwargs":{"z":1.0,"a":[123456789012345678901]},
                "enable_thinking":false,"add_generation_prompt":false)")
          .template_options;
  EXPECT_FALSE(given.add_generation_prompt);
  const auto& entries = given.arguments.as_dict().entries;
  ASSERT_EQ(entries.size(), 3U);
  EXPECT_EQ(entries[0].first.as_bytes(), "z");
  EXPECT_TRUE(entries[0].second.is(jinja::Type::real)) << "1.0 is no 1";
  EXPECT_EQ(entries[1].second.as_sequence().items.at(0).exact_digits(), "123456789012345678901");
  EXPECT_EQ(entries[2].first.as_bytes(), "enable_thinking");
  EXPECT_FALSE(entries[2].second.as_bool());
  EXPECT_EQ(entries[0].second.origin(), jinja::Origin::content);
}

TEST(ChatRequest, a_final_message_goes_on_or_a_new_turn_begins) {
  const ChatTemplateOptions options = parsed(R"("continue_final_message":true)").template_options;
  EXPECT_TRUE(options.continue_final_message);
  EXPECT_FALSE(options.add_generation_prompt);
  expect_refused(body_with(R"("continue_final_message":true,"add_generation_prompt":true)"),
                 "continue_final_message", "leave one out");
}

TEST(ChatRequest, what_a_template_is_not_to_be_given_is_refused) {
  expect_refused(body_with(R"("chat_template_kwargs":{"messages":[]})"),
                 "chat_template_kwargs.messages", "not the template's to be given");
  expect_refused(body_with(R"("chat_template_kwargs":[])"), "chat_template_kwargs", "an object");
  expect_refused(body_with(R"("enable_thinking":"no")"), "enable_thinking", "true or false");
  expect_refused(
      body_with(R"("enable_thinking":true,"chat_template_kwargs":{"enable_thinking":true})"),
      "enable_thinking", "given twice");
}

TEST(ChatRequest, unknown_fields_are_refused_by_name_even_when_null) {
  expect_refused(body_with(R"("temprature":1)"), "temprature", "not a known field");
  expect_refused(body_with(R"("temprature":null)"), "temprature", "not a known field");
  expect_refused(R"({"messages":[{"role":"user","content":"x","colour":"red"}]})",
                 "messages[0].colour", "not a known field");
}

TEST(ChatRequest, long_and_empty_names_are_told_in_few_words) {
  const auto request = parse(body_with("\"" + std::string(100'000, 'x') + "\":1"));
  ASSERT_FALSE(request.ok());
  EXPECT_LT(request.status().message().size(), 200u);
  expect_refused(body_with("\"\":1"), "", "\"\" is not a known field");
  EXPECT_FALSE(parse(body_with(R"("":1,"":2)")).ok());
}

TEST(ChatRequest, wrong_values_name_field_value_and_limit) {
  const Refusal refusals[] = {
      {R"("max_tokens":0)", "max_tokens", "is 0; it must be an integer from 1"},
      {R"("max_tokens":-5)", "max_tokens", "is -5"},
      {R"("max_tokens":1.5)", "max_tokens", "integer"},
      {R"("max_tokens":"64")", "max_tokens", "is \"64\""},
      {R"("max_tokens":99999999999)", "max_tokens", "2147483647"},
      {R"("n":0)", "n", "from 1 to 128"},
      {R"("n":129)", "n", "is 129"},
      {R"("n":true)", "n", "is true"},
      {R"("temperature":2.01)", "temperature", "from 0 to 2"},
      {R"("temperature":-0.1)", "temperature", "from 0 to 2"},
      {R"("temperature":"hot")", "temperature", "is \"hot\""},
      {R"("top_p":0)", "top_p", "above 0"},
      {R"("top_p":1.1)", "top_p", "at most 1"},
      {R"("min_p":-1)", "min_p", "from 0 to 1"},
      {R"("top_k":-2)", "top_k", "from 0"},
      {R"("presence_penalty":-2.1)", "presence_penalty",
       "is -2.1; it must be a number from -2 to 2"},
      {R"("frequency_penalty":3)", "frequency_penalty", "is 3; it must be a number from -2 to 2"},
      {R"("frequency_penalty":"1")", "frequency_penalty", "is \"1\""},
      {R"("repetition_penalty":0)", "repetition_penalty", "is 0; it must be a number from 0.01"},
      {R"("repetition_penalty":101)", "repetition_penalty", "to 100"},
      {R"("logit_bias":[])", "logit_bias", "object of token ids"},
      {R"("logit_bias":{"5":101})", "logit_bias.5", "is 101; it must be a number from -100 to 100"},
      {R"("logit_bias":{"5":"1"})", "logit_bias.5", "is \"1\""},
      {R"("logit_bias":{"5":null})", "logit_bias.5", "is null"},
      {R"("logit_bias":{"five":1})", "logit_bias", "names \"five\"; it must name token ids"},
      {R"("logit_bias":{"":1})", "logit_bias", "names \"\""},
      {R"("logit_bias":{"-1":1})", "logit_bias", "names \"-1\""},
      {R"("logit_bias":{"05":1})", "logit_bias", "names \"05\""},
      {R"("logit_bias":{"5.0":1})", "logit_bias", "names \"5.0\""},
      {R"("logit_bias":{"2147483648":1})", "logit_bias", "names \"2147483648\""},
      {R"("logit_bias":{"5":1,"5":2})", "5", "twice"},
      {R"("seed":1.5)", "seed", "64 bits"},
      {R"("seed":"7")", "seed", "64 bits"},
      {R"("stop":"")", "stop", "not empty"},
      {R"("stop":["a",""])", "stop[1]", "not empty"},
      {R"("stop":["a","b","c","d","e"])", "stop", "has 5 strings; the limit is 4"},
      {R"("stop":7)", "stop", "string"},
      {R"("logprobs":1)", "logprobs", "true or false"},
      {R"("logprobs":true,"top_logprobs":21)", "top_logprobs", "from 0 to 20"},
      {R"("top_logprobs":3)", "top_logprobs", "needs logprobs"},
      {R"("model":"")", "model", "name of a model"},
      {R"("model":5)", "model", "is 5"},
  };
  for (const Refusal& refusal : refusals) {
    expect_refused(body_with(refusal.members), refusal.param, refusal.message_has);
  }
  expect_refused(body_with("\"stop\":\"" + std::string(1025, 'x') + "\""), "stop",
                 "has 1025 bytes; the limit is 1024");
}

TEST(ChatRequest, wrong_messages_are_named_by_their_place) {
  const Refusal refusals[] = {
      {R"({})", "messages", "missing"},
      {R"({"messages":null})", "messages", "missing"},
      {R"({"messages":[]})", "messages", "at least one"},
      {R"({"messages":"Hi"})", "messages", "array"},
      {R"({"messages":[7]})", "messages[0]", "object"},
      {R"({"messages":[{"content":"x"}]})", "messages[0].role", "missing"},
      {R"({"messages":[{"role":"user"}]})", "messages[0].content", "missing"},
      {R"({"messages":[{"role":"user","content":null}]})", "messages[0].content", "is null"},
      {R"({"messages":[{"role":"user","content":[]}]})", "messages[0].content", "text parts"},
      {R"({"messages":[{"role":"user","content":"a"},{"role":"robot","content":"b"}]})",
       "messages[1].role", "\"robot\""},
      {R"({"messages":[{"role":"function","content":"b"}]})", "messages[0].role", "it is tool"},
      {R"({"messages":[{"role":"tool","content":"b"}]})", "messages[0].tool_call_id", "missing"},
      {R"({"messages":[{"role":"user","content":"b","tool_call_id":"c"}]})",
       "messages[0].tool_call_id", "only one of role tool"},
      {R"({"messages":[{"role":"user","content":"b","name":7}]})", "messages[0].name",
       "is 7; it must be a string"},
      {R"({"messages":[{"role":"assistant","content":null,"tool_calls":[]}]})",
       "messages[0].content", "is null"},
      {R"({"messages":[{"role":"user","content":"b","annotations":[{}]}]})",
       "messages[0].annotations", "not supported yet"},
      {R"({"messages":[{"role":"user","content":[{"type":"image_url","image_url":{}}]}]})",
       "messages[0].content[0].type", "\"image_url\""},
      {R"({"messages":[{"role":"user","content":[{"type":"text"}]}]})",
       "messages[0].content[0].text", "missing"},
  };
  for (const Refusal& refusal : refusals) {
    expect_refused(refusal.members, refusal.param, refusal.message_has);
  }
}

TEST(ChatRequest, what_is_not_json_is_refused_with_the_place) {
  expect_refused("", "body", "is not JSON");
  expect_refused("{\"messages\":", "body", "is not JSON");
  expect_refused("[]", "body", "JSON object");
  expect_refused("\"Hi\"", "body", "JSON object");
  expect_refused(body_with("") + "x", "body", "byte");
  expect_refused(body_with(R"("user":"\ud800")"), "body", "is not JSON");
  expect_refused(body_with("\"user\":\"\xff\""), "body", "is not JSON");
  expect_refused(body_with("\"user\":\"\xc0\xaf\""), "body", "is not JSON");
}

TEST(ChatRequest, a_member_named_twice_is_refused) {
  expect_refused(body_with(R"("n":1,"n":2)"), "n", "twice");
  expect_refused(R"({"messages":[{"role":"user","role":"system","content":"x"}]})", "role",
                 "twice");
  expect_refused(body_with(R"("n":1,"\u006e":2)"), "n", "twice");
}

TEST(ChatRequest, numbers_past_a_double_are_refused) {
  EXPECT_FALSE(parse(body_with(R"("temperature":1e400)")).ok());
  EXPECT_FALSE(parse(body_with(R"("metadata":{"x":-1e999999})")).ok());
  EXPECT_FALSE(parse(body_with(R"("max_tokens":1e300)")).ok());
}

TEST(ChatRequest, depth_and_size_are_bounded) {
  const std::string deep =
      body_with("\"metadata\":" + std::string(100'000, '[') + "1" + std::string(100'000, ']'));
  expect_refused(deep, "body", "deeper than 32");
  expect_refused(std::string(kChatBodyBytesMax + 1, ' '), "body", "the limit is 16777216");
}

TEST(ChatRequest, a_shown_value_is_cut_and_stays_utf8) {
  std::string stars;
  for (int i = 0; i < 100; ++i) stars += "\xe2\x98\x85";
  const auto request = parse(body_with("\"n\":\"" + stars + "\""));
  ASSERT_FALSE(request.ok());
  EXPECT_LT(request.status().message().size(), 200u) << "a long value is not repeated whole";
}

TEST(ChatRequest, no_bytes_crash_it) {
  const unsigned seed = std::random_device()();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  const std::string whole = body_with(
      R"("n":2,"stop":["a"],"temperature":0.7,"logprobs":true,"logit_bias":{"5":-1e1},
         "metadata":{"k":[1,2.5e3,"\u00e9"]})");
  for (int round = 0; round < 20'000; ++round) {
    std::string body = whole;
    for (unsigned i = 0; i < 1 + random() % 4; ++i) {
      const size_t at = random() % body.size();
      switch (random() % 3) {
        case 0:
          body[at] = static_cast<char>(random());
          break;
        case 1:
          body.erase(at, random() % 8);
          break;
        default:
          body.insert(at, body.substr(random() % body.size(), random() % 8));
      }
      if (body.empty()) body = "{";
    }
    const auto request = parse(body);
    if (!request.ok()) {
      EXPECT_EQ(request.status().code(), StatusCode::invalid);
    }
  }
}

// --- how much is generated

TEST(MaxNewTokens, left_out_is_a_fifth_of_the_context_within_bounds) {
  EXPECT_EQ(*resolve_max_new_tokens({}, 10, 8192), 1638);
  EXPECT_EQ(*resolve_max_new_tokens({}, 10, 500), 128) << "at least 128";
  EXPECT_EQ(*resolve_max_new_tokens({}, 10, 131072), 16384) << "at most 16384";
}

TEST(MaxNewTokens, is_always_cut_to_what_the_prompt_leaves) {
  EXPECT_EQ(*resolve_max_new_tokens({}, 8000, 8192), 192);
  EXPECT_EQ(*resolve_max_new_tokens(5000, 8000, 8192), 192);
  EXPECT_EQ(*resolve_max_new_tokens(100, 8000, 8192), 100);
  EXPECT_EQ(*resolve_max_new_tokens(2147483647, 1, 8192), 8191);
}

TEST(MaxNewTokens, a_prompt_that_fills_the_context_is_refused_with_both_numbers) {
  for (const int32_t prompt : {8192, 9000}) {
    const auto answer = resolve_max_new_tokens({}, prompt, 8192);
    ASSERT_FALSE(answer.ok());
    EXPECT_EQ(answer.status().param(), "") << "whose prompt it is knows the caller";
    EXPECT_NE(answer.status().message().find(std::to_string(prompt)), std::string::npos);
    EXPECT_NE(answer.status().message().find("8192"), std::string::npos);
  }
}

}  // namespace
}  // namespace parkd
