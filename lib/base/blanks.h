// What JSON calls blank, as lines of files and the marks of answers do. Pure, any thread.
#pragma once

#include <string_view>

namespace parkd {

inline constexpr std::string_view kBlanks = " \t\r\n";

// The text without the blanks around it.
inline std::string_view trimmed(std::string_view text) {
  const size_t first = text.find_first_not_of(kBlanks);
  if (first == text.npos) return {};
  return text.substr(first, text.find_last_not_of(kBlanks) + 1 - first);
}

}  // namespace parkd
