#include "lib/jinja/text.h"

#include <algorithm>
#include <utility>

namespace parkd::jinja {

Text::Text(std::string bytes, Origin origin) : bytes_(std::move(bytes)) {
  if (!bytes_.empty()) runs_.push_back({bytes_.size(), origin});
}

Origin Text::origin() const {
  for (const Run& run : runs_) {
    if (run.origin == Origin::content) return Origin::content;
  }
  return Origin::literal;
}

void Text::append(std::string_view bytes, Origin origin) {
  if (bytes.empty()) return;
  bytes_.append(bytes);
  if (!runs_.empty() && runs_.back().origin == origin) {
    runs_.back().end = bytes_.size();
  } else {
    runs_.push_back({bytes_.size(), origin});
  }
}

void Text::append(const Text& other, size_t first, size_t last) {
  if (first >= last) return;
  auto run = other.runs_.begin();
  if (other.runs_.size() > 1) {
    run = std::upper_bound(run, other.runs_.end(), first,
                           [](size_t at, const Run& of) { return at < of.end; });
  }
  for (; first < last; ++run) {
    const size_t end = std::min(run->end, last);
    append(std::string_view(other.bytes_).substr(first, end - first), run->origin);
    first = end;
  }
}

Text Text::slice(size_t first, size_t last) const {
  Text part;
  part.append(*this, first, last);
  part.is_markup_ = is_markup_;
  return part;
}

}  // namespace parkd::jinja
