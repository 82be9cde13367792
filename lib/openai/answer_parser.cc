#include "lib/openai/answer_parser.h"

#include <algorithm>
#include <utility>

#include "lib/base/blanks.h"
#include "lib/base/text.h"

namespace parkd {
namespace {

void trim_line_breaks(std::string& text) {
  text.erase(0, std::min(text.find_first_not_of('\n'), text.size()));
  text.resize(text.find_last_not_of('\n') + 1);
}

// What stands behind `taken` and stays, where finish() leaves out the characters of `before` in
// front and those of `behind` at the end.
std::string take_certain(const std::string& text, std::string_view before, std::string_view behind,
                         size_t& taken) {
  size_t end = text.size() - unfinished_utf8(text);
  end = std::string_view(text).substr(0, end).find_last_not_of(behind) + 1;
  const size_t begin = taken > 0 ? taken : text.find_first_not_of(before);
  if (begin >= end) return {};
  taken = end;
  return repair_utf8(std::string_view(text).substr(begin, end - begin));
}

}  // namespace

AnswerParser::AnswerParser(const AnswerForm& form, AnswerPlan plan)
    : form_(form), plan_(std::move(plan)) {
  if (!form_.reasons() || !plan_.opens_reasoning) return;
  place_ = Place::reasoning;
  answer_.reasoning.emplace();
}

void AnswerParser::feed(TokenId token, std::string_view bytes) {
  const std::optional<Marker> marker = form_.find(token);
  if (!marker) {
    if (pending_.empty()) pending_token_ = n_tokens_;
    ++n_tokens_;
    pending_ += bytes;
    return drain(/*is_last=*/false);
  }
  drain(/*is_last=*/true);
  pending_token_ = n_tokens_++;
  on_mark(*marker, bytes);
}

AnswerParser::Piece AnswerParser::take_new() {
  constexpr std::string_view kNone;
  constexpr std::string_view kBreak = "\n";
  Piece piece;
  if (answer_.reasoning) {
    piece.reasoning = take_certain(*answer_.reasoning, kBreak, kBreak, reasoning_taken_);
  }
  // Blanks alone may yet turn out to stand before reasoning, or a call.
  if (!has_content_) return piece;
  piece.content = take_certain(answer_.content, answer_.reasoning ? kBreak : kNone,
                               plan_.tool_names.empty() ? kNone : kBlanks, content_taken_);
  return piece;
}

ParsedAnswer AnswerParser::finish() {
  drain(/*is_last=*/true);
  if (place_ == Place::call) end_call();
  if (place_ == Place::reasoning) leave_reasoning();
  std::string& content = answer_.content;
  if (answer_.reasoning) {
    trim_line_breaks(*answer_.reasoning);
    content.erase(0, std::min(content.find_first_not_of('\n'), content.size()));
    *answer_.reasoning = repair_utf8(*answer_.reasoning);
    if (answer_.reasoning->empty()) answer_.reasoning.reset();
  }
  if (!answer_.calls.empty()) {
    content.resize(content.find_last_not_of(kBlanks) + 1);
    if (!plan_.parallel_calls) answer_.calls.resize(1);
  }
  content = repair_utf8(content);
  return std::move(answer_);
}

// Which marks mean something where the text is now.
bool AnswerParser::is_awaited(Marker marker) const {
  switch (marker) {
    case Marker::think_open:
      return place_ == Place::content && !answer_.reasoning && !has_content_;
    case Marker::think_close:
      return place_ == Place::reasoning;
    case Marker::call_open:
      return place_ != Place::reasoning && !plan_.tool_names.empty() &&
             !(form_.calls == CallForm::llama3 && (place_ == Place::call || has_content_));
    case Marker::call_close:
    case Marker::call_id:
    case Marker::call_args:
      return place_ == Place::call;
  }
  return false;
}

// The first mark in the pending text that is spelled by letters.
std::optional<Marker> AnswerParser::first_spelled(size_t& at) const {
  std::optional<Marker> found;
  at = pending_.size();
  for (size_t i = 0; i < kMarkers; ++i) {
    const AnswerForm::Mark& mark = form_.marks[i];
    const auto marker = static_cast<Marker>(i);
    if (mark.text.empty() || mark.token >= 0 || !is_awaited(marker)) continue;
    if (const size_t here = pending_.find(mark.text); here < at) {
      at = here;
      found = marker;
    }
  }
  return found;
}

// Where a mark may begin that is not complete yet.
size_t AnswerParser::first_unfinished() const {
  size_t first = pending_.size();
  for (size_t i = 0; i < kMarkers; ++i) {
    const AnswerForm::Mark& mark = form_.marks[i];
    if (mark.text.empty() || mark.token >= 0) continue;
    const size_t longest = std::min(pending_.size(), mark.text.size() - 1);
    for (size_t n = longest; n > 0; --n) {
      if (pending_.compare(pending_.size() - n, n, mark.text, 0, n) != 0) continue;
      first = std::min(first, pending_.size() - n);
      break;
    }
  }
  return first;
}

void AnswerParser::drain(bool is_last) {
  size_t at = 0;
  while (const std::optional<Marker> marker = first_spelled(at)) {
    const std::string& text = form_.mark(*marker).text;
    // The text before it may take it its meaning: an opening mark behind content is only letters.
    take_pending(at);
    pending_.erase(0, text.size());
    on_mark(*marker, text);
    pending_token_ = n_tokens_ - 1;
  }
  take_pending(is_last ? pending_.size() : first_unfinished());
}

void AnswerParser::take_pending(size_t n_bytes) {
  if (n_bytes == 0) return;
  emit(std::string_view(pending_).substr(0, n_bytes));
  pending_.erase(0, n_bytes);
  pending_token_ = n_tokens_ - 1;
}

void AnswerParser::on_mark(Marker marker, std::string_view shown) {
  if (!is_awaited(marker)) return emit(shown);
  switch (marker) {
    case Marker::think_open:
      place_ = Place::reasoning;
      answer_.reasoning.emplace();
      answer_.content.clear();  // blanks
      reasoning_first_ = pending_token_;
      return;
    case Marker::think_close:
      return leave_reasoning();
    case Marker::call_open:
      return begin_call(form_.mark(marker).text);
    case Marker::call_close:
      call_text_ += form_.mark(marker).text;
      return end_call();
    case Marker::call_id:
    case Marker::call_args:
      call_text_ += form_.mark(marker).text;
      parts_.push_back({marker, {}});
      return;
  }
}

void AnswerParser::leave_reasoning() {
  answer_.reasoning_tokens = static_cast<int32_t>(n_tokens_ - reasoning_first_);
  place_ = Place::content;
}

void AnswerParser::emit(std::string_view text) {
  if (text.empty()) return;
  switch (place_) {
    case Place::reasoning:
      *answer_.reasoning += text;
      return;
    case Place::call:
      call_text_ += text;
      parts_.back().text += text;
      return;
    case Place::content:
      break;
  }
  const size_t first = has_content_ ? 0 : text.find_first_not_of(kBlanks);
  if (first == text.npos) {
    answer_.content += text;
    return;
  }
  if (!has_content_ && text[first] == '{' && form_.calls == CallForm::llama3 &&
      !plan_.tool_names.empty()) {
    answer_.content += text.substr(0, first);
    begin_call({});
    is_bare_ = true;
    return emit(text.substr(first));
  }
  has_content_ = true;
  answer_.content += text;
}

void AnswerParser::begin_call(std::string_view shown) {
  if (place_ == Place::call) end_call();
  place_ = Place::call;
  is_bare_ = false;
  parts_.assign(1, {Marker::call_open, {}});
  call_text_ = shown;
}

void AnswerParser::end_call() {
  place_ = Place::content;
  auto calls = read_calls(form_.calls, parts_, plan_.tool_names);
  if (calls.ok()) {
    for (AnswerCall& call : calls.value()) answer_.calls.push_back(std::move(call));
  } else {
    answer_.content += call_text_;
    has_content_ = true;
    if (!is_bare_ || looks_like_call(call_text_)) {
      answer_.invalid_calls.push_back(calls.status().message());
    }
  }
  parts_.clear();
  call_text_.clear();
}

}  // namespace parkd
