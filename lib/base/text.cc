#include "lib/base/text.h"

#include <sys/random.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <vector>

#include "lib/base/check.h"

namespace parkd {
namespace {

constexpr std::string_view kReplacement = "\xef\xbf\xbd";  // U+FFFD

// The longest run of bytes at the start of a text that is a character or begins one; at least one.
struct Utf8Part {
  size_t length = 1;
  size_t wanted = 0;  // length of a character that begins so; 0: none does
  bool is_character() const { return length == wanted; }
};

// Requires: `text` is not empty.
Utf8Part utf8_part(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(text[i]); };
  const uint8_t first = byte(0);
  if (first < 0x80) return {1, 1};
  Utf8Part part;
  uint8_t least = 0x80;
  uint8_t most = 0xbf;
  if (first >= 0xc2 && first <= 0xdf) {
    part.wanted = 2;
  } else if (first >= 0xe0 && first <= 0xef) {
    part.wanted = 3;
    if (first == 0xe0) least = 0xa0;  // overlong
    if (first == 0xed) most = 0x9f;   // surrogates
  } else if (first >= 0xf0 && first <= 0xf4) {
    part.wanted = 4;
    if (first == 0xf0) least = 0x90;  // overlong
    if (first == 0xf4) most = 0x8f;   // past U+10FFFF
  }
  while (part.length < std::min(part.wanted, text.size()) && byte(part.length) >= least &&
         byte(part.length) <= most) {
    ++part.length;
    least = 0x80;
    most = 0xbf;
  }
  return part;
}

}  // namespace

size_t characters_in(std::string_view bytes) {
  return static_cast<size_t>(std::count_if(
      bytes.begin(), bytes.end(), [](char c) { return (static_cast<uint8_t>(c) & 0xC0) != 0x80; }));
}

size_t valid_utf8_prefix(std::string_view text) {
  size_t at = 0;
  while (at < text.size()) {
    const Utf8Part part = utf8_part(text.substr(at));
    if (!part.is_character()) break;
    at += part.length;
  }
  return at;
}

std::string repair_utf8(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const Utf8Part part = utf8_part(text);
    out += part.is_character() ? text.substr(0, part.length) : kReplacement;
    text.remove_prefix(part.length);
  }
  return out;
}

size_t unfinished_utf8(std::string_view text) {
  for (size_t n = 1; n <= std::min<size_t>(3, text.size()); ++n) {
    const std::string_view end = text.substr(text.size() - n);
    const Utf8Part part = utf8_part(end);
    // A continuation byte begins nothing: what it belongs to lies further left.
    if (part.wanted > 0) return part.length == n && !part.is_character() ? n : 0;
  }
  return 0;
}

void append_json_string(std::string& out, std::string_view text) {
  constexpr std::string_view kHex = "0123456789abcdef";
  // Most of a text stands for itself.
  const auto is_plain = [](char c) { return c >= 0x20 && c < 0x7f && c != '"' && c != '\\'; };
  out += '"';
  while (!text.empty()) {
    size_t n_plain = 0;
    while (n_plain < text.size() && is_plain(text[n_plain])) ++n_plain;
    out += text.substr(0, n_plain);
    text.remove_prefix(n_plain);
    if (text.empty()) break;
    const Utf8Part part = utf8_part(text);
    if (!part.is_character() || part.length > 1) {
      out += part.is_character() ? text.substr(0, part.length) : kReplacement;
      text.remove_prefix(part.length);
      continue;
    }
    const char c = text.front();
    text.remove_prefix(1);
    switch (c) {
      case '"':
        out += "\\\"";
        break;
      case '\\':
        out += "\\\\";
        break;
      case '\n':
        out += "\\n";
        break;
      case '\r':
        out += "\\r";
        break;
      case '\t':
        out += "\\t";
        break;
      default:
        if (static_cast<uint8_t>(c) < 0x20) {
          out += "\\u00";
          out += kHex[static_cast<uint8_t>(c) >> 4];
          out += kHex[static_cast<uint8_t>(c) & 15];
        } else {
          out += c;
        }
    }
  }
  out += '"';
}

uint64_t fnv1a64(std::string_view bytes, uint64_t seed) {
  uint64_t hash = seed;
  for (const char c : bytes) {
    hash ^= static_cast<uint8_t>(c);
    hash *= 0x100000001b3ull;
  }
  return hash;
}

std::string mib_text(int64_t bytes) {
  constexpr int64_t kMib = int64_t{1} << 20;
  return std::to_string((bytes + kMib - 1) / kMib) + " MiB";
}

std::string number_text(double number) {
  std::array<char, 32> digits{};
  std::snprintf(digits.data(), digits.size(), "%.10g", number);
  return digits.data();
}

std::string to_hex(uint64_t value) {
  constexpr std::string_view kHex = "0123456789abcdef";
  std::string text(16, '0');
  for (size_t i = 0; i < 16; ++i) text[15 - i] = kHex[(value >> (4 * i)) & 15];
  return text;
}

uint64_t random_u64() {
  uint64_t value = 0;
  const ssize_t got = ::getrandom(&value, sizeof value, 0);
  PARKD_CHECK(got == sizeof value, "getrandom gave too few bytes");
  return value;
}

std::string random_hex(int n_bytes) {
  const size_t n_digits = 2 * static_cast<size_t>(n_bytes);
  std::string text;
  while (text.size() < n_digits) text += to_hex(random_u64());
  text.resize(n_digits);
  return text;
}

}  // namespace parkd
