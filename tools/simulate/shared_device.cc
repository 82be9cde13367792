#include "tools/simulate/shared_device.h"

#include <algorithm>
#include <limits>

#include "lib/base/check.h"

namespace parkd::simulate {
namespace {

constexpr double kNothing = 1e-12;  // of a share, or of seconds: rounding

}  // namespace

SharedDevice::SharedDevice(Overlap overlap, int32_t n_lanes)
    : overlap_(overlap), steps_(static_cast<size_t>(n_lanes)) {}

void SharedDevice::begin(int32_t lane, const StepCost& cost, bool first) {
  PARKD_CHECK(!is_busy(lane), "a lane runs one step at a time");
  Running& step = steps_[static_cast<size_t>(lane)];
  step.left_s = step.alone_s = cost.alone_s();
  step.first = first;
  if (overlap_ == Overlap::in_turn) {
    step.uses[0] = step.uses[1] = cost.kernels_s / step.alone_s;
  } else {
    step.uses[0] = cost.memory_s / step.alone_s;
    step.uses[1] = cost.arithmetic_s / step.alone_s;
  }
}

// Progressive filling: all speeds rise together; those that use what is used up stop.
void SharedDevice::share(bool first, std::vector<double>& speeds, double (&left)[2]) const {
  std::vector<size_t> rising;
  for (size_t i = 0; i < steps_.size(); ++i) {
    if (steps_[i].left_s > 0 && steps_[i].first == first) rising.push_back(i);
  }
  while (!rising.empty()) {
    double rise = 1 - speeds[rising.front()];  // all of them have risen alike
    for (int resource = 0; resource < 2; ++resource) {
      double used = 0;
      for (const size_t i : rising) used += steps_[i].uses[resource];
      if (used > kNothing) rise = std::min(rise, left[resource] / used);
    }
    for (const size_t i : rising) {
      speeds[i] += rise;
      for (int resource = 0; resource < 2; ++resource) {
        left[resource] -= rise * steps_[i].uses[resource];
      }
    }
    const auto is_bound = [&](size_t i) {
      return speeds[i] >= 1 - kNothing || (left[0] <= kNothing && steps_[i].uses[0] > kNothing) ||
             (left[1] <= kNothing && steps_[i].uses[1] > kNothing);
    };
    rising.erase(std::remove_if(rising.begin(), rising.end(), is_bound), rising.end());
  }
}

std::vector<double> SharedDevice::speeds() const {
  std::vector<double> speeds(steps_.size(), 0);
  double left[2] = {1, 1};
  share(true, speeds, left);
  share(false, speeds, left);
  return speeds;
}

std::optional<double> SharedDevice::next_end() const {
  const std::vector<double> speeds = this->speeds();
  std::optional<double> soonest;
  for (size_t i = 0; i < steps_.size(); ++i) {
    if (steps_[i].left_s <= 0 || speeds[i] <= kNothing) continue;
    const double end = steps_[i].left_s / speeds[i];
    if (!soonest || end < *soonest) soonest = end;
  }
  return soonest;
}

std::vector<int32_t> SharedDevice::advance(double seconds) {
  const std::vector<double> speeds = this->speeds();
  std::vector<int32_t> ended;
  for (size_t i = 0; i < steps_.size(); ++i) {
    if (steps_[i].left_s <= 0) continue;
    steps_[i].left_s -= seconds * speeds[i];
    if (steps_[i].left_s > kNothing) continue;
    steps_[i].left_s = 0;
    ended.push_back(static_cast<int32_t>(i));
  }
  return ended;
}

}  // namespace parkd::simulate
