#include "daemon/health/health_board.h"

#include <utility>

#include "lib/base/log.h"

namespace parkd {

void HealthBoard::raise(HealthNotice notice) {
  HealthNotice& place = notices_[notice.code];
  const bool is_new = place.code.empty();
  place = std::move(notice);
  if (!is_new) return;
  const auto log = place.not_ready ? log_error : log_warn;
  log("health.notice", {{"code", place.code}, {"text", place.text}});
}

void HealthBoard::clear(const std::string& code) {
  if (notices_.erase(code) > 0) log_info("health.cleared", {{"code", code}});
}

std::vector<HealthNotice> HealthBoard::notices() const {
  std::vector<HealthNotice> all;
  for (const auto& [code, notice] : notices_) all.push_back(notice);
  return all;
}

Status HealthBoard::may_accept() const {
  for (const auto& [code, notice] : notices_) {
    if (notice.not_ready) return unavailable(notice.text);
  }
  return {};
}

}  // namespace parkd
