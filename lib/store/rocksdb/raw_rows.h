// RawRows: every version of every row that the files of a store still hold, from its tables and its
// logs, for salvage. Opens files for reading only, so it changes nothing; needs no MANIFEST.
//
// One thread. Holds one table, and the live logs, in memory at a time. Bytes that the disk does not
// give (EIO) count as damage.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/status.h"
#include "lib/store/rocksdb/manifest_scan.h"

namespace parkd::wal {

struct RawRow {
  std::string_view family;  // "jobs", "box_h489000"; empty: nothing says which
  std::string_view key;     // with `value` only until the visitor returns
  std::string_view value;
  uint64_t sequence = 0;  // of two versions the one with the larger sequence is the newer
  bool is_put = false;    // false: a tombstone
};

// What cannot be read.
struct RawDamage {
  std::string file;
  std::string family;  // of a table
  uint64_t offset = 0;
  uint64_t n_bytes = 0;
  std::string what;
  // Of a table: the rows in it lie between these keys. Empty: it begins or ends the table.
  std::string after_key{}, before_key{};
  // Of the log: the first of at most this many rows. 0: not known.
  uint64_t first_sequence = 0, n_rows_max = 0;
  bool in_log = false;
};

class RawRows {
 public:
  // Reads MANIFEST and logs. Errors: unavailable (the directory cannot be listed).
  static Result<RawRows> open(const std::string& dir);

  // The MANIFEST is gone or damaged: all tables of the directory are read, also such as the store
  // had done with, so what was ended or taken may be there again.
  bool is_manifest_lost() const { return is_manifest_lost_; }

  // Rows in any order; the same ones each time. Errors: unavailable (a file cannot be opened).
  Status visit(const std::function<void(const RawRow&)>& row);
  // The newest version of a row that is not a tombstone. Reads the tables of its family alone.
  Result<std::optional<std::string>> find(std::string_view family, std::string_view key);
  // Whole after the first visit.
  const std::vector<RawDamage>& damage() const { return damage_; }

 private:
  struct Commit {
    std::string file;
    uint64_t offset = 0;
    std::string payload;
    uint64_t sequence = 0;
    uint64_t n_rows = 0;
    bool is_searched = false;
    bool is_hole = false;  // no commit: bytes that are none
  };

  explicit RawRows(std::string dir) : dir_(std::move(dir)) {}
  Status list_files();
  void read_manifest();
  Status read_logs();
  Status gather_commits(std::vector<Commit>& commits, uint64_t& synced);
  void keep_synced(std::vector<Commit> commits, uint64_t synced);
  Status visit_table(uint64_t number, const std::function<void(const RawRow&)>& row);
  void visit_commit(const std::string& payload,
                    const std::function<void(const RawRow&)>& row) const;
  std::string family_name(uint32_t id) const;

  std::string dir_;
  std::map<uint64_t, uint64_t> logs_on_disk_, tables_on_disk_;  // number -> bytes
  std::map<uint64_t, std::string> manifests_on_disk_;
  Manifest manifest_;
  bool is_manifest_lost_ = false;
  std::map<uint32_t, std::string> families_;  // by id, from MANIFEST and tables
  std::vector<std::string> commits_;          // of the live logs, acknowledged ones
  std::vector<RawDamage> damage_;
  bool is_visited_ = false;
};

}  // namespace parkd::wal
