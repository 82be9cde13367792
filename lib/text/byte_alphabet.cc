#include "lib/text/byte_alphabet.h"

#include <array>
#include <cstdint>

namespace parkd {
namespace {

// Bytes that GPT-2's alphabet shows as themselves; the others become U+0100 and on, in order.
constexpr bool is_printable(int byte) {
  return (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
}

struct Alphabet {
  std::array<uint16_t, 256> character_of_byte{};
  std::array<int16_t, 0x180> byte_of_character{};
};

Alphabet make_alphabet() {
  Alphabet alphabet;
  alphabet.byte_of_character.fill(-1);
  uint16_t next = 0x100;
  for (int byte = 0; byte < 256; ++byte) {
    const auto character = is_printable(byte) ? static_cast<uint16_t>(byte) : next++;
    alphabet.character_of_byte[static_cast<size_t>(byte)] = character;
    alphabet.byte_of_character[character] = static_cast<int16_t>(byte);
  }
  return alphabet;
}

const Alphabet kAlphabet = make_alphabet();

}  // namespace

std::optional<std::string> bytes_of_byte_level_text(std::string_view text) {
  std::string bytes;
  bytes.reserve(text.size());
  for (size_t i = 0; i < text.size();) {
    const auto first = static_cast<uint8_t>(text[i]);
    uint32_t character = first;
    size_t length = 1;
    if (first >= 0xc2 && first <= 0xdf && i + 1 < text.size()) {  // the alphabet ends below U+0180
      const auto second = static_cast<uint8_t>(text[i + 1]);
      if (second < 0x80 || second > 0xbf) return std::nullopt;
      character = (first & 0x1fu) << 6 | (second & 0x3fu);
      length = 2;
    } else if (first >= 0x80) {
      return std::nullopt;
    }
    if (character >= kAlphabet.byte_of_character.size()) return std::nullopt;
    const int16_t byte = kAlphabet.byte_of_character[character];
    if (byte < 0) return std::nullopt;
    bytes += static_cast<char>(byte);
    i += length;
  }
  return bytes;
}

std::string byte_level_text_of(std::string_view bytes) {
  std::string text;
  for (const char c : bytes) {
    const uint16_t character = kAlphabet.character_of_byte[static_cast<uint8_t>(c)];
    if (character < 0x80) {
      text += static_cast<char>(character);
    } else {
      text += static_cast<char>(0xc0 | character >> 6);
      text += static_cast<char>(0x80 | (character & 0x3f));
    }
  }
  return text;
}

}  // namespace parkd
