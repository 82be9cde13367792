#include "lib/http/principal.h"

#include <unistd.h>

#include "lib/base/check.h"

namespace parkd {

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

}  // namespace parkd
