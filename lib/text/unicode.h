// What tokenizers ask of single code points. Pure functions; any thread. Texts must be valid UTF-8.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace parkd {

// The character that begins at `text`: its bytes.
size_t utf8_length(char first);
char32_t first_code_point(std::string_view text);
// How many bytes of white space (Unicode's White_Space) the text begins or ends with.
size_t leading_space(std::string_view text);
size_t trailing_space(std::string_view text);
// Whether the text begins or ends with a character that is part of a word (\w of UTS 18).
bool begins_with_word(std::string_view text);
bool ends_with_word(std::string_view text);

}  // namespace parkd
