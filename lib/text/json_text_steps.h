// How tokenizer.json says that text is changed and cut: its normalizer, pre_tokenizer and decoder.
#pragma once

#include "lib/base/status.h"
#include "lib/text/tokenizer_file.h"
#include "lib/text/vocabulary.h"

namespace parkd {

struct TextSteps {
  bool byte_level = false;         // tokens are spelled in the byte-level alphabet
  bool underscore_spaces = false;  // tokens have U+2581 where they spell a space
  bool drops_first_space = false;
};

// Fills the vocabulary's normalizer, pre_tokenizer and space_prefix. Errors: invalid for a step
// that is not supported, by name.
Result<TextSteps> read_text_steps(const TokenizerFile& file, Vocabulary& vocabulary);

}  // namespace parkd
