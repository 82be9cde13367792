// Whether the disk of an embedded queue has room for more jobs (daemon.min_free_disk_mb). Any
// thread; costs a statvfs call.
#pragma once

#include <cstdint>

#include "lib/base/disk_space.h"
#include "lib/base/status.h"
#include "lib/config/config.h"

namespace parkd {

// How much of that disk is to stay free.
int64_t min_free_disk_bytes(const Config& config, const DiskSpace& disk);

// exhausted, with what is free, the limit and the way out; ok also for queues that are elsewhere.
// `more_percent`: so much more must be free, for who wants to see that it has become better.
Status check_disk_room(const Config& config, int more_percent);

}  // namespace parkd
