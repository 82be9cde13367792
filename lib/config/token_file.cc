#include "lib/config/token_file.h"

#include <openssl/crypto.h>
#include <openssl/sha.h>

#include <charconv>
#include <set>

#include "lib/base/blanks.h"
#include "lib/base/text.h"
#include "lib/config/private_file.h"
#include "lib/config/values.h"

namespace parkd {
namespace {

constexpr size_t kFileBytesMax = 1 << 20;
constexpr size_t kTokensMax = 10'000;
constexpr int32_t kRequestsMax = 65'536;
constexpr std::string_view kTokenPrefix = "parkd-";
constexpr std::string_view kRequestsGrant = "requests=";

// The text up to the next `mark`, which is taken off with it.
std::string_view next_part(std::string_view& text, char mark) {
  const size_t end = std::min(text.find(mark), text.size());
  const std::string_view part = text.substr(0, end);
  text.remove_prefix(std::min(end + 1, text.size()));
  return part;
}

std::optional<TokenDigest> read_digest(std::string_view hex) {
  TokenDigest digest{};
  if (hex.size() != 2 * digest.size()) return std::nullopt;
  for (size_t i = 0; i < digest.size(); ++i) {
    const char* first = hex.data() + 2 * i;
    const auto [end, error] = std::from_chars(first, first + 2, digest[i], 16);
    if (error != std::errc() || end != first + 2) return std::nullopt;
  }
  return digest;
}

std::string hex_of(const TokenDigest& digest) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string hex;
  for (const uint8_t byte : digest) {
    hex += kDigits[byte >> 4];
    hex += kDigits[byte & 15];
  }
  return hex;
}

// `line` is neither blank nor a comment. Messages show nothing of it that may be a token.
Result<TokenEntry> read_entry(std::string_view line) {
  TokenEntry entry;
  entry.tenant = trimmed(next_part(line, ':'));
  if (!is_tenant(entry.tenant)) {
    return invalid(
        "what stands before the first ':' is not a tenant (1 .. 64 letters, digits, . _ -)");
  }
  const std::string_view hex = trimmed(next_part(line, ':'));
  const auto digest = read_digest(hex);
  if (!digest) {
    const bool may_be_token = hex.substr(0, kTokenPrefix.size()) == kTokenPrefix;
    return invalid("tenant " + entry.tenant + ": " +
                   (may_be_token ? "this looks like a token itself, which belongs to who uses it; "
                                   "here stands its SHA-256"
                                 : "what follows is not the SHA-256 of a token") +
                   " in hex (64 of 0-9 a-f), as \"jobctl token new\" writes it");
  }
  entry.digest = *digest;
  std::string_view grants = trimmed(line);
  while (!grants.empty()) {
    PARKD_RETURN_IF_ERROR(read_grant(trimmed(next_part(grants, ',')), entry));
  }
  return entry;
}

}  // namespace

TokenDigest digest_of(std::string_view token) {
  TokenDigest digest{};
  ::SHA256(reinterpret_cast<const unsigned char*>(token.data()), token.size(), digest.data());
  return digest;
}

const TokenEntry* TokenTable::find(std::string_view token) const {
  const TokenDigest digest = digest_of(token);
  const TokenEntry* found = nullptr;
  for (const TokenEntry& entry : entries_) {
    if (::CRYPTO_memcmp(entry.digest.data(), digest.data(), digest.size()) == 0) found = &entry;
  }
  return found;
}

Status read_grant(std::string_view text, TokenEntry& entry) {
  if (text == "critical") {
    entry.may_be_critical = true;
    return {};
  }
  const bool is_requests = text.substr(0, kRequestsGrant.size()) == kRequestsGrant;
  if (is_requests) text.remove_prefix(kRequestsGrant.size());
  int32_t n = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), n);
  const bool is_number = error == std::errc() && end == text.data() + text.size();
  if (is_requests && is_number && n >= 1 && n <= kRequestsMax) {
    entry.requests_max = n;
    return {};
  }
  return invalid(is_requests ? "the grant requests= has no whole number from 1 to " +
                                   std::to_string(kRequestsMax)
                             : "there is a grant that parkd does not know; there are critical and "
                               "requests=N");
}

Result<TokenTable> parse_tokens(std::string_view text, const std::string& file_name) {
  if (text.size() > kFileBytesMax) {
    return invalid(file_name + ": more than " + std::to_string(kFileBytesMax) + " bytes");
  }
  TokenTable table;
  std::set<TokenDigest> known;
  for (int number = 1; !text.empty(); ++number) {
    std::string_view line = next_part(text, '\n');
    line = trimmed(line.substr(0, line.find('#')));
    if (line.empty()) continue;
    const std::string at = file_name + ":" + std::to_string(number) + ": ";
    auto entry = read_entry(line);
    if (!entry.ok()) return invalid(at + entry.status().message());
    if (!known.insert(entry->digest).second) {
      return invalid(at + "this token stands further up already");
    }
    if (table.entries_.size() == kTokensMax) {
      return invalid(at + "more than " + std::to_string(kTokensMax) + " tokens");
    }
    table.entries_.push_back(*std::move(entry));
  }
  return table;
}

Result<TokenTable> load_tokens(const std::string& path) {
  PARKD_ASSIGN_OR_RETURN(
      const std::string text,
      read_private_file({"daemon.tokens_file", path, "others could read it or change who may come",
                         "jobctl token new TENANT --file " + path + " makes it", kFileBytesMax}));
  auto table = parse_tokens(text, path);
  if (!table.ok()) return table.status().with_param("daemon.tokens_file");
  return table;
}

std::string token_line(const TokenEntry& entry) {
  std::string line = entry.tenant + ":" + hex_of(entry.digest);
  char mark = ':';
  const auto grant = [&](const std::string& text) {
    line += mark + text;
    mark = ',';
  };
  if (entry.may_be_critical) grant("critical");
  if (entry.requests_max) {
    grant(std::string(kRequestsGrant) + std::to_string(*entry.requests_max));
  }
  return line;
}

std::string make_token() {
  return std::string(kTokenPrefix) + random_hex(32);
}

}  // namespace parkd
