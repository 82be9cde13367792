#include "lib/store/postgres/depth_estimate.h"

#include <algorithm>

namespace parkd {
namespace {

constexpr std::chrono::seconds kSampleAgeMax{1};

}  // namespace

std::optional<int64_t> DepthEstimate::of(const std::string& model) const {
  const std::lock_guard lock(mutex_);
  const auto found = samples_.find(model);
  if (found == samples_.end() ||
      std::chrono::steady_clock::now() - found->second.at > kSampleAgeMax) {
    return std::nullopt;
  }
  return found->second.depth;
}

void DepthEstimate::sampled(const std::string& model, int64_t depth) {
  const std::lock_guard lock(mutex_);
  samples_[model] = {depth, std::chrono::steady_clock::now()};
}

void DepthEstimate::add(const std::string& model, int64_t n) {
  const std::lock_guard lock(mutex_);
  const auto found = samples_.find(model);
  if (found != samples_.end()) found->second.depth = std::max<int64_t>(found->second.depth + n, 0);
}

}  // namespace parkd
