#include "lib/text/split_pattern.h"

#include <algorithm>
#include <array>
#include <vector>

#include "lib/base/json_writer.h"

namespace parkd {
namespace {

// Unicode's White_Space, which is what \s means in the engines these rules were written for.
// PCRE2's own \s with UCP also takes U+180E, which Unicode no longer counts as a space.
#define PARKD_SPACE                                                                    \
  "\\x{09}-\\x{0d}\\x{20}\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}" \
  "\\x{202f}\\x{205f}\\x{3000}"

// PCRE2 has the tables of its own Unicode (14 in Debian 12's 10.42), the references (Hugging Face
// tokenizers 0.23.3, tiktoken 0.14.0) those of 16 for \p{..} and of 17 for the digits that Digits
// takes alone. What came after 14 is listed here. tests/golden/unicode_classes.json has all of the
// reference's code points; a PCRE2 with tables newer than the reference's fails that test.
#define PARKD_NEWER_LU "\\x{1c89}\\x{a7cb}-\\x{a7cc}\\x{a7da}\\x{a7dc}\\x{10d50}-\\x{10d65}"
#define PARKD_NEWER_LL "\\x{1c8a}\\x{a7cd}\\x{a7db}\\x{10d70}-\\x{10d85}\\x{1df25}-\\x{1df2a}"
#define PARKD_NEWER_LM                                                                  \
  "\\x{10d4e}\\x{10d6f}\\x{16d40}-\\x{16d42}\\x{16d6b}-\\x{16d6c}\\x{1e030}-\\x{1e06d}" \
  "\\x{1e4eb}"
#define PARKD_NEWER_LO                                                                  \
  "\\x{105c0}-\\x{105f3}\\x{10d4a}-\\x{10d4d}\\x{10d4f}\\x{10ec2}-\\x{10ec4}"           \
  "\\x{1123f}-\\x{11240}\\x{11380}-\\x{11389}\\x{1138b}\\x{1138e}\\x{11390}-\\x{113b5}" \
  "\\x{113b7}\\x{113d1}\\x{113d3}\\x{11bc0}-\\x{11be0}\\x{11f02}\\x{11f04}-\\x{11f10}"  \
  "\\x{11f12}-\\x{11f33}\\x{1342f}\\x{13441}-\\x{13446}\\x{13460}-\\x{143fa}"           \
  "\\x{16100}-\\x{1611d}\\x{16d43}-\\x{16d6a}\\x{18cff}\\x{1b132}\\x{1b155}"            \
  "\\x{1e4d0}-\\x{1e4ea}\\x{1e5d0}-\\x{1e5ed}\\x{1e5f0}\\x{2b739}\\x{2ebf0}-\\x{2ee5d}" \
  "\\x{31350}-\\x{323af}"
#define PARKD_NEWER_M                                                                   \
  "\\x{897}\\x{cf3}\\x{ece}\\x{10d69}-\\x{10d6d}\\x{10efc}-\\x{10eff}\\x{11241}"        \
  "\\x{113b8}-\\x{113c0}\\x{113c2}\\x{113c5}\\x{113c7}-\\x{113ca}\\x{113cc}-\\x{113d0}" \
  "\\x{113d2}\\x{113e1}-\\x{113e2}\\x{11f00}-\\x{11f01}\\x{11f03}\\x{11f34}-\\x{11f3a}" \
  "\\x{11f3e}-\\x{11f42}\\x{11f5a}\\x{13440}\\x{13447}-\\x{13455}\\x{1611e}-\\x{1612f}" \
  "\\x{1e08f}\\x{1e4ec}-\\x{1e4ef}\\x{1e5ee}-\\x{1e5ef}"
#define PARKD_NEWER_ND                                                                   \
  "\\x{10d40}-\\x{10d49}\\x{116d0}-\\x{116e3}\\x{11bf0}-\\x{11bf9}\\x{11f50}-\\x{11f59}" \
  "\\x{16130}-\\x{16139}\\x{16d70}-\\x{16d79}\\x{1ccf0}-\\x{1ccf9}\\x{1e4f0}-\\x{1e4f9}" \
  "\\x{1e5f1}-\\x{1e5fa}"
#define PARKD_NEWER_N PARKD_NEWER_ND "\\x{1d2c0}-\\x{1d2d3}"
#define PARKD_NEWER_L PARKD_NEWER_LU PARKD_NEWER_LL PARKD_NEWER_LM PARKD_NEWER_LO
#define PARKD_NEWER_P                                                                \
  "\\x{1b4e}-\\x{1b4f}\\x{1b7f}\\x{10d6e}\\x{113d4}-\\x{113d5}\\x{113d7}-\\x{113d8}" \
  "\\x{11b00}-\\x{11b09}\\x{11be1}\\x{11f43}-\\x{11f4f}\\x{16d6d}-\\x{16d6f}\\x{1e5ff}"
#define PARKD_NEWER_S                                                         \
  "\\x{2427}-\\x{2429}\\x{2ffc}-\\x{2fff}\\x{31e4}-\\x{31e5}\\x{31ef}"        \
  "\\x{10d8e}-\\x{10d8f}\\x{1cc00}-\\x{1ccef}\\x{1cd00}-\\x{1ceb3}\\x{1f6dc}" \
  "\\x{1f774}-\\x{1f776}\\x{1f77b}-\\x{1f77f}\\x{1f7d9}\\x{1f8b2}-\\x{1f8bb}" \
  "\\x{1f8c0}-\\x{1f8c1}\\x{1fa75}-\\x{1fa77}\\x{1fa87}-\\x{1fa89}\\x{1fa8f}" \
  "\\x{1faad}-\\x{1faaf}\\x{1fabb}-\\x{1fabf}\\x{1fac6}\\x{1face}-\\x{1facf}" \
  "\\x{1fada}-\\x{1fadc}\\x{1fadf}\\x{1fae8}-\\x{1fae9}\\x{1faf7}-\\x{1faf8}" \
  "\\x{1fbcb}-\\x{1fbef}"
#define PARKD_NEWEST_DIGITS "\\x{11de0}-\\x{11de9}\\x{16ff4}-\\x{16ff6}"

struct Class {
  std::string_view name;
  std::string_view newer;
};
constexpr std::array<Class, 11> kClasses = {{
    {"L", PARKD_NEWER_L},
    {"Lu", PARKD_NEWER_LU},
    {"Ll", PARKD_NEWER_LL},
    {"Lt", ""},
    {"Lm", PARKD_NEWER_LM},
    {"Lo", PARKD_NEWER_LO},
    {"M", PARKD_NEWER_M},
    {"N", PARKD_NEWER_N},
    {"Nd", PARKD_NEWER_ND},
    {"P", PARKD_NEWER_P},
    {"S", PARKD_NEWER_S},
}};

bool is_hex(char c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

class Translator {
 public:
  explicit Translator(std::string_view text) : text_(text) {}

  Result<SplitPattern> run() {
    if (text_.size() > kSplitPatternBytesMax) {
      return invalid("the splitting expression has " + std::to_string(text_.size()) +
                     " bytes, the limit is " + std::to_string(kSplitPatternBytesMax));
    }
    while (at_ < text_.size() && status_.ok()) part();
    if (status_.ok() && groups_.size() > 1) refuse("a group that is not closed");
    if (!status_.ok()) return status_;
    return std::move(out_);
  }

 private:
  void refuse(const std::string& what) {
    if (!status_.ok()) return;
    status_ = invalid("the splitting expression " + json_string(text_) + " has " + what +
                      ", which is not supported yet");
  }
  void put(std::string_view both) {
    out_.plain += both;
    out_.newer += both;
  }
  bool next_is(std::string_view expected) const {
    return text_.substr(at_, expected.size()) == expected;
  }

  void part() {
    const char c = text_[at_];
    switch (c) {
      case '\\':
        return escape(false);
      case '[':
        return bracket();
      case '(':
        return group();
      case ')':
        if (groups_.size() == 1) return refuse("a parenthesis that closes nothing");
        groups_.pop_back();
        previous_ = 0;
        ++at_;
        return put(")");
      case '|':
        previous_ = 0;
        ++at_;
        return put("|");
      case '*':
      case '+':
      case '?':
        return quantifier(1);
      case '{':
        return count();
      // Ruby's $ is the end of each line, PCRE2's that of the text.
      case '$':
        ++at_;
        return put("(?=\\n|\\z)");
      case '^':
      case '.':
      case '}':
      case ']':
        return refuse(json_string({&c, 1}));
      default:
        return literal();
    }
  }

  void literal() {
    const char c = text_[at_++];
    if (groups_.back()) {
      // Oniguruma folds several characters into one: "ss" would match U+00DF.
      static constexpr std::array<std::string_view, 5> kFolds = {"ss", "ff", "fi", "fl", "st"};
      const char lower = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
      const char pair[] = {previous_, lower};
      if ((c & 0x80) != 0 ||
          std::find(kFolds.begin(), kFolds.end(), std::string_view(pair, 2)) != kFolds.end()) {
        return refuse("letters without case that may fold into one");
      }
      previous_ = lower;
    }
    put({&c, 1});
  }

  void quantifier(size_t n) {
    put(text_.substr(at_, n));
    at_ += n;
    if (at_ >= text_.size()) return;
    const char next = text_[at_];
    if (n > 1 && (next == '+' || next == '?')) {
      return refuse("a mark behind \"{..}\", which has two meanings");
    }
    if (next == '+' || next == '?') {  // possessive or lazy
      put({&next, 1});
      ++at_;
    }
  }

  void count() {
    const size_t end = text_.find('}', at_);
    const std::string_view inside =
        end == std::string_view::npos ? "" : text_.substr(at_ + 1, end - at_ - 1);
    if (inside.empty() || inside.front() == ',' || inside.size() > 8 ||
        inside.find_first_not_of("0123456789,") != std::string_view::npos ||
        std::count(inside.begin(), inside.end(), ',') > 1) {
      return refuse("braces that are not a count");
    }
    quantifier(inside.size() + 2);
  }

  void group() {
    bool no_case = groups_.back();
    for (const std::string_view begin : {"(?:", "(?=", "(?!", "(?i:"}) {
      if (!next_is(begin)) continue;
      if (next_is("(?!\\S)")) {  // as "a space or the end follows", which is faster
        at_ += 6;
        return put("(?=[" PARKD_SPACE "]|\\z)");
      }
      if (begin == "(?i:") no_case = true;
      groups_.push_back(no_case);
      previous_ = 0;
      at_ += begin.size();
      return put(begin);
    }
    if (text_.substr(at_, 2) == "(?") return refuse(json_string(text_.substr(at_, 4)) + "...");
    groups_.push_back(no_case);  // nobody asks what it captured
    previous_ = 0;
    ++at_;
    put("(?:");
  }

  // A class escape, as the inside of a bracket.
  bool class_inside(bool in_bracket) {
    const auto both = [&](std::string_view plain, std::string_view newer) {
      const std::string_view open = in_bracket ? "" : "[", close = in_bracket ? "" : "]";
      out_.plain += std::string(open) + std::string(plain) + std::string(close);
      out_.newer +=
          std::string(open) + std::string(plain) + std::string(newer) + std::string(close);
    };
    if (next_is("\\s")) {
      at_ += 2;
      both(PARKD_SPACE, "");
      return true;
    }
    if (next_is("\\d")) {
      at_ += 2;
      both("\\p{Nd}", PARKD_NEWER_ND);
      return true;
    }
    if (!next_is("\\p{")) return false;
    const size_t end = text_.find('}', at_);
    const std::string_view name =
        end == std::string_view::npos ? "" : text_.substr(at_ + 3, end - at_ - 3);
    for (const Class& known : kClasses) {
      if (known.name != name) continue;
      at_ = end + 1;
      both("\\p{" + std::string(name) + "}", known.newer);
      return true;
    }
    refuse("the class \\p{" + std::string(name) + "}");
    return true;
  }

  void escape(bool in_bracket) {
    previous_ = 0;
    if (class_inside(in_bracket)) return;
    if (at_ + 1 >= text_.size()) return refuse("a backslash at its end");
    const char c = text_[at_ + 1];
    if (c == 'S' && !in_bracket) {
      at_ += 2;
      return put("[^" PARKD_SPACE "]");
    }
    if (c == 'u') {
      const std::string_view digits = text_.substr(at_ + 2, 4);
      if (digits.size() < 4 || !std::all_of(digits.begin(), digits.end(), is_hex)) {
        return refuse("\\u without four digits");
      }
      at_ += 6;
      return put("\\x{" + std::string(digits) + "}");
    }
    if (c == 'r' || c == 'n' || c == 't' || (c > ' ' && c < 0x7f && !is_word(c))) {
      put(text_.substr(at_, 2));
      at_ += 2;
      return;
    }
    refuse(json_string(text_.substr(at_, 2)));
  }
  static bool is_word(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
  }

  void bracket() {
    previous_ = 0;
    ++at_;
    put("[");
    if (next_is("^")) {
      ++at_;
      put("^");
    }
    if (next_is("]")) return refuse("a bracket that begins with \"]\"");
    while (at_ < text_.size() && text_[at_] != ']' && status_.ok()) {
      if (next_is("[") || next_is("&&")) {
        return refuse("a bracket within a bracket, or an intersection");
      }
      if (text_[at_] == '\\') {
        escape(true);
        continue;
      }
      if (groups_.back() && (text_[at_] & 0x80) != 0) {
        return refuse("letters without case that may fold into one");
      }
      put(text_.substr(at_, 1));
      ++at_;
    }
    if (at_ >= text_.size()) return refuse("a bracket that is not closed");
    ++at_;
    put("]");
  }

  const std::string_view text_;
  size_t at_ = 0;
  std::vector<bool> groups_ = {false};  // whether each open one matches without case
  char previous_ = 0;                   // literal before this one, in a group without case
  SplitPattern out_;
  Status status_;
};

}  // namespace

Result<SplitPattern> translate_split_pattern(std::string_view expression) {
  return Translator(expression).run();
}

SplitPattern digits_pattern(bool individual) {
  const std::string end = individual ? "]" : "]+";
  return {"[\\p{N}" + end, "[\\p{N}" PARKD_NEWER_N PARKD_NEWEST_DIGITS + end};
}

// Alphabetic, Mark, Decimal_Number, Connector_Punctuation, Join_Control. Other_Alphabetic beyond
// the marks are the letters in circles and squares.
std::string word_character_pattern() {
  return "[\\p{L}\\p{M}\\p{Nl}\\p{Nd}\\p{Pc}\\x{200c}\\x{200d}\\x{24b6}-\\x{24e9}"
         "\\x{1f130}-\\x{1f149}\\x{1f150}-\\x{1f169}\\x{1f170}-\\x{1f189}" PARKD_NEWER_L
             PARKD_NEWER_M PARKD_NEWER_ND "]";
}

std::string newer_code_points_pattern() {
  return "[" PARKD_NEWER_L PARKD_NEWER_M PARKD_NEWER_N PARKD_NEWER_P PARKD_NEWER_S
      PARKD_NEWEST_DIGITS "]";
}

}  // namespace parkd
