// LogReader: reads RocksDB's log format (write-ahead logs and MANIFESTs) without RocksDB, to find
// out what of a log is whole before RocksDB opens it and drops in silence what it cannot read.
//
// Pure, any thread; looks at bytes that its caller keeps. Format (RocksDB wiki, "Write Ahead Log
// File Format"): blocks of 32 KiB; in them fragments of masked crc32c (4), length (2), type (1) and
// payload, little-endian; no fragment spans two blocks; a rest of less than 7 bytes is zeros.
// Recycled logs (types from 5 on) are not written by us and count as damage.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace parkd::wal {

inline constexpr size_t kBlockBytes = 32768;
inline constexpr size_t kHeaderBytes = 7;

uint32_t crc32c(std::string_view bytes);
// As it stands in a fragment's header, over type and payload.
uint32_t masked_crc(char type, std::string_view payload);

struct Entry {
  enum class Kind {
    record,
    damage,  // bytes that are not a whole record; what follows was found again behind them
    tail,    // the same, and nothing whole follows
    end,
  };
  Kind kind = Kind::end;
  uint64_t offset = 0;        // of its first fragment, or of the damage
  std::string payload;        // of a record
  bool after_damage = false;  // a record that was found by searching
};

class LogReader {
 public:
  // Requires that `bytes` outlives the reader.
  explicit LogReader(std::string_view bytes) : bytes_(bytes) {}

  // Record by record; `damage` comes before the record that was found behind it, `tail` before
  // `end`. Zeros to the end of the log are room that was never written, and no tail.
  Entry next();

 private:
  struct Fragment {
    uint64_t offset = 0;
    char type = 0;
    std::string_view payload;
  };
  enum class Step { fragment, broken, end };

  Step read_fragment(Fragment& fragment);  // at position_, and passes it
  bool is_whole_at(size_t position, Fragment& fragment) const;
  bool search();  // moves position_ to the next whole fragment that begins a record
  bool only_zeros_follow() const;

  const std::string_view bytes_;
  size_t position_ = 0;
  size_t search_bytes_left_ = size_t{256} << 20;  // what search() may still sum up
  bool searched_ = false;  // position_ was found by search(): the next record says so
};

}  // namespace parkd::wal
