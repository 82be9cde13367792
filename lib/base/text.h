// Small text work that more than one floor needs: JSON string escapes, UTF-8 checks, hashes.
// Pure functions, any thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace parkd {

// Appends `text` as a JSON string literal with its quotes, repaired as by repair_utf8.
void append_json_string(std::string& out, std::string_view text);

// Length in bytes of the longest prefix of `text` that is complete, valid UTF-8 (RFC 3629).
size_t valid_utf8_prefix(std::string_view text);
inline bool is_valid_utf8(std::string_view text) {
  return valid_utf8_prefix(text) == text.size();
}

// Characters that begin in these bytes of a UTF-8 text.
size_t characters_in(std::string_view bytes);

// `text` with U+FFFD for what is not UTF-8: one for each maximal subpart of a broken sequence
// (Unicode 15, section 3.9, as WHATWG's, Python's and Rust's decoders have it).
std::string repair_utf8(std::string_view text);

// How many bytes at the end of `text` begin a character and may still become one: 0 to 3.
size_t unfinished_utf8(std::string_view text);

// FNV-1a, 64 bit (Fowler/Noll/Vo). For fingerprints of our own data, not against an adversary.
uint64_t fnv1a64(std::string_view bytes, uint64_t seed = 0xcbf29ce484222325ull);

// A number as messages show it: up to ten digits, "0.1", "1e-30".
std::string number_text(double number);

// Bytes that something takes, in whole MiB: "13 MiB" of 12.1.
std::string mib_text(int64_t bytes);

// 16 lower-case hexadecimal digits.
std::string to_hex(uint64_t value);

// `n_bytes` bytes from the kernel's random source, as lower-case hexadecimal digits.
std::string random_hex(int n_bytes);
uint64_t random_u64();

}  // namespace parkd
