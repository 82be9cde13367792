// What a model wrote, in the fields of an answer: reasoning, calls, content, and their tokens.
#include <gtest/gtest.h>

#include <boost/json.hpp>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "lib/endpoint/model_endpoint.h"
#include "lib/job/endpoints.h"
#include "lib/job/job.h"
#include "lib/model/model_card.h"
#include "tests/endpoint/answer_models.h"
#include "tests/support/tiny_model.h"

namespace parkd {
namespace {

namespace json = boost::json;
using testing::card_of;
using testing::endpoint_options;
using testing::kHermes;
using testing::kMistral;
using testing::spaced_tokenizer;

constexpr const char* kTools = R"(,"tools":[{"type":"function","function":{"name":"get"}}])";

std::string body_with(const std::string& members) {
  return R"({"messages":[{"role":"user","content":"Hello"}])" + members + "}";
}

struct Model {
  explicit Model(const std::shared_ptr<const ModelCard>& made)
      : card(made), endpoint(made, endpoint_options()) {}

  // A choice of the tokens that spell `text`, with marks of the vocabulary as tokens.
  GeneratedChoice choice_of(const std::string& text) const {
    GeneratedChoice choice;
    choice.tokens = card->tokenizer->encode(text, SpecialTokens::parsed).value();
    for (const TokenId token : choice.tokens) {
      choice.n_text_bytes += card->tokenizer->token_bytes(token).size();
      choice.text += card->tokenizer->token_bytes(token);
      choice.logprobs.push_back({token, -1, {}});
    }
    choice.n_generated = static_cast<int32_t>(choice.tokens.size()) + 1;
    return choice;
  }

  json::value answer(const std::string& body, std::vector<GeneratedChoice> choices,
                     const std::string& path = "", bool logprobs = false) const {
    Job job;
    job.id = 9;
    job.spec.model = "tiny";
    job.spec.body = body;
    if (!path.empty()) job.spec.endpoint = path;
    GenerationResult result;
    result.choices = std::move(choices);
    return json::parse(endpoint.render(EndedRun{job, result, logprobs, {}}));
  }
  json::value answer(const std::string& body, const std::string& text) const {
    return answer(body, std::vector<GeneratedChoice>{choice_of(text)}).at("choices").at(0);
  }

  std::shared_ptr<const ModelCard> card;
  ModelEndpoint endpoint;
};

const std::string kCall = "<tool_call>{\"name\": \"get\", \"arguments\": {\"a\": 1.0}}</tool_call>";

TEST(Answers, the_form_is_what_the_template_writes) {
  const auto form_of = [](const char* source) {
    return Model(card_of(source)).endpoint.answer_form();
  };
  EXPECT_EQ(to_string(form_of(kHermes).calls), "hermes");
  EXPECT_EQ(form_of(kHermes).reasoning, "think");
  EXPECT_EQ(to_string(form_of(kMistral).calls), "mistral");
  EXPECT_EQ(form_of(kMistral).reasoning, "") << "neither the template nor the vocabulary has it";
  EXPECT_EQ(Model(card_of(kMistral, spaced_tokenizer())).endpoint.answer_form().reasoning,
            "mistral");
  EXPECT_EQ(to_string(form_of("{{ tools }}{% for m in messages %}{% for c in m.tool_calls or [] %}"
                              "{\"name\": \"{{ c.function.name }}\", \"parameters\": "
                              "{{ c.function.arguments | tojson }}}{% endfor %}{% endfor %}")
                          .calls),
            "llama3");
  EXPECT_EQ(to_string(form_of("{{ tools }}{% for m in messages %}{% for c in m.tool_calls or [] %}"
                              "<tool_call><function={{ c.function.name }}>"
                              "{{ c.function.arguments | tojson }}{% endfor %}{% endfor %}")
                          .calls),
            "");
  EXPECT_EQ(to_string(form_of("{{ messages[0].content }}").calls), "");
}

TEST(Answers, tools_of_a_model_whose_calls_could_not_be_read_are_refused) {
  const Model model(card_of(
      "{{ tools }}{% for m in messages %}{% for c in m.tool_calls or [] %}!{{ c.function.name }}"
      "{{ c.function.arguments | tojson }}{% endfor %}{% endfor %}"));
  JobSpec spec;
  spec.body = body_with(kTools);
  const Status refused = model.endpoint.admit(spec);
  EXPECT_EQ(refused.param(), "tools");
  EXPECT_NE(refused.message().find("hermes, mistral and llama3"), std::string::npos);
  spec.body = body_with(std::string(kTools) + R"(,"tool_choice":"none")");
  EXPECT_TRUE(model.endpoint.admit(spec).ok());
}

TEST(Answers, calls_are_openais_and_the_content_beside_them_null) {
  const json::value choice = Model(card_of(kHermes)).answer(body_with(kTools), "\n" + kCall);
  EXPECT_EQ(choice.at("finish_reason"), "tool_calls");
  EXPECT_TRUE(choice.at("message").at("content").is_null());
  const json::value& call = choice.at("message").at("tool_calls").at(0);
  EXPECT_EQ(call.at("type"), "function");
  EXPECT_EQ(call.at("function").at("name"), "get");
  EXPECT_EQ(call.at("function").at("arguments"), "{\"a\": 1.0}") << "as the model wrote it";
  EXPECT_EQ(choice.as_object().if_contains("invalid_tool_calls"), nullptr);
}

TEST(Answers, the_ids_of_calls_are_nine_characters_of_the_body_and_the_place) {
  const Model model(card_of(kHermes));
  const auto ids = [&](const std::string& body) {
    std::vector<std::string> all;
    const json::value answer =
        model.answer(body, std::vector<GeneratedChoice>(2, model.choice_of(kCall + kCall)));
    for (const json::value& choice : answer.at("choices").as_array()) {
      for (const json::value& call : choice.at("message").at("tool_calls").as_array()) {
        all.emplace_back(call.at("id").as_string());
      }
    }
    return all;
  };
  const auto first = ids(body_with(kTools));
  ASSERT_EQ(first.size(), 4U);
  EXPECT_EQ(ids(body_with(kTools)), first);
  const auto other = ids(body_with(kTools + std::string(R"(,"seed":1)")));
  for (size_t i = 0; i < first.size(); ++i) {
    EXPECT_EQ(first[i].size(), 9U);
    for (const char c : first[i]) EXPECT_TRUE(std::isalnum(static_cast<unsigned char>(c)));
    for (size_t j = i + 1; j < first.size(); ++j) EXPECT_NE(first[i], first[j]);
    EXPECT_NE(first[i], other[i]);
  }
}

TEST(Answers, calls_are_only_read_where_tools_may_be_called) {
  const Model model(card_of(kHermes));
  for (const std::string& members :
       {std::string(), std::string(kTools) + R"(,"tool_choice":"none")"}) {
    const json::value choice = model.answer(body_with(members), kCall);
    EXPECT_EQ(choice.at("message").at("content"), json::string(kCall)) << members;
    EXPECT_EQ(choice.at("finish_reason"), "stop");
  }
  const json::value one = model.answer(
      body_with(std::string(kTools) + R"(,"parallel_tool_calls":false)"), kCall + kCall);
  EXPECT_EQ(one.at("message").at("tool_calls").as_array().size(), 1U);
}

TEST(Answers, an_invalid_call_stays_text_and_the_choice_says_why) {
  const std::string text = "<tool_call>{\"name\": \"drop\", \"arguments\": {}}</tool_call>";
  const json::value choice = Model(card_of(kHermes)).answer(body_with(kTools), text);
  EXPECT_EQ(choice.at("message").at("content"), json::string(text));
  EXPECT_EQ(choice.at("finish_reason"), "stop");
  EXPECT_EQ(choice.at("invalid_tool_calls"), json::array({"\"drop\" is none of the tools"}));
}

TEST(Answers, an_answer_that_is_cut_says_so_before_its_calls) {
  const Model model(card_of(kHermes));
  GeneratedChoice cut = model.choice_of(kCall + kCall.substr(0, 19));
  cut.finish_reason = FinishReason::length;
  const json::value answer = model.answer(body_with(kTools), {cut});
  const json::value& choice = answer.at("choices").at(0);
  EXPECT_EQ(choice.at("finish_reason"), "length");
  EXPECT_EQ(choice.at("message").at("tool_calls").as_array().size(), 1U);
  EXPECT_EQ(choice.at("message").at("content"), json::string(kCall.substr(0, 19)));
  EXPECT_EQ(choice.at("invalid_tool_calls").as_array().size(), 1U);
}

TEST(Answers, what_a_stop_string_cut_off_is_in_no_field) {
  const Model model(card_of(kHermes));
  GeneratedChoice choice = model.choice_of("<think>a</think>bEND");
  choice.n_text_bytes -= 3;  // the tokens of a match may stay
  choice.text.resize(choice.n_text_bytes);
  const json::value answer = model.answer(body_with(""), {choice});
  EXPECT_EQ(answer.at("choices").at(0).at("message").at("content"), "b");
  EXPECT_EQ(answer.at("choices").at(0).at("message").at("reasoning"), "a");
}

TEST(Answers, what_is_reasoned_is_counted_and_shown_apart) {
  const Model model(card_of(kHermes));
  const GeneratedChoice choice = model.choice_of("<think>\nwhy\n</think>\n\nSo.");
  const json::value answer = model.answer(body_with(""), {choice, choice}, "", true);
  const json::value& message = answer.at("choices").at(1).at("message");
  EXPECT_EQ(message.at("reasoning"), "why");
  EXPECT_EQ(message.at("content"), "So.");
  const auto n = static_cast<int64_t>(model.choice_of("<think>\nwhy\n</think>").tokens.size());
  EXPECT_EQ(answer.at("usage").at("completion_tokens_details").at("reasoning_tokens"), 2 * n);
  EXPECT_EQ(answer.at("choices").at(0).at("logprobs").at("content").as_array().size(),
            choice.tokens.size())
      << "logprobs are of all tokens";
  EXPECT_EQ(Model(card_of("{{ messages[0].content }}"))
                .answer(body_with(""), {choice})
                .at("usage")
                .as_object()
                .if_contains("completion_tokens_details"),
            nullptr);
}

TEST(Answers, reasoning_that_the_template_opened_has_no_opening_mark) {
  const Model model(card_of(kHermes));
  const std::string text = "why</think>So.";
  const json::value opened = model.answer(body_with(R"(,"enable_thinking":true)"), text);
  EXPECT_EQ(opened.at("message").at("reasoning"), "why");
  EXPECT_EQ(opened.at("message").at("content"), "So.");
  EXPECT_EQ(model.answer(body_with(""), text).at("message").at("content"), json::string(text));
  const json::value told = model.answer(
      R"({"messages":[{"role":"user","content":"<think>"}],"add_generation_prompt":false})", text);
  EXPECT_EQ(told.at("message").at("content"), json::string(text)) << "a user's mark opens nothing";
  const json::value goes_on = model.answer(
      R"({"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"<think>b"}],
          "continue_final_message":true})",
      text);
  EXPECT_EQ(goes_on.at("message").at("reasoning"), "why");
}

TEST(Answers, marks_that_are_hidden_tokens_are_seen) {
  const Model model(card_of(kMistral, spaced_tokenizer()));
  const json::value choice =
      model.answer(body_with(kTools), "[THINK]hm[/THINK][TOOL_CALLS]get[ARGS]{\"a\":1}");
  EXPECT_EQ(choice.at("message").at("reasoning"), "hm");
  EXPECT_EQ(choice.at("message").at("tool_calls").at(0).at("function").at("name"), "get");
  GeneratedChoice spelled;
  spelled.tokens =
      model.card->tokenizer->encode("[THINK]b[/THINK]", SpecialTokens::as_text).value();
  spelled.n_text_bytes = 16;
  const json::value letters = model.answer(body_with(""), {spelled});
  EXPECT_EQ(letters.at("choices").at(0).at("message").at("content"), "[THINK]b[/THINK]")
      << "letters of a mark that is a token mean nothing";
}

// Bodies that a template refuses run nowhere: here they tell whether it was asked.
TEST(Answers, only_a_model_that_reasons_has_its_template_rendered_again) {
  const std::string refuses = "{% if refuses %}{{ raise_exception('rendered') }}{% endif %}";
  const std::string body =
      body_with(std::string(kTools) + R"(,"chat_template_kwargs":{"refuses":true})");
  const Model calls(card_of((refuses + kMistral).c_str()));
  ASSERT_FALSE(calls.endpoint.answer_form().reasons());
  const json::value called = calls.answer(body, "[TOOL_CALLS]get[ARGS]{}");
  EXPECT_EQ(called.at("finish_reason"), "tool_calls") << called;
  const Model reasons(card_of((refuses + kHermes).c_str()));
  ::testing::internal::CaptureStderr();
  const json::value text = reasons.answer(body, kCall);
  const std::string logged = ::testing::internal::GetCapturedStderr();
  EXPECT_EQ(text.at("message").at("content").as_string(), kCall);
  EXPECT_NE(logged.find("answer.body_not_read"), std::string::npos) << logged;
  EXPECT_NE(logged.find("rendered"), std::string::npos) << logged;
  const json::value goes_on = reasons.answer(
      body_with(R"(,"continue_final_message":true,"chat_template_kwargs":{"refuses":true})"),
      "<think>a</think>b");
  EXPECT_EQ(goes_on.at("message").at("content"), "b") << goes_on;
}

TEST(Answers, a_completion_is_its_text) {
  const Model model(card_of(kHermes));
  const json::value answer = model.answer(
      R"({"prompt":"a"})", {model.choice_of("<think>b</think>c")}, path_of(Endpoint::completions));
  EXPECT_EQ(answer.at("choices").at(0).at("text"), "<think>b</think>c");
}

TEST(Answers, what_a_response_reasoned_is_an_item_before_its_message) {
  const Model model(card_of(kHermes));
  const json::value answer =
      model.answer(R"({"input":"a"})", {model.choice_of("<think>b</think>c" + kCall)},
                   path_of(Endpoint::responses));
  const json::array& output = answer.at("output").as_array();
  ASSERT_EQ(output.size(), 2u) << answer;
  EXPECT_EQ(output[0].at("type"), "reasoning");
  EXPECT_EQ(output[0].at("content").at(0).at("text"), "b");
  EXPECT_EQ(output[1].at("type"), "message");
  EXPECT_EQ(output[1].at("content").at(0).at("text").as_string(), "c" + kCall)
      << "calls are only text, as there are no tools";
  EXPECT_GT(answer.at("usage").at("output_tokens_details").at("reasoning_tokens").as_int64(), 0);
  const json::value plain =
      model.answer(R"({"input":"a"})", {model.choice_of("c")}, path_of(Endpoint::responses));
  EXPECT_EQ(plain.at("output").as_array().size(), 1u) << plain;
}

// --- the space that SentencePiece puts before a text

TEST(Answers, an_answer_is_a_text_of_its_own_and_begins_without_the_vocabularys_space) {
  const Model model(card_of(kMistral, spaced_tokenizer()));
  const auto drops = [&](const std::string& body, const std::string& path) {
    Job job;
    job.spec.model = "tiny";
    job.spec.body = body;
    job.spec.endpoint = path;
    const auto prepared = model.endpoint.prepare(job);
    EXPECT_TRUE(prepared.ok()) << prepared.status().to_string();
    return prepared->request.drops_first_space;
  };
  const std::string chat = path_of(Endpoint::chat);
  EXPECT_TRUE(drops(body_with(""), chat));
  EXPECT_FALSE(drops(body_with(R"(,"continue_final_message":true)"), chat)) << "it goes on";
  EXPECT_FALSE(drops(R"({"prompt":"Once"})", path_of(Endpoint::completions))) << "it goes on";
  Job job;
  job.spec.model = "tiny";
  job.spec.body = body_with("");
  EXPECT_FALSE(Model(card_of(kHermes)).endpoint.prepare(job)->request.drops_first_space);
}

TEST(Answers, bytes_of_logprobs_spell_an_answer_without_its_first_space) {
  const Model model(card_of(kMistral, spaced_tokenizer()));
  GeneratedChoice choice;
  choice.tokens = model.card->tokenizer->encode("Hi you", SpecialTokens::as_text).value();
  choice.text = "Hi you";
  choice.n_text_bytes = choice.text.size();
  for (const TokenId token : choice.tokens) choice.logprobs.push_back({token, -1, {}});
  const auto spelled = [&](const std::string& body, const std::string& path) {
    std::string bytes;
    const json::value answer = model.answer(body, {choice}, path, true);
    const json::value& logprobs = answer.at("choices").at(0).at("logprobs");
    if (!path.empty()) return std::string(logprobs.at("tokens").at(0).as_string());
    for (const json::value& token : logprobs.at("content").as_array()) {
      if (token.at("bytes").is_null()) continue;
      for (const json::value& byte : token.at("bytes").as_array()) {
        bytes += static_cast<char>(byte.to_number<int>());
      }
    }
    return bytes;
  };
  EXPECT_EQ(spelled(body_with(""), ""), "Hi you");
  EXPECT_EQ(spelled(R"({"prompt":"a"})", path_of(Endpoint::completions)), " ");
}

}  // namespace
}  // namespace parkd
