#include "lib/jinja/lexer.h"

#include <algorithm>
#include <charconv>
#include <utility>

#include "lib/base/text.h"
#include "lib/jinja/unicode.h"

namespace parkd::jinja {
namespace {

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
bool is_name_start(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
         static_cast<unsigned char>(c) >= 0x80;
}

// \r\n and \r are \n; one line break at the end is none.
std::string with_plain_lines(std::string_view source) {
  std::string text;
  text.reserve(source.size());
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] == '\r') {
      text += '\n';
      if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
    } else {
      text += source[i];
    }
  }
  if (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

class Lexer {
 public:
  explicit Lexer(std::string source) : source_(std::move(source)) {}

  std::vector<Token> read() {
    while (at_ < source_.size()) read_data();
    add(Token::Kind::end, {});
    return std::move(tokens_);
  }

 private:
  [[noreturn]] void fail_here(std::string message) const {
    throw Fault{Fault::Kind::template_error, std::move(message), line_};
  }

  std::string_view rest() const { return std::string_view(source_).substr(at_); }
  bool starts(std::string_view word) const { return rest().substr(0, word.size()) == word; }

  // Passes over so many bytes, counting lines.
  void pass(size_t n_bytes) {
    line_ +=
        static_cast<int>(std::count(source_.begin() + static_cast<ptrdiff_t>(at_),
                                    source_.begin() + static_cast<ptrdiff_t>(at_ + n_bytes), '\n'));
    at_ += n_bytes;
  }
  void pass_blanks() { pass(begin_without_blanks(rest())); }

  Token& add(Token::Kind kind, std::string text) {
    Token token;
    token.kind = kind;
    token.text = std::move(text);
    token.line = line_;
    tokens_.push_back(std::move(token));
    return tokens_.back();
  }

  // The template's text before a tag, without the blanks that the tag takes. `sign`: what stands
  // behind the tag's opening.
  std::string_view before_tag(std::string_view text, char sign, bool is_variable) const {
    if (sign == '-') return text.substr(0, end_without_blanks(text));
    if (sign == '+' || is_variable) return text;
    const size_t line_begin = text.rfind('\n') + 1;  // npos + 1 is 0
    if (line_begin == 0 && !is_line_start_) return text;
    const std::string_view indent = text.substr(line_begin);
    if (begin_without_blanks(indent) == indent.size()) return text.substr(0, line_begin);
    return text;
  }

  void add_data(std::string_view text) {
    if (!text.empty()) add(Token::Kind::data, std::string(text));
  }

  static char sign_of(std::string_view at_sign) {
    if (at_sign.empty() || (at_sign[0] != '-' && at_sign[0] != '+')) return 0;
    return at_sign[0];
  }

  // The length of "{%- raw %}" where `text` starts with it; else 0.
  static size_t raw_tag(std::string_view text, std::string_view word, bool trims) {
    size_t i = 2;
    if (text.substr(0, 2) != "{%") return 0;
    if (sign_of(text.substr(i)) != 0) ++i;
    i += begin_without_blanks(text.substr(i));
    if (text.substr(i, word.size()) != word) return 0;
    i += word.size();
    i += begin_without_blanks(text.substr(i));
    if (text.substr(i, 3) == "-%}") return i + 3 + begin_without_blanks(text.substr(i + 3));
    if (trims && text.substr(i, 3) == "+%}") return i + 3;
    if (text.substr(i, 2) != "%}") return 0;
    i += 2;
    return trims && text.substr(i, 1) == "\n" ? i + 1 : i;
  }

  void end_tag(size_t n_bytes) {
    pass(n_bytes);
    is_line_start_ = at_ > 0 && source_[at_ - 1] == '\n';
  }

  void read_data() {
    const std::string_view text = rest();
    size_t tag = 0;
    for (;; ++tag) {
      tag = text.find('{', tag);
      if (tag == std::string_view::npos || tag + 1 >= text.size()) {
        add_data(text);
        pass(text.size());
        return;
      }
      const char c = text[tag + 1];
      if (c == '{' || c == '%' || c == '#') break;
    }
    const std::string_view opening = text.substr(tag);
    const char sign = sign_of(opening.substr(2));
    const bool is_variable = opening[1] == '{';
    add_data(before_tag(text.substr(0, tag), sign, is_variable));
    pass(tag);
    if (const size_t raw = raw_tag(opening, "raw", false); raw > 0) return read_raw(raw);
    const size_t length = sign != 0 ? 3 : 2;
    if (opening[1] == '#') return read_comment(length);
    add(is_variable ? Token::Kind::variable_begin : Token::Kind::block_begin, {});
    pass(length);
    read_tag(is_variable);
  }

  void read_comment(size_t opening) {
    const std::string_view text = rest().substr(opening);
    const size_t close = text.find("#}");
    if (close == std::string_view::npos) fail_here("a comment is not closed by #}");
    size_t length = opening + close + 2;
    const char sign = close > 0 ? sign_of(text.substr(close - 1)) : '\0';
    if (sign == '-') {
      length += begin_without_blanks(rest().substr(length));
    } else if (sign == 0 && rest().substr(length, 1) == "\n") {
      ++length;
    }
    end_tag(length);
  }

  void read_raw(size_t opening) {
    end_tag(opening);
    const std::string_view text = rest();
    for (size_t i = text.find("{%"); i != std::string_view::npos; i = text.find("{%", i + 1)) {
      const size_t close = raw_tag(text.substr(i), "endraw", true);
      if (close == 0) continue;
      add_data(before_tag(text.substr(0, i), sign_of(text.substr(i + 2)), false));
      end_tag(i + close);
      return;
    }
    fail_here("{% raw %} is not closed by {% endraw %}");
  }

  // Whether the tag ends here; passes over its end then.
  bool take_tag_end(bool is_variable) {
    const std::string_view close = is_variable ? "}}" : "%}";
    const std::string minus = "-" + std::string(close);
    const auto end_with = [&](size_t length) {
      add(is_variable ? Token::Kind::variable_end : Token::Kind::block_end, {});
      end_tag(length);
      return true;
    };
    if (starts(minus)) return end_with(3 + begin_without_blanks(rest().substr(3)));
    if (!is_variable && starts("+%}")) return end_with(3);
    if (!starts(close)) return false;
    return end_with(!is_variable && rest().substr(2, 1) == "\n" ? 3 : 2);
  }

  void read_tag(bool is_variable) {
    std::string open;  // the brackets that are to be closed, the last one first
    while (at_ < source_.size()) {
      if (open.empty() && take_tag_end(is_variable)) return;
      const char c = source_[at_];
      if (begin_without_blanks(rest()) > 0) {
        pass_blanks();
      } else if (is_digit(c)) {
        read_number();
      } else if (is_name_start(c)) {
        read_name();
      } else if (c == '\'' || c == '"') {
        read_string(c);
      } else {
        read_mark(open);
      }
    }
    fail_here(is_variable ? "{{ is not closed by }}" : "{% is not closed by %}");
  }

  void read_name() {
    size_t length = 1;
    while (at_ + length < source_.size() &&
           (is_name_start(source_[at_ + length]) || is_digit(source_[at_ + length]))) {
      ++length;
    }
    add(Token::Kind::name, std::string(rest().substr(0, length)));
    pass(length);
  }

  // Digits with single _ between them, from `i` on.
  size_t digits_end(std::string_view text, size_t i) const {
    while (i < text.size() &&
           (is_digit(text[i]) || (text[i] == '_' && i > 0 && is_digit(text[i - 1]) &&
                                  i + 1 < text.size() && is_digit(text[i + 1])))) {
      ++i;
    }
    return i;
  }

  void read_number() {
    const std::string_view text = rest();
    size_t end = digits_end(text, 0);
    bool is_real = false;
    if (at_ == 0 || source_[at_ - 1] != '.') {
      if (end + 1 < text.size() && text[end] == '.' && is_digit(text[end + 1])) {
        end = digits_end(text, end + 1);
        is_real = true;
      }
      size_t exponent = end;
      if (exponent < text.size() && (text[exponent] == 'e' || text[exponent] == 'E')) {
        ++exponent;
        if (exponent < text.size() && (text[exponent] == '+' || text[exponent] == '-')) ++exponent;
        if (exponent < text.size() && is_digit(text[exponent])) {
          end = digits_end(text, exponent);
          is_real = true;
        }
      }
    }
    std::string digits(text.substr(0, end));
    digits.erase(std::remove(digits.begin(), digits.end(), '_'), digits.end());
    Token& token = add(is_real ? Token::Kind::real : Token::Kind::integer, digits);
    const char* first = digits.data();
    const char* last = first + digits.size();
    const auto read = is_real ? std::from_chars(first, last, token.real)
                              : std::from_chars(first, last, token.integer);
    if (read.ec != std::errc()) fail_here("the number " + digits.substr(0, 40) + " is too large");
    pass(end);
  }

  void read_mark(std::string& open) {
    static constexpr std::string_view kMarks[] = {"//", "**", "==", "!=", ">=", "<=", "+", "-", "/",
                                                  "*",  "%",  "~",  "[",  "]",  "(",  ")", "{", "}",
                                                  ">",  "<",  "=",  ".",  ":",  "|",  ",", ";"};
    for (const std::string_view mark : kMarks) {
      if (!starts(mark)) continue;
      const char c = mark[0];
      if (c == '(' || c == '[' || c == '{') {
        open += c == '(' ? ')' : c == '[' ? ']' : '}';
      } else if (c == ')' || c == ']' || c == '}') {
        if (open.empty()) fail_here("unexpected '" + std::string(mark) + "'");
        if (open.back() != c) {
          fail_here("unexpected '" + std::string(mark) + "', expected '" + open.back() + "'");
        }
        open.pop_back();
      }
      add(Token::Kind::mark, std::string(mark));
      pass(mark.size());
      return;
    }
    size_t next = at_;
    next_code_point(source_, next);
    fail_here("unexpected character '" + source_.substr(at_, next - at_) + "'");
  }

  // The value of so many hexadecimal digits; fails where there are fewer.
  uint32_t hex_at(std::string_view text, size_t i, size_t n_digits) const {
    uint32_t value = 0;
    const std::string_view digits = text.substr(std::min(i, text.size()), n_digits);
    const auto read = std::from_chars(digits.data(), digits.data() + digits.size(), value, 16);
    if (digits.size() < n_digits || read.ec != std::errc() ||
        read.ptr != digits.data() + digits.size() || !is_code_point(value)) {
      fail_here("a string has an escape that is not a character");
    }
    return value;
  }

  // Python's escapes. `i` is behind the backslash; the answer behind the escape.
  size_t read_escape(std::string_view text, size_t i, std::string& out) const {
    static constexpr std::string_view kFrom = "ntrabfv\\'\"";
    static constexpr std::string_view kTo = "\n\t\r\a\b\f\v\\'\"";
    const char c = text[i];
    if (const size_t known = kFrom.find(c); known != std::string_view::npos) {
      out += kTo[known];
      return i + 1;
    }
    if (c == '\n') return i + 1;
    if (c == 'x' || c == 'u' || c == 'U') {
      const size_t n_digits = c == 'x' ? 2 : c == 'u' ? 4 : 8;
      append_utf8(out, hex_at(text, i + 1, n_digits));
      return i + 1 + n_digits;
    }
    if (c >= '0' && c <= '7') {
      uint32_t value = 0;
      size_t end = i;
      while (end < text.size() && end < i + 3 && text[end] >= '0' && text[end] <= '7') {
        value = value * 8 + static_cast<uint32_t>(text[end++] - '0');
      }
      append_utf8(out, value);
      return end;
    }
    if (c == 'N') fail_here("\\N{...} in a string is not supported");
    out += '\\';
    return i;
  }

  void read_string(char quote) {
    const std::string_view text = rest();
    std::string value;
    size_t i = 1;
    while (i < text.size() && text[i] != quote) {
      if (text[i] == '\\' && i + 1 < text.size()) {
        i = read_escape(text, i + 1, value);
      } else {
        value += text[i++];
      }
    }
    if (i >= text.size()) fail_here("a string is not closed");
    add(Token::Kind::string, std::move(value));
    pass(i + 1);
  }

  const std::string source_;
  size_t at_ = 0;
  int line_ = 1;
  bool is_line_start_ = true;
  std::vector<Token> tokens_;
};

}  // namespace

std::vector<Token> read_tokens(std::string_view source, const Limits& limits) {
  if (source.size() > limits.source_bytes_max) {
    fail_limit("has " + std::to_string(source.size()) + " bytes; the limit is " +
               std::to_string(limits.source_bytes_max));
  }
  if (!is_valid_utf8(source)) fail("is not UTF-8");
  return Lexer(with_plain_lines(source)).read();
}

}  // namespace parkd::jinja
