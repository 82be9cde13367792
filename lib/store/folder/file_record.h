// FileRecord: what stands behind the bytes of a file in the folder: who it is, and the checksum of
// each piece. Pure functions, any thread.
//
//   the file's bytes | record | checksum of the record (8) | length of the record (8) | magic (8)
//
// Numbers are little-endian. So one rename makes a file with all that is known of it, and whatever
// of it is damaged is noticed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/status.h"
#include "lib/job/stored_file.h"

namespace parkd {

struct FileRecord {
  StoredFile file;
  std::vector<uint64_t> sums;  // of each piece, lib/base/xxh3.h

  // What stands behind the bytes.
  std::string encode() const;
};

inline constexpr size_t kFileTailBytes = 24;  // checksum, length, magic

// How many bytes stand behind a file's own, from the last kFileTailBytes of it.
// Errors: corrupt.
Result<size_t> record_bytes_behind(std::string_view tail);
// The record, from all that stands behind the file's own bytes. Errors: corrupt.
Result<FileRecord> decode_file_record(std::string_view behind);

}  // namespace parkd
