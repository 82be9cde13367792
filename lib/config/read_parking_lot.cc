#include "lib/config/read_parking_lot.h"

#include "lib/config/values.h"
#include "lib/config/words.h"

namespace parkd {
namespace {

using std::chrono::seconds;

constexpr int64_t kCountMax = 1000000000;
constexpr int64_t kWeekSeconds = 7 * 24 * 3600;

}  // namespace

void read_pool(const YamlSection& section, PoolKeys& keys) {
  take_nullable(section, "worker_threads", 1, 1024, keys.worker_threads);
  take(section.integer32("max_blocking_threads", 1, 4096), keys.max_blocking_threads);
  take(section.integer("thread_stack_size", 64 << 10, 1 << 30), keys.thread_stack_size_bytes);
}

void read_limits(const YamlSection& section, LimitsKeys& keys) {
  take_nullable(section, "max_units", 1, kCountMax, keys.max_units);
  take_nullable(section, "max_queue_depth", 1, kCountMax, keys.max_queue_depth);
  take_nullable(section, "max_queued_per_tenant", 1, kCountMax, keys.max_queued_per_tenant);
  take(section.integer("max_scheduled_per_tenant", 1, kCountMax), keys.max_scheduled_per_tenant);
  take_nullable(section, "interactive_reserve", 0, 0.5, keys.interactive_reserve);
  take_nullable(section, "timeout_secs", 1, kWeekSeconds, keys.timeout_secs);
  take(section.word<Admission>("admission", words::kAdmission), keys.admission);
}

void read_retention(const YamlSection& mailbox, ParkingLotKeys& keys) {
  take(mailbox.integer("retention_secs", 60, 30 * 24 * 3600), keys.retention_secs);
}

PoolConfig resolve(const PoolKeys& keys) {
  PoolConfig pool;
  pool.worker_threads = keys.worker_threads;
  pool.max_blocking_threads = keys.max_blocking_threads.value_or(pool.max_blocking_threads);
  pool.thread_stack_size_bytes =
      keys.thread_stack_size_bytes.value_or(pool.thread_stack_size_bytes);
  return pool;
}

LimitsConfig resolve(const LimitsKeys& keys, StoreBackend backend) {
  LimitsConfig limits;
  limits.max_units = keys.max_units;
  limits.max_queue_depth = keys.max_queue_depth;
  // What waits stands in RAM, whole or as its place in the order; a database knows by itself.
  if (!limits.max_queue_depth && backend == StoreBackend::memory) limits.max_queue_depth = 1000;
  if (!limits.max_queue_depth && backend == StoreBackend::rocksdb) limits.max_queue_depth = 1000000;
  limits.max_queued_per_tenant = keys.max_queued_per_tenant;
  if (!limits.max_queued_per_tenant && limits.max_queue_depth) {
    limits.max_queued_per_tenant = (*limits.max_queue_depth + 1) / 2;
  }
  limits.max_scheduled_per_tenant =
      keys.max_scheduled_per_tenant.value_or(limits.max_scheduled_per_tenant);
  limits.interactive_reserve =
      keys.interactive_reserve.value_or(backend == StoreBackend::memory ? 0 : 0.125);
  if (keys.timeout_secs) limits.timeout = seconds(*keys.timeout_secs);
  limits.admission = keys.admission.value_or(Admission::reserve);
  return limits;
}

seconds resolve_retention(const ParkingLotKeys& keys, StoreBackend backend) {
  return seconds(
      keys.retention_secs.value_or(backend == StoreBackend::memory ? 3600 : kWeekSeconds));
}

}  // namespace parkd
