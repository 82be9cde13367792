// What an address is good for.
#include "lib/base/ip_range.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>

#include <string>
#include <vector>

namespace parkd {
namespace {

// Both ways of asking.
IpRange range_of(const std::string& text) {
  sockaddr_in6 v6{};
  sockaddr_in v4{};
  v6.sin6_family = AF_INET6;
  v4.sin_family = AF_INET;
  const bool is_v4 = ::inet_pton(AF_INET, text.c_str(), &v4.sin_addr) == 1;
  EXPECT_TRUE(is_v4 || ::inet_pton(AF_INET6, text.c_str(), &v6.sin6_addr) == 1) << text;
  const auto* address =
      is_v4 ? reinterpret_cast<const sockaddr*>(&v4) : reinterpret_cast<const sockaddr*>(&v6);
  EXPECT_EQ(ip_range_of(*address), ip_range_of(text)) << text;
  return ip_range_of(*address);
}

TEST(IpRange, is_that_of_the_registries) {
  struct Case {
    IpRange range;
    std::vector<std::string> addresses;
  };
  const std::vector<Case> cases = {
      {IpRange::global, {"1.1.1.1",         "8.8.8.8",        "9.255.255.255",    "11.0.0.0",
                         "100.63.255.255",  "100.128.0.0",    "126.255.255.255",  "128.0.0.0",
                         "169.253.255.255", "169.255.0.0",    "172.15.255.255",   "172.32.0.0",
                         "192.0.1.0",       "192.0.3.0",      "192.88.98.255",    "192.88.100.0",
                         "192.167.255.255", "192.169.0.0",    "198.17.255.255",   "198.20.0.0",
                         "198.51.99.255",   "203.0.112.255",  "203.0.114.0",      "223.255.255.255",
                         "2606:4700::1111", "2001:200::1",    "2001:db7::1",      "2001:db9::1",
                         "3ffe::1",         "::ffff:8.8.8.8", "64:ff9b::8.8.8.8", "2002:808:808::1",
                         "::8.8.8.8"}},
      {IpRange::loopback,
       {"127.0.0.1", "127.255.255.255", "::1", "::ffff:127.0.0.1", "::127.0.0.1",
        "64:ff9b::127.0.0.1", "2002:7f00:1::1"}},
      {IpRange::local,
       {"10.0.0.0",
        "10.255.255.255",
        "100.64.0.0",
        "100.127.255.255",
        "169.254.0.0",
        "169.254.169.254",
        "169.254.255.255",
        "172.16.0.0",
        "172.31.255.255",
        "192.0.0.1",
        "192.168.0.0",
        "192.168.255.255",
        "198.18.0.0",
        "198.19.255.255",
        "fc00::",
        "fdff::1",
        "fe80::1",
        "febf::1",
        "fec0::1",
        "feff::1",
        "::ffff:10.0.0.1",
        "::ffff:169.254.169.254",
        "64:ff9b::10.0.0.1",
        "64:ff9b:1::1",
        "64:ff9b:1:ffff::8.8.8.8",
        "2002:a00:1::1",
        "2002:c0a8:1::1",
        "::10.0.0.1"}},
      {IpRange::unusable,
       {"0.0.0.0",
        "0.255.255.255",
        "192.0.2.1",
        "192.88.99.1",
        "198.51.100.7",
        "203.0.113.9",
        "224.0.0.1",
        "239.255.255.255",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::2",
        "ff02::1",
        "ff00::",
        "100::1",
        "2001::1",
        "2001:1ff::1",
        "2001:db8::1",
        "3fff::1",
        "4000::1",
        "1fff::1",
        "5f00::1",
        "64:ff9b:2::1",
        "64:ff9c::1",
        "fe00::1",
        "fe7f::1",
        "2002:e000:1::1",
        "::ffff:0.0.0.0",
        "64:ff9b::224.0.0.1"}},
  };
  for (const Case& c : cases) {
    for (const std::string& address : c.addresses) {
      EXPECT_EQ(to_string(range_of(address)), to_string(c.range)) << address;
    }
  }
}

TEST(IpRange, of_no_ip_address_is_unusable) {
  sockaddr unix_socket{};
  unix_socket.sa_family = AF_UNIX;
  EXPECT_EQ(ip_range_of(unix_socket), IpRange::unusable);
  for (const char* text : {"", "localhost", "1.2.3", "[::1]"}) {
    EXPECT_EQ(ip_range_of(std::string(text)), IpRange::unusable) << text;
  }
}

}  // namespace
}  // namespace parkd
