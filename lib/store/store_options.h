// StoreOptions: what every store keeps to, whoever asks it. A value.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <string>

#include "lib/job/bounds.h"
#include "lib/store/depth.h"

namespace parkd {

struct StoreOptions {
  std::chrono::seconds retention_default{3600};
  std::chrono::seconds history_retention{30 * 24 * 3600};
  std::chrono::seconds idempotency_retention_min{24 * 3600};
  DepthLimits limits;                                  // of each model
  std::map<std::string, DepthLimits> limits_of_model;  // instead of them
  int64_t batch_jobs_max = kSubmitJobsMax;  // jobs in one submit, and members of one batch
  int64_t open_batches_max = 1000;          // unfinished batches of a tenant
  int64_t batches_bytes_max = 64 << 20;     // all that are remembered in RAM; of a tenant half

  const DepthLimits& limits_of(const std::string& model) const {
    const auto own = limits_of_model.find(model);
    return own == limits_of_model.end() ? limits : own->second;
  }
};

}  // namespace parkd
