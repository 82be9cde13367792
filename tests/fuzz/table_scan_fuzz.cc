// Any bytes are read as a table, and as one block of a table behind its checksum; what is found
// lies inside them.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "lib/store/rocksdb/table_scan.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const auto check = [&](const parkd::wal::TableRow& row) {
    if (row.key.empty() || row.sequence >= uint64_t{1} << 56) std::abort();
  };
  const parkd::wal::TableScan table(bytes);
  uint64_t end = 0;
  for (const parkd::wal::TableGap& gap : table.read(check)) {
    if (gap.offset < end || gap.offset > size) std::abort();
    end = gap.offset;
  }
  (void)parkd::wal::decode_data_block(bytes, check);
  (void)parkd::wal::decode_lz4_block(bytes);
  return 0;
}
