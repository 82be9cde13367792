#include "daemon/models/work_signs.h"

#include <utility>

namespace parkd {

bool WorkSigns::came(SteadyTime now) {
  return std::exchange(came_until_, now + kCameLasts) <= now;
}

void WorkSigns::counted(int64_t queued) {
  queued_ = queued;
  if (queued_ != in_vain_) in_vain_ = 0;
}

void WorkSigns::claimed(int64_t claimed, int64_t held) {
  claims_ = std::exchange(claimed_, claimed) != claimed;
  held_ = held;
}

void WorkSigns::loaded() {
  is_loaded_ = true;
  came_until_ = {};
}

void WorkSigns::unloaded() {
  is_loaded_ = false;
  if (claimed_ == claimed_before_) in_vain_ = queued_;
}

bool WorkSigns::has_work(SteadyTime now) const {
  if (is_loaded_) return claims_ || held_ > 0;
  return now < came_until_ || (queued_ > 0 && in_vain_ == 0);
}

}  // namespace parkd
