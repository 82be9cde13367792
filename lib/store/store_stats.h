// StoreStats: what a store counts and what an operator should know of it. A value.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "lib/base/clock.h"
#include "lib/base/health.h"

namespace parkd {

struct ModelDepth {
  std::string model;
  int64_t scheduled = 0;
  int64_t queued = 0;
  int64_t claimed = 0;
  std::optional<WallTime> oldest_created_at;  // of the queued ones
  int64_t n_daemons = 0;  // that have it, of those that share the store; embedded: not known, 0
};

struct StoreStats {
  std::vector<ModelDepth> models;
  int64_t messages = 0;     // may count expired ones until their period is dropped
  int64_t syncs = 0;        // fsync-class commits since open
  int64_t commits = 0;      // write batches since open
  uint64_t open_epoch = 0;  // how many times this store was opened
  // Of a database that daemons share:
  int64_t fence_epoch = 0;         // grows when it is not the server it was (restart, promotion)
  int64_t sessions = 0;            // opened since the start; above their number: reconnects
  int64_t uncertain_finishes = 0;  // finishes sent again because their answer was lost
  bool healthy = true;  // false: the last commit failed; verbs answer unavailable until it heals
  std::string health_error;  // why, while not healthy
  // Of a queue whose mailbox is elsewhere (lib/store/outbox): messages that wait to be delivered,
  // and why they are not; the queue itself is none the worse for it.
  int64_t undelivered_messages = 0;
  std::string mailbox_error;
  int64_t webhooks_pending = 0;  // ends of batches that are to be told; of many, 1000
  // What an operator should know of the store, beside its health: accepted losses, damage, turns
  // that do not come.
  std::vector<HealthNotice> notices;
};

}  // namespace parkd
