// AnswerForm: how a model writes what is not the text of an answer: what it reasons, and calls of
// tools. Found from what its chat template writes and from the tokens of its vocabulary, never by
// its name (the tables in answer_form.cc). Immutable, any thread.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "lib/base/sampling.h"
#include "lib/text/chat_template.h"
#include "lib/text/tokenizer.h"

namespace parkd {

enum class CallForm : uint8_t {
  none,     // the model has none that is known
  hermes,   // <tool_call>{"name": .., "arguments": {..}}</tool_call>, one behind the other
  mistral,  // [TOOL_CALLS] before a list of them, or before each name[ARGS]{..}
  llama3,   // {"name": .., "parameters": {..}}, alone, or behind <|python_tag|>
};

enum class Marker : uint8_t { think_open, think_close, call_open, call_close, call_id, call_args };
inline constexpr size_t kMarkers = 6;

struct AnswerForm {
  struct Mark {
    std::string text;  // empty: the form has none
    // Where the vocabulary has the mark as one token that text is never split into, the mark is
    // this token, and its letters are only letters. -1: it is its letters.
    TokenId token = -1;
  };

  std::string_view reasoning;  // its name, "think" or "mistral"; empty: none
  CallForm calls = CallForm::none;
  std::array<Mark, kMarkers> marks;

  const Mark& mark(Marker marker) const { return marks[static_cast<size_t>(marker)]; }
  std::optional<Marker> find(TokenId token) const;
  bool reasons() const { return !reasoning.empty(); }
};

// "hermes", "mistral", "llama3" or empty.
std::string_view to_string(CallForm form);

// The form of such calls and of reasoning of that name, each mark its letters.
AnswerForm answer_form_of(CallForm calls, std::string_view reasoning);

AnswerForm find_answer_form(const ChatTemplate& chat_template, const Tokenizer& tokenizer);

// Whether a rendered prompt ends inside of what is to be reasoned: its template opened it.
bool opens_reasoning(const AnswerForm& form, std::span<const PromptSegment> prompt);
// The same of the message that is to go on.
bool opens_reasoning(const AnswerForm& form, std::string_view text);

}  // namespace parkd
