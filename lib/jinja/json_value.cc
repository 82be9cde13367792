#include "lib/jinja/json_value.h"

#include <charconv>

#include "lib/jinja/unicode.h"

namespace parkd::jinja {
namespace {

constexpr int kDepthMax = 100;

class Reader {
 public:
  Reader(std::string_view text, Origin origin) : text_(text), origin_(origin) {}

  std::optional<Value> read() {
    Value value;
    if (!read_value(value)) return std::nullopt;
    pass_blanks();
    if (at_ < text_.size()) return std::nullopt;
    return value;
  }

 private:
  void pass_blanks() {
    while (at_ < text_.size() &&
           (text_[at_] == ' ' || text_[at_] == '\n' || text_[at_] == '\r' || text_[at_] == '\t')) {
      ++at_;
    }
  }
  bool take(char c) {
    pass_blanks();
    if (at_ >= text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  bool take_word(std::string_view word) {
    if (text_.substr(at_, word.size()) != word) return false;
    at_ += word.size();
    return true;
  }

  bool read_value(Value& out) {
    pass_blanks();
    if (at_ >= text_.size()) return false;
    switch (text_[at_]) {
      case '{':
        return read_object(out);
      case '[':
        return read_array(out);
      case '"': {
        std::string text;
        if (!read_string(text)) return false;
        out = Value::text(std::move(text), origin_);
        return true;
      }
      case 't':
        out = Value::boolean(true, origin_);
        return take_word("true");
      case 'f':
        out = Value::boolean(false, origin_);
        return take_word("false");
      case 'n':
        out = Value::none();
        return take_word("null");
      default:
        return read_number(out);
    }
  }

  bool read_array(Value& out) {
    ++at_;
    if (++depth_ > kDepthMax) return false;
    std::vector<Value> items;
    if (!take(']')) {
      do {
        Value item;
        if (!read_value(item)) return false;
        items.push_back(std::move(item));
      } while (take(','));
      if (!take(']')) return false;
    }
    --depth_;
    out = Value::list(std::move(items));
    return true;
  }

  bool read_object(Value& out) {
    ++at_;
    if (++depth_ > kDepthMax) return false;
    std::vector<std::pair<Value, Value>> entries;
    if (!take('}')) {
      do {
        pass_blanks();
        std::string key;
        if (at_ >= text_.size() || text_[at_] != '"' || !read_string(key) || !take(':')) {
          return false;
        }
        Value value;
        if (!read_value(value)) return false;
        entries.emplace_back(Value::text(std::move(key), origin_), std::move(value));
      } while (take(','));
      if (!take('}')) return false;
    }
    --depth_;
    out = Value::dict(std::move(entries));
    return true;
  }

  bool read_number(Value& out) {
    size_t end = at_;
    bool is_real = false;
    while (end < text_.size()) {
      const char c = text_[end];
      const bool marks_real = c == '.' || c == 'e' || c == 'E';
      if (!marks_real && c != '-' && c != '+' && (c < '0' || c > '9')) break;
      is_real |= marks_real;
      ++end;
    }
    const char* first = text_.data() + at_;
    const char* last = text_.data() + end;
    int64_t integer = 0;
    if (!is_real) {
      const auto read = std::from_chars(first, last, integer);
      if (read.ec == std::errc() && read.ptr == last && first != last) {
        out = Value::integer(integer, origin_);
        at_ = end;
        return true;
      }
    }
    double real = 0;
    const auto read = std::from_chars(first, last, real);
    if (first == last || read.ptr != last || read.ec == std::errc::invalid_argument) return false;
    out = is_real ? Value::real(real, origin_)
                  : Value::large_integer(real, std::string(text_.substr(at_, end - at_)), origin_);
    at_ = end;
    return true;
  }

  bool read_unit(uint32_t& unit) {
    const std::string_view digits = text_.substr(at_, 4);
    const auto read = std::from_chars(digits.data(), digits.data() + digits.size(), unit, 16);
    if (digits.size() != 4 || read.ec != std::errc() || read.ptr != digits.data() + 4) return false;
    at_ += 4;
    return true;
  }

  bool read_escape(std::string& out) {
    static constexpr std::string_view kFrom = "\"\\/bfnrt";
    static constexpr std::string_view kTo = "\"\\/\b\f\n\r\t";
    if (at_ >= text_.size()) return false;
    const char c = text_[at_++];
    if (const size_t known = kFrom.find(c); known != std::string_view::npos) {
      out += kTo[known];
      return true;
    }
    uint32_t unit = 0;
    if (c != 'u' || !read_unit(unit)) return false;
    if (unit >= 0xd800 && unit < 0xdc00) {
      uint32_t low = 0;
      if (!take_word("\\u") || !read_unit(low) || low < 0xdc00 || low > 0xdfff) return false;
      unit = 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
    }
    if (!is_code_point(unit)) return false;
    append_utf8(out, unit);
    return true;
  }

  bool read_string(std::string& out) {
    ++at_;
    while (at_ < text_.size()) {
      const size_t plain = text_.find_first_of("\"\\", at_);
      if (plain == std::string_view::npos) return false;
      out += text_.substr(at_, plain - at_);
      at_ = plain + 1;
      if (text_[plain] == '"') return true;
      if (!read_escape(out)) return false;
    }
    return false;
  }

  const std::string_view text_;
  const Origin origin_;
  size_t at_ = 0;
  int depth_ = 0;
};

}  // namespace

std::optional<Value> json_value(std::string_view text, Origin origin) {
  return Reader(text, origin).read();
}

}  // namespace parkd::jinja
