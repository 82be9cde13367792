#include "daemon/api/tenants.h"

#include <pwd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string_view>
#include <vector>

#include "lib/base/check.h"

namespace parkd {
namespace {

constexpr std::string_view kDefaultTenant = "default";

// The user's name; empty: the user database knows none. Errors: unavailable.
Result<std::string> user_name(uid_t uid) {
  std::vector<char> buffer(4096);
  for (;;) {
    passwd entry{};
    passwd* found = nullptr;
    const int error = ::getpwuid_r(uid, &entry, buffer.data(), buffer.size(), &found);
    if (found != nullptr) return std::string(found->pw_name);
    if (error == ERANGE && buffer.size() < (1 << 20)) {
      buffer.resize(2 * buffer.size());
      continue;
    }
    // How "there is none" is said, by getpwuid_r(3).
    if (error == 0 || error == ENOENT || error == ESRCH || error == EBADF || error == EPERM) {
      return std::string();
    }
    return unavailable("the user database does not say who uid " + std::to_string(uid) +
                       " is: " + std::strerror(error));
  }
}

std::string nameless_tenant(uid_t uid) {
  return "uid-" + std::to_string(uid);
}

// Tenants that no user has for its name alone.
bool must_be_granted(std::string_view name, uid_t uid) {
  constexpr std::string_view kNameless = "uid-";
  const bool is_a_uids = name.size() > kNameless.size() &&
                         name.substr(0, kNameless.size()) == kNameless &&
                         name.find_first_not_of("0123456789", kNameless.size()) == name.npos;
  return name == kDefaultTenant || (is_a_uids && name != nameless_tenant(uid));
}

}  // namespace

Result<std::string> Tenants::own_tenant(uid_t uid, bool is_privileged) {
  const auto found = known_.find(uid);
  if (found != known_.end()) return found->second;
  const auto remember = [&](const std::string& tenant) {
    return known_.emplace(uid, tenant).first->second;
  };
  const auto by_uid = config_.tenants.find(std::to_string(uid));
  if (by_uid != config_.tenants.end()) return remember(by_uid->second);
  PARKD_ASSIGN_OR_RETURN(const std::string name, user_name(uid));
  if (name.empty()) return remember(nameless_tenant(uid));
  const auto by_name = config_.tenants.find(name);
  if (by_name != config_.tenants.end()) return remember(by_name->second);
  if (must_be_granted(name, uid) && !is_privileged) {
    return denied("user \"" + name + "\" (uid " + std::to_string(uid) +
                  ") has no tenant of its own, for tenant \"" + name +
                  "\" has to be granted: let the administrator name a tenant for this user in "
                  "daemon.tenants")
        .with_param("tenant");
  }
  return remember(name);
}

Result<Principal> Tenants::act_as(Principal peer, const std::string& asked) {
  if (peer.by_tcp) {
    PARKD_CHECK(!peer.tenant.empty(), "a peer by TCP was not identified");
    if (asked.empty()) return peer;
    return denied(
               "X-Parkd-Tenant is for root and the daemon's own user on the socket; by TCP you are "
               "tenant \"" +
               peer.tenant + "\", as your token says: leave the header out")
        .with_param("tenant");
  }
  PARKD_CHECK(peer.uid.has_value(), "a peer of no uid has no tenant of its own");
  PARKD_ASSIGN_OR_RETURN(peer.tenant, own_tenant(*peer.uid, peer.is_privileged));
  if (!asked.empty()) {
    PARKD_RETURN_IF_ERROR(peer.may_act_for(asked));
    peer.tenant = asked;
    peer.named_its_tenant = true;
  }
  peer.may_be_critical = peer.is_privileged || may_be_critical(peer.tenant);
  return peer;
}

bool Tenants::may_be_critical(const std::string& tenant) const {
  const auto& granted = config_.critical_tenants;
  return std::find(granted.begin(), granted.end(), tenant) != granted.end();
}

}  // namespace parkd
