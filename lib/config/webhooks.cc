#include "lib/config/webhooks.h"

namespace parkd {

Result<const WebhookConfig*> webhook_of(const std::vector<WebhookConfig>& webhooks,
                                        std::string_view tenant, std::string_view text) {
  const auto refuse = [](const std::string& why) { return invalid_param("webhook_url", why); };
  const auto url = read_webhook_url(text);
  if (!url.ok()) return refuse("webhook_url " + url.status().message());
  if (webhooks.empty()) {
    return refuse(
        "webhook_url: this parkd sends no webhooks: daemon.webhooks of its configuration is "
        "empty, and its administrator would have to list it there");
  }
  const WebhookConfig* found = nullptr;
  std::string allowed;
  for (const WebhookConfig& webhook : webhooks) {
    if (webhook.tenant != tenant) continue;
    allowed += (allowed.empty() ? "" : ", ") + webhook.url_prefix.text;
    if (!covers(webhook.url_prefix, *url)) continue;
    const size_t size = webhook.url_prefix.path.size();
    if (found == nullptr || size > found->url_prefix.path.size()) found = &webhook;
  }
  if (found != nullptr) return found;
  return refuse("webhook_url is none that tenant " + std::string(tenant) + " may give: " +
                (allowed.empty() ? "there is none" : "it must begin with " + allowed) +
                " (daemon.webhooks, which the administrator lists)");
}

}  // namespace parkd
