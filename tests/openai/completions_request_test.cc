// What a body of /v1/completions may hold, and how every refusal names its field.
#include "lib/openai/completions_request.h"

#include <gtest/gtest.h>

#include <string>
#include <variant>
#include <vector>

#include "lib/job/endpoints.h"

namespace parkd {
namespace {

Result<CompletionsRequest> parse(const std::string& body) {
  return parse_completions_request(body, {});
}

// Of a body with a prompt and these further members.
Result<CompletionsRequest> parse_with(const std::string& members) {
  return parse(R"({"prompt":"Once")" + (members.empty() ? "" : "," + members) + "}");
}

using Tokens = std::vector<TokenId>;

TEST(CompletionsRequest, a_prompt_is_a_text_or_token_ids_or_a_list_of_them_in_its_order) {
  using Prompts = std::vector<CompletionPrompt>;
  struct Read {
    const char* body;
    Prompts prompts;
    bool is_list;
  };
  const Read reads[] = {
      {R"({"prompt":"Once"})", {"Once"}, false},
      {R"({"prompt":["Once"]})", {"Once"}, true},
      {R"({"prompt":[1,2,3.0]})", {Tokens{1, 2, 3}}, false},
      {R"({"prompt":[[7]]})", {Tokens{7}}, true},
      {R"({"prompt":["b","a","b"]})", {"b", "a", "b"}, true},
      {R"({"prompt":[[1],[2,3]],"n":2})", {Tokens{1}, Tokens{2, 3}}, true},
      {R"({"prompt":["a",[5,6]]})", {"a", Tokens{5, 6}}, true},
  };
  for (const Read& each : reads) {
    const auto request = parse(each.body);
    ASSERT_TRUE(request.ok()) << each.body << request.status().to_string();
    EXPECT_EQ(request->prompts, each.prompts) << each.body;
    EXPECT_EQ(request->n_prompts, static_cast<int32_t>(each.prompts.size())) << each.body;
    EXPECT_EQ(request->prompt_is_list, each.is_list) << each.body;
  }
}

// `n` prompts, as a member of a body.
std::string list_of(int n) {
  std::string list;
  for (int i = 0; i < n; ++i)
    list += (i == 0 ? "" : ",") + std::string("\"a prompt of some length\"");
  return R"("prompt":[)" + list + "]";
}

TEST(CompletionsRequest, prompts_and_their_choices_are_bounded_together) {
  EXPECT_EQ(parse("{" + list_of(2048) + "}")->n_prompts, 2048);
  EXPECT_EQ(parse(R"({"n":128,)" + list_of(16) + "}")->n_prompts, 16);
  const Status prompts = parse("{" + list_of(2049) + "}").status();
  EXPECT_EQ(prompts.param(), "prompt");
  EXPECT_EQ(prompts.message(), "prompt has 2049 prompts; the limit is 2048: submit several jobs");
  for (const std::string& body :
       {R"({"n":128,)" + list_of(17) + "}", "{" + list_of(17) + R"(,"n":128})"}) {
    const Status choices = parse(body).status();
    EXPECT_EQ(choices.param(), "prompt");
    EXPECT_EQ(choices.message(),
              "prompt has 17 prompts and n is 128, 2176 choices in all; the limit is 2048: submit "
              "several jobs, or lower n");
  }
}

TEST(CompletionsRequest, a_prompt_that_is_none_is_refused_by_its_place) {
  struct Case {
    const char* body;
    const char* param;
    const char* words;
  };
  const Case cases[] = {
      {R"({})", "prompt", "prompt is missing"},
      {R"({"prompt":null})", "prompt", "prompt is missing"},
      {R"({"prompt":""})", "prompt", "not empty"},
      {R"({"prompt":[]})", "prompt", "an array of token ids"},
      {R"({"prompt":7})", "prompt", "an array of token ids"},
      {R"({"prompt":["a",""]})", "prompt[1]", "not empty"},
      {R"({"prompt":["a",null]})", "prompt[1]", "it must be a text or an array of token ids"},
      {R"({"prompt":[[1],[2],3]})", "prompt[2]", "it must be a text or an array of token ids"},
      {R"({"prompt":["a",[[1]]]})", "prompt[1][0]", "a token id"},
      {R"({"prompt":[1,-2]})", "prompt[1]", "a token id"},
      {R"({"prompt":[1,"a"]})", "prompt[1]", "a token id"},
      {R"({"prompt":[[1,2.5]]})", "prompt[0][1]", "a token id"},
      {R"({"prompt":[[]]})", "prompt[0]", "it must be a text or an array of token ids"},
  };
  for (const Case& each : cases) {
    const Status refused = parse(each.body).status();
    EXPECT_EQ(refused.code(), StatusCode::invalid) << each.body;
    EXPECT_EQ(refused.param(), each.param) << each.body;
    EXPECT_NE(refused.message().find(each.words), std::string::npos) << refused.message();
  }
}

TEST(CompletionsRequest, options_are_those_of_a_chat_but_for_logprobs_and_sixteen_tokens) {
  const auto plain = parse_with("");
  EXPECT_EQ(plain->max_tokens, 16) << "OpenAI's";
  EXPECT_FALSE(plain->sampling.logprobs);
  RequestDefaults defaults;
  defaults.max_tokens = 99;
  EXPECT_EQ(parse_completions_request(R"({"prompt":"x"})", defaults)->max_tokens, 99);
  const auto full = parse_with(
      R"("model":"m","max_tokens":5,"n":3,"temperature":0.5,"top_p":0.9,"top_k":4,"seed":-1,
         "stop":["a"],"logit_bias":{"7":2},"logprobs":5,"user":"u","echo":false,"suffix":null,
         "best_of":3,"stream":false)");
  ASSERT_TRUE(full.ok()) << full.status().to_string();
  EXPECT_EQ(full->model, "m");
  EXPECT_EQ(full->max_tokens, 5);
  EXPECT_EQ(full->n, 3);
  EXPECT_EQ(full->sampling.top_k, 4);
  EXPECT_EQ(full->seed, ~uint64_t{0});
  EXPECT_EQ(full->stop, std::vector<std::string>{"a"});
  EXPECT_TRUE(full->sampling.logprobs);
  EXPECT_EQ(full->sampling.top_logprobs, 5);
  const auto chosen_alone = parse_with(R"("logprobs":0)");
  EXPECT_TRUE(chosen_alone->sampling.logprobs);
  EXPECT_EQ(chosen_alone->sampling.top_logprobs, 0);
}

TEST(CompletionsRequest, what_is_not_served_is_refused_by_name_with_a_way_out) {
  struct Case {
    const char* members;
    const char* param;
    const char* words;
  };
  const Case cases[] = {
      {R"("echo":true)", "echo", "put it before the text where you want it"},
      {R"("suffix":"x")", "suffix", "only written behind a prompt"},
      {R"("best_of":4)", "best_of", "ask for n choices"},
      {R"("logprobs":true)", "logprobs", "an integer from 0 to 20"},
      {R"("stream":true)", "stream", "into its mailbox as a whole"},
      {R"("messages":[])", "messages", "it is prompt here; messages are for endpoint /v1/chat/"},
      {R"("max_completion_tokens":5)", "max_completion_tokens", "it is max_tokens here"},
      {R"("top_logprobs":null)", "top_logprobs", "it is logprobs here"},
      {R"("tools":null)", "tools", "not a known field"},
  };
  for (const Case& each : cases) {
    const Status refused = parse_with(each.members).status();
    EXPECT_EQ(refused.param(), each.param) << each.members;
    EXPECT_NE(refused.message().find(each.words), std::string::npos) << refused.message();
  }
}

TEST(CompletionsRequest, best_of_is_judged_beside_n_wherever_it_stands) {
  for (const char* members :
       {R"("best_of":2,"n":2)", R"("n":2,"best_of":2.0)", R"("best_of":null)"}) {
    EXPECT_TRUE(parse_with(members).ok()) << members;
  }
  for (const char* members : {R"("best_of":1,"n":2)", R"("n":2,"best_of":1)"}) {
    const Status refused = parse_with(members).status();
    EXPECT_EQ(refused.param(), "best_of") << members;
    EXPECT_NE(refused.message().find("at least n"), std::string::npos) << refused.message();
  }
  EXPECT_NE(parse_with(R"("best_of":3,"n":2)").status().message().find("ask for n choices"),
            std::string::npos);
  EXPECT_EQ(parse_with(R"("best_of":"2")").status().param(), "best_of");
}

TEST(RequestOptions, what_a_models_own_values_decide_passes_where_they_are_not_known) {
  const auto read = [](const std::string& members) {
    return read_request_options(
        path_of(Endpoint::chat),
        R"({"messages":[{"role":"user","content":"Hi"}],"top_p":0)" + members + "}");
  };
  EXPECT_TRUE(read("").ok()) << "a model's temperature may be 0";
  EXPECT_EQ(read(R"(,"temperature":0.5)").status().param(), "top_p");
}

TEST(RequestOptions, are_read_by_the_endpoints_path) {
  const std::string chat = R"({"messages":[{"role":"user","content":"Hi"}],"n":2})";
  const std::string text = R"({"prompt":"Hi","n":3})";
  EXPECT_EQ(read_request_options(path_of(Endpoint::chat), chat)->n, 2);
  EXPECT_EQ(read_request_options(path_of(Endpoint::completions), text)->n, 3);
  EXPECT_EQ(read_request_options(path_of(Endpoint::chat), text).status().param(), "prompt");
  EXPECT_EQ(read_request_options(path_of(Endpoint::completions), chat).status().param(),
            "messages");
  EXPECT_EQ(read_request_options("/v1/embeddings", text).status().param(), "endpoint");
}

}  // namespace
}  // namespace parkd
