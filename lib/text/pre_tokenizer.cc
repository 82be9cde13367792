#include "lib/text/pre_tokenizer.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <array>
#include <string>
#include <utility>

#include "lib/base/check.h"
#include "lib/base/json_writer.h"
#include "lib/text/split_pattern.h"

namespace parkd {
namespace {

// No match of these expressions needs to look back far; the limits only bound a surprise.
constexpr uint32_t kMatchLimit = 10'000'000;
constexpr uint32_t kHeapLimitKib = 64 * 1024;

struct CodeFree {
  void operator()(pcre2_code* code) const { pcre2_code_free(code); }
};
struct MatchDataFree {
  void operator()(pcre2_match_data* data) const { pcre2_match_data_free(data); }
};
struct MatchContextFree {
  void operator()(pcre2_match_context* context) const { pcre2_match_context_free(context); }
};
using Code = std::unique_ptr<pcre2_code, CodeFree>;

Result<Code> compile(const std::string& expression) {
  int error = 0;
  PCRE2_SIZE at = 0;
  Code code(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(expression.data()), expression.size(),
                          PCRE2_UTF | PCRE2_UCP | PCRE2_NO_AUTO_CAPTURE, &error, &at, nullptr));
  if (code == nullptr) {
    std::array<PCRE2_UCHAR, 128> text{};
    (void)pcre2_get_error_message(error, text.data(), text.size());
    return invalid("the splitting expression " + json_string(expression) + " is none: " +
                   reinterpret_cast<const char*>(text.data()) + " at byte " + std::to_string(at));
  }
  uint32_t matches_empty = 0;
  (void)pcre2_pattern_info(code.get(), PCRE2_INFO_MATCHEMPTY, &matches_empty);
  if (matches_empty != 0) {
    return invalid("the splitting expression " + json_string(expression) +
                   " can match nothing, which is not supported yet");
  }
  // Where the machine has no JIT, or forbids it, pcre2_match interprets: slower, the same answer.
  (void)pcre2_jit_compile(code.get(), PCRE2_JIT_COMPLETE);
  return code;
}

const pcre2_code* newer_code_points() {
  static const Code code = compile(newer_code_points_pattern()).value();
  return code.get();
}

// One call's match data.
class Matcher {
 public:
  explicit Matcher(const pcre2_code* code)
      : code_(code),
        data_(pcre2_match_data_create_from_pattern(code, nullptr)),
        context_(pcre2_match_context_create(nullptr)) {
    PARKD_CHECK(data_ != nullptr && context_ != nullptr, "out of memory");
    pcre2_set_match_limit(context_.get(), kMatchLimit);
    pcre2_set_heap_limit(context_.get(), kHeapLimitKib);
  }

  // Whether the expression matches anywhere.
  Result<bool> finds(std::string_view text) {
    const int rc = match(text, 0);
    if (rc >= 0) return true;
    if (rc == PCRE2_ERROR_NOMATCH) return false;
    return failed(rc);
  }

  // Cuts `text` into its matches and what lies between them, which may be left out.
  Status split(std::string_view text, bool keeps_gaps, std::vector<std::string_view>& pieces) {
    size_t at = 0;
    while (at < text.size()) {
      const int rc = match(text, at);
      if (rc == PCRE2_ERROR_NOMATCH) break;
      if (rc < 0) return failed(rc);
      const PCRE2_SIZE* found = pcre2_get_ovector_pointer(data_.get());
      PARKD_CHECK(found[1] > found[0], "compile() refuses expressions that match nothing");
      if (found[0] > at && keeps_gaps) pieces.push_back(text.substr(at, found[0] - at));
      pieces.push_back(text.substr(found[0], found[1] - found[0]));
      at = found[1];
    }
    if (at < text.size() && keeps_gaps) pieces.push_back(text.substr(at));
    return {};
  }

 private:
  int match(std::string_view text, size_t at) {
    return pcre2_match(code_, reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), at,
                       PCRE2_NO_UTF_CHECK, data_.get(), context_.get());
  }
  static Status failed(int rc) {
    return invalid("the text cannot be split into words: PCRE2 error " + std::to_string(rc));
  }

  const pcre2_code* code_;
  std::unique_ptr<pcre2_match_data, MatchDataFree> data_;
  std::unique_ptr<pcre2_match_context, MatchContextFree> context_;
};

}  // namespace

bool is_word_character(std::string_view character) {
  static const Code code = compile(word_character_pattern()).value();
  const Result<bool> found = Matcher(code.get()).finds(character);
  return found.ok() && *found;
}

struct PreTokenizer::Step {
  Code plain;
  Code newer;  // for a text that has a code point newer than PCRE2's tables
  bool keeps_gaps = true;
};

Status PreTokenizer::add(const SplitPattern& pattern, bool keeps_gaps) {
  auto step = std::make_shared<Step>();
  PARKD_ASSIGN_OR_RETURN(step->plain, compile(pattern.plain));
  PARKD_ASSIGN_OR_RETURN(step->newer, compile(pattern.newer));
  step->keeps_gaps = keeps_gaps;
  steps_.push_back(std::move(step));
  return {};
}

Status PreTokenizer::add_split(std::string_view expression, bool keeps_gaps) {
  PARKD_ASSIGN_OR_RETURN(const SplitPattern pattern, translate_split_pattern(expression));
  return add(pattern, keeps_gaps);
}

Status PreTokenizer::add_digits(bool individual) {
  return add(digits_pattern(individual), true);
}

Status PreTokenizer::add_rule(const SplitRule& rule) {
  if (rule.single_digits) PARKD_RETURN_IF_ERROR(add_digits(true));
  for (const std::string_view split : rule.splits) {
    PARKD_RETURN_IF_ERROR(add_split(split, true));
  }
  return {};
}

Status PreTokenizer::split(std::string_view text, std::vector<std::string_view>& words) const {
  if (text.empty()) return {};
  if (steps_.empty()) {
    words.push_back(text);
    return {};
  }
  std::vector<std::string_view> pieces = {text};
  PARKD_ASSIGN_OR_RETURN(const bool has_newer, Matcher(newer_code_points()).finds(text));
  for (const auto& step : steps_) {
    Matcher matcher((has_newer ? step->newer : step->plain).get());
    std::vector<std::string_view> finer;
    for (const std::string_view piece : pieces) {
      PARKD_RETURN_IF_ERROR(matcher.split(piece, step->keeps_gaps, finer));
    }
    pieces = std::move(finer);
  }
  words.insert(words.end(), pieces.begin(), pieces.end());
  return {};
}

}  // namespace parkd
