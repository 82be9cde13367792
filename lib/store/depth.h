// Depth: what may wait in the queue of a model, in all and of one tenant, and what every store
// counts it by.
//
// Two accounts of a tenant in a model, of live jobs that are not claimed: `queued` those that were
// submitted to run at once, `scheduled` those that have or had a time to wait for (run_at after
// their submission, or a back-off). A scheduled job whose time comes stays in its account until it
// is claimed: so it neither fills the queue nor is a way past its limit. Members of batches, labels
// of the submitter's own and requeued jobs count like all others. The limit in all is of `queued`.
//
// Plain values and pure functions, any thread.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "lib/base/status.h"

namespace parkd {

struct Job;

struct DepthLimits {
  std::optional<int64_t> queued_max;             // of all tenants; empty: none
  std::optional<int64_t> queued_per_tenant_max;  // empty: half of queued_max, rounded up
  int64_t scheduled_per_tenant_max = 10'000;

  std::optional<int64_t> of_tenant() const {
    if (queued_per_tenant_max || !queued_max) return queued_per_tenant_max;
    return (*queued_max + 1) / 2;
  }
  bool limits_queue() const { return queued_max || queued_per_tenant_max; }
};

struct DepthAccount {
  int64_t queued = 0;
  int64_t scheduled = 0;

  // A job that begins (1) or ceases (-1) to wait.
  void add(bool is_scheduled, int64_t n) { (is_scheduled ? scheduled : queued) += n; }
  friend bool operator==(const DepthAccount&, const DepthAccount&) = default;
};

// By (model, tenant).
using DepthAccounts = std::map<std::pair<std::string, std::string>, DepthAccount>;

// What waits now: of one tenant, and in the queue of all.
struct Depth {
  DepthAccount tenant;
  int64_t queued = 0;
};

// The account of a job that waits.
bool is_scheduled(const Job& job);

// Whether `n_new` more jobs find room. Errors: exhausted, naming limit, tenant, model and values.
Status check_depth(const std::string& model, const std::string& tenant, const DepthLimits& limits,
                   const Depth& depth, const DepthAccount& n_new);

// The refusals of check_depth, for a store that decides elsewhere. `limit_key`: what an
// administrator may raise.
Status queue_is_full(std::string_view model, int64_t depth, int64_t n_new, int64_t limit,
                     std::string_view limit_key = "limits.max_queue_depth");
Status tenants_queue_is_full(std::string_view model, std::string_view tenant, int64_t depth,
                             int64_t n_new, int64_t limit,
                             std::string_view limit_key = "limits.max_queued_per_tenant");
Status too_many_scheduled(std::string_view model, std::string_view tenant, int64_t depth,
                          int64_t n_new, int64_t limit,
                          std::string_view limit_key = "limits.max_scheduled_per_tenant");

}  // namespace parkd
