#include "lib/store/depth.h"

#include "lib/job/job.h"

namespace parkd {
namespace {

Status refuse(std::string text, int64_t n_new, int64_t limit, std::string_view limit_key) {
  if (n_new > 1) text += ", and " + std::to_string(n_new) + " were submitted";
  text += n_new > limit ? ": so many never fit, submit them in pieces"
                        : ": submit again when some have run";
  text += ", or let the administrator raise " + std::string(limit_key);
  return exhausted(std::move(text));
}

std::string quoted(std::string_view name) {
  return "\"" + std::string(name) + "\"";
}

}  // namespace

bool is_scheduled(const Job& job) {
  return job.spec.run_at && *job.spec.run_at > job.created_at;
}

Status queue_is_full(std::string_view model, int64_t depth, int64_t n_new, int64_t limit,
                     std::string_view limit_key) {
  return refuse("the queue of model " + std::string(model) + " is full: " + std::to_string(depth) +
                    " jobs are waiting, the limit is " + std::to_string(limit),
                n_new, limit, limit_key);
}

Status tenants_queue_is_full(std::string_view model, std::string_view tenant, int64_t depth,
                             int64_t n_new, int64_t limit, std::string_view limit_key) {
  return refuse("the queue of model " + std::string(model) + " is full for tenant " +
                    quoted(tenant) + ": " + std::to_string(depth) +
                    " of its jobs are waiting, the limit is " + std::to_string(limit) + " a tenant",
                n_new, limit, limit_key);
}

Status too_many_scheduled(std::string_view model, std::string_view tenant, int64_t depth,
                          int64_t n_new, int64_t limit, std::string_view limit_key) {
  return refuse("tenant " + quoted(tenant) + " has " + std::to_string(depth) +
                    " scheduled jobs of model " + std::string(model) +
                    " waiting, those whose time has come included; the limit is " +
                    std::to_string(limit) + " a tenant",
                n_new, limit, limit_key);
}

Status check_depth(const std::string& model, const std::string& tenant, const DepthLimits& limits,
                   const Depth& depth, const DepthAccount& n_new) {
  const auto is_over = [](int64_t n, int64_t more, const std::optional<int64_t>& limit) {
    return more > 0 && limit && n + more > *limit;
  };
  const std::optional<int64_t> of_tenant = limits.of_tenant();
  if (is_over(depth.tenant.queued, n_new.queued, of_tenant)) {
    return tenants_queue_is_full(model, tenant, depth.tenant.queued, n_new.queued, *of_tenant);
  }
  if (is_over(depth.queued, n_new.queued, limits.queued_max)) {
    return queue_is_full(model, depth.queued, n_new.queued, *limits.queued_max);
  }
  if (is_over(depth.tenant.scheduled, n_new.scheduled, limits.scheduled_per_tenant_max)) {
    return too_many_scheduled(model, tenant, depth.tenant.scheduled, n_new.scheduled,
                              limits.scheduled_per_tenant_max);
  }
  return {};
}

}  // namespace parkd
