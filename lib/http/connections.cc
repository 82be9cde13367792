#include "lib/http/connections.h"

#include <sys/resource.h>

#include <algorithm>

#include "lib/base/log.h"

namespace parkd {

Status Connections::enter(const Principal& peer) {
  const bool is_privileged = peer.is_privileged;
  const auto refuse = [&](const std::string& what) {
    ++refused_;
    return unavailable(what + " of daemon.connections_max, " + std::to_string(max_) +
                       ": close one, or try again later");
  };
  const auto own = of_account_.find(peer.account);
  if (!is_privileged && own != of_account_.end() && own->second >= max_ / 2) {
    return refuse(std::string(peer.by_tcp ? "your address has " : "your user has ") +
                  std::to_string(own->second) + " connections open, half");
  }
  const int kept = is_privileged ? 0 : std::min(kConnectionsKept, max_ / 2);
  if (open_ >= max_ - kept) {
    return refuse(
        std::to_string(open_) + " connections are open" +
        (is_privileged ? "" : " and the last " + std::to_string(kept) + " are kept for root") +
        ", all");
  }
  ++of_account_[peer.account];
  ++open_;
  return {};
}

void Connections::leave(const Principal& peer) {
  --open_;
  const auto own = of_account_.find(peer.account);
  if (--own->second == 0) of_account_.erase(own);
}

int connections_possible(int wanted) {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return wanted;
  const rlim_t needed = 2 * static_cast<rlim_t>(wanted);
  if (limit.rlim_cur < needed && limit.rlim_cur < limit.rlim_max) {
    rlimit raised = limit;
    raised.rlim_cur = std::min(needed, limit.rlim_max);
    if (::setrlimit(RLIMIT_NOFILE, &raised) == 0) limit = raised;
  }
  if (limit.rlim_cur >= needed) return wanted;
  const int possible = std::max(1, static_cast<int>(limit.rlim_cur / 2));
  log_warn("api.connections_lowered", {{"wanted", wanted},
                                       {"possible", possible},
                                       {"open_files_limit", static_cast<int64_t>(limit.rlim_cur)}});
  return possible;
}

}  // namespace parkd
