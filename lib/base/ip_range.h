// What an IP address is good for: whether it may be a host's on the Internet, or leads back to
// this machine or into its own network, whatever name stood for it. By IANA's special-purpose
// registries (RFC 6890, and what it has of later ones). Pure, any thread.
#pragma once

#include <sys/socket.h>

#include <string>
#include <string_view>

namespace parkd {

enum class IpRange {
  global,    // on the Internet
  loopback,  // this machine: 127.0.0.0/8, ::1
  local,     // a network of its own: private, shared, link-local, unique local
  unusable,  // none that a connection is made to: unspecified, multicast, reserved, documentation
};
std::string_view to_string(IpRange range);

// An IPv6 address that carries one of IPv4 (mapped, compatible, NAT64's 64:ff9b::/96, 6to4) is in
// the range of that one. Of another family than IPv4 and IPv6: unusable.
IpRange ip_range_of(const sockaddr& address);
// Of an address as text, an IPv6 one without brackets; of text that is none: unusable.
IpRange ip_range_of(const std::string& address);

}  // namespace parkd
