#include "lib/config/webhook_url.h"

#include <curl/curl.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <memory>
#include <new>
#include <optional>

#include "lib/base/ip_range.h"

namespace parkd {
namespace {

using Handle = std::unique_ptr<CURLU, decltype(&curl_url_cleanup)>;

char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
}

std::string lowered(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(), lower);
  return text;
}

// The value of two hexadecimal digits; nothing where they are none.
std::optional<uint8_t> read_hex(std::string_view digits) {
  uint8_t value = 0;
  const auto [end, error] =
      std::from_chars(digits.data(), digits.data() + digits.size(), value, 16);
  const bool is_whole = digits.size() == 2 && end == digits.data() + 2;
  return error == std::errc() && is_whole ? std::optional(value) : std::nullopt;
}

// What is refused before anybody takes the text apart.
Status check_characters(std::string_view text) {
  if (text.empty()) return invalid("is empty");
  if (text.size() > kUrlBytesMax) {
    return invalid("has " + std::to_string(text.size()) + " bytes, the limit is " +
                   std::to_string(kUrlBytesMax));
  }
  constexpr std::string_view kNever = "\"<>\\^`{|}";  // of no URI (RFC 3986)
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c <= ' ' || c > '~' || kNever.find(c) != kNever.npos) {
      return invalid("has a character at byte " + std::to_string(i) +
                     " that stands in no URL: percent-encode it");
    }
    if (c == '#') return invalid("has a fragment (#), which no receiver sees: leave it out");
    if (c != '%') continue;
    const auto byte = read_hex(text.substr(i + 1, 2));
    if (!byte) return invalid("has a % at byte " + std::to_string(i) + " without two hex digits");
    if (*byte < ' ' || *byte == 0x7f ||
        std::string_view("./\\%").find(static_cast<char>(*byte)) != std::string_view::npos) {
      return invalid("has a percent-encoded control character, '.', '/', '\\' or '%' at byte " +
                     std::to_string(i) + ": receivers differ in what that is");
    }
  }
  return {};
}

std::optional<std::string> part(const Handle& url, CURLUPart which, unsigned flags = 0) {
  char* text = nullptr;
  if (curl_url_get(url.get(), which, &text, flags) != CURLUE_OK) return std::nullopt;
  const std::unique_ptr<char, decltype(&curl_free)> freed(text, curl_free);
  return std::string(text);
}

bool has_dot_segment(std::string_view path) {
  while (!path.empty()) {
    path.remove_prefix(1);  // the '/'
    const std::string_view segment = path.substr(0, path.find('/'));
    if (segment == "." || segment == "..") return true;
    path.remove_prefix(segment.size());
  }
  return false;
}

bool is_host(std::string_view host) {
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') {
    host = host.substr(1, host.size() - 2);
    return host.find_first_not_of("0123456789abcdef:.") == host.npos;
  }
  return !host.empty() &&
         host.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789-.") == host.npos;
}

}  // namespace

std::string WebhookUrl::ip() const {
  if (host.empty()) return "";
  const std::string bare = host.front() == '[' ? host.substr(1, host.size() - 2) : host;
  // A name that is all digits and dots is not a name: libcurl has made an address of it, or
  // refused.
  const bool is_v4 = bare.find_first_not_of("0123456789.") == bare.npos;
  return is_v4 || host.front() == '[' ? bare : "";
}

bool WebhookUrl::is_loopback() const {
  return host == "localhost" || ip_range_of(ip()) == IpRange::loopback;
}

Result<WebhookUrl> read_webhook_url(std::string_view text) {
  PARKD_RETURN_IF_ERROR(check_characters(text));
  const Handle handle(curl_url(), curl_url_cleanup);
  if (handle == nullptr) throw std::bad_alloc();
  const std::string given(text);
  const CURLUcode code = curl_url_set(handle.get(), CURLUPART_URL, given.c_str(),
                                      CURLU_PATH_AS_IS | CURLU_DISALLOW_USER);
  if (code == CURLUE_USER_NOT_ALLOWED) {
    return invalid("has a user (before an @): the signature is what a receiver knows parkd by");
  }
  if (code != CURLUE_OK) {
    return invalid("is not an absolute URL, as https://example.org/hooks (" +
                   std::string(curl_url_strerror(code)) + ")");
  }
  WebhookUrl url;
  url.scheme = lowered(part(handle, CURLUPART_SCHEME).value_or(""));
  url.host = lowered(part(handle, CURLUPART_HOST).value_or(""));
  url.path = part(handle, CURLUPART_PATH).value_or("");
  url.query = part(handle, CURLUPART_QUERY).value_or("");
  url.text = part(handle, CURLUPART_URL).value_or("");
  const std::string port = part(handle, CURLUPART_PORT, CURLU_DEFAULT_PORT).value_or("");
  if (url.scheme != "https" && url.scheme != "http") {
    return invalid("is not of https: nothing else is sent to");
  }
  if (!is_host(url.host)) return invalid("has a host that is neither a name nor an IP address");
  const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), url.port);
  if (error != std::errc() || end != port.data() + port.size() || url.port == 0) {
    return invalid("has a port that is none of 1 .. 65535");
  }
  if (url.scheme == "http" && !url.is_loopback()) {
    return invalid(
        "is of http, which anybody on the way reads and changes: use https (http is for this "
        "machine alone: 127.0.0.1, [::1], localhost)");
  }
  if (has_dot_segment(url.path)) {
    return invalid("has a \".\" or \"..\" in its path: write the path that is meant");
  }
  // One text, one meaning: "127.1", a port with zeros and the like are other texts for the same.
  const std::string as_read = lowered(url.text);
  if (as_read != lowered(given) && as_read != lowered(given) + "/") {
    return invalid("is read as " + url.text + ": write that");
  }
  return url;
}

bool covers(const WebhookUrl& prefix, const WebhookUrl& url) {
  if (prefix.scheme != url.scheme || prefix.host != url.host || prefix.port != url.port) {
    return false;
  }
  if (url.path.compare(0, prefix.path.size(), prefix.path) != 0) return false;
  return url.path.size() == prefix.path.size() || prefix.path.back() == '/' ||
         url.path[prefix.path.size()] == '/';
}

}  // namespace parkd
