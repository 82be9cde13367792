// json.dumps as Python writes it.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>

#include "lib/jinja/compare.h"
#include "lib/jinja/python_text.h"
#include "lib/jinja/unicode.h"

namespace parkd::jinja {
namespace {

void append_unit(std::string& out, uint32_t unit) {
  std::array<char, 8> text{};
  std::snprintf(text.data(), text.size(), "\\u%04x", unit);
  out += text.data();
}

void append_string(std::string_view text, bool ensure_ascii, std::string& out) {
  static constexpr std::string_view kFrom = "\"\\\n\r\t\f\b";
  static constexpr std::string_view kTo = "\"\\nrtfb";
  out += '"';
  for (size_t at = 0; at < text.size();) {
    const size_t begin = at;
    const char32_t c = next_code_point(text, at);
    const size_t known = c < 0x80 ? kFrom.find(static_cast<char>(c)) : std::string_view::npos;
    if (known != std::string_view::npos) {
      out += '\\';
      out += kTo[known];
    } else if (c < 0x20 || (ensure_ascii && c >= 0x7f && c < 0x10000)) {
      append_unit(out, c);
    } else if (ensure_ascii && c >= 0x10000) {
      append_unit(out, 0xd800 + ((c - 0x10000) >> 10));
      append_unit(out, 0xdc00 + ((c - 0x10000) & 0x3ff));
    } else {
      out += text.substr(begin, at - begin);
    }
  }
  out += '"';
}

class JsonPrinter {
 public:
  JsonPrinter(Runtime& runtime, const JsonStyle& style, std::string& out)
      : runtime_(runtime), style_(style), out_(out) {}

  void print(const Value& value) {
    const size_t before = out_.size();
    switch (value.type()) {
      case Type::none:
        out_ += "null";
        break;
      case Type::boolean:
        out_ += value.as_bool() ? "true" : "false";
        break;
      case Type::integer:
      case Type::real:
        out_ += number(value);
        break;
      case Type::text:
        append_string(value.as_bytes(), style_.ensure_ascii, out_);
        break;
      case Type::list:
      case Type::tuple:
        print_list(value.as_sequence().items);
        break;
      case Type::dict:
        print_dict(value.as_dict().entries);
        break;
      default:
        fail("a value of type " + std::string(type_name(value)) + " cannot be written as JSON");
    }
    runtime_.budget.make(out_.size() - before);
  }

 private:
  static std::string number(const Value& value) {
    if (value.is(Type::integer) || std::isfinite(value.as_real())) return number_digits(value);
    if (std::isnan(value.as_real())) return "NaN";
    return value.as_real() > 0 ? "Infinity" : "-Infinity";
  }

  // A separator, which may be long.
  void put(const std::string& text) {
    runtime_.budget.make(text.size());
    out_ += text;
  }

  void new_line() {
    if (!style_.indent) return;
    out_ += '\n';
    for (size_t i = 0; i < depth_; ++i) put(*style_.indent);
  }

  void print_list(const std::vector<Value>& items) {
    out_ += '[';
    ++depth_;
    for (size_t i = 0; i < items.size(); ++i) {
      if (i > 0) put(style_.item_separator);
      new_line();
      print(items[i]);
    }
    --depth_;
    if (!items.empty()) new_line();
    out_ += ']';
  }

  std::string key_text(const Value& key) const {
    if (key.is_text()) return key.as_bytes();
    if (key.is_none()) return "null";
    if (key.is(Type::boolean)) return key.as_bool() ? "true" : "false";
    if (key.is_number()) return number(key);
    fail("a key of type " + std::string(type_name(key)) + " cannot be written as JSON");
  }

  void print_dict(const std::vector<std::pair<Value, Value>>& entries) {
    std::vector<size_t> order(entries.size());
    for (size_t i = 0; i < order.size(); ++i) order[i] = i;
    if (style_.sort_keys) {
      std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
        return is_less(runtime_, entries[a].first, entries[b].first);
      });
    }
    out_ += '{';
    ++depth_;
    for (size_t i = 0; i < order.size(); ++i) {
      if (i > 0) put(style_.item_separator);
      new_line();
      const auto& [key, value] = entries[order[i]];
      append_string(key_text(key), style_.ensure_ascii, out_);
      put(style_.key_separator);
      print(value);
    }
    --depth_;
    if (!entries.empty()) new_line();
    out_ += '}';
  }

  Runtime& runtime_;
  const JsonStyle& style_;
  std::string& out_;
  size_t depth_ = 0;
};

}  // namespace

std::string json_of(Runtime& runtime, const Value& value, const JsonStyle& style) {
  std::string out;
  JsonPrinter(runtime, style, out).print(value);
  return out;
}

}  // namespace parkd::jinja
