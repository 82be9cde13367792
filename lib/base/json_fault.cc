#include "lib/base/json_fault.h"

#include <algorithm>
#include <array>
#include <cstdio>

#include "lib/base/text.h"

namespace parkd {
namespace {

constexpr std::string_view kSpace = " \t\r\n";

std::string hex_of(char c) {
  std::array<char, 8> hex{};
  std::snprintf(hex.data(), hex.size(), "0x%02X", static_cast<unsigned char>(c));
  return hex.data();
}

bool begins(std::string_view text, std::string_view with) {
  return text.substr(0, with.size()) == with;
}

// Where an escape \ud800 to \udfff stands that ends before `at`, or within which the parser
// stopped.
size_t half_pair_before(std::string_view text, size_t at) {
  const std::string_view before = text.substr(0, std::min(text.size(), at + 2));
  size_t escape = before.rfind("\\u");
  if (escape == std::string_view::npos || escape + 12 < at || escape + 4 > text.size()) {
    return std::string_view::npos;
  }
  const char high = text[escape + 2];
  const bool is_half =
      (high == 'd' || high == 'D') &&
      std::string_view("89abcdefABCDEF").find(text[escape + 3]) != std::string_view::npos;
  return is_half ? escape : std::string_view::npos;
}

std::string cause_of_word(std::string_view rest) {
  if (begins(rest, "None")) return "None is Python's; JSON has null";
  if (begins(rest, "N") || begins(rest, "I")) return "NaN and Infinity are not JSON";
  if (begins(rest, "T") || begins(rest, "F")) return "true and false are written small in JSON";
  if (begins(rest, "undefined")) return "undefined is not JSON; it has null";
  return {};
}

// What may not stand at `at`, which is within the text.
std::string cause_of(std::string_view text, size_t at) {
  const char c = text[at];
  const std::string_view rest = text.substr(at);
  const size_t before = at == 0 ? std::string_view::npos : text.find_last_not_of(kSpace, at - 1);
  const char last = before == std::string_view::npos ? '\0' : text[before];
  if ((c == '}' || c == ']') && last == ',') return "a comma before the closing bracket";
  if (c == '\'') return "a single quote; JSON has double quotes";
  if (begins(rest, "\xE2\x80\x9C") || begins(rest, "\xE2\x80\x9D")) {
    return "a typographic quote; JSON has plain double quotes";
  }
  if (std::string word = cause_of_word(rest); !word.empty()) return word;
  if ((c == 'a' && last == 'N') || (c == 'I' && last == '-'))
    return "NaN and Infinity are not JSON";
  if (c == '\0') return "a NUL byte, which is not text; remove it";
  if (static_cast<unsigned char>(c) < ' ') {
    return "a raw control character (" + hex_of(c) +
           ") in a string; JSON has \\n, \\t, \\u001f for them";
  }
  if (c == '{' && last == '}') return "a second object behind the first; one text is one value";
  if (c == '/' || c == '#') return "a comment; JSON has none";
  if (c == '"' && (last == '"' || last == '}' || last == ']'))
    return "a comma is missing before it";
  const auto byte = static_cast<unsigned char>(c);
  return "unexpected " + (byte < 0x7f ? std::string(1, c) : hex_of(c));
}

}  // namespace

std::string place_in(std::string_view text, size_t at) {
  at = std::min(at, text.size());
  const std::string_view before = text.substr(0, at);
  const size_t line_end = before.rfind('\n');
  const size_t line_begin = line_end == std::string_view::npos ? 0 : line_end + 1;
  const std::string byte = "byte " + std::to_string(at - line_begin + 1);
  const size_t last = text.find_last_not_of(kSpace);
  if (text.substr(0, last == std::string_view::npos ? 0 : last).find('\n') ==
      std::string_view::npos) {
    return byte;
  }
  const auto line = 1 + std::count(before.begin(), before.end(), '\n');
  return "line " + std::to_string(line) + ", " + byte;
}

std::string fault_at(std::string_view text, size_t at) {
  if (begins(text, "\xFF\xFE") || begins(text, "\xFE\xFF") ||
      (text.size() > 1 && (text[0] == '\0') != (text[1] == '\0'))) {
    return "byte 1: it is UTF-16, and UTF-8 is wanted (iconv -f utf-16 -t utf-8)";
  }
  const size_t valid = valid_utf8_prefix(text);
  if (valid < text.size() && valid <= at + 1) {
    return place_in(text, valid) + " (" + hex_of(text[valid]) +
           ") is not UTF-8; is it Latin-1? iconv -f latin1 -t utf-8";
  }
  if (text.find_first_not_of(kSpace) == std::string_view::npos) return "byte 1: it is empty";
  if (at >= text.size()) {
    const bool is_opening = text == "{" || text == "[";
    return place_in(text, text.size()) + ": it ends in the middle of a value" +
           (is_opening
                ? "; one line is one whole object (jq -c . makes that of pretty-printed JSON)"
                : "");
  }
  if (const size_t half = half_pair_before(text, at); half != std::string_view::npos) {
    return place_in(text, half) + ": half of a surrogate pair, which is not text; remove it";
  }
  return place_in(text, at) + ": " + cause_of(text, at);
}

}  // namespace parkd
