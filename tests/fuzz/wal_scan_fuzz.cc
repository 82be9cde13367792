// Any bytes are read as a log to their end; what is found lies in order and inside the log. The
// same bytes as a MANIFEST and as a mark do no harm.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "lib/store/rocksdb/manifest_scan.h"
#include "lib/store/rocksdb/synced_mark.h"
#include "lib/store/rocksdb/wal_scan.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using Kind = parkd::wal::Entry::Kind;
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  parkd::wal::LogReader reader(bytes);
  uint64_t last = 0;
  size_t n_payload_bytes = 0;
  bool ended = false;
  for (size_t n = 0; n <= 2 * size + 2 && !ended; ++n) {
    const parkd::wal::Entry entry = reader.next();
    if (entry.offset > size || entry.offset < last) std::abort();
    last = entry.offset;
    n_payload_bytes += entry.payload.size();
    ended = entry.kind == Kind::end;
    (void)parkd::wal::decode_commit_mark(entry.payload);
  }
  if (!ended || n_payload_bytes > size) std::abort();
  (void)parkd::wal::scan_manifest(bytes);
  return 0;
}
