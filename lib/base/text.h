// Small text work that more than one floor needs: JSON string escapes, UTF-8 checks, hashes.
// Pure functions, any thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace parkd {

// Appends `text` as a JSON string literal with its quotes. Bytes that are not UTF-8 become U+FFFD.
void append_json_string(std::string& out, std::string_view text);

// Length in bytes of the longest prefix of `text` that is complete, valid UTF-8 (RFC 3629).
size_t valid_utf8_prefix(std::string_view text);
inline bool is_valid_utf8(std::string_view text) {
  return valid_utf8_prefix(text) == text.size();
}

// `text` with each byte that belongs to no valid UTF-8 sequence replaced by U+FFFD.
std::string repair_utf8(std::string_view text);

// FNV-1a, 64 bit (Fowler/Noll/Vo). For fingerprints of our own data, not against an adversary.
uint64_t fnv1a64(std::string_view bytes, uint64_t seed = 0xcbf29ce484222325ull);

// 16 lower-case hexadecimal digits.
std::string to_hex(uint64_t value);

// `n_bytes` bytes from the kernel's random source, as lower-case hexadecimal digits.
std::string random_hex(int n_bytes);
uint64_t random_u64();

}  // namespace parkd
