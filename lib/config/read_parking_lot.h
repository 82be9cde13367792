// The section parking_lot: what it says before defaults, and with them. Private to lib/config.
#pragma once

#include "lib/config/config.h"
#include "lib/config/yaml_reader.h"

namespace parkd {

// What a section says before defaults: a model's starts as a copy of the global one, so reading it
// over the copy merges key by key. An outer optional that is set to an empty inner one is a null.
struct PoolKeys {
  std::optional<int32_t> worker_threads;
  std::optional<int32_t> max_blocking_threads;
  std::optional<int64_t> thread_stack_size_bytes;
};
struct LimitsKeys {
  std::optional<int64_t> max_units;
  std::optional<int64_t> max_queue_depth;
  std::optional<int64_t> max_queued_per_tenant;
  std::optional<int64_t> max_scheduled_per_tenant;
  std::optional<double> interactive_reserve;
  std::optional<int64_t> timeout_secs;
  std::optional<Admission> admission;
};
struct ParkingLotKeys {
  PoolKeys pool;
  LimitsKeys limits;
  std::optional<int64_t> retention_secs;
};

// Each reads what is there over what `keys` holds.
void read_pool(const YamlSection& section, PoolKeys& keys);
void read_limits(const YamlSection& section, LimitsKeys& keys);
void read_retention(const YamlSection& mailbox, ParkingLotKeys& keys);

PoolConfig resolve(const PoolKeys& keys);
LimitsConfig resolve(const LimitsKeys& keys, StoreBackend backend);
std::chrono::seconds resolve_retention(const ParkingLotKeys& keys, StoreBackend backend);

}  // namespace parkd
