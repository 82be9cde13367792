// SplitPattern: a tokenizer's splitting expression, as its file has it, made into one that PCRE2
// reads with the same meaning. Files are written for Oniguruma (Hugging Face tokenizers) or Rust's
// regex (tiktoken); the parts that real ones use are translated, and any other is refused by name.
// Pure; any thread.
#pragma once

#include <string>
#include <string_view>

#include "lib/base/status.h"

namespace parkd {

struct SplitPattern {
  std::string plain;  // with PCRE2's classes alone, up to three times faster
  std::string
      newer;  // with code points that are newer than PCRE2's tables, for texts that have one
};

inline constexpr size_t kSplitPatternBytesMax = 16 << 10;

// What differs between the engines and is rewritten: \s and \S (Unicode's White_Space), \p{..} and
// \d (newer code points), $ (before each line break), \uXXXX. Errors: invalid.
Result<SplitPattern> translate_split_pattern(std::string_view expression);

// The expression of tokenizers' Digits rule: each number alone, or runs of them.
SplitPattern digits_pattern(bool individual);

// Matches a character that is part of a word (\w of UTS 18).
std::string word_character_pattern();

// Matches in a text that has a code point newer than PCRE2's tables.
std::string newer_code_points_pattern();

}  // namespace parkd
