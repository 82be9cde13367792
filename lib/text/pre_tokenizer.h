// PreTokenizer: cuts text into the words that BPE merges within, by the regular expressions the
// vocabulary was trained with. PCRE2 (UTF, UCP, JIT) is behind pre_tokenizer.cc and nowhere else.
// Immutable and shared between threads; each call has match data of its own.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "lib/base/status.h"

namespace parkd {

class PreTokenizer {
 public:
  // Cuts nothing: the whole text is one word.
  PreTokenizer();
  ~PreTokenizer();
  PreTokenizer(PreTokenizer&&) noexcept;
  PreTokenizer& operator=(PreTokenizer&&) noexcept;

  // The rule that GGUF's tokenizer.ggml.pre calls `name`. Errors: invalid for one not supported
  // yet.
  static Result<PreTokenizer> make(std::string_view name);

  // A word that is in the vocabulary as a whole is not merged (llama3's tokenizer).
  bool whole_words_first() const;

  // Appends the words of `text`, in order; together they are all of it. Requires valid UTF-8.
  // Errors: invalid when a match exceeds PCRE2's limits.
  Status split(std::string_view text, std::vector<std::string_view>& words) const;

 private:
  struct Rule;
  std::shared_ptr<const Rule> rule_;
};

}  // namespace parkd
