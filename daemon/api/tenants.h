// Tenants: which tenant a peer is, from the uid the kernel says it has. Control thread.
//
// One rule at every door: who names no tenant acts for the one of its own name (here the Unix user,
// in SQL the login), unless the administrator has mapped it to another (daemon.tenants,
// parkd.tenant_logins). No peer is "default" for its name: that one has to be granted.
#pragma once

#include <sys/types.h>

#include <map>
#include <string>
#include <vector>

#include "lib/base/status.h"
#include "lib/config/config.h"

namespace parkd {

struct Caller {
  std::string tenant;       // what it acts as
  bool privileged = false;  // root or the daemon's own user: may act for any tenant
  bool named = false;       // it asked for this tenant by name
};

// Whose jobs and batches a request that names one by its id may be about: "" is any tenant's.
inline std::string any_or_own(const Caller& caller) {
  return caller.privileged && !caller.named ? "" : caller.tenant;
}

class Tenants {
 public:
  explicit Tenants(const DaemonConfig& config) : config_(config) {}

  // `asked` empty: the peer's own tenant, which is the config's mapping of its uid or user name,
  // else its user name, else "uid-" and the number. Errors: denied (param "tenant") when it may not
  // act for `asked`, or is called like a tenant that has to be granted; unavailable when the user
  // database does not answer.
  Result<Caller> caller(uid_t uid, const std::string& asked);

  bool may_be_critical(const std::string& tenant) const;

 private:
  Result<std::string> own_tenant(uid_t uid, bool privileged);

  const DaemonConfig& config_;
  std::map<uid_t, std::string> known_;  // what own_tenant found out
};

}  // namespace parkd
