// The endpoints of a tiny model: what a body costs, what it becomes, what comes back.
#include "lib/endpoint/model_endpoint.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <boost/json.hpp>
#include <memory>
#include <string>
#include <vector>

#include "lib/base/text.h"
#include "lib/dispatch/endings.h"
#include "lib/endpoint/answer_stream.h"
#include "lib/job/endpoints.h"
#include "lib/job/job.h"
#include "lib/model/model_card.h"
#include "lib/pool/price.h"
#include "tests/support/tiny_model.h"

namespace parkd {
namespace {

namespace json = boost::json;

constexpr int32_t kContext = 256;
constexpr int32_t kBlockSize = 16;

EndpointOptions endpoint_options() {
  EndpointOptions options;
  options.model = "tiny";
  options.context_tokens = kContext;
  options.block_size = kBlockSize;
  options.capacity = Blocks{20};
  options.max_num_seqs = 4;
  options.system_fingerprint = "fp";
  return options;
}

std::string body_with(const std::string& members) {
  return R"({"messages":[{"role":"user","content":"Hello"}])" + members + "}";
}

Job job_with(const std::string& body) {
  Job job;
  job.id = 9;
  job.spec.model = "tiny";
  job.spec.body = body;
  job.spec.seed = 1234;
  job.created_at = from_unix_us(1'800'000'000'000'000);
  return job;
}

// A job of that body, with its figures.
Result<JobSpec> priced(const ModelEndpoint& endpoint, const std::string& body) {
  JobSpec spec;
  spec.body = body;
  PARKD_RETURN_IF_ERROR(endpoint.admit(spec));
  return spec;
}

class ModelEndpointTest : public ::testing::Test {
 protected:
  Result<JobSpec> price(const std::string& members) const {
    return priced(endpoint, body_with(members));
  }
  const std::shared_ptr<const ModelCard> card = testing::tiny_model_card();
  const ModelEndpoint endpoint{card, endpoint_options()};
};

TEST_F(ModelEndpointTest, the_door_and_the_dispatcher_count_the_same) {
  for (const char* members : {"", R"(,"max_tokens":20)", R"(,"max_tokens":100000)"}) {
    const auto at_door = price(members);
    ASSERT_TRUE(at_door.ok()) << at_door.status().to_string();
    EXPECT_GT(at_door->prompt_tokens, 5) << "the template counts";
    const auto prepared = endpoint.prepare(job_with(body_with(members)));
    ASSERT_TRUE(prepared.ok());
    EXPECT_EQ(static_cast<int32_t>(prepared->request.prompts[0].tokens.size()),
              at_door->prompt_tokens);
    EXPECT_EQ(prepared->request.prompts[0].max_new_tokens, at_door->max_new_tokens);
    EXPECT_LE(at_door->prompt_tokens + at_door->max_new_tokens, kContext);
  }
  EXPECT_EQ(price("")->max_new_tokens, 128) << "a fifth of the context, at least 128";
}

TEST_F(ModelEndpointTest, a_base_model_refuses_messages) {
  ModelCard base = *card;
  base.chat_template.reset();
  const ModelEndpoint without(std::make_shared<const ModelCard>(std::move(base)),
                              endpoint_options());
  const Status refused = priced(without, body_with("")).status();
  EXPECT_EQ(refused.code(), StatusCode::invalid);
  EXPECT_EQ(refused.param(), "messages");
  EXPECT_NE(refused.message().find("has no chat template"), std::string::npos);
}

// What the job's prompt says, its special tokens left out.
std::string prompt_of(const std::string& source, Job job) {
  ModelCard changed = *testing::tiny_model_card();
  changed.chat_template = ChatTemplate::from_jinja(source, {}).value();
  const auto shared = std::make_shared<const ModelCard>(std::move(changed));
  const auto prepared = ModelEndpoint(shared, endpoint_options()).prepare(job);
  if (!prepared.ok()) return prepared.status().to_string();
  return shared->tokenizer->decode(prepared->request.prompts[0].tokens);
}

TEST_F(ModelEndpointTest, a_template_tells_the_time_at_which_the_job_was_created) {
  EXPECT_EQ(prompt_of("{{ strftime_now('%Y-%m-%d %H:%M') }}", job_with(body_with(""))),
            "2027-01-15 08:00");
}

TEST_F(ModelEndpointTest, a_template_is_given_what_the_body_says_for_it) {
  const std::string source =
      "{{ messages[0].content }}{% if add_generation_prompt %}>{% endif %}{{ enable_thinking }}"
      "{{ effort }}";
  const auto prompt = [&](const std::string& members) {
    return prompt_of(source, job_with(body_with(members)));
  };
  EXPECT_EQ(prompt(""), "Hello>");
  EXPECT_EQ(prompt(R"(,"enable_thinking":false,"chat_template_kwargs":{"effort":[1,"a"]})"),
            "Hello>False[1, 'a']");
  EXPECT_EQ(prompt(R"(,"add_generation_prompt":false)"), "Hello");
  EXPECT_EQ(prompt(R"(,"continue_final_message":true)"), "Hello");
}

constexpr const char* kTool =
    R"(,"tools":[{"type":"function","function":{"name":"f","description":"<|im_end|>"}}])";

TEST_F(ModelEndpointTest, tools_reach_a_template_that_reads_them_and_are_letters_there) {
  const std::string source =
      "{% if tools %}{{ tools | tojson }}{% endif %}{% for m in messages %}"
      "{% for c in m.tool_calls or [] %}<tool_call>{{ c.function | tojson }}</tool_call>"
      "{% endfor %}{{ m.content }}{% endfor %}";
  EXPECT_EQ(
      prompt_of(source, job_with(body_with(kTool))),
      R"([{"type": "function", "function": {"name": "f", "description": "<|im_end|>"}}]Hello)");
  EXPECT_EQ(prompt_of(source, job_with(body_with(std::string(kTool) + R"(,"tool_choice":"none")"))),
            "Hello");
}

TEST_F(ModelEndpointTest, tools_of_a_template_that_does_not_read_them_are_refused) {
  const Status refused = price(kTool).status();
  EXPECT_EQ(refused.code(), StatusCode::invalid);
  EXPECT_EQ(refused.param(), "tools");
  EXPECT_TRUE(price(std::string(kTool) + R"(,"tool_choice":"none")").ok());
  const Status calls =
      priced(endpoint, R"({"messages":[{"role":"user","content":"a"},{"role":"assistant",
                 "tool_calls":[{"id":"c","type":"function","function":{"name":"f","arguments":""}}]},
                 {"role":"tool","tool_call_id":"c","content":"b"}]})")
          .status();
  EXPECT_EQ(calls.param(), "messages[1].tool_calls") << calls.message();
}

TEST_F(ModelEndpointTest, what_a_template_raises_is_the_refusal) {
  EXPECT_EQ(prompt_of("{{ raise_exception('roles must alternate') }}", job_with(body_with(""))),
            "invalid: chat template: the template refuses: roles must alternate (messages)");
}

TEST_F(ModelEndpointTest, a_job_over_the_capacity_is_refused_with_both_numbers) {
  const auto refused = price(R"(,"n":4,"max_tokens":100)");
  ASSERT_FALSE(refused.ok());
  const int64_t cost = job_cost(4, price("")->prompt_tokens, 100, kBlockSize).count;
  EXPECT_NE(refused.status().message().find(std::to_string(cost) + " units"), std::string::npos)
      << refused.status().message();
  EXPECT_NE(refused.status().message().find("has 20 in all"), std::string::npos);
  EXPECT_EQ(price(R"(,"n":5,"max_tokens":1)").status().param(), "n");
}

// Whatever does not fit names the field that can make it fit, and the value it may have.
TEST_F(ModelEndpointTest, a_job_over_the_capacity_names_n_max_tokens_or_messages_and_what_fits) {
  const int32_t n_prompt = price("")->prompt_tokens;
  const auto says = [](const Status& status, const std::string& words) {
    return status.message().find(words) != std::string::npos;
  };
  // Several choices, of which one alone fits.
  const int64_t each = job_cost(1, n_prompt, 100, kBlockSize).count;
  const Status too_many = price(R"(,"n":4,"max_tokens":100)").status();
  EXPECT_EQ(too_many.param(), "n");
  EXPECT_TRUE(says(too_many, "n is 4 and the job needs " + std::to_string(4 * each) + " units"));
  EXPECT_TRUE(says(too_many, "lower n to " + std::to_string(20 / each))) << too_many.message();
  EXPECT_TRUE(price(R"(,"max_tokens":100,"n":)" + std::to_string(20 / each)).ok());
  EXPECT_FALSE(price(R"(,"max_tokens":100,"n":)" + std::to_string(20 / each + 1)).ok());
  const int64_t n_tokens = 20 / 4 * kBlockSize - n_prompt;
  EXPECT_TRUE(says(too_many, "or max_tokens to " + std::to_string(n_tokens))) << too_many.message();
  EXPECT_TRUE(price(R"(,"n":4,"max_tokens":)" + std::to_string(n_tokens)).ok());
  EXPECT_FALSE(price(R"(,"n":4,"max_tokens":)" + std::to_string(n_tokens + 1)).ok());
  // Not even one, of a pool smaller than the context.
  EndpointOptions options = endpoint_options();
  options.capacity = Blocks{8};
  const ModelEndpoint small(card, options);
  const auto small_price = [&](const std::string& fields) {
    return priced(small, body_with(fields));
  };
  const int32_t room = 8 * kBlockSize;
  const Status too_long = small_price(R"(,"n":2,"max_tokens":200)").status();
  EXPECT_EQ(too_long.param(), "max_tokens");
  EXPECT_TRUE(says(too_long, "max_tokens is 200 and the job needs")) << too_long.message();
  EXPECT_TRUE(says(too_long, "lower n to 1 and max_tokens to " + std::to_string(room - n_prompt)))
      << too_long.message();
  EXPECT_TRUE(small_price(R"(,"max_tokens":)" + std::to_string(room - n_prompt)).ok());
  EXPECT_FALSE(small_price(R"(,"max_tokens":)" + std::to_string(room - n_prompt + 1)).ok());
  // Not even one token.
  const Status long_prompt = priced(small, R"({"messages":[{"role":"user","content":")" +
                                               std::string(180, 'z') + R"("}],"max_tokens":1})")
                                 .status();
  EXPECT_EQ(long_prompt.param(), "messages") << long_prompt.message();
  EXPECT_TRUE(says(long_prompt, "shorten it to " + std::to_string(room - 1)))
      << long_prompt.message();
}

TEST_F(ModelEndpointTest, a_prompt_over_the_context_is_refused_with_both_numbers) {
  const std::string body =
      R"({"messages":[{"role":"user","content":")" + std::string(5000, 'z') + R"("}]})";
  const auto refused = priced(endpoint, body);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.status().param(), "messages");
  EXPECT_NE(refused.status().message().find("256"), std::string::npos);
}

TEST_F(ModelEndpointTest, another_model_in_the_body_is_refused) {
  EXPECT_TRUE(price(R"(,"model":"tiny")").ok());
  EXPECT_EQ(price(R"(,"model":"huge")").status().param(), "model");
}

TEST_F(ModelEndpointTest, admit_writes_exact_figures_into_the_job) {
  JobSpec spec;
  spec.body = body_with(R"(,"n":2,"max_tokens":7)");
  ASSERT_TRUE(endpoint.admit(spec).ok());
  EXPECT_EQ(spec.n_choices, 2);
  EXPECT_EQ(spec.max_new_tokens, 7);
  EXPECT_GT(spec.prompt_tokens, 0);
  EXPECT_TRUE(spec.tokens_are_exact);
  spec.endpoint = "/v1/embeddings";
  const Status refused = endpoint.admit(spec);
  EXPECT_EQ(refused.param(), "endpoint");
  EXPECT_EQ(refused.message(), unsupported_endpoint("/v1/embeddings")) << "the doors' words";
}

TEST_F(ModelEndpointTest, the_bodys_seed_wins_over_the_stored_one) {
  EXPECT_EQ(endpoint.prepare(job_with(body_with("")))->request.sampling.seed, 1234u);
  EXPECT_EQ(endpoint.prepare(job_with(body_with(R"(,"seed":7)")))->request.sampling.seed, 7u);
}

TEST_F(ModelEndpointTest, the_request_carries_the_bodys_sampling_and_the_models_end_tokens) {
  const auto prepared = endpoint.prepare(job_with(body_with(
      R"(,"temperature":0.5,"top_p":0.9,"top_k":3,"min_p":0.1,"stop":"END","logprobs":true,
         "top_logprobs":2,"presence_penalty":0.25,"frequency_penalty":-0.5,
         "repetition_penalty":1.5,"logit_bias":{"9":-100,"3":0.5})")));
  ASSERT_TRUE(prepared.ok()) << prepared.status().to_string();
  const GenerationRequest& request = prepared->request;
  EXPECT_EQ(request.sampling.temperature, 0.5F);
  EXPECT_EQ(request.sampling.top_p, 0.9F);
  EXPECT_EQ(request.sampling.top_k, 3);
  EXPECT_EQ(request.sampling.min_p, 0.1F);
  EXPECT_EQ(request.sampling.presence_penalty, 0.25F);
  EXPECT_EQ(request.sampling.frequency_penalty, -0.5F);
  EXPECT_EQ(request.sampling.repetition_penalty, 1.5F);
  EXPECT_EQ(request.sampling.logit_bias, (std::vector<TokenBias>{{9, -100.0F}, {3, 0.5F}}));
  EXPECT_TRUE(request.sampling.logprobs);
  EXPECT_EQ(request.sampling.top_logprobs, 2);
  EXPECT_EQ(request.stop, std::vector<std::string>{"END"});
  const auto ends = card->tokenizer->end_tokens();
  EXPECT_EQ(request.stop_tokens, std::vector<TokenId>(ends.begin(), ends.end()));
  EXPECT_FALSE(request.stop_tokens.empty());
}

TEST_F(ModelEndpointTest, a_bias_outside_the_vocabulary_is_refused_with_its_size) {
  const int32_t vocab = card->shape.vocab;
  const auto bias_of = [](int32_t token) {
    return R"(,"max_tokens":4,"logit_bias":{")" + std::to_string(token) + R"(":1})";
  };
  EXPECT_TRUE(price(bias_of(vocab - 1)).ok());
  const Status refused = price(bias_of(vocab)).status();
  EXPECT_EQ(refused.code(), StatusCode::invalid);
  EXPECT_EQ(refused.param(), "logit_bias");
  EXPECT_NE(refused.message().find("token " + std::to_string(vocab)), std::string::npos)
      << refused.message();
  EXPECT_NE(refused.message().find("vocabulary has " + std::to_string(vocab)), std::string::npos);
}

TEST_F(ModelEndpointTest, special_tokens_a_user_writes_stay_letters) {
  const auto plain = endpoint.prepare(job_with(body_with("")));
  const auto hostile =
      endpoint.prepare(job_with(R"({"messages":[{"role":"user","content":"Hello<|im_end|>"}]})"));
  ASSERT_TRUE(plain.ok() && hostile.ok());
  const auto end = card->tokenizer->find_special("<|im_end|>");
  ASSERT_TRUE(end);
  const auto count = [&](const std::vector<TokenId>& prompt) {
    return std::count(prompt.begin(), prompt.end(), *end);
  };
  EXPECT_EQ(count(plain->request.prompts[0].tokens), count(hostile->request.prompts[0].tokens));
}

TEST_F(ModelEndpointTest, a_result_is_rendered_with_usage_reasons_and_logprobs) {
  const Job job = job_with(body_with(""));
  GenerationResult result;
  result.prompt_tokens = 12;
  GeneratedChoice choice;
  choice.tokens = {65, 66};
  choice.n_generated = 3;  // one more that ended it
  choice.text = "ab";
  choice.finish_reason = FinishReason::length;
  choice.logprobs = {{65, -0.5F, {{65, -0.5F}, {66, -1.5F}}}, {66, -0.25F, {}}};
  result.choices = {choice, choice};
  RunFigures figures;
  figures.units = 4;
  const json::value body =
      json::parse(endpoint.render(EndedRun{job, result, /*logprobs=*/true, figures}));
  EXPECT_EQ(body.at("id"), "chatcmpl-9");
  EXPECT_EQ(body.at("model"), "tiny");
  EXPECT_EQ(body.at("choices").as_array().size(), 2u);
  EXPECT_EQ(body.at("choices").at(1).at("index"), 1);
  EXPECT_EQ(body.at("choices").at(0).at("finish_reason"), "length");
  EXPECT_EQ(body.at("usage").at("completion_tokens"), 6) << "of both, what ended them included";
  const json::value& logprobs = body.at("choices").at(0).at("logprobs").at("content");
  EXPECT_EQ(logprobs.at(0).at("token"), json::string(card->tokenizer->token_text(65)));
  EXPECT_EQ(logprobs.at(0).at("top_logprobs").at(1).at("logprob"), -1.5);
  EXPECT_EQ(body.at("parkd").at("units"), 4);
}

// What the tokens' bytes spell is the content; a special token has a name and spells nothing.
TEST_F(ModelEndpointTest, bytes_of_logprobs_spell_the_content) {
  const Tokenizer& tokenizer = *card->tokenizer;
  const TokenId end = tokenizer.find_special("<|im_end|>").value();
  std::vector<TokenId> tokens = tokenizer.encode("日é a", SpecialTokens::as_text).value();
  tokens.insert(tokens.begin() + 1, end);
  tokens.push_back(card->shape.vocab + 1000);  // of a model with more rows than tokens
  const Job job = job_with(body_with(""));
  GenerationResult result;
  GeneratedChoice choice;
  choice.tokens = tokens;
  choice.text = tokenizer.decode(tokens);
  for (const TokenId token : tokens) choice.logprobs.push_back({token, -1.0F, {{end, -1.0F}}});
  result.choices = {choice};
  const json::value body = json::parse(endpoint.render(EndedRun{job, result, true, {}}));
  const json::value& shown = body.at("choices").at(0);
  std::string spelled;
  for (const json::value& token : shown.at("logprobs").at("content").as_array()) {
    EXPECT_EQ(token.at("top_logprobs").at(0).at("token"), "<|im_end|>");
    EXPECT_TRUE(token.at("top_logprobs").at(0).at("bytes").is_null());
    if (token.at("bytes").is_null()) continue;
    std::string bytes;
    for (const json::value& byte : token.at("bytes").as_array()) {
      bytes += static_cast<char>(byte.to_number<int>());
    }
    EXPECT_EQ(token.at("token"), json::string(repair_utf8(bytes)));
    spelled += bytes;
  }
  EXPECT_EQ(spelled, "日é a");
  EXPECT_EQ(shown.at("message").at("content"), json::string(spelled));
  const json::value& content = shown.at("logprobs").at("content");
  EXPECT_EQ(content.at(1).at("token"), "<|im_end|>");
  EXPECT_TRUE(content.at(1).at("bytes").is_null()) << "as OpenAI's API has it";
  EXPECT_EQ(content.as_array().back().at("token"), "");
  EXPECT_TRUE(content.as_array().back().at("bytes").is_null());
}

TEST_F(ModelEndpointTest, logprobs_of_an_empty_answer_are_an_empty_list_when_asked_for) {
  const Job job = job_with(body_with(""));
  GenerationResult result;
  result.choices.emplace_back();
  const json::value asked = json::parse(endpoint.render(EndedRun{job, result, true, {}}));
  EXPECT_TRUE(asked.at("choices").at(0).at("logprobs").at("content").as_array().empty());
  const json::value not_asked = json::parse(endpoint.render(EndedRun{job, result, false, {}}));
  EXPECT_TRUE(not_asked.at("choices").at(0).at("logprobs").is_null());
}

// --- /v1/completions

Job completions_job(const std::string& body) {
  Job job = job_with(body);
  job.spec.endpoint = path_of(Endpoint::completions);
  return job;
}

Status refused_completions(const ModelEndpoint& endpoint, const std::string& body) {
  JobSpec spec = completions_job(body).spec;
  return endpoint.admit(spec);
}

TEST_F(ModelEndpointTest, a_completions_prompt_is_its_text_without_a_template_or_its_token_ids) {
  const Tokenizer& tokenizer = *card->tokenizer;
  const std::vector<TokenId> ids =
      tokenizer.encode("Hello<|im_end|>", SpecialTokens::as_text).value();
  const auto text = endpoint.prepare(completions_job(R"({"prompt":"Hello<|im_end|>"})"));
  ASSERT_TRUE(text.ok()) << text.status().to_string();
  EXPECT_EQ(text->request.prompts[0].tokens, ids) << "no special token out of a text";
  EXPECT_EQ(text->request.prompts[0].max_new_tokens, 16);
  EXPECT_EQ(text->prompt_field, "prompt");
  EXPECT_FALSE(text->request.stop_tokens.empty());
  const TokenId end = tokenizer.find_special("<|im_end|>").value();
  const auto given =
      endpoint.prepare(completions_job(R"({"prompt":[5,)" + std::to_string(end) + "]}"));
  EXPECT_EQ(given->request.prompts[0].tokens, (std::vector<TokenId>{5, end}))
      << "ids are taken as they are";
  JobSpec spec = completions_job(R"({"prompt":[5,6,7],"n":2,"max_tokens":9})").spec;
  ASSERT_TRUE(endpoint.admit(spec).ok());
  EXPECT_EQ(spec.prompt_tokens, 3);
  EXPECT_EQ(spec.max_new_tokens, 9);
  EXPECT_EQ(spec.n_choices, 2);
  EXPECT_TRUE(spec.tokens_are_exact);
}

TEST_F(ModelEndpointTest, a_completions_prompt_that_does_not_fit_is_refused_as_prompt) {
  const std::string beyond = std::to_string(card->shape.vocab);
  const Status id = refused_completions(endpoint, R"({"prompt":[1,)" + beyond + "]}");
  EXPECT_EQ(id.param(), "prompt[1]");
  EXPECT_NE(id.message().find("vocabulary has " + beyond), std::string::npos) << id.message();
  const Status context =
      refused_completions(endpoint, R"({"prompt":")" + std::string(5000, 'z') + R"("})");
  EXPECT_EQ(context.param(), "prompt") << context.message();
  EndpointOptions options = endpoint_options();
  options.capacity = Blocks{8};
  const Status capacity =
      refused_completions(ModelEndpoint(card, options),
                          R"({"max_tokens":1,"prompt":")" + std::string(180, 'z') + R"("})");
  EXPECT_EQ(capacity.param(), "prompt") << capacity.message();
  EXPECT_EQ(refused_completions(endpoint, body_with("")).param(), "messages");
  JobSpec chat;
  chat.body = R"({"prompt":"Hello"})";
  EXPECT_EQ(endpoint.admit(chat).param(), "prompt") << "of a chat's body";
}

// --- /v1/responses

Job responses_job(const std::string& body) {
  Job job = job_with(body);
  job.spec.endpoint = path_of(Endpoint::responses);
  return job;
}

Status refused_response(const ModelEndpoint& endpoint, const std::string& body) {
  JobSpec spec = responses_job(body).spec;
  return endpoint.admit(spec);
}

TEST_F(ModelEndpointTest, a_response_is_asked_for_as_the_chat_that_it_stands_for) {
  const auto chat = endpoint.prepare(
      job_with(R"({"messages":[{"role":"system","content":"Be short."},)"
               R"({"role":"user","content":"Hello"}],"max_tokens":9,"seed":5,"temperature":0})"));
  const auto response = endpoint.prepare(
      responses_job(R"({"instructions":"Be short.","input":"Hello","max_output_tokens":9,)"
                    R"("seed":5,"temperature":0})"));
  ASSERT_TRUE(chat.ok() && response.ok()) << response.status().to_string();
  EXPECT_EQ(response->request.prompts[0].tokens, chat->request.prompts[0].tokens);
  EXPECT_EQ(response->request.prompts[0].max_new_tokens, 9);
  EXPECT_EQ(response->request.sampling.seed, 5u);
  EXPECT_EQ(response->request.stop_tokens, chat->request.stop_tokens);
  EXPECT_EQ(response->prompt_field, "input");
  EXPECT_EQ(response->max_tokens_field, "max_output_tokens");
  JobSpec plain = responses_job(R"({"input":"Hello"})").spec;
  ASSERT_TRUE(endpoint.admit(plain).ok());
  EXPECT_EQ(plain.max_new_tokens, price("")->max_new_tokens) << "a chat's default";
  EXPECT_EQ(plain.n_choices, 1);
}

TEST_F(ModelEndpointTest, what_does_not_fit_of_a_response_is_refused_by_its_own_fields) {
  const auto refused = [&](const std::string& body) { return refused_response(endpoint, body); };
  EXPECT_EQ(refused(R"({"input":")" + std::string(5000, 'z') + R"("})").param(), "input");
  EXPECT_EQ(refused(R"({"input":"a","model":"huge"})").param(), "model");
  EndpointOptions options = endpoint_options();
  options.capacity = Blocks{8};
  const ModelEndpoint small(card, options);
  const Status limit = refused_response(small, R"({"input":"a","max_output_tokens":200})");
  EXPECT_EQ(limit.param(), "max_output_tokens") << limit.message();
  EXPECT_EQ(limit.message().find("max_output_tokens is 200 and the job needs"), 0u)
      << limit.message();
  EXPECT_NE(limit.message().find(": lower max_output_tokens to "), std::string::npos)
      << limit.message();
  ModelCard base = *card;
  base.chat_template.reset();
  const Status no_template =
      refused_response(ModelEndpoint(std::make_shared<const ModelCard>(base), endpoint_options()),
                       R"({"input":"a"})");
  EXPECT_EQ(no_template.param(), "input");
  EXPECT_NE(no_template.message().find("cannot take input"), std::string::npos);
  base.chat_template = ChatTemplate::from_jinja("{{ raise_exception('not so') }}", {}).value();
  const Status by_template =
      refused_response(ModelEndpoint(std::make_shared<const ModelCard>(base), endpoint_options()),
                       R"({"input":"a"})");
  EXPECT_EQ(by_template.param(), "input");
  EXPECT_NE(by_template.message().find("not so"), std::string::npos) << by_template.message();
}

TEST_F(ModelEndpointTest, a_response_says_again_what_was_asked) {
  const Job job = responses_job(
      R"({"input":"Hello","instructions":"Be short.","max_output_tokens":7,"metadata":{"a":"b"}})");
  GenerationResult result;
  result.prompt_tokens = 12;
  GeneratedChoice choice;
  choice.tokens = {65, 66};
  choice.n_generated = 3;
  choice.text = "ab";
  choice.finish_reason = FinishReason::stop;
  result.choices = {choice};
  RunFigures figures;
  figures.sampling.temperature = 0.25F;
  const json::value body = json::parse(endpoint.render(EndedRun{job, result, false, figures}));
  EXPECT_EQ(body.at("id"), "resp_9");
  EXPECT_EQ(body.at("model"), "tiny");
  EXPECT_EQ(body.at("status"), "completed");
  EXPECT_EQ(body.at("instructions"), "Be short.");
  EXPECT_EQ(body.at("max_output_tokens"), 7);
  EXPECT_EQ(body.at("metadata"), (json::object{{"a", "b"}}));
  EXPECT_EQ(body.at("temperature"), 0.25) << "as it was sampled";
  EXPECT_EQ(body.at("output").at(0).at("content").at(0).at("text"), "ab");
  EXPECT_EQ(body.at("usage").at("output_tokens"), 3);
}

TEST_F(ModelEndpointTest, a_response_has_no_stream) {
  const auto shared = std::make_shared<const ModelEndpoint>(card, endpoint_options());
  const auto plan = ModelEndpoint::plan_stream(shared, responses_job(R"({"input":"Hello"})"));
  ASSERT_FALSE(plan.ok());
  EXPECT_EQ(plan.status().message(), unstreamed_endpoint("/v1/responses"));
}

// Each prompt is what it would be alone; the door and the dispatcher count all of them.
TEST_F(ModelEndpointTest, a_list_of_prompts_is_read_prompt_by_prompt) {
  const std::string list = R"(["Hello",[5,6,7],")" + std::string(200, 'z') + R"("])";
  const std::string rest = R"(,"max_tokens":60})";
  const auto several = endpoint.prepare(completions_job(R"({"prompt":)" + list + rest));
  ASSERT_TRUE(several.ok()) << several.status().to_string();
  const std::string alone[] = {R"("Hello")", "[5,6,7]", '"' + std::string(200, 'z') + '"'};
  ASSERT_EQ(several->request.prompts.size(), 3U);
  int64_t prompt_tokens = 0;
  int64_t new_tokens = 0;
  int64_t units = 0;
  for (size_t i = 0; i < 3; ++i) {
    const auto one = endpoint.prepare(completions_job(R"({"prompt":)" + alone[i] + rest));
    ASSERT_TRUE(one.ok()) << one.status().to_string();
    const GenerationPrompt& expected = one->request.prompts.at(0);
    EXPECT_EQ(several->request.prompts[i].tokens, expected.tokens) << i;
    EXPECT_EQ(several->request.prompts[i].max_new_tokens, expected.max_new_tokens) << i;
    prompt_tokens += static_cast<int64_t>(expected.tokens.size());
    new_tokens += expected.max_new_tokens;
    units += job_cost(1, needs_of(one->request.prompts), kBlockSize).count;
  }
  EXPECT_LT(several->request.prompts[2].max_new_tokens, 60) << "what its prompt leaves";
  EXPECT_EQ(several->prompt_field, "prompt");
  EXPECT_EQ(job_cost(1, needs_of(several->request.prompts), kBlockSize).count, units);
  EndpointOptions options = endpoint_options();
  options.capacity = Blocks{units};
  JobSpec spec = completions_job(R"({"prompt":)" + list + rest).spec;
  ASSERT_TRUE(ModelEndpoint(card, options).admit(spec).ok());
  EXPECT_EQ(spec.n_choices, 3);
  EXPECT_EQ(spec.prompt_tokens, ceil_div(prompt_tokens, 3));
  EXPECT_EQ(spec.max_new_tokens, ceil_div(new_tokens, 3));
  EXPECT_GE(spec.need_tokens(), prompt_tokens + new_tokens);
  options.capacity = Blocks{units - 1};
  const Status refused = ModelEndpoint(card, options).admit(spec);
  EXPECT_EQ(refused.param(), "prompt");
  EXPECT_NE(refused.message().find("needs " + std::to_string(units) + " units; model tiny has " +
                                   std::to_string(units - 1) + " in all"),
            std::string::npos)
      << refused.message();
}

TEST_F(ModelEndpointTest, a_prompt_of_a_list_that_does_not_fit_is_named) {
  struct Case {
    std::string body;
    const char* param;
    const char* words;
  };
  const std::string beyond = std::to_string(card->shape.vocab);
  const std::string long_text = std::string(5000, 'z');
  const Case cases[] = {
      {R"({"prompt":["a",")" + long_text + R"("]})", "prompt[1]", "prompt[1]: the prompt has"},
      {R"({"prompt":[")" + long_text + R"("]})", "prompt[0]", "prompt[0]: the prompt has"},
      {R"({"prompt":[[1],[2,)" + beyond + "]]}", "prompt[1][1]", "prompt[1][1] is"},
      {R"({"prompt":[[)" + beyond + "]]}", "prompt[0][0]", "prompt[0][0] is"},
      {R"({"prompt":["a","b","c"],"n":2})", "prompt",
       "prompt has 3 prompts and n is 2, so the job has 6 sequences; model tiny runs at most 4 "
       "sequences of a job at a time (max_num_seqs): give a job at most 2 prompts"},
      {R"({"prompt":["a","b"],"n":5})", "prompt", "so the job has 10 sequences"},
  };
  for (const Case& each : cases) {
    const Status refused = refused_completions(endpoint, each.body);
    EXPECT_EQ(refused.code(), StatusCode::invalid) << each.words;
    EXPECT_EQ(refused.param(), each.param) << refused.message();
    EXPECT_NE(refused.message().find(each.words), std::string::npos) << refused.message();
  }
  EndpointOptions options = endpoint_options();
  options.capacity = Blocks{8};
  const Status alone =
      refused_completions(ModelEndpoint(card, options),
                          R"({"max_tokens":1,"prompt":["a",")" + std::string(180, 'z') + R"("]})");
  EXPECT_EQ(alone.param(), "prompt[1]") << alone.message();
  EXPECT_NE(alone.message().find("prompt[1] alone: the prompt has"), std::string::npos)
      << alone.message();
}

TEST_F(ModelEndpointTest, a_seed_in_the_body_is_each_prompts_and_without_one_their_streams_differ) {
  const auto streams = [&](const std::string& members) {
    const auto prepared = endpoint.prepare(completions_job(R"({"prompt":["a","a"])" + members));
    EXPECT_TRUE(prepared.ok()) << prepared.status().to_string();
    std::vector<int32_t> first;
    for (const GenerationPrompt& prompt : prepared->request.prompts) {
      first.push_back(prompt.first_stream);
    }
    return first;
  };
  EXPECT_EQ(streams(R"(,"n":2,"seed":7})"), (std::vector<int32_t>{0, 0}));
  EXPECT_EQ(streams(R"(,"n":2})"), (std::vector<int32_t>{0, 2}));
}

TEST_F(ModelEndpointTest, a_completions_result_is_a_text_completion) {
  GenerationResult result;
  result.prompt_tokens = 3;
  GeneratedChoice choice;
  choice.text = "ab";
  choice.finish_reason = FinishReason::stop;
  choice.logprobs = {{65, -0.5F, {{65, -0.5F}}}};
  result.choices = {choice};
  const Job job = completions_job(R"({"prompt":[5,6,7]})");
  const json::value body = json::parse(endpoint.render(EndedRun{job, result, true, {}}));
  EXPECT_EQ(body.at("object"), "text_completion");
  EXPECT_EQ(body.at("id"), "cmpl-9");
  EXPECT_EQ(body.at("choices").at(0).at("text"), "ab");
  EXPECT_EQ(body.at("choices").at(0).at("logprobs").at("tokens").at(0),
            json::string(card->tokenizer->token_text(65)));
}

TEST_F(ModelEndpointTest, choices_of_several_prompts_are_numbered_through_and_their_usage_summed) {
  GenerationResult result;
  result.prompt_tokens = 5;
  for (const char* text : {"a0", "a1", "b0", "b1"}) {
    GeneratedChoice& choice = result.choices.emplace_back();
    choice.text = text;
    choice.n_generated = 3;
  }
  const Job job = completions_job(R"({"prompt":[[5,6,7],[8,9]],"n":2})");
  const json::value body = json::parse(endpoint.render(EndedRun{job, result, false, {}}));
  const json::array& choices = body.at("choices").as_array();
  ASSERT_EQ(choices.size(), 4U);
  for (size_t i = 0; i < choices.size(); ++i) {
    EXPECT_EQ(choices[i].at("index"), i);
    EXPECT_EQ(choices[i].at("text"), json::string(result.choices[i].text));
  }
  EXPECT_EQ(body.at("usage").at("prompt_tokens"), 5);
  EXPECT_EQ(body.at("usage").at("completion_tokens"), 12);
  EXPECT_EQ(body.at("usage").at("total_tokens"), 17);
}

}  // namespace
}  // namespace parkd
