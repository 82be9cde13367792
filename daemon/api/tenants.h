// Tenants: which tenant a peer is, from the uid the kernel says it has or by TCP from its token
// (tcp_door.h), and what that grants.
// Control thread.
//
// One rule at every door: who names no tenant acts for the one of its own name (here the Unix user,
// in SQL the login), unless the administrator has mapped it to another (daemon.tenants,
// parkd.tenant_logins). No peer is "default" for its name: that one has to be granted.
#pragma once

#include <sys/types.h>

#include <map>
#include <string>

#include "lib/base/status.h"
#include "lib/config/config.h"
#include "lib/http/principal.h"

namespace parkd {

class Tenants {
 public:
  explicit Tenants(const DaemonConfig& config) : config_(config) {}

  // The peer as one tenant. `asked` empty: its own, which is the config's mapping of its uid or
  // user name, else its user name, else "uid-" and the number. Errors: denied (param "tenant") when
  // it may not act for `asked`, or is called like a tenant that has to be granted; unavailable when
  // the user database does not answer. A peer by TCP is whose its token is, and never another.
  // Requires: a peer whose uid is known, or one by TCP that was identified.
  Result<Principal> act_as(Principal peer, const std::string& asked);

 private:
  Result<std::string> own_tenant(uid_t uid, bool is_privileged);
  bool may_be_critical(const std::string& tenant) const;

  const DaemonConfig& config_;
  std::map<uid_t, std::string> known_;  // what own_tenant found out
};

}  // namespace parkd
