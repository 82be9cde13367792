#include "lib/config/read_webhooks.h"

#include "lib/base/ip_range.h"
#include "lib/config/values.h"

namespace parkd {
namespace {

constexpr size_t kWebhooksMax = 1000;

void read_prefix(const YamlSection& section, WebhookConfig& webhook) {
  const auto text = section.text("url_prefix", kUrlBytesMax);
  if (!text) {
    if (!section.has_value("url_prefix")) section.fail("", "missing url_prefix");
    return;
  }
  auto url = read_webhook_url(*text);
  if (!url.ok()) return section.fail_value("url_prefix", url.status().message());
  if (!url->query.empty()) {
    return section.fail_value("url_prefix", "has a query, which no prefix has");
  }
  webhook.url_prefix = *std::move(url);
  const IpRange range = ip_range_of(webhook.url_prefix.ip());
  if (webhook.url_prefix.ip().empty() || range == IpRange::global || range == IpRange::loopback) {
    return;
  }
  if (range == IpRange::local && webhook.allow_private) return;
  section.fail_value(
      "url_prefix", "is at a" + std::string(range == IpRange::local ? " private" : "n unusable") +
                        " address" + (range == IpRange::local ? ": give allow_private: true" : ""));
}

WebhookConfig read_webhook(const YamlSection& section) {
  WebhookConfig webhook;
  webhook.tenant = section.text("tenant", 4096).value_or("");
  if (!section.has_value("tenant")) {
    section.fail("", "missing tenant");
  } else if (!is_tenant(webhook.tenant)) {
    section.fail_value("tenant", kTenantRule);
  }
  webhook.allow_private = section.boolean("allow_private").value_or(false);
  read_prefix(section, webhook);
  webhook.secret_file = nullable_path(section, "secret_file").value_or("");
  if (webhook.secret_file.empty()) {
    section.fail("", "missing secret_file: a receiver must be able to tell parkd from others");
  }
  webhook.ca_file = nullable_path(section, "ca_file").value_or("");
  return webhook;
}

}  // namespace

void read_webhooks(const YamlSection& daemon_section, DaemonConfig& daemon) {
  if (!daemon_section.has_value("webhooks")) return;
  for (const YamlSection& section :
       daemon_section.sections("webhooks", "daemon.webhooks[]", kWebhooksMax)) {
    WebhookConfig webhook = read_webhook(section);
    for (const WebhookConfig& known : daemon.webhooks) {
      if (known.tenant == webhook.tenant && known.url_prefix == webhook.url_prefix) {
        section.fail_value("url_prefix", "is there twice for tenant " + webhook.tenant);
      }
    }
    daemon.webhooks.push_back(std::move(webhook));
  }
}

}  // namespace parkd
