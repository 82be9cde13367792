#include "lib/text/pre_tokenizer.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <array>
#include <string>
#include <utility>

#include "lib/base/check.h"
#include "lib/base/json_writer.h"

namespace parkd {
namespace {

// Unicode's White_Space, which is what \s means in the engines these rules were written for.
// PCRE2's own \s with UCP also takes U+180E, which Unicode no longer counts as a space.
#define PARKD_SPACE                                                                    \
  "\\x{09}-\\x{0d}\\x{20}\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}" \
  "\\x{202f}\\x{205f}\\x{3000}"
#define PARKD_TRAILING_SPACES "[" PARKD_SPACE "]+(?=[" PARKD_SPACE "]|\\z)|[" PARKD_SPACE "]+"

// PCRE2 has the tables of its own Unicode (14 in Debian 12's 10.42), the reference (Hugging Face
// tokenizers 0.23.3) those of 16 for \p{L} and \p{N} and of 17 for the digits that it takes alone.
// What came after 14 is listed here. tests/golden/unicode_classes.json has all of the reference's
// code points; a PCRE2 with tables newer than the reference's fails that test.
#define PARKD_NEWER_LETTERS                                                              \
  "\\x{1c89}-\\x{1c8a}\\x{a7cb}-\\x{a7cd}\\x{a7da}-\\x{a7dc}\\x{105c0}-\\x{105f3}"       \
  "\\x{10d4a}-\\x{10d65}\\x{10d6f}-\\x{10d85}\\x{10ec2}-\\x{10ec4}\\x{1123f}-\\x{11240}" \
  "\\x{11380}-\\x{11389}\\x{1138b}\\x{1138e}\\x{11390}-\\x{113b5}\\x{113b7}\\x{113d1}"   \
  "\\x{113d3}\\x{11bc0}-\\x{11be0}\\x{11f02}\\x{11f04}-\\x{11f10}\\x{11f12}-\\x{11f33}"  \
  "\\x{1342f}\\x{13441}-\\x{13446}\\x{13460}-\\x{143fa}\\x{16100}-\\x{1611d}"            \
  "\\x{16d40}-\\x{16d6c}\\x{18cff}\\x{1b132}\\x{1b155}\\x{1df25}-\\x{1df2a}"             \
  "\\x{1e030}-\\x{1e06d}\\x{1e4d0}-\\x{1e4eb}\\x{1e5d0}-\\x{1e5ed}\\x{1e5f0}\\x{2b739}"  \
  "\\x{2ebf0}-\\x{2ee5d}\\x{31350}-\\x{323af}"
#define PARKD_NEWER_NUMBERS                                                              \
  "\\x{10d40}-\\x{10d49}\\x{116d0}-\\x{116e3}\\x{11bf0}-\\x{11bf9}\\x{11f50}-\\x{11f59}" \
  "\\x{16130}-\\x{16139}\\x{16d70}-\\x{16d79}\\x{1ccf0}-\\x{1ccf9}\\x{1d2c0}-\\x{1d2d3}" \
  "\\x{1e4f0}-\\x{1e4f9}\\x{1e5f1}-\\x{1e5fa}"
#define PARKD_NEWEST_DIGITS "\\x{11de0}-\\x{11de9}\\x{16ff4}-\\x{16ff6}"

// Each rule twice: with PCRE2's classes alone, up to three times faster, and with the newer code
// points, for texts that have one. L, N and D are the insides of classes: letters, numbers, digits
// that stand alone.

// openai/gpt-2, encoder.py: '(?:'s|'t|'re|'ve|'m|'ll|'d)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|
// \s+(?!\S)|\s+'. (?!\S) is written as "a space or the end follows", with our own \s.
#define PARKD_GPT2(L, N) \
  "'s|'t|'re|'ve|'m|'ll|'d| ?[" L "]+| ?[" N "]+| ?[^" PARKD_SPACE L N "]+|" PARKD_TRAILING_SPACES

// Hugging Face tokenizers' Digits(individual_digits=True): every number alone, before the rest.
#define PARKD_SINGLE_DIGITS(D) "[" D "]"

// meta-llama/llama3, llama/tokenizer.py.
#define PARKD_LLAMA3(L, N)                                                                   \
  "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n" L N "]?[" L "]+|[" N "]{1,3}| ?[^" PARKD_SPACE L N \
  "]+[\\r\\n]*|[" PARKD_SPACE "]*[\\r\\n]+|" PARKD_TRAILING_SPACES

#define PARKD_LETTERS "\\p{L}" PARKD_NEWER_LETTERS
#define PARKD_NUMBERS "\\p{N}" PARKD_NEWER_NUMBERS

using Expressions = std::array<const char*, 2>;  // applied one after the other; nullptr: none

constexpr const char* kNewer = "[" PARKD_NEWER_LETTERS PARKD_NEWER_NUMBERS PARKD_NEWEST_DIGITS "]";
constexpr Expressions kGpt2 = {PARKD_GPT2("\\p{L}", "\\p{N}"), nullptr};
constexpr Expressions kGpt2Newer = {PARKD_GPT2(PARKD_LETTERS, PARKD_NUMBERS), nullptr};
constexpr Expressions kSmollm = {PARKD_SINGLE_DIGITS("\\p{N}"), kGpt2[0]};
constexpr Expressions kSmollmNewer = {PARKD_SINGLE_DIGITS(PARKD_NUMBERS PARKD_NEWEST_DIGITS),
                                      kGpt2Newer[0]};
constexpr Expressions kLlama3 = {PARKD_LLAMA3("\\p{L}", "\\p{N}"), nullptr};
constexpr Expressions kLlama3Newer = {PARKD_LLAMA3(PARKD_LETTERS, PARKD_NUMBERS), nullptr};

struct RuleSource {
  std::string_view name;  // tokenizer.ggml.pre
  Expressions expressions;
  Expressions newer;
  bool whole_words_first;
};

constexpr std::array<RuleSource, 5> kRules = {{
    {"smollm", kSmollm, kSmollmNewer, false},
    {"gpt-2", kGpt2, kGpt2Newer, false},
    {"gpt2", kGpt2, kGpt2Newer, false},
    {"llama-bpe", kLlama3, kLlama3Newer, true},
    {"llama3", kLlama3, kLlama3Newer, true},
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

  // Whether the expression matches anywhere.
  Result<bool> finds(std::string_view text) {
    const int rc = match(text, 0);
    if (rc >= 0) return true;
    if (rc == PCRE2_ERROR_NOMATCH) return false;
    return failed(rc);
  }

  // Cuts `text` into its matches and what lies between them.
  Status split(std::string_view text, std::vector<std::string_view>& pieces) {
    size_t at = 0;
    while (at < text.size()) {
      const int rc = match(text, at);
      if (rc == PCRE2_ERROR_NOMATCH) break;
      if (rc < 0) return failed(rc);
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

struct PreTokenizer::Rule {
  std::vector<Code> codes;
  std::vector<Code> newer_codes;  // of a text in which `newer` matches
  Code newer;
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
    for (const char* expression : source.newer) {
      if (expression != nullptr) rule->newer_codes.push_back(compile(expression));
    }
    rule->newer = compile(kNewer);
    PreTokenizer made;
    made.rule_ = std::move(rule);
    return made;
  }
  return invalid("tokenizer.ggml.pre " + json_string(name) + " is not supported yet (" + known +
                 " are)");
}

bool PreTokenizer::whole_words_first() const {
  return rule_->whole_words_first;
}

Status PreTokenizer::split(std::string_view text, std::vector<std::string_view>& words) const {
  if (text.empty()) return {};
  if (rule_->codes.empty()) {
    words.push_back(text);
    return {};
  }
  std::vector<std::string_view> pieces = {text};
  PARKD_ASSIGN_OR_RETURN(const bool has_newer, Matcher(rule_->newer.get()).finds(text));
  for (const Code& code : has_newer ? rule_->newer_codes : rule_->codes) {
    Matcher matcher(code.get());
    std::vector<std::string_view> finer;
    for (const std::string_view piece : pieces) PARKD_RETURN_IF_ERROR(matcher.split(piece, finer));
    pieces = std::move(finer);
  }
  words.insert(words.end(), pieces.begin(), pieces.end());
  return {};
}

}  // namespace parkd
