#include "lib/store/postgres/store_notices.h"

#include <utility>

#include "lib/base/log.h"

namespace parkd {

void StoreNotices::set(std::vector<HealthNotice> notices) {
  std::map<std::string, HealthNotice> now;
  for (HealthNotice& notice : notices) {
    const std::string code = notice.code;
    now.emplace(code, std::move(notice));
  }
  const std::lock_guard lock(mutex_);
  for (const auto& [code, notice] : now) {
    const auto before = notices_.find(code);
    if (before != notices_.end() && before->second.text == notice.text) continue;
    log_warn("health.notice", {{"code", code}, {"text", notice.text}});
  }
  for (const auto& [code, notice] : notices_) {
    if (!now.contains(code)) log_info("health.cleared", {{"code", code}});
  }
  notices_ = std::move(now);
}

std::vector<HealthNotice> StoreNotices::all() const {
  const std::lock_guard lock(mutex_);
  std::vector<HealthNotice> all;
  for (const auto& [code, notice] : notices_) all.push_back(notice);
  return all;
}

}  // namespace parkd
