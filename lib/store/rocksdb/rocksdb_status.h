// RocksDB's failures in parkd's words. Pure functions, any thread.
#pragma once

#include <rocksdb/status.h>

#include "lib/base/status.h"

namespace parkd {

bool is_disk_full(const rocksdb::Status& status);

// not_found, corrupt, exhausted (the disk is full) or unavailable.
Status from_rocksdb(const rocksdb::Status& status);

}  // namespace parkd
