// SplitRules: how the texts of the vocabularies are split whose files only name it (GGUF's
// tokenizer.ggml.pre), in the expressions of the models' own tokenizers.
#pragma once

#include <span>
#include <string_view>

namespace parkd {

// openai/gpt-2, encoder.py.
std::string_view gpt2_split();

struct SplitRule {
  std::string_view name;
  bool single_digits = false;                // first each number alone (Digits)
  std::span<const std::string_view> splits;  // then these, one after the other
  bool whole_words_first = false;            // and such a file's prompts start with BOS
};

const SplitRule* find_split_rule(std::string_view name);  // nullptr: not known
std::span<const SplitRule> split_rules();

}  // namespace parkd
