// What the tokens of a finished choice become in the answer of a chat or a completion.
//
// Pure, any thread: a function of the tokens, the body and the model alone (DESIGN.md, I7).
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "lib/engine/generation.h"
#include "lib/openai/answer_form.h"
#include "lib/openai/answer_parser.h"
#include "lib/openai/completion_response.h"
#include "lib/text/tokenizer.h"

namespace parkd {

// How the choices of one run are shown. References into the caller's frame.
struct ChoiceView {
  const Tokenizer& tokenizer;
  const AnswerForm& form;
  std::optional<AnswerPlan> plan{};  // nothing: the answer is text alone
  bool logprobs = false;
  bool drops_first_space = false;  // as the request had it
  std::string_view body{};         // what the ids of calls are made of
};

// `drops`: the text's first space is left out and did not come yet; kept true.
ShownLogprob show_logprob(const Tokenizer& tokenizer, const SampledToken& token, bool& drops);

// The choice at `index`.
CompletionChoice show_choice(const ChoiceView& view, size_t index, const GeneratedChoice& choice);

}  // namespace parkd
