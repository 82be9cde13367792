// GPT-2's byte-level alphabet: 256 printable characters, one for each byte, in which byte-level
// vocabularies are written down. Source: openai/gpt-2, encoder.py, bytes_to_unicode.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace parkd {

// The bytes that the alphabet spells ("Ġ" is a space); empty when `text` holds a character outside
// of it.
std::optional<std::string> bytes_of_byte_level_text(std::string_view text);
// The other way round.
std::string byte_level_text_of(std::string_view bytes);

}  // namespace parkd
