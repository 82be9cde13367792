// TableScan: reads a RocksDB table file (.sst; block-based, format versions 2 to 5) without
// RocksDB: whatever of a damaged one is whole, block by block, with the sequence numbers and the
// tombstones that RocksDB's readers keep to themselves.
//
// Pure, any thread; looks at bytes that its caller keeps. Every block is believed only with its
// checksum, and decoding never trusts its input all the same. Where the index is damaged, the
// blocks are found one behind the other from the front, by their checksums, up to the first that is
// damaged. Format: RocksDB wiki, "Rocksdb BlockBasedTable Format"; table/format.h,
// table/block_based/block.cc. Not read, for we write none: range tombstones, partitioned indexes,
// dictionaries, compression other than none and LZ4.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/status.h"

namespace parkd::wal {

struct TableRow {
  std::string_view key;  // the user's, as `value` only until the visitor returns
  std::string_view value;
  uint64_t sequence = 0;
  bool is_put = false;  // false: a tombstone
};

// A stretch of a table that cannot be read. The rows in it lie between two keys.
struct TableGap {
  uint64_t offset = 0;
  uint64_t n_bytes = 0;
  std::string after;                  // the last key before it; empty: it begins the table
  std::optional<std::string> before;  // the first key behind it; none: it ends the table
};

class TableScan {
 public:
  // Requires that `bytes` outlives the scan.
  explicit TableScan(std::string_view bytes);

  // As the table's own properties say; none: they cannot be read.
  std::optional<uint32_t> family() const { return family_; }
  const std::string& family_name() const { return family_name_; }
  // The index or the footer is damaged.
  bool is_index_lost() const { return is_index_lost_; }

  // Every row that can be read, in the order of the file; gives what cannot.
  std::vector<TableGap> read(const std::function<void(const TableRow&)>& row) const;

 private:
  struct Handle {
    uint64_t offset = 0;
    uint64_t n_bytes = 0;  // without its trailer
  };

  bool read_footer(Handle& metaindex, Handle& index);
  void read_properties(const Handle& metaindex);
  bool read_index(const Handle& index);
  std::optional<std::string> read_block(const Handle& handle) const;
  bool is_whole(const Handle& handle) const;
  std::optional<Handle> find_block(uint64_t offset, size_t& work_left) const;

  const std::string_view bytes_;
  uint8_t checksum_type_ = 4;
  std::optional<uint32_t> family_;
  std::string family_name_;
  std::optional<uint64_t> n_rows_;  // as the properties say
  bool is_index_lost_ = false;
  std::vector<Handle>
      blocks_;  // of the data, in the order of the file; none when the index is lost
};

// The rows of one block, uncompressed. False: it is none of data, and no row was given. For the
// fuzzer, too: behind a checksum little of this is reached.
bool decode_data_block(std::string_view block, const std::function<void(const TableRow&)>& row);
// A compressed block; nullopt: it is none. For the fuzzer, as well.
std::optional<std::string> decode_lz4_block(std::string_view bytes);

}  // namespace parkd::wal
