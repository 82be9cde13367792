// AnswerParser: parts what a model wrote into the fields of OpenAI's message, token by token.
//
// A state machine over text and marks: what it holds back is what may still become a mark, and a
// call until its end. Linear in what it is fed. Whatever is fed, finish() gives every byte of it
// back in one of the fields (what is not UTF-8 repaired), but for:
// - the marks of what was understood;
// - blanks before an opening mark of reasoning that begins the answer, line breaks around reasoning
//   and before the text behind it, blanks behind a text that calls follow;
// - of calls that were understood, all but names and arguments: ids, blanks, other members;
// - calls that parallel_calls = false leaves out.
// Owned by one thread; the form must outlive it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lib/openai/answer_calls.h"
#include "lib/openai/answer_form.h"

namespace parkd {

// What of an answer is to be looked for, beside the reasoning of a form that has some.
struct AnswerPlan {
  bool opens_reasoning = false;         // the prompt ends inside of it
  std::vector<std::string> tool_names;  // empty: calls are only text
  bool parallel_calls = true;           // false: none behind the first is taken
};

struct ParsedAnswer {
  std::string content;
  std::optional<std::string> reasoning;  // nothing: the answer has none
  int32_t reasoning_tokens = 0;          // with its marks
  std::vector<AnswerCall> calls;
  std::vector<std::string> invalid_calls;  // why what looks like a call, and stays text, is none
};

class AnswerParser {
 public:
  AnswerParser(const AnswerForm& form, AnswerPlan plan);

  // The next token, and those of its bytes that are text: what is shown of a mark are its letters,
  // or nothing.
  void feed(TokenId token, std::string_view bytes);
  // What is certain of the two texts by now and was not taken before: whatever is fed later, the
  // pieces taken in a row are how finish() begins them. Calls come with finish() alone.
  struct Piece {
    std::string reasoning;
    std::string content;
  };
  Piece take_new();
  // Nothing may be fed any more.
  ParsedAnswer finish();

 private:
  enum class Place : uint8_t { content, reasoning, call };

  void drain(bool is_last);
  void take_pending(size_t n_bytes);
  std::optional<Marker> first_spelled(size_t& at) const;
  size_t first_unfinished() const;
  bool is_awaited(Marker marker) const;
  void on_mark(Marker marker, std::string_view shown);
  void emit(std::string_view text);
  void begin_call(std::string_view shown);
  void end_call();
  void leave_reasoning();

  const AnswerForm& form_;
  const AnswerPlan plan_;
  Place place_ = Place::content;
  std::string pending_;          // text that may end in the beginning of a mark
  std::vector<CallPart> parts_;  // of the call that is being read
  std::string call_text_;        // all of it, to be given back
  bool is_bare_ = false;         // a call of Llama's form without its mark
  bool has_content_ = false;     // more than blanks
  size_t n_tokens_ = 0;          // fed
  size_t pending_token_ = 0;     // the one that the pending text begins in
  size_t reasoning_first_ = 0;   // the one that began it
  size_t reasoning_taken_ = 0;   // bytes, by take_new()
  size_t content_taken_ = 0;
  ParsedAnswer answer_;
};

}  // namespace parkd
