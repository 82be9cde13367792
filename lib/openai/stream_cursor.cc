#include "lib/openai/stream_cursor.h"

#include <algorithm>
#include <charconv>

#include "lib/base/text.h"

namespace parkd {
namespace {

// The number before `end`, which is passed over too; `end` 0: all that is left.
template <class T>
bool read_number(std::string_view& text, char end, T& number, int base = 10) {
  const size_t at = end == 0 ? text.size() : text.find(end);
  if (at == text.npos || at == 0) return false;
  const auto [rest, error] = std::from_chars(text.data(), text.data() + at, number, base);
  if (error != std::errc() || rest != text.data() + at) return false;
  text.remove_prefix(std::min(at + 1, text.size()));
  return true;
}

}  // namespace

std::optional<StreamCursor> StreamCursor::read(std::string_view id, std::string_view fingerprint,
                                               size_t n_choices) {
  if (n_choices > kChoicesWithIdMax || id.size() <= fingerprint.size() ||
      id.substr(0, fingerprint.size()) != fingerprint || id[fingerprint.size()] != ':') {
    return std::nullopt;
  }
  id.remove_prefix(fingerprint.size() + 1);
  StreamCursor cursor(n_choices);
  for (size_t i = 0; i < n_choices; ++i) {
    Choice& choice = cursor.choices_[i];
    const bool is_last = i + 1 == n_choices;
    if (!read_number(id, '.', choice.reasoning.sent) ||
        !read_number(id, '.', choice.content.sent) || !read_number(id, '.', choice.logprobs_sent) ||
        !read_number(id, '.', choice.reasoning.hash, 16) ||
        !read_number(id, is_last ? '\0' : ',', choice.content.hash, 16)) {
      return std::nullopt;
    }
    choice.has_begun = choice.reasoning.sent + choice.content.sent > 0;
  }
  if (!id.empty()) return std::nullopt;
  return cursor;
}

std::string StreamCursor::id(std::string_view fingerprint) const {
  if (choices_.size() > kChoicesWithIdMax) return {};
  std::string id(fingerprint);
  char separator = ':';
  for (const Choice& choice : choices_) {
    id += separator;
    id += std::to_string(choice.reasoning.sent) + "." + std::to_string(choice.content.sent) + "." +
          std::to_string(choice.logprobs_sent) + "." + to_hex(choice.reasoning.hash) + "." +
          to_hex(choice.content.hash);
    separator = ',';
  }
  return id;
}

void StreamCursor::rewind() {
  for (Choice& choice : choices_) {
    for (Text* text : {&choice.reasoning, &choice.content}) {
      text->come = 0;
      text->come_hash = kEmptyHash;
    }
    choice.logprobs_come = 0;
  }
}

std::string_view StreamCursor::take(Text& text, std::string_view piece) {
  const size_t again = std::min(piece.size(), text.sent - std::min(text.sent, text.come));
  if (again > 0) {
    text.come_hash = fnv1a64(piece.substr(0, again), text.come_hash);
    text.come += again;
    if (text.come == text.sent && text.come_hash != text.hash) has_diverged_ = true;
    piece.remove_prefix(again);
  }
  text.hash = fnv1a64(piece, text.hash);
  text.sent += piece.size();
  if (!piece.empty()) {
    text.come = text.sent;
    text.come_hash = text.hash;
  }
  return piece;
}

std::string_view StreamCursor::take_reasoning(size_t choice, std::string_view piece) {
  return take(choices_[choice].reasoning, piece);
}

std::string_view StreamCursor::take_content(size_t choice, std::string_view piece) {
  return take(choices_[choice].content, piece);
}

size_t StreamCursor::take_logprobs(size_t choice, size_t n) {
  Choice& of = choices_[choice];
  const size_t again = std::min(n, of.logprobs_sent - std::min(of.logprobs_sent, of.logprobs_come));
  of.logprobs_come += n;
  of.logprobs_sent = std::max(of.logprobs_sent, of.logprobs_come);
  return again;
}

bool StreamCursor::has_diverged_at_end() const {
  if (has_diverged_) return true;
  return std::any_of(choices_.begin(), choices_.end(), [](const Choice& choice) {
    return choice.reasoning.come < choice.reasoning.sent ||
           choice.content.come < choice.content.sent || choice.logprobs_come < choice.logprobs_sent;
  });
}

}  // namespace parkd
