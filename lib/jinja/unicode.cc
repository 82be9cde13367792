#include "lib/jinja/unicode.h"

#include <algorithm>
#include <array>
#include <clocale>
#include <cstring>
#include <cwctype>

namespace parkd::jinja {
namespace {

// The C library's own Unicode tables, whatever the process's locale is.
locale_t utf8_locale() {
  static const locale_t kLocale = newlocale(LC_CTYPE_MASK, "C.UTF-8", nullptr);
  return kLocale;
}

// Unconditional mappings to more than one code point (Unicode's SpecialCasing.txt).
struct LongCase {
  char32_t from;
  std::array<char32_t, 3> to;
};
constexpr LongCase kLongUpper[] = {
    {0x00df, {'S', 'S'}},
    {0x0149, {0x02bc, 'N'}},
    {0x01f0, {'J', 0x030c}},
    {0x0390, {0x0399, 0x0308, 0x0301}},
    {0x03b0, {0x03a5, 0x0308, 0x0301}},
    {0x0587, {0x0535, 0x0552}},
    {0x1e96, {'H', 0x0331}},
    {0x1e97, {'T', 0x0308}},
    {0x1e98, {'W', 0x030a}},
    {0x1e99, {'Y', 0x030a}},
    {0x1e9a, {'A', 0x02be}},
    {0x1f50, {0x03a5, 0x0313}},
    {0x1fb6, {0x0391, 0x0342}},
    {0x1fc6, {0x0397, 0x0342}},
    {0x1fd6, {0x0399, 0x0342}},
    {0x1fe4, {0x03a1, 0x0313}},
    {0x1fe6, {0x03a5, 0x0342}},
    {0x1ff6, {0x03a9, 0x0342}},
    {0xfb00, {'F', 'F'}},
    {0xfb01, {'F', 'I'}},
    {0xfb02, {'F', 'L'}},
    {0xfb03, {'F', 'F', 'I'}},
    {0xfb04, {'F', 'F', 'L'}},
    {0xfb05, {'S', 'T'}},
    {0xfb06, {'S', 'T'}},
    {0xfb13, {0x0544, 0x0546}},
    {0xfb14, {0x0544, 0x0535}},
    {0xfb15, {0x0544, 0x053b}},
    {0xfb16, {0x054e, 0x0546}},
    {0xfb17, {0x0544, 0x053d}},
};

}  // namespace

char32_t next_code_point(std::string_view text, size_t& at) {
  const auto byte = [&](size_t i) {
    return i < text.size() ? static_cast<unsigned char>(text[i]) : 0U;
  };
  const unsigned first = byte(at);
  if (first < 0x80) {
    at += 1;
    return first;
  }
  if (first < 0xe0) {
    const unsigned value = (first & 0x1f) << 6 | (byte(at + 1) & 0x3f);
    at = std::min(at + 2, text.size());
    return value;
  }
  if (first < 0xf0) {
    const unsigned value =
        (first & 0x0f) << 12 | (byte(at + 1) & 0x3f) << 6 | (byte(at + 2) & 0x3f);
    at = std::min(at + 3, text.size());
    return value;
  }
  const unsigned value = (first & 0x07) << 18 | (byte(at + 1) & 0x3f) << 12 |
                         (byte(at + 2) & 0x3f) << 6 | (byte(at + 3) & 0x3f);
  at = std::min(at + 4, text.size());
  return value;
}

size_t previous_code_point(std::string_view text, size_t at) {
  do {
    --at;
  } while (at > 0 && (static_cast<unsigned char>(text[at]) & 0xc0) == 0x80);
  return at;
}

void append_utf8(std::string& out, char32_t code_point) {
  const auto put = [&](uint32_t byte) { out += static_cast<char>(byte); };
  const uint32_t c = code_point;
  if (c < 0x80) {
    put(c);
  } else if (c < 0x800) {
    put(0xc0 | c >> 6);
    put(0x80 | (c & 0x3f));
  } else if (c < 0x10000) {
    put(0xe0 | c >> 12);
    put(0x80 | (c >> 6 & 0x3f));
    put(0x80 | (c & 0x3f));
  } else {
    put(0xf0 | c >> 18);
    put(0x80 | (c >> 12 & 0x3f));
    put(0x80 | (c >> 6 & 0x3f));
    put(0x80 | (c & 0x3f));
  }
}

bool is_code_point(uint32_t value) {
  return value < 0xd800 || (value > 0xdfff && value <= 0x10ffff);
}

// std::string's own search is quadratic where both repeat themselves; glibc's memmem is not.
size_t find_bytes(std::string_view text, std::string_view word, size_t from) {
  if (from > text.size()) return std::string_view::npos;
  if (word.empty()) return from;
  const void* found = memmem(text.data() + from, text.size() - from, word.data(), word.size());
  if (found == nullptr) return std::string_view::npos;
  return static_cast<size_t>(static_cast<const char*>(found) - text.data());
}

size_t count_code_points(std::string_view text) {
  return static_cast<size_t>(std::count_if(text.begin(), text.end(), [](char byte) {
    return (static_cast<unsigned char>(byte) & 0xc0) != 0x80;
  }));
}

size_t place_of(std::string_view text, size_t index) {
  size_t at = 0;
  for (; index > 0 && at < text.size(); --index) next_code_point(text, at);
  return at;
}

bool is_blank(char32_t c) {
  if (c < 0x80) return (c >= 0x09 && c <= 0x0d) || (c >= 0x1c && c <= 0x20);
  return c == 0x85 || c == 0xa0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200a) || c == 0x2028 ||
         c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000;
}

size_t end_without_blanks(std::string_view text) {
  size_t end = text.size();
  while (end > 0) {
    const size_t begin = previous_code_point(text, end);
    size_t at = begin;
    if (!is_blank(next_code_point(text, at))) break;
    end = begin;
  }
  return end;
}

size_t begin_without_blanks(std::string_view text) {
  size_t begin = 0;
  while (begin < text.size()) {
    size_t at = begin;
    if (!is_blank(next_code_point(text, at))) break;
    begin = at;
  }
  return begin;
}

void append_upper(std::string& out, char32_t c) {
  if (c < 0x80) {
    out += static_cast<char>(c >= 'a' && c <= 'z' ? c - 32 : c);
    return;
  }
  for (const LongCase& mapping : kLongUpper) {
    if (mapping.from != c) continue;
    for (const char32_t to : mapping.to) {
      if (to != 0) append_utf8(out, to);
    }
    return;
  }
  append_utf8(out, static_cast<char32_t>(towupper_l(static_cast<wint_t>(c), utf8_locale())));
}

void append_lower(std::string& out, char32_t c) {
  if (c < 0x80) {
    out += static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c);
  } else if (c == 0x0130) {
    out += "i\xcc\x87";
  } else {
    append_utf8(out, static_cast<char32_t>(towlower_l(static_cast<wint_t>(c), utf8_locale())));
  }
}

bool is_cased(char32_t c) {
  if (c < 0x80) return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
  const auto wide = static_cast<wint_t>(c);
  return towupper_l(wide, utf8_locale()) != wide || towlower_l(wide, utf8_locale()) != wide;
}

}  // namespace parkd::jinja
