// Any bytes are a URL or a message; a URL is what it says: whoever takes its text apart by RFC
// 3986, appendix B, finds the host and the path that are connected to.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "lib/config/webhook_secret.h"
#include "lib/config/webhook_url.h"

namespace {

void expect(bool holds) {
  if (!holds) std::abort();
}

void expect_one_meaning(const parkd::WebhookUrl& url) {
  const std::string& text = url.text;
  const size_t host_at = url.scheme.size() + 3;
  expect(text.compare(0, host_at, url.scheme + "://") == 0);
  const size_t path_at = text.find_first_of("/?#", host_at);
  expect(path_at != text.npos && text[path_at] == '/' && text.find('#') == text.npos);
  const std::string authority = text.substr(host_at, path_at - host_at);
  expect(authority.find('@') == authority.npos && authority.find('%') == authority.npos);
  const std::string host = authority.substr(0, url.host.size());
  for (size_t i = 0; i < host.size(); ++i) expect((host[i] | 32) == (url.host[i] | 32));
  const std::string port = authority.substr(url.host.size());
  const bool is_default = port.empty() && url.port == (url.scheme == "https" ? 443 : 80);
  expect(is_default || port == ":" + std::to_string(url.port));
  const size_t query_at = std::min(text.find('?'), text.size());
  expect(text.substr(path_at, query_at - path_at) == url.path);
  for (const char* dots : {"/./", "/../"}) expect((url.path + "/").find(dots) == text.npos);
  expect(url.scheme == "https" || (url.scheme == "http" && url.is_loopback()));
  const auto again = parkd::read_webhook_url(text);
  expect(again.ok() && *again == url && covers(url, url));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto url = parkd::read_webhook_url(text);
  if (url.ok()) {
    expect_one_meaning(*url);
  } else {
    expect(!url.status().message().empty());
  }
  const auto secret = parkd::parse_webhook_secret(text, "fuzz");
  if (secret.ok()) expect(secret->sign("id", 1, "{}").size() == 48 * secret->n_keys() - 1);
  return 0;
}
