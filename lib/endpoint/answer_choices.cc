#include "lib/endpoint/answer_choices.h"

#include <algorithm>
#include <span>
#include <utility>
#include <vector>

#include "lib/base/text.h"
#include "lib/text/output_text.h"

namespace parkd {
namespace {

std::string_view word_of(FinishReason reason) {
  switch (reason) {
    case FinishReason::stop:
      return "stop";
    case FinishReason::length:
      return "length";
    case FinishReason::cancelled:
      return "cancelled";
  }
  return "stop";
}

// `drops`: the token may have the text's first space, which is left out.
ShownToken show(const Tokenizer& tokenizer, TokenId token, float logprob, bool drops) {
  const std::string_view bytes = without_first_space(tokenizer.token_bytes(token), drops);
  ShownToken shown{std::string(bytes), logprob};
  if (shown.bytes.empty()) shown.name = tokenizer.token_text(token);
  return shown;
}

std::vector<ShownLogprob> show_all(const ChoiceView& view, std::span<const SampledToken> sampled) {
  std::vector<ShownLogprob> shown;
  shown.reserve(sampled.size());
  bool drops = view.drops_first_space;
  for (const SampledToken& token : sampled) {
    shown.push_back(show_logprob(view.tokenizer, token, drops));
  }
  return shown;
}

// Nine letters and digits, as Mistral's templates want them: the same of the same body, and others
// in the next turn of a conversation, whose body is another.
std::string call_id(std::string_view body, size_t choice, size_t call) {
  static constexpr std::string_view kDigits =
      "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
  const std::string place = "/" + std::to_string(choice) + "/" + std::to_string(call);
  uint64_t hash = fnv1a64(place, fnv1a64(body));
  hash = (hash ^ (hash >> 32)) * 0x9e3779b97f4a7c15u;
  hash ^= hash >> 29;
  std::string id;
  for (int i = 0; i < 9; ++i) {
    id += kDigits[hash % kDigits.size()];
    hash /= kDigits.size();
  }
  return id;
}

ParsedAnswer parse(const ChoiceView& view, const AnswerPlan& plan, const GeneratedChoice& choice) {
  AnswerParser parser(view.form, plan);
  bool drops = view.drops_first_space;
  size_t left = choice.n_text_bytes;
  for (const TokenId token : choice.tokens) {
    std::string_view bytes = without_first_space(view.tokenizer.token_bytes(token), drops);
    bytes = bytes.substr(0, left);
    left -= bytes.size();
    parser.feed(token, bytes);
  }
  return parser.finish();
}

}  // namespace

ShownLogprob show_logprob(const Tokenizer& tokenizer, const SampledToken& token, bool& drops) {
  ShownLogprob shown{show(tokenizer, token.token, token.logprob, drops), {}};
  for (const TokenLogprob& other : token.top) {
    shown.top.push_back(show(tokenizer, other.token, other.logprob, drops));
  }
  without_first_space(tokenizer.token_bytes(token.token), drops);
  return shown;
}

CompletionChoice show_choice(const ChoiceView& view, size_t index, const GeneratedChoice& choice) {
  CompletionChoice shown;
  shown.finish_reason = std::string(word_of(choice.finish_reason));
  if (view.logprobs) shown.logprobs = show_all(view, choice.logprobs);
  if (!view.plan) {
    shown.content = choice.text;
    return shown;
  }
  ParsedAnswer answer = parse(view, *view.plan, choice);
  shown.content = std::move(answer.content);
  shown.reasoning = std::move(answer.reasoning);
  shown.reasoning_tokens = answer.reasoning_tokens;
  for (AnswerCall& call : answer.calls) {
    shown.tool_calls.push_back({call_id(view.body, index, shown.tool_calls.size()),
                                std::move(call.name), std::move(call.arguments)});
  }
  shown.invalid_tool_calls = std::move(answer.invalid_calls);
  if (!shown.tool_calls.empty() && choice.finish_reason == FinishReason::stop) {
    shown.finish_reason = "tool_calls";
  }
  return shown;
}

}  // namespace parkd
