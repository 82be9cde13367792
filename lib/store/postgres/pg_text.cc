#include "lib/store/postgres/pg_text.h"

#include <array>
#include <charconv>
#include <utility>

#include "lib/base/text.h"

namespace parkd {
namespace {

constexpr std::string_view kEscape = "\xf4\x8f\xbf\xbe";  // U+10FFFE

// The four hexadecimal digits of a \uXXXX escape at `at`; -1 when there is none.
int escape_at(std::string_view json, size_t at) {
  if (at + 6 > json.size() || json[at] != '\\' || json[at + 1] != 'u') return -1;
  int value = 0;
  const char* first = json.data() + at + 2;
  const auto [end, error] = std::from_chars(first, first + 4, value, 16);
  return error == std::errc() && end == first + 4 ? value : -1;
}

bool is_high_half(int unit) {
  return unit >= 0xd800 && unit < 0xdc00;
}
bool is_low_half(int unit) {
  return unit >= 0xdc00 && unit < 0xe000;
}

void append_utf8(std::string& out, uint32_t code) {
  if (code < 0x80) {
    out += static_cast<char>(code);
  } else if (code < 0x800) {
    out += static_cast<char>(0xc0 | (code >> 6));
    out += static_cast<char>(0x80 | (code & 0x3f));
  } else {
    out += static_cast<char>(0xe0 | (code >> 12));
    out += static_cast<char>(0x80 | ((code >> 6) & 0x3f));
    out += static_cast<char>(0x80 | (code & 0x3f));
  }
}

}  // namespace

void ArrayText::separate() {
  if (text_.size() > 1) text_ += ',';
}

void ArrayText::add(int64_t value) {
  separate();
  text_ += std::to_string(value);
}

void ArrayText::add(bool value) {
  separate();
  text_ += value ? 't' : 'f';
}

void ArrayText::add(std::string_view text) {
  separate();
  text_ += '"';
  for (const char c : text) {
    if (c == '"' || c == '\\') text_ += '\\';
    text_ += c;
  }
  text_ += '"';
}

void ArrayText::add_null() {
  separate();
  text_ += "NULL";
}

std::string ArrayText::take() {
  text_ += '}';
  return std::exchange(text_, "{");
}

std::string encode_text(std::string_view text) {
  if (text.find('\0') == text.npos && text.find(kEscape) == text.npos) return std::string(text);
  std::string out;
  for (size_t i = 0; i < text.size();) {
    if (text[i] == '\0') {
      out += kEscape;
      out += '0';
      ++i;
    } else if (text.substr(i, kEscape.size()) == kEscape) {
      out += kEscape;
      out += '1';
      i += kEscape.size();
    } else {
      out += text[i++];
    }
  }
  return out;
}

std::string decode_text(std::string_view text) {
  if (text.find(kEscape) == text.npos) return std::string(text);
  std::string out;
  for (size_t i = 0; i < text.size();) {
    if (text.substr(i, kEscape.size()) == kEscape && i + kEscape.size() < text.size()) {
      const bool zero = text[i + kEscape.size()] == '0';
      out += zero ? std::string_view("\0", 1) : kEscape;
      i += kEscape.size() + 1;
    } else {
      out += text[i++];
    }
  }
  return out;
}

std::string readable_text(std::string_view text) {
  if (text.find('\0') == text.npos && is_valid_utf8(text)) return std::string(text);
  std::string out;
  for (const char c : repair_utf8(text)) {
    if (c == '\0') {
      out += "\xef\xbf\xbd";
    } else {
      out += c;
    }
  }
  return out;
}

std::string storable_json(std::string_view json) {
  std::string text = readable_text(json);
  if (text.find("\\u") == text.npos) return text;
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size();) {
    if (text[i] != '\\') {
      out += text[i++];
      continue;
    }
    const int unit = escape_at(text, i);
    if (unit < 0) {  // another escape: two characters, so that \\u0000 is not taken for one
      out.append(text, i, 2);
      i += 2;
    } else if (is_high_half(unit) && is_low_half(escape_at(text, i + 6))) {
      out.append(text, i, 12);
      i += 12;
    } else {
      const bool bad = unit == 0 || is_high_half(unit) || is_low_half(unit);
      out += bad ? "\\ufffd" : text.substr(i, 6);
      i += 6;
    }
  }
  return out;
}

std::string unwrap_json_string(std::string_view json) {
  if (json.size() < 2 || json.front() != '"') return std::string(json);
  std::string out;
  for (size_t i = 1; i + 1 < json.size(); ++i) {
    if (json[i] != '\\') {
      out += json[i];
      continue;
    }
    const int unit = escape_at(json, i);
    if (unit >= 0) {  // append_json_string writes escapes of control characters only
      append_utf8(out, static_cast<uint32_t>(unit));
      i += 5;
      continue;
    }
    constexpr std::string_view kFrom = "bfnrt";
    constexpr std::string_view kTo = "\b\f\n\r\t";
    const size_t known = kFrom.find(json[++i]);
    out += known == kFrom.npos ? json[i] : kTo[known];
  }
  return out;
}

std::string bytea_text(std::string_view bytes) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string text(2 + 2 * bytes.size(), 'x');
  text[0] = '\\';
  size_t at = 2;
  for (const char c : bytes) {
    const auto byte = static_cast<uint8_t>(c);
    text[at++] = kDigits[byte >> 4];
    text[at++] = kDigits[byte & 15];
  }
  return text;
}

std::string bytes_of_hex(std::string_view digits) {
  constexpr auto kValues = [] {
    std::array<uint8_t, 256> values{};
    for (uint8_t& value : values) value = 16;
    for (uint8_t i = 0; i < 10; ++i) values['0' + size_t{i}] = i;
    for (uint8_t i = 0; i < 6; ++i) values['a' + size_t{i}] = static_cast<uint8_t>(10 + i);
    return values;
  }();
  std::string bytes(digits.size() / 2, '\0');
  uint8_t bad = digits.size() % 2 == 0 ? 0 : 16;
  for (size_t i = 0; i < bytes.size(); ++i) {
    const uint8_t high = kValues[static_cast<uint8_t>(digits[2 * i])];
    const uint8_t low = kValues[static_cast<uint8_t>(digits[2 * i + 1])];
    bad |= static_cast<uint8_t>((high | low) & 16);
    bytes[i] = static_cast<char>(high << 4 | low);
  }
  return bad == 0 ? bytes : std::string();
}

}  // namespace parkd
