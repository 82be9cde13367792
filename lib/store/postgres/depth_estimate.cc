#include "lib/store/postgres/depth_estimate.h"

#include <algorithm>
#include <utility>

namespace parkd {
namespace {

constexpr std::chrono::seconds kLookAgeMax{1};
constexpr size_t kTenantsMax = 10'000;  // then all is forgotten, and looked at anew

}  // namespace

int64_t DepthEstimate::Figure::value() const {
  return std::max<int64_t>(base + older + newer, 0);
}

void DepthEstimate::Figure::look(int64_t depth, bool is_new, bool is_count) {
  if (is_count) {
    *this = {depth, 0, 0};
  } else if (is_new) {
    *this = {depth, newer, 0};
  } else {
    older += std::exchange(newer, 0);
  }
}

std::optional<Depth> DepthEstimate::of(const std::string& model, const std::string& tenant) const {
  const std::lock_guard lock(mutex_);
  const auto found = tenants_.find({model, tenant});
  if (found == tenants_.end() ||
      std::chrono::steady_clock::now() - found->second.looked_at > kLookAgeMax) {
    return std::nullopt;
  }
  return Depth{{found->second.queued.value(), found->second.scheduled.value()},
               models_.at(model).queued.value()};
}

void DepthEstimate::looked(const std::string& model, const std::string& tenant, const Depth& depth,
                           int64_t sampled_at_us) {
  const std::lock_guard lock(mutex_);
  if (tenants_.size() >= kTenantsMax) {
    tenants_.clear();
    models_.clear();
  }
  const bool is_count = sampled_at_us == 0;
  Model& known = models_[model];
  known.queued.look(depth.queued, known.sampled_at_us != sampled_at_us, is_count);
  known.sampled_at_us = sampled_at_us;
  Tenant& of_tenant = tenants_[{model, tenant}];
  const bool is_new = of_tenant.sampled_at_us != sampled_at_us;
  of_tenant.queued.look(depth.tenant.queued, is_new, is_count);
  of_tenant.scheduled.look(depth.tenant.scheduled, is_new, is_count);
  of_tenant.sampled_at_us = sampled_at_us;
  of_tenant.looked_at = std::chrono::steady_clock::now();
}

void DepthEstimate::add(const std::string& model, const std::string& tenant, bool is_scheduled,
                        int64_t n) {
  const std::lock_guard lock(mutex_);
  if (const auto known = models_.find(model); known != models_.end() && !is_scheduled) {
    known->second.queued.newer += n;
  }
  if (const auto found = tenants_.find({model, tenant}); found != tenants_.end()) {
    (is_scheduled ? found->second.scheduled : found->second.queued).newer += n;
  }
}

void DepthEstimate::look_again() {
  const std::lock_guard lock(mutex_);
  for (auto& [key, tenant] : tenants_) tenant.looked_at = {};
}

}  // namespace parkd
