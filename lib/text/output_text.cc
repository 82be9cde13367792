#include "lib/text/output_text.h"

#include <algorithm>

#include "lib/base/text.h"

namespace parkd {

OutputText::OutputText(std::span<const std::string> stop_strings) : stop_strings_(stop_strings) {
  for (const std::string& stop : stop_strings) longest_stop_ = std::max(longest_stop_, stop.size());
}

bool OutputText::append(std::string_view token_bytes) {
  const size_t old_size = bytes_.size();
  token_starts_.push_back(old_size);
  ++n_kept_tokens_;
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

std::string OutputText::text() const {
  return repair_utf8(bytes_);
}

}  // namespace parkd
