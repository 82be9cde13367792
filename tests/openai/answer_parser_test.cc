// What of an answer is reasoned, said, and called.
#include "lib/openai/answer_parser.h"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <utility>
#include <vector>

namespace parkd {
namespace {

constexpr TokenId kLetters = 5;  // any token that is no mark

AnswerForm form_of(CallForm calls) {
  return answer_form_of(calls, "think");
}

// Each mark as one token, whose id is 100 and its place.
AnswerForm with_tokens(AnswerForm form) {
  for (size_t i = 0; i < kMarkers; ++i) {
    if (!form.marks[i].text.empty()) form.marks[i].token = static_cast<TokenId>(100 + i);
  }
  return form;
}

AnswerPlan tools() {
  AnswerPlan plan;
  plan.tool_names = {"get", "put"};
  return plan;
}

// The text in pieces of `n` bytes.
ParsedAnswer parse(const AnswerForm& form, const AnswerPlan& plan, const std::string& text,
                   size_t n = 1) {
  AnswerParser parser(form, plan);
  for (size_t i = 0; i < text.size(); i += n) parser.feed(kLetters, text.substr(i, n));
  return parser.finish();
}

using Names = std::vector<std::pair<std::string, std::string>>;

Names calls_of(const ParsedAnswer& answer) {
  Names names;
  for (const AnswerCall& call : answer.calls) names.emplace_back(call.name, call.arguments);
  return names;
}

TEST(AnswerParser, what_is_reasoned_is_not_the_content) {
  for (const size_t n : {1U, 3U, 100U}) {
    const ParsedAnswer answer =
        parse(form_of(CallForm::none), AnswerPlan(), "\n<think>\nwhy <b>?\n</think>\n\nSo.\n", n);
    EXPECT_EQ(answer.reasoning, "why <b>?");
    EXPECT_EQ(answer.content, "So.\n");
  }
}

TEST(AnswerParser, a_prompt_that_opens_it_begins_inside) {
  AnswerPlan plan;
  plan.opens_reasoning = true;
  EXPECT_EQ(parse(form_of(CallForm::none), plan, "why</think>So.").reasoning, "why");
  EXPECT_EQ(parse(form_of(CallForm::none), plan, "why</think>So.").content, "So.");
  const ParsedAnswer cut = parse(form_of(CallForm::none), plan, "why </thi");
  EXPECT_EQ(cut.reasoning, "why </thi") << "it ended before its end";
  EXPECT_EQ(cut.content, "");
}

TEST(AnswerParser, marks_that_mean_nothing_where_they_stand_are_text) {
  const AnswerForm form = form_of(CallForm::hermes);
  EXPECT_EQ(parse(form, AnswerPlan(), "a <think>b</think>").content, "a <think>b</think>");
  EXPECT_FALSE(parse(form, AnswerPlan(), "a <think>b</think>").reasoning);
  EXPECT_EQ(parse(form, AnswerPlan(), "</think>a").content, "</think>a");
  EXPECT_EQ(parse(form, tools(), "a</tool_call>").content, "a</tool_call>");
  EXPECT_EQ(parse(form, AnswerPlan(), "<tool_call>{}</tool_call>").content,
            "<tool_call>{}</tool_call>")
      << "no tools were given";
  const ParsedAnswer twice = parse(form, AnswerPlan(), "<think>a</think>b<think>c</think>");
  EXPECT_EQ(twice.content, "b<think>c</think>");
  EXPECT_EQ(parse(form, tools(), "<think><tool_call>{}</tool_call></think>b").calls.size(), 0U)
      << "what is only thought of is not called";
}

TEST(AnswerParser, nothing_reasoned_is_no_reasoning) {
  const ParsedAnswer answer =
      parse(form_of(CallForm::none), AnswerPlan(), "<think>\n\n</think>\n\nSo.");
  EXPECT_FALSE(answer.reasoning);
  EXPECT_EQ(answer.content, "So.");
  EXPECT_GT(answer.reasoning_tokens, 0) << "but its marks were generated";
}

TEST(AnswerParser, tokens_of_reasoning_are_those_from_mark_to_mark) {
  const AnswerForm letters = form_of(CallForm::none);
  EXPECT_EQ(parse(letters, AnswerPlan(), "\n<think>abc</think>de").reasoning_tokens, 7 + 3 + 8);
  EXPECT_EQ(parse(letters, AnswerPlan(), "abc").reasoning_tokens, 0);
  EXPECT_EQ(parse(letters, AnswerPlan(), "<think>abc").reasoning_tokens, 7 + 3);
  const AnswerForm form = with_tokens(letters);
  AnswerParser parser(form, AnswerPlan());
  parser.feed(kLetters, "\n");
  parser.feed(100, "<think>");
  parser.feed(kLetters, "a<");
  parser.feed(101, "");
  parser.feed(kLetters, "b");
  const ParsedAnswer answer = parser.finish();
  EXPECT_EQ(answer.reasoning, "a<");
  EXPECT_EQ(answer.content, "b");
  EXPECT_EQ(answer.reasoning_tokens, 3);
}

TEST(AnswerParser, letters_of_a_mark_that_is_a_token_are_letters) {
  const AnswerForm form = with_tokens(form_of(CallForm::hermes));
  const std::string text = "<tool_call>{\"name\":\"get\",\"arguments\":{}}</tool_call>";
  const ParsedAnswer answer = parse(form, tools(), text, 100);
  EXPECT_EQ(answer.content, text);
  EXPECT_TRUE(answer.calls.empty());
  EXPECT_TRUE(answer.invalid_calls.empty());
}

TEST(AnswerParser, hermes_calls_stand_one_behind_the_other) {
  const std::string text =
      "I look.\n\n<tool_call>\n{\"name\": \"get\", \"arguments\": {\"b\": 1.0, \"a\":[]}}\n"
      "</tool_call>\n<tool_call>{\"name\": \"put\", \"arguments\": {}}</tool_call>\n";
  for (const size_t n : {1U, 4U, 1000U}) {
    const ParsedAnswer answer = parse(form_of(CallForm::hermes), tools(), text, n);
    EXPECT_EQ(answer.content, "I look.");
    EXPECT_EQ(calls_of(answer), (Names{{"get", "{\"b\": 1.0, \"a\":[]}"}, {"put", "{}"}}));
  }
  AnswerPlan one = tools();
  one.parallel_calls = false;
  EXPECT_EQ(parse(form_of(CallForm::hermes), one, text).calls.size(), 1U);
  EXPECT_EQ(
      parse(form_of(CallForm::hermes), tools(), "<tool_call>{\"name\": \"put\", \"arguments\": {}}")
          .calls.size(),
      1U)
      << "the model ended before the closing mark";
}

TEST(AnswerParser, reasoning_and_calls_may_stand_in_one_answer) {
  const ParsedAnswer answer =
      parse(form_of(CallForm::hermes), tools(),
            "<think>\nhm\n</think>\n\n<tool_call>{\"name\":\"get\",\"arguments\":{}}</tool_call>");
  EXPECT_EQ(answer.reasoning, "hm");
  EXPECT_EQ(answer.content, "");
  EXPECT_EQ(calls_of(answer), (Names{{"get", "{}"}}));
}

TEST(AnswerParser, an_invalid_call_stays_text_and_says_why) {
  const auto expect_text = [](CallForm form, const std::string& text, const std::string& why) {
    const ParsedAnswer answer = parse(form_of(form), tools(), text);
    EXPECT_EQ(answer.content, text);
    EXPECT_TRUE(answer.calls.empty()) << text;
    ASSERT_EQ(answer.invalid_calls.size(), 1U) << text;
    EXPECT_NE(answer.invalid_calls[0].find(why), std::string::npos) << answer.invalid_calls[0];
  };
  const auto hermes = [&](const std::string& call, const std::string& why) {
    expect_text(CallForm::hermes, "<tool_call>" + call + "</tool_call>", why);
  };
  hermes("{\"name\":\"get\",", "is not JSON");
  hermes("", "JSON");
  hermes("{\"name\":\"drop\",\"arguments\":{}}", "\"drop\" is none of the tools");
  hermes("{\"arguments\":{}}", "has no name");
  hermes("{\"name\":\"get\"}", "has no arguments");
  hermes("{\"name\":\"get\",\"arguments\":\"{}\"}", "not a JSON object");
  hermes("[]", "empty");
  expect_text(CallForm::mistral, "[TOOL_CALLS]get[ARGS]{", "is not JSON");
  expect_text(CallForm::mistral, "[TOOL_CALLS]get", "has no arguments");
  expect_text(CallForm::mistral, "[TOOL_CALLS]drop[ARGS]{}", "none of the tools");
  expect_text(CallForm::mistral, "[TOOL_CALLS][{\"name\":\"get\"", "is not JSON");
  const std::string mistral = "[TOOL_CALLS]get[ARGS]{\"a\":1}";
  expect_text(CallForm::mistral, "[TOOL_CALLS][{\"name\":\"get\",\"arguments\":{}}][ARGS]junk",
              "a mark stands");
  expect_text(CallForm::mistral, mistral + "[ARGS]{}", "a mark stands");
  expect_text(CallForm::mistral, mistral + "[CALL_ID]abcdefghi", "a mark stands");
  expect_text(CallForm::mistral, mistral + "[ARGS][ARGS][ARGS][ARGS][ARGS]{}", "a mark stands");
  expect_text(CallForm::mistral, "[TOOL_CALLS]get[CALL_ID]a[CALL_ID]b[ARGS]{}", "a mark stands");
  expect_text(CallForm::mistral, "[TOOL_CALLS]get{\"a\":1}[ARGS]{}", "none of the tools");
  expect_text(CallForm::llama3, "<|python_tag|>print(1)", "is not JSON");
  expect_text(CallForm::llama3, "{\"name\":\"drop\",\"parameters\":{}}", "none of the tools");
  const ParsedAnswer mixed = parse(form_of(CallForm::hermes), tools(),
                                   "a<tool_call>x</tool_call>b<tool_call>{\"name\":\"get\","
                                   "\"arguments\":{}}</tool_call>");
  EXPECT_EQ(mixed.content, "a<tool_call>x</tool_call>b");
  EXPECT_EQ(mixed.calls.size(), 1U);
  EXPECT_EQ(mixed.invalid_calls.size(), 1U);
}

TEST(AnswerParser, mistrals_old_form_is_a_list_and_the_new_one_has_a_mark_for_each) {
  const AnswerForm form = form_of(CallForm::mistral);
  const Names both = {{"get", "{\"a\": 1}"}, {"put", "{}"}};
  EXPECT_EQ(calls_of(parse(form, tools(),
                           "[TOOL_CALLS] [{\"name\": \"get\", \"arguments\": {\"a\": 1}}, "
                           "{\"name\": \"put\", \"arguments\": {}, \"id\": \"abcdefghi\"}]")),
            both);
  EXPECT_EQ(
      calls_of(parse(form, tools(), "[TOOL_CALLS]get[ARGS]{\"a\": 1}[TOOL_CALLS]put[ARGS]{}")),
      both);
  EXPECT_EQ(calls_of(parse(form, tools(),
                           "[TOOL_CALLS]get[CALL_ID]abcdefghi[ARGS]{\"a\": 1}[TOOL_CALLS]put{}")),
            both);
  EXPECT_EQ(calls_of(parse(form, tools(), "[TOOL_CALLS]put[ARGS] \xEF\xBB\xBF {}\n")),
            (Names{{"put", "{}"}}))
      << "a byte order mark is none of the arguments";
  const AnswerForm tokens = with_tokens(form);
  AnswerParser parser(tokens, tools());
  parser.feed(kLetters, "Yes.");
  parser.feed(102, "");
  parser.feed(kLetters, "get");
  parser.feed(105, "");
  parser.feed(kLetters, "{\"x\":\"[ARGS]\"}");
  const ParsedAnswer answer = parser.finish();
  EXPECT_EQ(answer.content, "Yes.");
  EXPECT_EQ(calls_of(answer), (Names{{"get", "{\"x\":\"[ARGS]\"}"}}));
}

TEST(AnswerParser, llamas_calls_are_the_whole_answer) {
  const AnswerForm form = form_of(CallForm::llama3);
  const std::string call = "{\"name\": \"get\", \"parameters\": {\"a\": \"}\\\"\"}}";
  const Names one = {{"get", "{\"a\": \"}\\\"\"}"}};
  EXPECT_EQ(calls_of(parse(form, tools(), "\n" + call)), one);
  EXPECT_EQ(calls_of(parse(form, tools(), "<|python_tag|>" + call)), one);
  EXPECT_EQ(calls_of(parse(form, tools(), call + "; " + call)).size(), 2U);
  EXPECT_EQ(parse(form, tools(), call).content, "");
  const ParsedAnswer json = parse(form, tools(), "{\"answer\": 42}");
  EXPECT_EQ(json.content, "{\"answer\": 42}");
  EXPECT_TRUE(json.invalid_calls.empty()) << "JSON that is no call";
  EXPECT_EQ(parse(form, tools(), "See " + call).content, "See " + call);
  EXPECT_EQ(parse(form, tools(), call + " x").calls.size(), 0U) << "half of an answer is no call";
}

// However it is cut into tokens, an answer is parted alike.
TEST(AnswerParser, tokens_do_not_matter) {
  std::mt19937 random(15);
  const std::vector<std::string> words = {"<think>",
                                          "</think>",
                                          "<tool_call>",
                                          "</tool_call>",
                                          "[TOOL_CALLS]",
                                          "[ARGS]",
                                          "get",
                                          "{\"name\":",
                                          "\"get\"",
                                          "\"arguments\":",
                                          "{}",
                                          "}",
                                          "\n",
                                          "<",
                                          "[",
                                          " ",
                                          "ä",
                                          "<|python_tag|>",
                                          "{",
                                          ";"};
  for (int i = 0; i < 3000; ++i) {
    const auto form = form_of(static_cast<CallForm>(random() % 4));
    AnswerPlan plan = tools();
    plan.opens_reasoning = random() % 3 == 0;
    std::string text;
    for (size_t n = random() % 12; n > 0; --n) text += words[random() % words.size()];
    const ParsedAnswer whole = parse(form, plan, text, 1 + text.size());
    AnswerParser parser(form, plan);
    AnswerParser::Piece told;  // as it came
    for (size_t at = 0; at < text.size();) {
      const size_t n = 1 + random() % 5;
      parser.feed(kLetters, text.substr(at, n));
      at += n;
      const AnswerParser::Piece piece = parser.take_new();
      told.reasoning += piece.reasoning;
      told.content += piece.content;
    }
    const ParsedAnswer parts = parser.finish();
    EXPECT_TRUE(parts.content.starts_with(told.content)) << text << "\n" << told.content;
    EXPECT_TRUE(parts.reasoning.value_or("").starts_with(told.reasoning)) << text;
    EXPECT_EQ(parts.content, whole.content) << text;
    EXPECT_EQ(parts.reasoning, whole.reasoning) << text;
    EXPECT_EQ(calls_of(parts), calls_of(whole)) << text;
    EXPECT_EQ(parts.invalid_calls, whole.invalid_calls) << text;
  }
}

TEST(AnswerParser, what_is_certain_is_told_at_once) {
  const auto form = form_of(CallForm::hermes);
  AnswerParser parser(form, tools());
  const auto told = [&](std::string_view text) {
    parser.feed(kLetters, text);
    const AnswerParser::Piece piece = parser.take_new();
    return piece.reasoning + "|" + piece.content;
  };
  EXPECT_EQ(told(" \n"), "|") << "blanks may stand before reasoning";
  EXPECT_EQ(told("<thi"), "|");
  EXPECT_EQ(told("nk>"), "|");
  EXPECT_EQ(told("\nWell"), "Well|");
  EXPECT_EQ(told(", \n"), ", |") << "breaks at the end are left out";
  EXPECT_EQ(told("\nso\n</think>"), "\n\nso|");
  EXPECT_EQ(told("\n\nYes"), "|Yes");
  EXPECT_EQ(told(" \xc3"), "|") << "blanks may stand before a call, a byte may become a letter";
  EXPECT_EQ(told("\xa4!"), "| \xc3\xa4!");
  EXPECT_EQ(told("\n<tool_call>{\"name\":"), "|");
}

}  // namespace
}  // namespace parkd
