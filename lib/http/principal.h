// Principal: who asks, and what that lets it do. One value for every rule about callers: shares of
// connections, memory and turns, the tenant it acts as, what else is granted.
//
// Made for a connection from what the kernel says of its peer, and completed once for each request
// by Tenants::act_as (daemon/api), which knows the tenants. Another way to know who asks makes
// another Principal; nothing behind it changes. Values, any thread.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>

#include "lib/base/status.h"

namespace parkd {

struct Principal {
  // Whose share of connections, memory and turns it has: "uid 1000", "address 192.0.2.1".
  std::string account;
  std::optional<uid_t> uid;  // of a Unix peer, as the kernel says (SO_PEERCRED)
  bool by_tcp = false;       // the kernel says no more than where it comes from
  // Root or the daemon's own user: no other's doings keep it out, and it may act for any tenant.
  bool is_privileged = false;

  // Of a request whose URL asks for a tenant; else empty.
  std::string tenant;             // what it acts as
  bool named_its_tenant = false;  // it asked for this tenant by name
  bool may_be_critical = false;   // its jobs may have priority critical

  // Errors: denied (param "tenant").
  Status may_act_for(const std::string& other) const;
  // Whose jobs and batches it may see: "" is any tenant's. Requires a tenant of one that is not
  // privileged.
  std::string any_or_own() const;
};

// `uid` -1: unknown, which has no privileges.
Principal unix_peer(uid_t uid);

// Never privileged, whatever its address. Of IPv6 a subscriber has a /64 or more: that is one
// account.
Principal tcp_peer(const std::string& ip);

}  // namespace parkd
