// WebhookUrl: where a webhook is sent to. What libcurl's own reader makes of a text, so that what
// was compared with daemon.webhooks is what is connected to; a text that means more than it says
// is refused. Values, any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "lib/base/status.h"

namespace parkd {

inline constexpr size_t kUrlBytesMax = 2048;

struct WebhookUrl {
  std::string text;    // whole, as it is sent to
  std::string scheme;  // "https"; "http" where host is of this machine
  std::string host;    // in lower case; an IPv6 address in brackets
  uint16_t port = 0;
  std::string path;   // "/" at least
  std::string query;  // without its '?'

  // An address of this machine as a literal, or localhost.
  bool is_loopback() const;
  // The host without brackets, where it is an IP address; else empty.
  std::string ip() const;
  friend bool operator==(const WebhookUrl&, const WebhookUrl&) = default;
};

// RFC 3986's absolute form, of https (http: is_loopback() alone), with no user, fragment, "." or
// ".." segment, and nothing percent-encoded that would be one of the signs that part a URL. Errors:
// invalid, what is wrong with it and what to write; the text itself is not repeated.
Result<WebhookUrl> read_webhook_url(std::string_view text);

// Whether whoever may send to the prefix may send to the url: same scheme, host and port, and a
// path that is the prefix's or goes on behind a '/' of it. Requires that the prefix has no query.
bool covers(const WebhookUrl& prefix, const WebhookUrl& url);

}  // namespace parkd
