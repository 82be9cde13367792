// TcpAddress: where a TCP socket listens, as people write it: "127.0.0.1:8080", "[::1]:8080". No
// names: what an address means must not hang on a resolver. Values, any thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "lib/base/status.h"

namespace parkd {

struct TcpAddress {
  std::string ip;     // "127.0.0.1", "::1"; as inet_ntop writes it
  uint16_t port = 0;  // 0: whichever is free

  bool is_v6() const { return ip.find(':') != std::string::npos; }
  bool is_loopback() const;       // 127.0.0.0/8, ::1
  std::string to_string() const;  // "[::1]:8080"
  friend bool operator==(const TcpAddress&, const TcpAddress&) = default;
};

// Errors: invalid, what is wrong with the text, which it does not repeat.
Result<TcpAddress> read_tcp_address(std::string_view text);

// Whether it is an IPv4 or IPv6 address; the latter without brackets.
bool is_ip_literal(const std::string& text);

}  // namespace parkd
