#include "lib/config/webhook_secret.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <algorithm>
#include <array>
#include <optional>

#include "lib/base/blanks.h"
#include "lib/base/check.h"
#include "lib/config/private_file.h"

namespace parkd {
namespace {

constexpr std::string_view kPrefix = "whsec_";
constexpr size_t kFileBytesMax = 16 << 10;
constexpr size_t kKeyBytesMin = 24;  // as Standard Webhooks has it
constexpr size_t kKeyBytesMax = 64;
constexpr size_t kKeysMax = 4;
constexpr const char* kHowToMake =
    "printf 'whsec_%s\\n' \"$(openssl rand -base64 32)\" makes one, for it and for its receiver";

const unsigned char* bytes_of(std::string_view text) {
  return reinterpret_cast<const unsigned char*>(text.data());
}

std::string base64_of(std::string_view bytes) {
  std::string text(4 * ((bytes.size() + 2) / 3) + 1, '\0');  // and a zero byte
  const int n = ::EVP_EncodeBlock(reinterpret_cast<unsigned char*>(text.data()), bytes_of(bytes),
                                  static_cast<int>(bytes.size()));
  text.resize(static_cast<size_t>(n));
  return text;
}

// With its padding (RFC 4648, section 4). OpenSSL's reader passes over blanks and more; what it
// reads must be the text again.
std::optional<std::string> read_base64(std::string_view text) {
  if (text.empty() || text.size() % 4 != 0 || text.size() > 4 * kKeyBytesMax) return std::nullopt;
  std::string bytes(3 * text.size() / 4, '\0');
  const int n = ::EVP_DecodeBlock(reinterpret_cast<unsigned char*>(bytes.data()), bytes_of(text),
                                  static_cast<int>(text.size()));
  if (n < 0) return std::nullopt;
  const size_t n_padding = text.ends_with("==") ? 2 : text.ends_with("=") ? 1 : 0;
  bytes.resize(static_cast<size_t>(n) - n_padding);  // which it counts as bytes
  return base64_of(bytes) == text ? std::optional(bytes) : std::nullopt;
}

Result<std::string> read_key(std::string_view line) {
  if (!line.starts_with(kPrefix)) {
    return invalid("this is not a key: it must be \"whsec_\" and base64 (" +
                   std::string(kHowToMake) + ")");
  }
  const auto bytes = read_base64(line.substr(kPrefix.size()));
  if (!bytes) {
    return invalid("what follows \"whsec_\" is not base64 with its padding, of at most " +
                   std::to_string(kKeyBytesMax) + " bytes");
  }
  if (bytes->size() < kKeyBytesMin || bytes->size() > kKeyBytesMax) {
    return invalid("the key has " + std::to_string(bytes->size()) + " bytes, it must have " +
                   std::to_string(kKeyBytesMin) + " .. " + std::to_string(kKeyBytesMax));
  }
  return *bytes;
}

}  // namespace

std::string WebhookSecret::sign(std::string_view id, int64_t timestamp,
                                std::string_view body) const {
  std::string content(id);
  content += "." + std::to_string(timestamp) + ".";
  content += body;
  std::string signatures;
  for (const std::string& key : keys_) {
    std::array<unsigned char, EVP_MAX_MD_SIZE> mac{};
    unsigned size = 0;
    PARKD_CHECK(::HMAC(::EVP_sha256(), key.data(), static_cast<int>(key.size()), bytes_of(content),
                       content.size(), mac.data(), &size) != nullptr,
                "HMAC-SHA256");
    const std::string_view signature(reinterpret_cast<const char*>(mac.data()), size);
    signatures += (signatures.empty() ? "v1," : " v1,") + base64_of(signature);
  }
  return signatures;
}

Result<WebhookSecret> parse_webhook_secret(std::string_view text, const std::string& file_name) {
  if (text.size() > kFileBytesMax) {
    return invalid(file_name + ": more than " + std::to_string(kFileBytesMax) + " bytes");
  }
  WebhookSecret secret;
  for (int number = 1; !text.empty(); ++number) {
    const size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    line = trimmed(line.substr(0, line.find('#')));
    if (line.empty()) continue;
    const std::string at = file_name + ":" + std::to_string(number) + ": ";
    auto key = read_key(line);
    if (!key.ok()) return invalid(at + key.status().message());
    if (secret.keys_.size() == kKeysMax) {
      return invalid(at + "more than " + std::to_string(kKeysMax) + " keys");
    }
    secret.keys_.push_back(*std::move(key));
  }
  if (secret.keys_.empty()) return invalid(file_name + " has no key (" + kHowToMake + ")");
  return secret;
}

Result<WebhookSecrets> load_webhook_secrets(const std::vector<WebhookConfig>& webhooks) {
  WebhookSecrets secrets;
  for (size_t i = 0; i < webhooks.size(); ++i) {
    const std::string& path = webhooks[i].secret_file;
    const std::string key = "daemon.webhooks[" + std::to_string(i) + "].secret_file";
    PARKD_ASSIGN_OR_RETURN(
        const std::string text,
        read_private_file({key, path, "others could read it and sign in parkd's name", kHowToMake,
                           kFileBytesMax}));
    auto secret = parse_webhook_secret(text, path);
    if (!secret.ok()) {
      Status status = secret.status();
      return status.with_param(key);
    }
    secrets[path] = *std::move(secret);
  }
  return secrets;
}

}  // namespace parkd
