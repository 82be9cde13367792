#include "lib/engine/pre_tokenizer.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <array>
#include <string>
#include <utility>

#include "lib/base/check.h"
#include "lib/base/text.h"

namespace parkd {
namespace {

// Unicode's White_Space, which is what \s means in the engines these rules were written for.
// PCRE2's own \s with UCP also takes U+180E, which Unicode no longer counts as a space.
#define PARKD_SPACE                                                                    \
  "\\x{09}-\\x{0d}\\x{20}\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}" \
  "\\x{202f}\\x{205f}\\x{3000}"
#define PARKD_TRAILING_SPACES "[" PARKD_SPACE "]+(?=[" PARKD_SPACE "]|\\z)|[" PARKD_SPACE "]+"

// openai/gpt-2, encoder.py: '(?:'s|'t|'re|'ve|'m|'ll|'d)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|
// \s+(?!\S)|\s+'. (?!\S) is written as "a space or the end follows", with our own \s.
constexpr const char* kGpt2 = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^" PARKD_SPACE
                              "\\p{L}\\p{N}]+|" PARKD_TRAILING_SPACES;

// Hugging Face tokenizers' Digits(individual_digits=True): every \p{N} alone, before the rest.
constexpr const char* kSingleDigits = "\\p{N}";

// meta-llama/llama3, llama/tokenizer.py.
constexpr const char* kLlama3 =
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}|"
    " ?[^" PARKD_SPACE "\\p{L}\\p{N}]+[\\r\\n]*|[" PARKD_SPACE "]*[\\r\\n]+|" PARKD_TRAILING_SPACES;

struct RuleSource {
  std::string_view name;                   // tokenizer.ggml.pre
  std::array<const char*, 2> expressions;  // applied one after the other; nullptr: none
  bool whole_words_first;
};

constexpr std::array<RuleSource, 5> kRules = {{
    {"smollm", {kSingleDigits, kGpt2}, false},
    {"gpt-2", {kGpt2, nullptr}, false},
    {"gpt2", {kGpt2, nullptr}, false},
    {"llama-bpe", {kLlama3, nullptr}, true},
    {"llama3", {kLlama3, nullptr}, true},
}};

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

Code compile(const char* expression) {
  int error = 0;
  PCRE2_SIZE at = 0;
  Code code(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(expression), PCRE2_ZERO_TERMINATED,
                          PCRE2_UTF | PCRE2_UCP, &error, &at, nullptr));
  PARKD_CHECK(code != nullptr, "the table's expressions compile");
  // Where the machine has no JIT, or forbids it, pcre2_match interprets: slower, the same answer.
  (void)pcre2_jit_compile(code.get(), PCRE2_JIT_COMPLETE);
  return code;
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

  // Cuts `text` into its matches and what lies between them.
  Status split(std::string_view text, std::vector<std::string_view>& pieces) {
    size_t at = 0;
    while (at < text.size()) {
      const int rc = pcre2_match(code_, reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), at,
                                 PCRE2_NO_UTF_CHECK, data_.get(), context_.get());
      if (rc == PCRE2_ERROR_NOMATCH) break;
      if (rc < 0) {
        return invalid("the text cannot be split into words: PCRE2 error " + std::to_string(rc));
      }
      const PCRE2_SIZE* found = pcre2_get_ovector_pointer(data_.get());
      PARKD_CHECK(found[1] > found[0], "no expression of the table matches nothing");
      if (found[0] > at) pieces.push_back(text.substr(at, found[0] - at));
      pieces.push_back(text.substr(found[0], found[1] - found[0]));
      at = found[1];
    }
    if (at < text.size()) pieces.push_back(text.substr(at));
    return {};
  }

 private:
  const pcre2_code* code_;
  std::unique_ptr<pcre2_match_data, MatchDataFree> data_;
  std::unique_ptr<pcre2_match_context, MatchContextFree> context_;
};

}  // namespace

struct PreTokenizer::Rule {
  std::vector<Code> codes;
  bool whole_words_first = false;
};

PreTokenizer::PreTokenizer() : rule_(std::make_shared<Rule>()) {}
PreTokenizer::~PreTokenizer() = default;
PreTokenizer::PreTokenizer(PreTokenizer&&) noexcept = default;
PreTokenizer& PreTokenizer::operator=(PreTokenizer&&) noexcept = default;

Result<PreTokenizer> PreTokenizer::make(std::string_view name) {
  std::string known;
  for (const RuleSource& source : kRules) {
    if (source.name != name) {
      known += (known.empty() ? "" : ", ") + std::string(source.name);
      continue;
    }
    auto rule = std::make_shared<Rule>();
    rule->whole_words_first = source.whole_words_first;
    for (const char* expression : source.expressions) {
      if (expression != nullptr) rule->codes.push_back(compile(expression));
    }
    PreTokenizer made;
    made.rule_ = std::move(rule);
    return made;
  }
  std::string quoted;
  append_json_string(quoted, name);
  return invalid("tokenizer.ggml.pre " + quoted + " is not supported yet (" + known + " are)");
}

bool PreTokenizer::whole_words_first() const {
  return rule_->whole_words_first;
}

Status PreTokenizer::split(std::string_view text, std::vector<std::string_view>& words) const {
  if (text.empty()) return {};
  std::vector<std::string_view> pieces = {text};
  for (const Code& code : rule_->codes) {
    Matcher matcher(code.get());
    std::vector<std::string_view> finer;
    for (const std::string_view piece : pieces) PARKD_RETURN_IF_ERROR(matcher.split(piece, finer));
    pieces = std::move(finer);
  }
  words.insert(words.end(), pieces.begin(), pieces.end());
  return {};
}

}  // namespace parkd
