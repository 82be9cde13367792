// What GGUF's llama kind and tokenizer.model have in common: SentencePiece's pieces, made into a
// vocabulary.
#pragma once

#include <string>
#include <string_view>

#include "lib/text/vocabulary.h"

namespace parkd {

inline constexpr std::string_view kSpmSpace = "\xe2\x96\x81";  // U+2581, which spells a space

// `text` with spaces for each U+2581.
std::string with_spaces(std::string_view text);
// The byte that <0x0A> and its like name; -1 for another text.
int byte_of_name(std::string_view name);

// Finishes a vocabulary whose tokens, kinds, scores and added tokens are as the file has them.
// `adds_space`: SentencePiece's add_dummy_prefix. Errors: corrupt, without the file's name.
Status make_pieces(bool adds_space, Vocabulary& vocabulary);

}  // namespace parkd
