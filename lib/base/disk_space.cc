#include "lib/base/disk_space.h"

#include <sys/statvfs.h>

#include <algorithm>

namespace parkd {

std::optional<DiskSpace> disk_space(const std::string& path) {
  struct statvfs disk {};
  if (::statvfs(path.c_str(), &disk) != 0) return std::nullopt;
  const auto bytes_of = [&disk](uint64_t blocks) {
    return static_cast<int64_t>(blocks * static_cast<uint64_t>(disk.f_frsize));
  };
  return DiskSpace{bytes_of(disk.f_bavail), bytes_of(disk.f_blocks)};
}

int64_t default_min_free_bytes(const DiskSpace& disk) {
  return std::min(int64_t{512} << 20, disk.size_bytes / 8);
}

}  // namespace parkd
