#include "lib/http/principal.h"

#include <arpa/inet.h>
#include <unistd.h>

#include <algorithm>
#include <iterator>

#include "lib/base/check.h"

namespace parkd {
namespace {

// Who has this address has these.
std::string network_of(const std::string& ip) {
  in6_addr address{};
  if (::inet_pton(AF_INET6, ip.c_str(), &address) != 1 || IN6_IS_ADDR_LOOPBACK(&address)) return ip;
  std::fill(std::begin(address.s6_addr) + 8, std::end(address.s6_addr), uint8_t{0});
  char text[INET6_ADDRSTRLEN];
  ::inet_ntop(AF_INET6, &address, text, sizeof text);
  return std::string(text) + "/64";
}

}  // namespace

Status Principal::may_act_for(const std::string& other) const {
  if (is_privileged || other == tenant) return {};
  return denied("you are tenant \"" + tenant + "\" and may not act for \"" + other + "\"")
      .with_param("tenant");
}

std::string Principal::any_or_own() const {
  if (is_privileged && !named_its_tenant) return "";
  PARKD_CHECK(!tenant.empty(), account + " acts for no tenant, and may not see every one's jobs");
  return tenant;
}

Principal unix_peer(uid_t uid) {
  Principal peer;
  peer.account = "uid " + std::to_string(uid);
  peer.uid = uid;
  peer.is_privileged = uid == 0 || uid == ::geteuid();
  return peer;
}

Principal tcp_peer(const std::string& ip) {
  Principal peer;
  peer.account = "address " + network_of(ip);
  peer.by_tcp = true;
  return peer;
}

}  // namespace parkd
