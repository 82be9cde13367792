#include "daemon/health/disk_room.h"

namespace parkd {
namespace {

std::string mib(int64_t bytes) {
  return std::to_string(bytes >> 20) + " MiB";
}

}  // namespace

int64_t min_free_disk_bytes(const Config& config, const DiskSpace& disk) {
  const auto& given_mb = config.daemon.min_free_disk_mb;
  return given_mb ? *given_mb << 20 : default_min_free_bytes(disk);
}

Status check_disk_room(const Config& config, int more_percent) {
  if (config.queue.backend != StoreBackend::rocksdb) return {};
  const auto disk = disk_space(config.queue.rocksdb_dir);
  if (!disk) return {};
  const int64_t limit = min_free_disk_bytes(config, *disk);
  if (disk->free_bytes >= limit + limit / 100 * more_percent) return {};
  std::string text = "the disk of the queue (" + config.queue.rocksdb_dir + ") has " +
                     mib(disk->free_bytes) + " free, the limit is " + mib(limit) +
                     " (daemon.min_free_disk_mb): ";
  text += limit < disk->size_bytes
              ? "free some space"
              : "the whole disk has " + mib(disk->size_bytes) + ", so give a smaller limit";
  return exhausted(std::move(text));
}

}  // namespace parkd
