#include "lib/text/output_text.h"

#include <algorithm>

#include "lib/base/text.h"

namespace parkd {

std::string_view without_first_space(std::string_view token_bytes, bool& drops) {
  if (!drops || token_bytes.empty()) return token_bytes;
  drops = false;
  if (token_bytes.front() == ' ') token_bytes.remove_prefix(1);
  return token_bytes;
}

OutputText::OutputText(std::span<const std::string> stop_strings, bool drops_first_space)
    : stop_strings_(stop_strings), drops_space_(drops_first_space) {
  for (const std::string& stop : stop_strings) longest_stop_ = std::max(longest_stop_, stop.size());
}

bool OutputText::append(std::string_view token_bytes) {
  const size_t old_size = bytes_.size();
  token_starts_.push_back(old_size);
  ++n_kept_tokens_;
  token_bytes = without_first_space(token_bytes, drops_space_);
  bytes_ += token_bytes;
  if (longest_stop_ == 0 || token_bytes.empty()) return false;

  const size_t from = old_size - std::min(old_size, longest_stop_ - 1);
  size_t first = std::string::npos;
  for (const std::string& stop : stop_strings_) {
    if (!stop.empty()) first = std::min(first, bytes_.find(stop, from));
  }
  if (first == std::string::npos) return false;
  cut(first);
  return true;
}

void OutputText::cut(size_t at) {
  bytes_.resize(at);
  const auto end = std::lower_bound(token_starts_.begin(), token_starts_.end(), at);
  n_kept_tokens_ = static_cast<size_t>(end - token_starts_.begin());
}

void OutputText::leave_out_unfinished() {
  const size_t n_bytes = unfinished_utf8(bytes_);
  if (n_bytes > 0) cut(bytes_.size() - n_bytes);
}

// Where a stop string could begin that bytes to come complete: the longest end of the text that
// begins one. Never moves back: what begins one now did so before it grew.
size_t OutputText::first_that_may_stop() const {
  const std::string_view all = bytes_;
  size_t at = std::max(n_released_, all.size() - std::min(all.size(), longest_stop_));
  for (; at < all.size(); ++at) {
    const std::string_view end = all.substr(at);
    for (const std::string_view stop : stop_strings_) {
      if (stop.size() > end.size() && stop.substr(0, end.size()) == end) return at;
    }
  }
  return at;
}

OutputText::Piece OutputText::release() {
  size_t end = first_that_may_stop();
  end -= unfinished_utf8(std::string_view(bytes_).substr(0, end));
  size_t n_tokens = n_released_tokens_;
  while (n_tokens < n_kept_tokens_ && token_starts_[n_tokens] < end) ++n_tokens;
  return release_up_to(end, n_tokens);
}

// A piece ends between characters, so pieces are repaired as the whole is.
OutputText::Piece OutputText::release_up_to(size_t end, size_t n_tokens) {
  Piece piece;
  piece.text = std::string_view(bytes_).substr(n_released_, end - n_released_);
  piece.first_token = n_released_tokens_;
  piece.n_tokens = n_tokens - n_released_tokens_;
  n_released_ = end;
  n_released_tokens_ = n_tokens;
  if (!is_valid_utf8(piece.text)) piece.text = repaired_ = repair_utf8(piece.text);
  return piece;
}

std::string OutputText::text() const {
  return repair_utf8(bytes_);
}

}  // namespace parkd
