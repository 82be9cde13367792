#include "lib/store/rocksdb/manifest_scan.h"

#include <algorithm>
#include <limits>
#include <optional>
#include <vector>

#include "lib/store/rocksdb/wal_scan.h"

namespace parkd::wal {
namespace {

// Tags of an edit (RocksDB wiki, "MANIFEST"; db/version_edit.h).
constexpr uint64_t kComparator = 1, kLogNumber = 2, kNextFileNumber = 3, kLastSequence = 4,
                   kCompactCursor = 5, kDeletedFile = 6, kPrevLogNumber = 9, kMinLogToKeep = 10,
                   kNewFile4 = 103, kFamily = 200, kFamilyAdd = 201, kFamilyDrop = 202,
                   kMaxFamily = 203, kInAtomicGroup = 300, kMayBeIgnored = 1 << 13,
                   kWalAddition = kMayBeIgnored + 7, kWalDeletion = kMayBeIgnored + 8;

class Cursor {
 public:
  explicit Cursor(std::string_view bytes) : bytes_(bytes) {}
  bool at_end() const { return bytes_.empty(); }
  bool ok() const { return is_ok_; }

  uint64_t varint() {
    uint64_t value = 0;
    for (int shift = 0; shift < 64 && !bytes_.empty(); shift += 7) {
      const auto byte = static_cast<unsigned char>(bytes_.front());
      bytes_.remove_prefix(1);
      value |= uint64_t{byte & 0x7fu} << shift;
      if ((byte & 0x80u) == 0) return value;
    }
    is_ok_ = false;
    bytes_ = {};
    return 0;
  }
  std::string_view string() {
    const uint64_t length = varint();
    if (length > bytes_.size()) {
      is_ok_ = false;
      bytes_ = {};
      return {};
    }
    const std::string_view text = bytes_.substr(0, length);
    bytes_.remove_prefix(length);
    return text;
  }

 private:
  std::string_view bytes_;
  bool is_ok_ = true;
};

struct Edit {
  uint32_t family = 0;
  std::optional<uint64_t> log_number, last_sequence, min_log, max_family;
  std::optional<std::string> add;
  bool drop = false;
  std::map<uint64_t, uint64_t> tables;  // number -> bytes
  std::vector<uint64_t> deleted_tables;
  std::map<uint64_t, uint64_t> logs;  // closed: number -> synced bytes
  uint64_t logs_deleted_below = 0;
};

void decode_new_file(Cursor& cursor, Edit& edit) {
  (void)cursor.varint();  // level
  const uint64_t number = cursor.varint();
  edit.tables[number] = cursor.varint();
  (void)cursor.string();
  (void)cursor.string();
  (void)cursor.varint();
  (void)cursor.varint();
  while (cursor.ok() && cursor.varint() != 1) (void)cursor.string();
}

void decode_closed_log(std::string_view bytes, Edit& edit) {
  Cursor cursor(bytes);
  const uint64_t number = cursor.varint();
  for (uint64_t tag = cursor.varint(); cursor.ok() && tag == 2; tag = cursor.varint()) {
    edit.logs[number] = cursor.varint();
  }
}

bool decode(std::string_view bytes, Edit& edit) {
  Cursor cursor(bytes);
  while (cursor.ok() && !cursor.at_end()) {
    const uint64_t tag = cursor.varint();
    if (tag == kLogNumber) {
      edit.log_number = cursor.varint();
    } else if (tag == kLastSequence) {
      edit.last_sequence = cursor.varint();
    } else if (tag == kMinLogToKeep) {
      edit.min_log = cursor.varint();
    } else if (tag == kNextFileNumber || tag == kPrevLogNumber || tag == kInAtomicGroup) {
      (void)cursor.varint();
    } else if (tag == kCompactCursor) {
      (void)cursor.varint();
      (void)cursor.string();
    } else if (tag == kDeletedFile) {
      (void)cursor.varint();  // level
      edit.deleted_tables.push_back(cursor.varint());
    } else if (tag == kNewFile4) {
      decode_new_file(cursor, edit);
    } else if (tag == kFamily) {
      edit.family = static_cast<uint32_t>(cursor.varint());
    } else if (tag == kFamilyAdd) {
      edit.add = std::string(cursor.string());
    } else if (tag == kFamilyDrop) {
      edit.drop = true;
    } else if (tag == kMaxFamily) {
      edit.max_family = cursor.varint();
    } else if (tag == kWalAddition) {
      decode_closed_log(cursor.string(), edit);
    } else if (tag == kWalDeletion) {
      edit.logs_deleted_below = Cursor(cursor.string()).varint();
    } else if (tag == kComparator || (tag & kMayBeIgnored) != 0) {
      (void)cursor.string();
    } else {
      return false;
    }
  }
  return cursor.ok();
}

}  // namespace

Result<Manifest> scan_manifest(std::string_view bytes) {
  Manifest manifest;
  manifest.families[0] = "default";
  std::map<uint32_t, uint64_t> first_logs;  // by family
  uint64_t min_log = 0;
  LogReader reader(bytes);
  for (;;) {
    const Entry entry = reader.next();
    manifest.has_tail = entry.kind == Entry::Kind::tail;
    if (entry.kind == Entry::Kind::end || entry.kind == Entry::Kind::tail) break;
    if (entry.kind == Entry::Kind::damage) {
      if (!manifest.is_damaged) manifest.damage_offset = entry.offset;
      manifest.is_damaged = true;
      continue;
    }
    Edit edit;
    if (!decode(entry.payload, edit)) {
      return corrupt("an edit at offset " + std::to_string(entry.offset) + " cannot be decoded");
    }
    if (edit.last_sequence) {
      manifest.last_sequence = std::max(manifest.last_sequence, *edit.last_sequence);
    }
    if (edit.min_log) min_log = std::max(min_log, *edit.min_log);
    if (edit.max_family) {
      manifest.max_family = std::max(manifest.max_family, static_cast<uint32_t>(*edit.max_family));
    }
    if (edit.add) {
      manifest.families[edit.family] = *edit.add;
      manifest.max_family = std::max(manifest.max_family, edit.family);
    }
    // A file that moves to another level is deleted and added in one edit.
    for (const uint64_t number : edit.deleted_tables) manifest.tables.erase(number);
    for (const auto& [number, n_bytes] : edit.tables) {
      manifest.tables[number] = {edit.family, n_bytes};
    }
    if (edit.drop) {
      manifest.families.erase(edit.family);
      std::erase_if(manifest.tables,
                    [&](const auto& table) { return table.second.family == edit.family; });
    }
    min_log = std::max(min_log, edit.logs_deleted_below);
    for (const auto& [number, n_bytes] : edit.logs) manifest.closed_logs[number] = n_bytes;
    std::erase_if(manifest.closed_logs,
                  [&](const auto& log) { return log.first < edit.logs_deleted_below; });
    if (edit.log_number) {
      first_logs[edit.family] = std::max(first_logs[edit.family], *edit.log_number);
    }
  }
  uint64_t first = std::numeric_limits<uint64_t>::max();
  for (const auto& [id, name] : manifest.families) first = std::min(first, first_logs[id]);
  manifest.first_log = std::max(first, min_log);
  return manifest;
}

}  // namespace parkd::wal
