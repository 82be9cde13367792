// What of a RocksDB MANIFEST the check of the log needs: which logs still count, how far the store
// had come, which column families there are. Pure; decoding never trusts its input.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "lib/base/status.h"

namespace parkd::wal {

struct Manifest {
  struct Table {
    uint32_t family = 0;
    uint64_t n_bytes = 0;
  };
  uint64_t last_sequence = 0;  // was reached, and synced, when the last edit was written
  uint64_t first_log = 0;      // logs of a smaller number are in tables, whole
  uint32_t max_family = 0;     // no column family ever had a larger id
  std::map<uint32_t, std::string> families;  // that are there
  std::map<uint64_t, Table> tables;          // that are there, by number
  std::map<uint64_t, uint64_t> closed_logs;  // must be there: number -> bytes at least
  bool is_damaged = false;                   // whole edits stand behind bytes that are none
  uint64_t damage_offset = 0;
  bool has_tail = false;  // it ends in bytes that are not a whole edit: not written out, or damaged
};

// Errors: corrupt (an edit that is not of the format: another RocksDB's).
Result<Manifest> scan_manifest(std::string_view bytes);

}  // namespace parkd::wal
