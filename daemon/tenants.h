// Tenants: which tenant a peer is, from the uid the kernel says it has. Control thread.
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
  // else its user name. Errors: denied (param "tenant") when it may not act for `asked`.
  Result<Caller> caller(uid_t uid, const std::string& asked);

  bool may_be_critical(const std::string& tenant) const;

 private:
  const std::string& own_tenant(uid_t uid);

  const DaemonConfig& config_;
  std::map<uid_t, std::string> known_;  // what own_tenant found out
};

}  // namespace parkd
