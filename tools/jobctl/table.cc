#include "tools/jobctl/table.h"

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <iomanip>
#include <iostream>
#include <utility>

#include "lib/base/text.h"

namespace parkd::jobctl {

namespace {

// The character at the front of valid UTF-8, and its length.
std::pair<uint32_t, size_t> first_character(std::string_view text) {
  const auto lead = static_cast<unsigned char>(text[0]);
  const size_t length = lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  uint32_t point = length == 1 ? lead : lead & (0xFFu >> (length + 1));
  for (size_t i = 1; i < length; ++i)
    point = point << 6 | (static_cast<unsigned char>(text[i]) & 0x3F);
  return {point, length};
}

bool is_control(uint32_t point) {
  return (point < 0x20 && point != '\n' && point != '\t') || (point >= 0x7F && point < 0xA0) ||
         (point >= 0x202A && point <= 0x202E) || (point >= 0x2066 && point <= 0x2069);
}

}  // namespace

std::string escape_controls(std::string_view text) {
  std::string out;
  const auto escape = [&out](const char* format, uint32_t value) {
    char written[16];
    std::snprintf(written, sizeof written, format, value);
    out += written;
  };
  while (!text.empty()) {
    const size_t valid = valid_utf8_prefix(text);
    for (std::string_view good = text.substr(0, valid); !good.empty();) {
      const auto [point, length] = first_character(good);
      if (!is_control(point)) {
        out += good.substr(0, length);
      } else {
        escape(point < 0x80 ? "\\x%02x" : "\\u%04x", point);
      }
      good.remove_prefix(length);
    }
    text.remove_prefix(valid);
    if (text.empty()) break;
    escape("\\x%02x", static_cast<unsigned char>(text[0]));
    text.remove_prefix(1);
  }
  return out;
}

std::string for_reader(std::string_view text, int descriptor) {
  return ::isatty(descriptor) != 0 ? escape_controls(text) : std::string(text);
}

std::string one_line(std::string text) {
  for (char& c : text) {
    if (c == '\n' || c == '\t') c = ' ';
  }
  return escape_controls(text);
}

void print_table(std::vector<std::vector<std::string>> rows) {
  std::vector<size_t> widths;
  for (auto& row : rows) {
    for (std::string& cell : row) cell = one_line(std::move(cell));
  }
  for (const auto& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  for (const auto& row : rows) {
    for (size_t i = 0; i < row.size(); ++i) {
      const bool last = i + 1 == row.size();
      std::cout << std::left << std::setw(last ? 0 : static_cast<int>(widths[i] + 2)) << row[i];
    }
    std::cout << "\n";
  }
}

}  // namespace parkd::jobctl
