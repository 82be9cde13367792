#include "daemon/tenants.h"

#include <pwd.h>
#include <unistd.h>

#include <algorithm>
#include <array>

namespace parkd {
namespace {

std::string user_name(uid_t uid) {
  std::array<char, 4096> buffer{};
  passwd entry{};
  passwd* found = nullptr;
  if (::getpwuid_r(uid, &entry, buffer.data(), buffer.size(), &found) == 0 && found != nullptr) {
    return found->pw_name;
  }
  return "uid-" + std::to_string(uid);
}

}  // namespace

const std::string& Tenants::own_tenant(uid_t uid) {
  const auto found = known_.find(uid);
  if (found != known_.end()) return found->second;
  const std::string name = user_name(uid);
  std::string tenant = name;
  for (const std::string& key : {std::to_string(uid), name}) {
    const auto mapped = config_.tenants.find(key);
    if (mapped != config_.tenants.end()) {
      tenant = mapped->second;
      break;
    }
  }
  return known_.emplace(uid, tenant).first->second;
}

Result<Caller> Tenants::caller(uid_t uid, const std::string& asked) {
  const bool privileged = uid == 0 || uid == ::geteuid();
  const std::string& own = own_tenant(uid);
  if (asked.empty() || asked == own) return Caller{own, privileged, !asked.empty()};
  if (privileged) return Caller{asked, true, true};
  return denied("you are tenant \"" + own + "\" and may not act for \"" + asked + "\"")
      .with_param("tenant");
}

bool Tenants::may_be_critical(const std::string& tenant) const {
  const auto& granted = config_.critical_tenants;
  return std::find(granted.begin(), granted.end(), tenant) != granted.end();
}

}  // namespace parkd
