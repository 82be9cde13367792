// The file of daemon.tokens_file: who a token stands for that a request by TCP brings. One a line:
//
//     tenant:SHA-256 of the token in hex[:grant,grant ...]       # a comment
//
// Grants: critical (its jobs may have that priority), requests=N (in flight at a time, 1 .. 65536).
// A token itself is in no file of parkd's, and in no message of these functions. Made on one
// thread, then constant.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/status.h"

namespace parkd {

using TokenDigest = std::array<uint8_t, 32>;  // SHA-256 (FIPS 180-4)
TokenDigest digest_of(std::string_view token);

struct TokenEntry {
  TokenDigest digest{};
  std::string tenant;
  bool may_be_critical = false;
  std::optional<int32_t> requests_max;  // in flight at a time; empty: no limit of its own
  friend bool operator==(const TokenEntry&, const TokenEntry&) = default;
};

class TokenTable {
 public:
  TokenTable() = default;  // of no tokens

  // nullptr: a token that is not here. Takes as long for whatever token of that size.
  const TokenEntry* find(std::string_view token) const;
  const std::vector<TokenEntry>& entries() const { return entries_; }

 private:
  friend Result<TokenTable> parse_tokens(std::string_view text, const std::string& file_name);
  std::vector<TokenEntry> entries_;
};

// At most 1 MiB and 10,000 tokens. Errors: invalid, "FILE:LINE: ...".
Result<TokenTable> parse_tokens(std::string_view text, const std::string& file_name);
// Reads the file. Errors: invalid (param daemon.tokens_file), also where others than its owner and
// group may read it, or others than its owner change it, with the chmod that mends it.
Result<TokenTable> load_tokens(const std::string& path);

// The line of an entry, without its end.
std::string token_line(const TokenEntry& entry);
// Reads one grant into an entry. Errors: invalid, naming it and those there are.
Status read_grant(std::string_view text, TokenEntry& entry);

// A new token, of 256 random bits.
std::string make_token();

}  // namespace parkd
