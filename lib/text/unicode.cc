#include "lib/text/unicode.h"

#include "lib/text/pre_tokenizer.h"

namespace parkd {
namespace {

bool is_space(char32_t c) {
  return (c >= 0x9 && c <= 0xd) || c == 0x20 || c == 0x85 || c == 0xa0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f ||
         c == 0x3000;
}

size_t last_begin(std::string_view text) {
  size_t at = text.size() - 1;
  while (at > 0 && (static_cast<uint8_t>(text[at]) & 0xc0) == 0x80) --at;
  return at;
}

}  // namespace

size_t utf8_length(char first) {
  const auto byte = static_cast<uint8_t>(first);
  return byte < 0x80 ? 1 : byte < 0xe0 ? 2 : byte < 0xf0 ? 3 : 4;
}

char32_t first_code_point(std::string_view text) {
  const size_t length = utf8_length(text.front());
  const auto first = static_cast<uint8_t>(text.front());
  char32_t code = length == 1 ? first : first & (0x7fu >> length);
  for (size_t i = 1; i < length && i < text.size(); ++i) {
    code = code << 6 | (static_cast<uint8_t>(text[i]) & 0x3fu);
  }
  return code;
}

size_t leading_space(std::string_view text) {
  size_t n = 0;
  while (n < text.size() && is_space(first_code_point(text.substr(n)))) n += utf8_length(text[n]);
  return n;
}

size_t trailing_space(std::string_view text) {
  size_t end = text.size();
  while (end > 0) {
    const size_t begin = last_begin(text.substr(0, end));
    if (!is_space(first_code_point(text.substr(begin)))) break;
    end = begin;
  }
  return text.size() - end;
}

bool begins_with_word(std::string_view text) {
  return !text.empty() && is_word_character(text.substr(0, utf8_length(text.front())));
}

bool ends_with_word(std::string_view text) {
  return !text.empty() && is_word_character(text.substr(last_begin(text)));
}

}  // namespace parkd
