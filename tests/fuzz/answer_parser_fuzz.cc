// The first byte is how a model writes reasoning and calls, the others an answer, in tokens that
// NUL parts; bytes from 1 to 6 are marks as tokens. Whatever it is, it is parted into valid fields:
// calls are of the tools and have objects, letter by letter it is the same, and where nothing was
// called every letter is in a field.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "lib/base/blanks.h"
#include "lib/base/json_reader.h"
#include "lib/base/text.h"
#include "lib/openai/answer_parser.h"

namespace {

using parkd::AnswerForm;
using parkd::CallForm;
using parkd::Marker;

constexpr parkd::TokenId kLetters = 50;

void check(bool holds) {
  if (!holds) std::abort();
}

AnswerForm form_of(CallForm calls, bool by_tokens) {
  const bool is_mistral = calls == CallForm::none || calls == CallForm::mistral;
  AnswerForm form = parkd::answer_form_of(calls, is_mistral ? "mistral" : "think");
  for (size_t i = 0; i < parkd::kMarkers; ++i) {
    if (by_tokens && !form.marks[i].text.empty()) {
      form.marks[i].token = static_cast<parkd::TokenId>(i + 1);
    }
  }
  return form;
}

// The text without blanks and the marks of reasoning.
std::string bare(const AnswerForm& form, std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (parkd::kBlanks.find(c) != parkd::kBlanks.npos) continue;
    out += c;
    for (const Marker marker : {Marker::think_open, Marker::think_close}) {
      const std::string& mark = form.mark(marker).text;
      if (out.ends_with(mark)) out.resize(out.size() - mark.size());
    }
  }
  return out;
}

void check_answer(const parkd::ParsedAnswer& answer, size_t n_bytes, size_t n_tokens) {
  check(parkd::is_valid_utf8(answer.content) && answer.content.size() <= 3 * n_bytes + 100);
  check(!answer.reasoning || parkd::is_valid_utf8(*answer.reasoning));
  check(answer.reasoning_tokens >= 0 && static_cast<size_t>(answer.reasoning_tokens) <= n_tokens);
  for (const parkd::AnswerCall& call : answer.calls) {
    check(call.name == "get" || call.name == "put");
    parkd::JsonMemory memory(call.arguments.size());
    const auto read = parkd::read_json(call.arguments, "it", 32, memory);
    check(read.ok() && read->is_object());
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const uint8_t how = data[0];
  const AnswerForm form = form_of(static_cast<CallForm>(how & 3), (how & 4) != 0);
  parkd::AnswerPlan plan;
  plan.opens_reasoning = (how & 8) != 0;
  plan.parallel_calls = (how & 16) == 0;
  if ((how & 32) == 0) plan.tool_names = {"get", "put"};
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  parkd::AnswerParser by_tokens(form, plan);
  parkd::AnswerParser by_letters(form, plan);
  std::string fed;
  size_t n_tokens = 0;
  std::string_view rest = bytes;
  while (!rest.empty()) {
    const auto first = static_cast<uint8_t>(rest.front());
    if (first <= parkd::kMarkers) {
      if (first > 0) {
        by_tokens.feed(first, {});
        by_letters.feed(first, {});
        ++n_tokens;
      }
      rest.remove_prefix(1);
      continue;
    }
    size_t end = 0;
    while (end < rest.size() && static_cast<uint8_t>(rest[end]) > parkd::kMarkers) ++end;
    by_tokens.feed(kLetters, rest.substr(0, end));
    for (size_t i = 0; i < end; ++i) by_letters.feed(kLetters, rest.substr(i, 1));
    fed += rest.substr(0, end);
    ++n_tokens;
    rest.remove_prefix(end);
  }
  const parkd::ParsedAnswer answer = by_tokens.finish();
  check_answer(answer, bytes.size() + 16 * n_tokens, n_tokens);
  const parkd::ParsedAnswer again = by_letters.finish();
  check(answer.content == again.content && answer.reasoning == again.reasoning &&
        answer.calls.size() == again.calls.size() && answer.invalid_calls == again.invalid_calls);
  for (size_t i = 0; i < answer.calls.size(); ++i) {
    check(answer.calls[i].name == again.calls[i].name &&
          answer.calls[i].arguments == again.calls[i].arguments);
  }
  const bool by_letters_alone = (how & 4) == 0;
  if (by_letters_alone && answer.calls.empty() && parkd::is_valid_utf8(fed)) {
    check(bare(form, answer.reasoning.value_or("") + answer.content) == bare(form, fed));
  }
  return 0;
}
