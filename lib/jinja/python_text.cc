#include "lib/jinja/python_text.h"

#include <array>
#include <charconv>
#include <clocale>
#include <cmath>
#include <cstdio>
#include <cwctype>

#include "lib/jinja/unicode.h"

namespace parkd::jinja {
namespace {

// Format characters (Unicode's Cf), which Python does not print.
constexpr std::pair<char32_t, char32_t> kFormats[] = {
    {0x00ad, 0x00ad},   {0x0600, 0x0605},   {0x061c, 0x061c},   {0x06dd, 0x06dd},
    {0x070f, 0x070f},   {0x0890, 0x0891},   {0x08e2, 0x08e2},   {0x180e, 0x180e},
    {0x200b, 0x200f},   {0x202a, 0x202e},   {0x2060, 0x206f},   {0xfeff, 0xfeff},
    {0xfff9, 0xfffb},   {0x110bd, 0x110bd}, {0x110cd, 0x110cd}, {0x13430, 0x1343f},
    {0x1bca0, 0x1bca3}, {0x1d173, 0x1d17a}, {0xe0001, 0xe007f}};

// str.isprintable of a code point beyond ASCII.
bool is_printable(char32_t c) {
  if (is_blank(c) || c < 0xa1) return false;
  if ((c >= 0xe000 && c <= 0xf8ff) || c >= 0xf0000) return false;  // private use
  for (const auto& [first, last] : kFormats) {
    if (c >= first && c <= last) return false;
  }
  static const locale_t kLocale = newlocale(LC_CTYPE_MASK, "C.UTF-8", nullptr);
  return iswprint_l(static_cast<wint_t>(c), kLocale) != 0;
}

void append_hex(std::string& out, const char* format, uint32_t value) {
  std::array<char, 16> text{};
  std::snprintf(text.data(), text.size(), format, value);
  out += text.data();
}

void append_text_repr(std::string_view text, std::string& out) {
  const bool has_single = text.find('\'') != std::string_view::npos;
  const char quote = has_single && text.find('"') == std::string_view::npos ? '"' : '\'';
  out += quote;
  for (size_t at = 0; at < text.size();) {
    const size_t begin = at;
    const char32_t c = next_code_point(text, at);
    if (c == static_cast<char32_t>(quote) || c == '\\') {
      out += '\\';
      out += static_cast<char>(c);
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\r') {
      out += "\\r";
    } else if (c == '\t') {
      out += "\\t";
    } else if (c < 0x20 || c == 0x7f) {
      append_hex(out, "\\x%02x", c);
    } else if (c < 0x7f || is_printable(c)) {
      out += text.substr(begin, at - begin);
    } else {
      append_hex(out, c < 0x100 ? "\\x%02x" : c < 0x10000 ? "\\u%04x" : "\\U%08x", c);
    }
  }
  out += quote;
}

void append_items(Runtime& runtime, const std::vector<Value>& items, std::string& out) {
  for (size_t i = 0; i < items.size(); ++i) {
    if (i > 0) out += ", ";
    append_repr(runtime, items[i], out);
  }
}

void append_sequence(Runtime& runtime, const Value& value, std::string& out) {
  const Sequence& sequence = value.as_sequence();
  switch (value.type()) {
    case Type::list:
      out += '[';
      append_items(runtime, sequence.items, out);
      out += ']';
      return;
    case Type::tuple:
      out += '(';
      append_items(runtime, sequence.items, out);
      out += sequence.items.size() == 1 ? ",)" : ")";
      return;
    case Type::view:
      out += sequence.view_name;
      out += "([";
      append_items(runtime, sequence.items, out);
      out += "])";
      return;
    default:
      fail("a " + std::string(type_name(value)) + " cannot be printed; make a list of it first");
  }
}

}  // namespace

std::string real_text(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value > 0 ? "inf" : "-inf";
  std::array<char, 40> buffer{};
  const auto written = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value,
                                     std::chars_format::scientific);
  const std::string_view text(buffer.data(), static_cast<size_t>(written.ptr - buffer.data()));
  const size_t mark = text.find('e');
  int exponent = 0;
  const size_t exponent_at = text[mark + 1] == '+' ? mark + 2 : mark + 1;
  std::from_chars(text.data() + exponent_at, text.data() + text.size(), exponent);
  if (exponent < -4 || exponent >= 16) {
    std::string out(text.substr(0, mark));
    append_hex(out, exponent < 0 ? "e-%02u" : "e+%02u", static_cast<uint32_t>(std::abs(exponent)));
    return out;
  }
  std::string out(value < 0 || std::signbit(value) ? "-" : "");
  std::string digits;
  for (const char c : text.substr(0, mark)) {
    if (c != '-' && c != '.') digits += c;
  }
  if (exponent < 0) {
    return out + "0." + std::string(static_cast<size_t>(-exponent - 1), '0') + digits;
  }
  const auto n_whole = static_cast<size_t>(exponent) + 1;
  if (digits.size() <= n_whole) {
    return out + digits + std::string(n_whole - digits.size(), '0') + ".0";
  }
  return out + digits.substr(0, n_whole) + "." + digits.substr(n_whole);
}

std::string number_digits(const Value& value) {
  if (value.is(Type::boolean)) return value.as_bool() ? "True" : "False";
  if (value.is(Type::integer)) return std::to_string(value.as_integer());
  if (!value.exact_digits().empty()) return std::string(value.exact_digits());
  return real_text(value.as_real());
}

void append_repr(Runtime& runtime, const Value& value, std::string& out) {
  const size_t before = out.size();
  switch (value.type()) {
    case Type::undefined:
      out += "Undefined";
      break;
    case Type::none:
      out += "None";
      break;
    case Type::boolean:
    case Type::integer:
    case Type::real:
      out += number_digits(value);
      break;
    case Type::text:
      append_text_repr(value.as_bytes(), out);
      break;
    case Type::list:
    case Type::tuple:
    case Type::range:
    case Type::view:
    case Type::generator:
      append_sequence(runtime, value, out);
      break;
    case Type::dict: {
      const auto& entries = value.as_dict().entries;
      out += '{';
      for (size_t i = 0; i < entries.size(); ++i) {
        if (i > 0) out += ", ";
        append_repr(runtime, entries[i].first, out);
        out += ": ";
        append_repr(runtime, entries[i].second, out);
      }
      out += '}';
      break;
    }
    case Type::space:
    case Type::function:
    case Type::loop:
      fail("a " + std::string(type_name(value)) + " cannot be printed");
  }
  runtime.budget.make(out.size() - before);
}

std::string repr_of(Runtime& runtime, const Value& value) {
  std::string out;
  append_repr(runtime, value, out);
  return out;
}

Text str_of(Runtime& runtime, const Value& value) {
  if (value.is_text()) return value.as_text();
  if (value.is_undefined()) return {};
  return {repr_of(runtime, value), value.origin()};
}

}  // namespace parkd::jinja
