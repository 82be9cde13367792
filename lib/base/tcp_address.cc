#include "lib/base/tcp_address.h"

#include <arpa/inet.h>

#include <charconv>
#include <optional>

namespace parkd {
namespace {

// The address as inet_ntop writes it; nothing when it is none.
std::optional<std::string> read_ip(const std::string& text, int family) {
  in6_addr bytes{};  // has room for both
  if (::inet_pton(family, text.c_str(), &bytes) != 1) return std::nullopt;
  char written[INET6_ADDRSTRLEN];
  if (::inet_ntop(family, &bytes, written, sizeof written) == nullptr) return std::nullopt;
  return std::string(written);
}

}  // namespace

bool TcpAddress::is_loopback() const {
  return ip == "::1" || ip.rfind("127.", 0) == 0;
}

std::string TcpAddress::to_string() const {
  return (is_v6() ? "[" + ip + "]" : ip) + ":" + std::to_string(port);
}

bool is_ip_literal(const std::string& text) {
  return read_ip(text, AF_INET) || read_ip(text, AF_INET6);
}

Result<TcpAddress> read_tcp_address(std::string_view text) {
  const Status malformed =
      invalid("is not an IP address and a port, as 127.0.0.1:8080 or [::1]:8080");
  const size_t colon = text.rfind(':');
  if (colon == text.npos || text.find('\0') != text.npos) return malformed;
  const std::string_view host = text.substr(0, colon);
  const std::string_view port = text.substr(colon + 1);
  const bool bracketed = host.size() > 2 && host.front() == '[' && host.back() == ']';
  const auto ip = bracketed ? read_ip(std::string(host.substr(1, host.size() - 2)), AF_INET6)
                            : read_ip(std::string(host), AF_INET);
  if (!ip) return malformed;
  TcpAddress address;
  address.ip = *ip;
  const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), address.port);
  if (error != std::errc() || end != port.data() + port.size()) {
    return invalid("has a port that is not a whole number from 0 (whichever is free) to 65535");
  }
  return address;
}

}  // namespace parkd
