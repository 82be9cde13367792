#include "lib/base/ip_range.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <cstdint>
#include <cstring>

namespace parkd {
namespace {

struct Range4 {
  uint32_t first;
  int bits;
  IpRange range;
};

constexpr uint32_t v4(uint32_t a, uint32_t b, uint32_t c, uint32_t d) {
  return a << 24 | b << 16 | c << 8 | d;
}

// All that is not global.
constexpr Range4 kRanges4[] = {
    {v4(0, 0, 0, 0), 8, IpRange::unusable},        // this network
    {v4(10, 0, 0, 0), 8, IpRange::local},          // private (RFC 1918)
    {v4(100, 64, 0, 0), 10, IpRange::local},       // carriers' NAT (RFC 6598)
    {v4(127, 0, 0, 0), 8, IpRange::loopback},      //
    {v4(169, 254, 0, 0), 16, IpRange::local},      // link-local; clouds' metadata
    {v4(172, 16, 0, 0), 12, IpRange::local},       // private
    {v4(192, 0, 0, 0), 24, IpRange::local},        // IETF protocol assignments
    {v4(192, 0, 2, 0), 24, IpRange::unusable},     // documentation
    {v4(192, 88, 99, 0), 24, IpRange::unusable},   // 6to4 relays
    {v4(192, 168, 0, 0), 16, IpRange::local},      // private
    {v4(198, 18, 0, 0), 15, IpRange::local},       // benchmarks of networks
    {v4(198, 51, 100, 0), 24, IpRange::unusable},  // documentation
    {v4(203, 0, 113, 0), 24, IpRange::unusable},   // documentation
    {v4(224, 0, 0, 0), 4, IpRange::unusable},      // multicast
    {v4(240, 0, 0, 0), 4, IpRange::unusable},      // reserved; broadcast
};

IpRange range_of_v4(uint32_t address) {
  for (const Range4& known : kRanges4) {
    if ((address ^ known.first) >> (32 - known.bits) == 0) return known.range;
  }
  return IpRange::global;
}

// Whether the address begins with `bits` bits of the prefix.
bool begins(const uint8_t* address, std::initializer_list<uint8_t> prefix, int bits) {
  const uint8_t* p = prefix.begin();
  for (; bits >= 8; bits -= 8) {
    if (*address++ != *p++) return false;
  }
  return bits == 0 || (*address ^ *p) >> (8 - bits) == 0;
}

uint32_t v4_in(const uint8_t* bytes) {
  return v4(bytes[0], bytes[1], bytes[2], bytes[3]);
}

IpRange range_of_v6(const uint8_t* a) {
  constexpr uint8_t kZeros[12] = {};
  if (std::memcmp(a, kZeros, 12) == 0) {  // unspecified, ::1, and IPv4's old form
    if (v4_in(a + 12) == 1) return IpRange::loopback;
    return range_of_v4(v4_in(a + 12));
  }
  if (std::memcmp(a, kZeros, 10) == 0 && a[10] == 0xff && a[11] == 0xff) {
    return range_of_v4(v4_in(a + 12));
  }
  if (begins(a, {0x00, 0x64, 0xff, 0x9b, 0, 0, 0, 0, 0, 0, 0, 0}, 96)) {
    return range_of_v4(v4_in(a + 12));
  }
  if (begins(a, {0x00, 0x64, 0xff, 0x9b, 0x00, 0x01}, 48))
    return IpRange::local;                                            // NAT64 of a site
  if (begins(a, {0x20, 0x02}, 16)) return range_of_v4(v4_in(a + 2));  // 6to4
  if (begins(a, {0xfc}, 7) || begins(a, {0xfe, 0x80}, 10) || begins(a, {0xfe, 0xc0}, 10)) {
    return IpRange::local;
  }
  if (begins(a, {0x20, 0x01, 0x00}, 23)) return IpRange::unusable;        // Teredo, ORCHID, ...
  if (begins(a, {0x20, 0x01, 0x0d, 0xb8}, 32)) return IpRange::unusable;  // documentation
  if (begins(a, {0x3f, 0xff, 0x00}, 20)) return IpRange::unusable;        // documentation
  return begins(a, {0x20}, 3) ? IpRange::global : IpRange::unusable;      // all that is given out
}

}  // namespace

std::string_view to_string(IpRange range) {
  switch (range) {
    case IpRange::global:
      return "global";
    case IpRange::loopback:
      return "loopback";
    case IpRange::local:
      return "private";
    case IpRange::unusable:
      return "unusable";
  }
  return "";
}

IpRange ip_range_of(const sockaddr& address) {
  if (address.sa_family == AF_INET) {
    sockaddr_in v4_address{};
    std::memcpy(&v4_address, &address, sizeof v4_address);
    return range_of_v4(ntohl(v4_address.sin_addr.s_addr));
  }
  if (address.sa_family == AF_INET6) {
    sockaddr_in6 v6_address{};
    std::memcpy(&v6_address, &address, sizeof v6_address);
    return range_of_v6(v6_address.sin6_addr.s6_addr);
  }
  return IpRange::unusable;
}

IpRange ip_range_of(const std::string& address) {
  in_addr v4_address{};
  in6_addr v6_address{};
  if (::inet_pton(AF_INET, address.c_str(), &v4_address) == 1) {
    return range_of_v4(ntohl(v4_address.s_addr));
  }
  if (::inet_pton(AF_INET6, address.c_str(), &v6_address) == 1) {
    return range_of_v6(v6_address.s6_addr);
  }
  return IpRange::unusable;
}

}  // namespace parkd
