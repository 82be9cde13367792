// WebhookSecret: what the webhooks of a tenant are signed with, so that their receiver knows that
// they are parkd's and not an older one's again (Standard Webhooks,
// github.com/standard-webhooks/standard-webhooks, "Symmetric"). A value, constant; any thread. The
// key itself is in no message of these functions.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/status.h"
#include "lib/config/webhooks.h"

namespace parkd {

class WebhookSecret {
 public:
  // The header webhook-signature of a message: "v1," and the base64 of HMAC-SHA256 over
  // "{id}.{timestamp}.{body}", for each key, with a blank between. `timestamp`: Unix seconds.
  std::string sign(std::string_view id, int64_t timestamp, std::string_view body) const;
  size_t n_keys() const { return keys_.size(); }

 private:
  friend Result<WebhookSecret> parse_webhook_secret(std::string_view text,
                                                    const std::string& file_name);
  std::vector<std::string> keys_;  // bytes
};

// A file with a key a line, "whsec_" and the base64 of 24 .. 64 bytes; '#' begins a comment. A
// second key, or a third or fourth, is for the time in which receivers go over from one to another.
// Errors: invalid, "FILE:LINE: ...".
Result<WebhookSecret> parse_webhook_secret(std::string_view text, const std::string& file_name);

// Of each secret_file, read anew. Errors: invalid (param daemon.webhooks[I].secret_file), also
// where others may read or change it.
using WebhookSecrets = std::map<std::string, WebhookSecret>;
Result<WebhookSecrets> load_webhook_secrets(const std::vector<WebhookConfig>& webhooks);

}  // namespace parkd
