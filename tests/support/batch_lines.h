// The lines of a text as a few plain words find them: the oracle of what cuts files into lines. Any
// thread.
#pragma once

#include <cstdint>
#include <ostream>
#include <string>
#include <string_view>
#include <vector>

namespace parkd::testing {

struct TextLine {
  int64_t number = 0;  // from 1
  int64_t offset = 0;
  int64_t end = 0;
  std::string text{};
  bool too_long = false;
  friend bool operator==(const TextLine&, const TextLine&) = default;
  friend std::ostream& operator<<(std::ostream& out, const TextLine& line) {
    return out << line.number << " [" << line.offset << ", " << line.end << ") \"" << line.text
               << (line.too_long ? "\" too long" : "\"");
  }
};

// Those that are not blank.
inline std::vector<TextLine> lines_in(std::string_view file, size_t line_bytes_max) {
  std::vector<TextLine> lines;
  size_t end = 0;
  for (int64_t number = 1; end < file.size(); ++number) {
    const size_t begin = end;
    const size_t newline = file.find('\n', begin);
    end = newline == file.npos ? file.size() : newline + 1;
    std::string text(file.substr(begin, end - begin));
    if (begin == 0 && text.rfind("\xEF\xBB\xBF", 0) == 0) text.erase(0, 3);
    if (newline != file.npos) text.pop_back();
    if (newline != file.npos && !text.empty() && text.back() == '\r') text.pop_back();
    const bool too_long = text.size() > line_bytes_max;
    if (!too_long && text.find_first_not_of(" \t\r") == text.npos) continue;
    lines.push_back({number, static_cast<int64_t>(begin), static_cast<int64_t>(end),
                     too_long ? "" : text, too_long});
  }
  return lines;
}

}  // namespace parkd::testing
