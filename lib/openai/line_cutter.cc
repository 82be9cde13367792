#include "lib/openai/line_cutter.h"

#include <utility>

#include "lib/base/blanks.h"
#include "lib/base/check.h"
#include "lib/base/json_reader.h"

namespace parkd {
namespace {

constexpr size_t kAroundText = 4;  // a mark before it and a CR behind it

}  // namespace

LineCutter::LineCutter(size_t line_bytes_max, int64_t offset)
    : line_bytes_max_(line_bytes_max), offset_(offset) {}

void LineCutter::feed(std::string_view piece) {
  PARKD_CHECK(piece_.empty() && !is_ended_, "a piece comes before the last one's lines are read");
  piece_ = piece;
}

void LineCutter::end() {
  PARKD_CHECK(piece_.empty(), "the file ends before its last piece's lines are read");
  is_ended_ = true;
}

std::optional<CutLine> LineCutter::next() {
  for (;;) {
    if (line_bytes_ == 0) held_.clear();  // the line before is given away
    const size_t newline = piece_.find('\n');
    const bool has_newline = newline != piece_.npos;
    std::string_view text = piece_.substr(0, newline);
    piece_.remove_prefix(has_newline ? newline + 1 : piece_.size());
    if (has_newline && line_bytes_ == 0) {
      line_bytes_ = text.size();
    } else {
      hold(text);
      text = held_;
    }
    if (!has_newline && (!is_ended_ || line_bytes_ == 0)) return std::nullopt;
    const CutLine line = cut(text, has_newline);
    if (line.too_long || !trimmed(line.text).empty()) return line;
  }
}

// Of a line that is too long the bytes are only counted.
void LineCutter::hold(std::string_view bytes) {
  line_bytes_ += bytes.size();
  if (line_bytes_ <= line_bytes_max_ + kAroundText) {
    held_ += bytes;
  } else {
    held_.clear();
  }
}

CutLine LineCutter::cut(std::string_view text, bool has_newline) {
  CutLine line{.number = ++n_lines_, .offset = offset_};
  line.end = offset_ + static_cast<int64_t>(line_bytes_ + (has_newline ? 1 : 0));
  const bool is_dropped = text.size() < line_bytes_;
  if (line.offset == 0) text = without_mark(text);
  if (has_newline && !text.empty() && text.back() == '\r') text.remove_suffix(1);
  line.too_long = is_dropped || text.size() > line_bytes_max_;
  if (!line.too_long) line.text = text;
  offset_ = line.end;
  line_bytes_ = 0;
  return line;
}

}  // namespace parkd
