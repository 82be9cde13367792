// LineCutter: the lines of a file that comes in pieces, however it is cut.
//
// It holds at most one line, and none where a line lies whole in its piece. A line ends in LF or
// CR LF; the last may have neither. Lines of nothing but blanks are passed over, and a UTF-8 mark
// at the file's beginning. Time is linear in the bytes. One thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace parkd {

struct CutLine {
  int64_t number = 0;       // from 1, blank lines counted; of the first that the cutter was given
  int64_t offset = 0;       // in the file, of its first byte
  int64_t end = 0;          // behind its last, the newline's: where the next begins
  std::string_view text{};  // without newline and mark; until the cutter is called again
  bool too_long = false;    // its text has more than line_bytes_max bytes, and is not here
};

class LineCutter {
 public:
  // `offset`: in the file, of the first byte that will be fed; a line begins there.
  LineCutter(size_t line_bytes_max, int64_t offset);

  // The bytes must stay while next() hands out lines of them. Requires: next() has no more of the
  // piece before.
  void feed(std::string_view piece);
  // There is no more: what stands behind the last newline is a line.
  void end();
  // Nothing: more must be fed, or the file has ended.
  std::optional<CutLine> next();

 private:
  void hold(std::string_view bytes);
  CutLine cut(std::string_view text, bool has_newline);

  const size_t line_bytes_max_;
  std::string_view piece_;  // what of it is not handed out yet
  bool is_ended_ = false;
  int64_t n_lines_ = 0;
  int64_t offset_;         // of the line that is being read
  size_t line_bytes_ = 0;  // of it, that have come, its newline not counted
  std::string held_;       // those of pieces before, unless they are too many
};

}  // namespace parkd
