// PreTokenizer: cuts text into the words that BPE merges within, by the regular expressions the
// vocabulary was trained with. PCRE2 (UTF, UCP, JIT) is behind pre_tokenizer.cc and nowhere else.
// Immutable once made and shared between threads; each call has match data of its own.
#pragma once

#include <memory>
#include <string_view>
#include <vector>

#include "lib/base/status.h"
#include "lib/text/split_rules.h"

namespace parkd {

struct SplitPattern;

// Whether a character is part of a word (\w of UTS 18).
bool is_word_character(std::string_view character);

class PreTokenizer {
 public:
  // Without a step it cuts nothing: the whole text is one word. Steps apply one after the other, to
  // what the earlier ones left. A step cuts out what its expression matches; what lies between two
  // matches is a word too, or is left out. Errors: invalid for an expression that is not supported.
  Status add_split(std::string_view expression, bool keeps_gaps);
  Status add_digits(bool individual);
  Status add_rule(const SplitRule& rule);

  // Appends the words of `text`, in order; together they are all of it, but for gaps left out.
  // Requires valid UTF-8. Errors: invalid when a match exceeds PCRE2's limits.
  Status split(std::string_view text, std::vector<std::string_view>& words) const;

 private:
  struct Step;
  Status add(const SplitPattern& pattern, bool keeps_gaps);

  std::vector<std::shared_ptr<const Step>> steps_;
};

}  // namespace parkd
