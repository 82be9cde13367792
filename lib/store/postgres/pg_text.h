// Our values as PostgreSQL text: array literals, text without U+0000, JSON that `->>` can read.
//
// Pure functions and one builder, any thread. libpqxx 6.4 has no array parameters, so they are
// written here; parameters only, never SQL text.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace parkd {

// Builds an array literal, "{1,NULL,\"a\\\"b\"}".
class ArrayText {
 public:
  void add(int64_t value);
  void add(bool value);
  void add(std::string_view text);
  void add_null();
  template <class T>
  void add(const std::optional<T>& value) {
    value ? add(*value) : add_null();
  }
  std::string take();

 private:
  void separate();
  std::string text_ = "{";
};

// PostgreSQL text cannot hold U+0000. Keys and ids must come back as they were given, so it becomes
// U+10FFFE '0' (and U+10FFFE itself U+10FFFE '1'), a code point that is not a character.
std::string encode_text(std::string_view text);
std::string decode_text(std::string_view text);

// For text that people read: bytes that are not UTF-8, and U+0000, become U+FFFD.
std::string readable_text(std::string_view text);

// A JSON text whose strings PostgreSQL can all turn into text: the escapes \u0000 and halves of
// surrogate pairs become \ufffd; raw bytes the same as in readable_text. Anything else stays as it
// is, byte for byte; not a validator.
std::string storable_json(std::string_view json);

// A body that is not JSON (a test's, or a bug's) is kept as a JSON string; this undoes it. A text
// that is not a JSON string is returned as it is.
std::string unwrap_json_string(std::string_view json);

// A bytea's text, "\x" and two digits a byte; and the bytes of such digits (encode(..., 'hex')),
// empty where they are none.
std::string bytea_text(std::string_view bytes);
std::string bytes_of_hex(std::string_view digits);

}  // namespace parkd
