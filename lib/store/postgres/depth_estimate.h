// DepthEstimate: what waits of each model and tenant (lib/store/depth.h), without counting it at
// every submit.
//
// What the database knew (its last sample, or a count where there is none) is looked at at most
// once a second, and to it is added what this daemon itself submitted and claimed since. Alone and
// without samples a daemon's estimate is exact. A sample may be some seconds old: what was added
// before the look that found the one before it is in it, what came later may be, and is added all
// the same. So the estimate is wrong by at most what others did since the sample, and what this
// daemon did within a second. Owner: PostgresStore; thread-safe.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

#include "lib/base/thread_safety.h"
#include "lib/store/depth.h"

namespace parkd {

class DepthEstimate {
 public:
  // Empty: look anew.
  std::optional<Depth> of(const std::string& model, const std::string& tenant) const;
  // What the database says. `sampled_at_us`: of the sample it is from; 0: counted just now.
  void looked(const std::string& model, const std::string& tenant, const Depth& depth,
              int64_t sampled_at_us);
  // Jobs that began (or, negative, ceased) to wait.
  void add(const std::string& model, const std::string& tenant, bool is_scheduled, int64_t n);
  // Something else has changed what waits: the next of() is empty.
  void look_again();

 private:
  using Time = std::chrono::steady_clock::time_point;
  // A figure of the database, and what was added since: before and after the last look.
  struct Figure {
    int64_t base = 0;
    int64_t older = 0;
    int64_t newer = 0;
    int64_t value() const;
    void look(int64_t depth, bool is_new, bool is_count);
  };
  struct Model {
    Figure queued;
    int64_t sampled_at_us = -1;
  };
  struct Tenant {
    Figure queued;
    Figure scheduled;
    int64_t sampled_at_us = -1;
    Time looked_at{};
  };

  mutable std::mutex
      mutex_;  // submit and claim sessions both write: a few integers, no message worth it
  std::map<std::string, Model> models_ PARKD_GUARDED_BY(mutex_);
  std::map<std::pair<std::string, std::string>, Tenant> tenants_ PARKD_GUARDED_BY(mutex_);
};

}  // namespace parkd
