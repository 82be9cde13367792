#include "lib/http/connections.h"

#include <sys/resource.h>

#include <algorithm>

#include "lib/base/log.h"

namespace parkd {
namespace {

constexpr int64_t kOtherFiles = 2048;

}  // namespace

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

int64_t connections_of_files(int64_t n_files) {
  return n_files - std::min(n_files / 2, kOtherFiles);
}

int connections_possible(int wanted) {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return wanted;
  const auto needed = static_cast<rlim_t>(wanted + std::min<int64_t>(wanted, kOtherFiles));
  if (limit.rlim_cur < needed && limit.rlim_cur < limit.rlim_max) {
    rlimit raised = limit;
    raised.rlim_cur = std::min(needed, limit.rlim_max);
    if (::setrlimit(RLIMIT_NOFILE, &raised) == 0) limit = raised;
  }
  if (limit.rlim_cur >= needed) return wanted;
  const auto n_files = static_cast<int64_t>(limit.rlim_cur);
  const int possible = std::max(1, static_cast<int>(connections_of_files(n_files)));
  log_warn("api.connections_lowered",
           {{"wanted", wanted}, {"possible", possible}, {"open_files_limit", n_files}});
  return possible;
}

}  // namespace parkd
