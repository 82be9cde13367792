// daemon.webhooks: who may have the ends of batches told, and where. Pure, any thread.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "lib/base/status.h"
#include "lib/config/webhook_url.h"

namespace parkd {

struct WebhookConfig {
  std::string tenant;
  WebhookUrl url_prefix;
  std::string secret_file;     // webhook_secret.h
  bool allow_private = false;  // addresses of a private network, too; loopback of any host
  std::string ca_file;         // of certificates that are trusted alone; empty: the system's
  friend bool operator==(const WebhookConfig&, const WebhookConfig&) = default;
};

// What lets the tenant give this URL: of several the one with the longest prefix. Errors: invalid
// (param webhook_url), what is wrong with it, and what to do.
Result<const WebhookConfig*> webhook_of(const std::vector<WebhookConfig>& webhooks,
                                        std::string_view tenant, std::string_view url);

}  // namespace parkd
