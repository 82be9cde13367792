#include "lib/openai/answer_form.h"

#include <algorithm>
#include <iterator>

#include "lib/base/blanks.h"

namespace parkd {
namespace {

// The first whose closing mark is a token of the vocabulary, or stands in the template.
struct ReasoningKind {
  std::string_view name;
  std::string_view open;
  std::string_view close;
};
constexpr ReasoningKind kReasoningKinds[] = {
    {"mistral", "[THINK]", "[/THINK]"},
    {"think", "<think>", "</think>"},  // Qwen3, DeepSeek, SmolLM3
};

// What a template wrote between that mark and the name of a call behind it.
std::optional<std::string_view> between(std::string_view written, std::string_view mark) {
  const size_t call = written.find(kProbeCall);
  if (call == written.npos) return std::nullopt;
  const std::string_view head = written.substr(0, call);
  const size_t at = head.rfind(mark);
  if (at == head.npos) return std::nullopt;
  return trimmed(head.substr(at + mark.size()));
}

bool is_hermes(std::string_view written) {
  const auto head = between(written, "<tool_call>");
  return head && !head->empty() && head->front() == '{' && head->find('>') == head->npos;
}

bool is_mistral(std::string_view written) {
  const auto head = between(written, "[TOOL_CALLS]");
  return head && (head->empty() || head->front() == '[' || head->front() == '{');
}

bool is_llama3(std::string_view written) {
  const auto head = between(written, R"({"name": ")");
  return head && head->empty() &&
         written.find(std::string(kProbeCall) + R"(", "parameters": {)") != written.npos;
}

struct CallKind {
  CallForm form;
  std::string_view name;
  bool (*is_of)(std::string_view written);
  std::string_view open;
  std::string_view close;
  std::string_view id;
  std::string_view arguments;
};
constexpr CallKind kCallKinds[] = {
    {CallForm::hermes, "hermes", is_hermes, "<tool_call>", "</tool_call>", "", ""},
    {CallForm::mistral, "mistral", is_mistral, "[TOOL_CALLS]", "", "[CALL_ID]", "[ARGS]"},
    {CallForm::llama3, "llama3", is_llama3, "<|python_tag|>", "", "", ""},
};

bool ends_open(const AnswerForm& form, std::string_view text) {
  const size_t open = text.rfind(form.mark(Marker::think_open).text);
  const size_t close = text.rfind(form.mark(Marker::think_close).text);
  return open != text.npos && (close == text.npos || close < open);
}

}  // namespace

std::string_view to_string(CallForm form) {
  for (const CallKind& kind : kCallKinds) {
    if (kind.form == form) return kind.name;
  }
  return {};
}

std::optional<Marker> AnswerForm::find(TokenId token) const {
  for (size_t i = 0; i < marks.size(); ++i) {
    if (marks[i].token == token && token >= 0) return static_cast<Marker>(i);
  }
  return std::nullopt;
}

AnswerForm answer_form_of(CallForm calls, std::string_view reasoning) {
  AnswerForm form;
  form.calls = calls;
  const auto set = [&](Marker marker, std::string_view text) {
    form.marks[static_cast<size_t>(marker)].text = std::string(text);
  };
  for (const ReasoningKind& kind : kReasoningKinds) {
    if (kind.name != reasoning) continue;
    form.reasoning = kind.name;
    set(Marker::think_open, kind.open);
    set(Marker::think_close, kind.close);
  }
  for (const CallKind& kind : kCallKinds) {
    if (kind.form != calls) continue;
    set(Marker::call_open, kind.open);
    set(Marker::call_close, kind.close);
    set(Marker::call_id, kind.id);
    set(Marker::call_args, kind.arguments);
  }
  return form;
}

AnswerForm find_answer_form(const ChatTemplate& chat_template, const Tokenizer& tokenizer) {
  const auto reasoning = std::find_if(
      std::begin(kReasoningKinds), std::end(kReasoningKinds), [&](const ReasoningKind& kind) {
        return tokenizer.find_special(kind.close) || chat_template.mentions(kind.close);
      });
  const std::string& written = chat_template.tool_traits().written_call;
  const auto calls = std::find_if(std::begin(kCallKinds), std::end(kCallKinds),
                                  [&](const CallKind& kind) { return kind.is_of(written); });
  AnswerForm form = answer_form_of(calls == std::end(kCallKinds) ? CallForm::none : calls->form,
                                   reasoning == std::end(kReasoningKinds) ? "" : reasoning->name);
  for (AnswerForm::Mark& mark : form.marks) {
    if (mark.text.empty()) continue;
    if (const auto token = tokenizer.find_special(mark.text)) mark.token = *token;
  }
  return form;
}

// Only what the template wrote behind the last that came with the request counts: a message that
// ends with an opening mark opens nothing.
bool opens_reasoning(const AnswerForm& form, std::span<const PromptSegment> prompt) {
  if (!form.reasons()) return false;
  std::string tail;
  for (const PromptSegment& segment : prompt) {
    if (segment.kind == PromptSegment::Kind::content) {
      tail.clear();
    } else {
      tail += segment.text;
    }
  }
  return ends_open(form, tail);
}

bool opens_reasoning(const AnswerForm& form, std::string_view text) {
  return form.reasons() && ends_open(form, text);
}

}  // namespace parkd
