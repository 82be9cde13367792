// What a body of /v1/responses may hold, and how every refusal names its field.
#include "lib/openai/responses_request.h"

#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "lib/job/endpoints.h"

namespace parkd {
namespace {

Result<ResponsesRequest> parse(const std::string& body) {
  return parse_responses_request(body, {});
}

// Of a body with an input and these further members.
Result<ResponsesRequest> parse_with(const std::string& members) {
  return parse(R"({"input":"Hi")" + (members.empty() ? "" : "," + members) + "}");
}

Result<ResponsesRequest> parse_input(const std::string& input) {
  return parse("{\"input\":" + input + "}");
}

// Role and content of each message.
using Turns = std::vector<std::pair<std::string, std::string>>;
Turns turns_of(const ResponsesRequest& request) {
  Turns turns;
  for (const ChatMessage& message : request.messages) {
    turns.emplace_back(message.role, message.content);
  }
  return turns;
}

TEST(ResponsesRequest, an_input_is_a_text_or_a_list_of_messages) {
  struct Read {
    const char* body;
    Turns turns;
  };
  const Read reads[] = {
      {R"({"input":"Hi"})", {{"user", "Hi"}}},
      {R"({"input":""})", {{"user", ""}}},
      {R"({"input":"Hi","instructions":"Be short."})", {{"system", "Be short."}, {"user", "Hi"}}},
      {R"({"instructions":"Be short.","input":[{"role":"user","content":"a"}]})",
       {{"system", "Be short."}, {"user", "a"}}},
      {R"({"input":"Hi","instructions":null})", {{"user", "Hi"}}},
      {R"({"input":[{"type":"message","role":"developer","content":"a"},
                    {"type":null,"role":"user","content":[{"type":"input_text","text":"b"},
                                                          {"text":"c","type":"input_text"}]},
                    {"role":"assistant","content":[{"type":"output_text","text":"d"}]},
                    {"role":"system","content":"e"}]})",
       {{"system", "a"}, {"user", "b\nc"}, {"assistant", "d"}, {"system", "e"}}},
  };
  for (const Read& each : reads) {
    const auto request = parse(each.body);
    ASSERT_TRUE(request.ok()) << each.body << request.status().to_string();
    EXPECT_EQ(turns_of(*request), each.turns) << each.body;
    EXPECT_TRUE(request->template_options.add_generation_prompt);
    EXPECT_FALSE(request->template_options.continue_final_message);
    EXPECT_TRUE(request->tool_names.empty());
  }
}

// What a client sends that puts an answer's `output` behind what it sent before.
TEST(ResponsesRequest, the_output_of_an_answer_is_an_input) {
  const auto request = parse_input(
      R"([{"role":"user","content":"a"},
          {"type":"reasoning","id":"rs_1","status":"completed","summary":[],"encrypted_content":null,
           "content":[{"type":"reasoning_text","text":"hm"},{"type":"reasoning_text","text":"so"}]},
          {"type":"message","id":"msg_1","status":"completed","role":"assistant","phase":null,
           "content":[{"type":"output_text","text":"b","annotations":[],"logprobs":null}]},
          {"type":"reasoning","id":"rs_2","summary":[]},
          {"role":"assistant","content":"c"},
          {"role":"user","content":"d"}])");
  ASSERT_TRUE(request.ok()) << request.status().to_string();
  EXPECT_EQ(turns_of(*request),
            (Turns{{"user", "a"}, {"assistant", "b"}, {"assistant", "c"}, {"user", "d"}}));
  using More = std::vector<std::pair<std::string, std::string>>;
  EXPECT_EQ(request->messages[0].more, More{});
  EXPECT_EQ(request->messages[1].more,
            (More{{"reasoning_content", "hm\nso"}, {"reasoning", "hm\nso"}}));
  EXPECT_EQ(request->messages[2].more, (More{{"reasoning_content", ""}, {"reasoning", ""}}));
  EXPECT_EQ(request->messages[3].more, More{});
}

struct Refused {
  const char* given;
  const char* param;
  const char* words;
};

void expect_refused(const Status& why, const Refused& each) {
  EXPECT_EQ(why.code(), StatusCode::invalid) << each.given;
  EXPECT_EQ(why.param(), each.param) << each.given << ": " << why.message();
  EXPECT_NE(why.message().find(each.words), std::string::npos) << why.message();
  EXPECT_EQ(why.message().find('\n'), std::string::npos) << why.message();
}

TEST(ResponsesRequest, an_input_that_is_none_is_refused_by_its_place) {
  const Refused cases[] = {
      {"null", "input", "input is missing"},
      {"7", "input", "a text or a list of at least one message"},
      {"[]", "input", "a text or a list of at least one message"},
      {R"({"role":"user","content":"a"})", "input", "a text or a list"},
      {R"(["a"])", "input[0]", "an object with role and content"},
      {R"([{"content":"a"}])", "input[0].role", "is missing"},
      {R"([{"role":"user"}])", "input[0].content", "is missing"},
      {R"([{"role":"tool","content":"a"}])", "input[0].role",
       "system, user, assistant or developer"},
      {R"([{"role":7,"content":"a"}])", "input[0].role", "system, user, assistant or developer"},
      {R"([{"role":"user","content":"a"},{"role":"user","content":null}])", "input[1].content",
       "a string or an array of text parts"},
      {R"([{"role":"user","content":[]}])", "input[0].content", "array of text parts"},
      {R"([{"role":"user","content":[{"type":"text","text":"a"}]}])", "input[0].content[0].type",
       R"(is not supported yet; only "input_text" or "output_text")"},
      {R"([{"role":"user","content":[{"type":"input_image","image_url":"x"}]}])",
       "input[0].content[0].type", "is not supported yet"},
      {R"([{"role":"user","content":[{"text":"a"}]}])", "input[0].content[0].type",
       R"(it must be "input_text" or "output_text")"},
      {R"([{"role":"user","content":[{"type":"input_text"}]}])", "input[0].content[0].text",
       "is missing"},
      {R"([{"role":"user","content":[{"type":"input_text","text":"a","colour":1}]}])",
       "input[0].content[0].colour", "not a known field"},
      {R"([{"role":"assistant","content":[{"type":"output_text","text":"a","annotations":[1]}]}])",
       "input[0].content[0].annotations", "not supported yet"},
      {R"([{"role":"user","content":"a","name":"b"}])", "input[0].name", "not a known field"},
      {R"([{"role":"user","content":"a","id":7}])", "input[0].id", "it must be a string"},
      {R"([{"type":"function_call","name":"f"}])", "input[0].type",
       R"(only "message" and "reasoning")"},
      {R"([{"type":"item_reference","id":"msg_1"}])", "input[0].type", "not supported yet"},
      {R"([{"type":7,"role":"user","content":"a"}])", "input[0].type", "not supported yet"},
      {R"([{"type":"reasoning","id":"r"}])", "input[0]", "role assistant must follow"},
      {R"([{"role":"user","content":"a"},{"type":"reasoning"},{"role":"user","content":"a"}])",
       "input[1]", "role assistant must follow"},
      {R"([{"type":"reasoning"},{"type":"reasoning"}])", "input[0]", "role assistant must follow"},
      {R"([{"type":"reasoning","summary":[{"type":"summary_text","text":"a"}]}])",
       "input[0].summary", "not supported yet"},
      {R"([{"type":"reasoning","encrypted_content":"a"}])", "input[0].encrypted_content",
       "not supported yet"},
      {R"([{"type":"reasoning","content":[{"type":"output_text","text":"a"}]}])",
       "input[0].content[0].type", R"(only "reasoning_text")"},
      {R"([{"type":"reasoning","content":"a","role":"assistant"}])", "input[0].role",
       "not a known field"},
  };
  for (const Refused& each : cases) expect_refused(parse_input(each.given).status(), each);
  EXPECT_EQ(parse("{}").status().param(), "input");
}

TEST(ResponsesRequest, options_are_those_of_a_chat_but_for_their_names) {
  const auto plain = parse_with("");
  EXPECT_EQ(plain->max_tokens, std::nullopt) << "as of a chat";
  EXPECT_EQ(plain->echo.max_output_tokens, std::nullopt);
  EXPECT_EQ(plain->echo.metadata, "{}");
  EXPECT_EQ(plain->echo.instructions, "");
  EXPECT_EQ(plain->echo.tool_choice, "auto");
  EXPECT_TRUE(plain->echo.parallel_tool_calls);
  RequestDefaults defaults;
  defaults.max_tokens = 99;
  defaults.sampling.temperature = 0.25F;
  const auto by_default = parse_responses_request(R"({"input":"x"})", defaults);
  EXPECT_EQ(by_default->max_tokens, 99);
  EXPECT_EQ(by_default->echo.max_output_tokens, std::nullopt) << "it was not asked for";
  EXPECT_EQ(by_default->sampling.temperature, 0.25F);
  const auto full = parse_with(
      R"("model":"m","max_output_tokens":5,"temperature":0.5,"top_p":0.9,"seed":-1,"top_k":4,
         "min_p":0.1,"repetition_penalty":1.1,"presence_penalty":0.5,"frequency_penalty":0.5,
         "stop":["a"],"logit_bias":{"7":2},"user":"u","safety_identifier":"s",
         "prompt_cache_key":"k","prompt_cache_retention":"24h","service_tier":"auto","store":true,
         "metadata":{"a": "b"},"instructions":"\u00fc","tools":[],"tool_choice":"none",
         "parallel_tool_calls":false,"include":[],"truncation":"disabled","background":false,
         "stream":false,"previous_response_id":null,"conversation":null,"prompt":null,
         "max_tool_calls":null,"top_logprobs":0,"context_management":null,
         "text":{"format":{"type":"text"},"verbosity":null},
         "reasoning":{"effort":null,"summary":null})");
  ASSERT_TRUE(full.ok()) << full.status().to_string();
  EXPECT_EQ(full->model, "m");
  EXPECT_EQ(full->max_tokens, 5);
  EXPECT_EQ(full->n, 1);
  EXPECT_EQ(full->n_prompts, 1);
  EXPECT_EQ(full->sampling.temperature, 0.5F);
  EXPECT_EQ(full->sampling.top_k, 4);
  EXPECT_EQ(full->sampling.logit_bias.size(), 1u);
  EXPECT_FALSE(full->sampling.logprobs);
  EXPECT_EQ(full->seed, ~uint64_t{0});
  EXPECT_EQ(full->stop, std::vector<std::string>{"a"});
  EXPECT_TRUE(full->store);
  EXPECT_EQ(full->echo.max_output_tokens, 5);
  EXPECT_EQ(full->echo.metadata, R"({"a": "b"})") << "as it stands there";
  EXPECT_EQ(full->echo.instructions, R"("\u00fc")");
  EXPECT_EQ(full->messages.at(0).content, "\u00fc");
  EXPECT_EQ(full->echo.tool_choice, "none");
  EXPECT_FALSE(full->echo.parallel_tool_calls);
  EXPECT_TRUE(parse_with(R"("tool_choice":"auto","text":{},"reasoning":{})").ok());
}

TEST(ResponsesRequest, null_is_left_out) {
  for (const char* name : {"model",
                           "instructions",
                           "max_output_tokens",
                           "temperature",
                           "top_p",
                           "seed",
                           "stop",
                           "metadata",
                           "text",
                           "reasoning",
                           "tools",
                           "tool_choice",
                           "parallel_tool_calls",
                           "stream",
                           "background",
                           "include",
                           "truncation",
                           "store",
                           "top_logprobs",
                           "user",
                           "stream_options"}) {
    const auto request = parse_with("\"" + std::string(name) + "\":null");
    EXPECT_TRUE(request.ok()) << name << ": " << request.status().to_string();
  }
}

TEST(ResponsesRequest, what_is_not_served_is_refused_by_name_with_a_way_out) {
  const Refused cases[] = {
      {R"("stream":true)", "stream", "comes as a whole here: leave it out"},
      {R"("stream":0)", "stream", "stream is 0"},
      {R"("background":true)", "background", "POST /v1/jobs"},
      {R"("previous_response_id":"resp_1")", "previous_response_id",
       "give the earlier messages in input"},
      {R"("conversation":{"id":"c"})", "conversation", "give the earlier messages in input"},
      {R"("prompt":{"id":"p"})", "prompt", "give instructions and input"},
      {R"("tools":[{"type":"web_search"}])", "tools", "/v1/chat/completions has tools"},
      {R"("tools":{})", "tools", "leave them out"},
      {R"("max_tool_calls":3)", "max_tool_calls", "leave it out"},
      {R"("include":["message.output_text.logprobs"])", "include", "leave it out"},
      {R"("top_logprobs":2)", "top_logprobs", "/v1/chat/completions has logprobs"},
      {R"("truncation":"auto")", "truncation", R"(it must be "disabled")"},
      {R"("context_management":[{"type":"compaction"}])", "context_management", "is refused"},
      {R"("tool_choice":"required")", "tool_choice", "cannot be forced"},
      {R"("tool_choice":{"type":"function","name":"f"})", "tool_choice", "cannot be forced"},
      {R"("tool_choice":7)", "tool_choice", R"(it must be "auto" or "none")"},
      {R"("reasoning":{"effort":"low"})", "reasoning.effort", "not supported yet"},
      {R"("reasoning":{"summary":"auto"})", "reasoning.summary", "not supported yet"},
      {R"("reasoning":{"colour":null})", "reasoning.colour", "not a known field"},
      {R"("reasoning":"low")", "reasoning", "an object"},
      {R"("text":{"format":{"type":"json_schema","name":"x","schema":{}}})", "text.format",
       R"("json_schema"; only "text" is supported yet)"},
      {R"("text":{"format":{"type":"text","name":"x"}})", "text.format.name", "not a known field"},
      {R"("text":{"format":"text"})", "text.format", R"({"type": "text"})"},
      {R"("text":{"verbosity":"low"})", "text.verbosity", "not supported yet"},
      {R"("text":{"colour":1})", "text.colour", "not a known field"},
      {R"("text":"text")", "text", "an object"},
      {R"("instructions":[])", "instructions", "a string"},
      {R"("parallel_tool_calls":1)", "parallel_tool_calls", "true or false"},
      {R"("metadata":[])", "metadata", "at most 16 pairs"},
      {R"("metadata":{"a":1})", "metadata", "a is not so"},
      {R"("max_output_tokens":0)", "max_output_tokens", "from 1 to 2147483647"},
      {R"("max_output_tokens":"5")", "max_output_tokens", "an integer"},
      {R"("temperature":9)", "temperature", "it must be"},
      {R"("max_tokens":5)", "max_tokens", "it is max_output_tokens here"},
      {R"("max_completion_tokens":5)", "max_completion_tokens", "it is max_output_tokens here"},
      {R"("messages":[])", "messages",
       "it is input here; messages are for endpoint /v1/chat/completions"},
      {R"("n":1)", "n", "one text here; several are for endpoint /v1/chat/completions"},
      {R"("response_format":{"type":"text"})", "response_format", "it is text.format here"},
      {R"("reasoning_effort":"low")", "reasoning_effort", "it is reasoning.effort here"},
      {R"("logprobs":true)", "logprobs", "for endpoint /v1/chat/completions"},
      {R"("enable_thinking":false)", "enable_thinking", "for endpoint /v1/chat/completions"},
      {R"("stream_options":{"include_obfuscation":false})", "stream_options", "not supported yet"},
      {R"("colour":"red")", "colour", "not a known field"},
  };
  for (const Refused& each : cases) expect_refused(parse_with(each.given).status(), each);
}

TEST(ResponsesRequest, metadata_has_openais_limits) {
  const auto pairs = [](int n, size_t name, size_t text) {
    std::string metadata;
    for (int i = 0; i < n; ++i) {
      std::string key = std::to_string(i);
      for (size_t k = key.size(); k < name; ++k) key += "\u00fc";  // a character of two bytes
      std::string value;
      for (size_t k = 0; k < text; ++k) value += "\u00fc";
      metadata += (i == 0 ? "\"" : ",\"") + key + "\":\"" + value + "\"";
    }
    return parse_with("\"metadata\":{" + metadata + "}").status();
  };
  EXPECT_TRUE(pairs(16, 64, 512).ok());
  EXPECT_EQ(pairs(17, 1, 1).param(), "metadata");
  EXPECT_EQ(pairs(1, 65, 1).param(), "metadata");
  EXPECT_EQ(pairs(1, 64, 513).param(), "metadata");
}

TEST(ResponsesRequest, other_bodies_say_where_its_fields_belong) {
  const std::string body = R"({"input":"Hi"})";
  EXPECT_TRUE(read_request_options(path_of(Endpoint::responses), body).ok());
  for (const Endpoint endpoint : {Endpoint::chat, Endpoint::completions}) {
    const Status refused = read_request_options(path_of(endpoint), body).status();
    EXPECT_EQ(refused.param(), "input");
    EXPECT_NE(refused.message().find("input is for endpoint /v1/responses"), std::string::npos)
        << refused.message();
    const Status limit =
        read_request_options(path_of(endpoint), R"({"max_output_tokens":1})").status();
    EXPECT_NE(limit.message().find("it is max_tokens here"), std::string::npos) << limit.message();
  }
}

}  // namespace
}  // namespace parkd
