// What a disk has, and whether that is little: for what writes to it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace parkd {

struct DiskSpace {
  int64_t free_bytes = 0;  // for a process that is not root
  int64_t size_bytes = 0;
};

// Of the file system under `path`; nothing when it cannot be asked.
std::optional<DiskSpace> disk_space(const std::string& path);

// How much shall stay free where the configuration does not say: 512 MiB, or an eighth of a disk
// that is small.
int64_t default_min_free_bytes(const DiskSpace& disk);

}  // namespace parkd
