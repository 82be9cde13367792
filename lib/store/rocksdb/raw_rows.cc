#include "lib/store/rocksdb/raw_rows.h"

#include <fcntl.h>
#include <rocksdb/write_batch.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <filesystem>
#include <optional>
#include <set>
#include <system_error>
#include <utility>

#include "lib/store/rocksdb/synced_mark.h"
#include "lib/store/rocksdb/table_scan.h"
#include "lib/store/rocksdb/wal_scan.h"

namespace parkd::wal {
namespace {

namespace fs = std::filesystem;

constexpr size_t kBatchHeaderBytes = 12;  // sequence (8), count (4), little-endian

std::string file_name(uint64_t number, const char* ending) {
  std::string digits = std::to_string(number);
  if (digits.size() < 6) digits.insert(0, 6 - digits.size(), '0');
  return digits + ending;
}

// What the disk does not give is zeros: a checksum tells.
Result<std::string> read_around_errors(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
  if (fd < 0) {
    return unavailable("cannot open " + path + ": " + std::generic_category().message(errno));
  }
  struct stat file {};
  const off_t size = ::fstat(fd, &file) == 0 && S_ISREG(file.st_mode) ? file.st_size : 0;
  std::string bytes(static_cast<size_t>(size), '\0');
  constexpr size_t kPiece = 1 << 20, kSector = 4096;
  for (size_t at = 0, step = kPiece; at < bytes.size();) {
    const size_t n = std::min(step - at % step, bytes.size() - at);
    const ssize_t got = ::pread(fd, bytes.data() + at, n, static_cast<off_t>(at));
    if (got > 0) {
      at += static_cast<size_t>(got);
      if (at % kPiece == 0) step = kPiece;
    } else if (got < 0 && errno == EINTR) {
      continue;
    } else if (step == kPiece && got < 0) {
      step = kSector;
    } else {
      at += n;
    }
  }
  ::close(fd);
  return bytes;
}

std::optional<uint64_t> number_of(std::string_view name, std::string_view prefix,
                                  std::string_view ending) {
  if (!name.starts_with(prefix) || !name.ends_with(ending)) return std::nullopt;
  if (name.size() <= prefix.size() + ending.size()) return std::nullopt;
  name.remove_prefix(prefix.size());
  name.remove_suffix(ending.size());
  uint64_t number = 0;
  const auto [stop, error] = std::from_chars(name.data(), name.data() + name.size(), number);
  if (error != std::errc() || stop != name.data() + name.size()) return std::nullopt;
  return number;
}

// The rows of one commit, with the sequence that RocksDB gives each.
class RowReader final : public rocksdb::WriteBatch::Handler {
 public:
  using Visit = std::function<void(uint32_t family, const TableRow& row)>;
  RowReader(uint64_t sequence, Visit visit) : sequence_(sequence), visit_(std::move(visit)) {}

  rocksdb::Status PutCF(uint32_t family, const rocksdb::Slice& key,
                        const rocksdb::Slice& value) override {
    return give(family, key, value.ToStringView(), true);
  }
  rocksdb::Status DeleteCF(uint32_t family, const rocksdb::Slice& key) override {
    return give(family, key, {}, false);
  }
  rocksdb::Status SingleDeleteCF(uint32_t family, const rocksdb::Slice& key) override {
    return give(family, key, {}, false);
  }
  void LogData(const rocksdb::Slice& blob) override {
    if (!mark) mark = decode_commit_mark(blob.ToStringView());
  }

  std::optional<CommitMark> mark;

 private:
  rocksdb::Status give(uint32_t family, const rocksdb::Slice& key, std::string_view value,
                       bool is_put) {
    if (visit_) visit_(family, {key.ToStringView(), value, sequence_, is_put});
    ++sequence_;
    return rocksdb::Status::OK();
  }
  uint64_t sequence_;
  const Visit visit_;
};

uint64_t little_endian_64(std::string_view bytes) {
  uint64_t value = 0;
  for (size_t i = 0; i < 8; ++i) {
    value |= uint64_t{static_cast<unsigned char>(bytes[i])} << (8 * i);
  }
  return value;
}

}  // namespace

Result<RawRows> RawRows::open(const std::string& dir) {
  RawRows rows(dir);
  PARKD_RETURN_IF_ERROR(rows.list_files());
  rows.read_manifest();
  PARKD_RETURN_IF_ERROR(rows.read_logs());
  return rows;
}

Status RawRows::list_files() {
  std::error_code error;
  for (fs::directory_iterator at(dir_, error), end; !error && at != end; at.increment(error)) {
    const std::string name = at->path().filename().string();
    std::error_code gone;
    const uint64_t n_bytes = at->file_size(gone);
    if (gone) continue;
    if (const auto log = number_of(name, "", ".log")) logs_on_disk_[*log] = n_bytes;
    if (const auto table = number_of(name, "", ".sst")) tables_on_disk_[*table] = n_bytes;
    if (const auto manifest = number_of(name, "MANIFEST-", "")) {
      manifests_on_disk_[*manifest] = name;
    }
  }
  if (error) return unavailable("cannot list " + dir_ + ": " + error.message());
  return {};
}

// The one that CURRENT names, else the newest: whatever of it is whole.
void RawRows::read_manifest() {
  Result<std::string> current = read_around_errors(dir_ + "/CURRENT");
  std::string name = current.ok() ? *current : "";
  if (name.ends_with('\n')) name.pop_back();
  if (!number_of(name, "MANIFEST-", "") || !fs::exists(dir_ + "/" + name)) {
    is_manifest_lost_ = true;
    damage_.push_back({"CURRENT", "", 0, 0, "it is missing, or names no MANIFEST that is there"});
    name = manifests_on_disk_.empty() ? "" : manifests_on_disk_.rbegin()->second;
  }
  if (name.empty()) return;
  const Result<std::string> bytes = read_around_errors(dir_ + "/" + name);
  const Result<Manifest> manifest =
      bytes.ok() ? scan_manifest(*bytes) : Result<Manifest>(bytes.status());
  if (manifest.ok()) manifest_ = *manifest;
  const uint64_t newest = manifest_.tables.empty() ? 0 : manifest_.tables.rbegin()->first;
  const bool lacks_edit =
      manifest_.has_tail && tables_on_disk_.upper_bound(newest) != tables_on_disk_.end();
  if (!manifest.ok() || manifest->is_damaged || lacks_edit || bytes->empty()) {
    is_manifest_lost_ = true;
    damage_.push_back(
        {name, "", manifest_.damage_offset, 0,
         manifest.ok() ? "its bytes are damaged there" : manifest.status().message()});
  }
  families_ = manifest_.families;
  if (is_manifest_lost_) manifest_.first_log = 0;
}

// --- logs

Status RawRows::read_logs() {
  if (is_manifest_lost_) {
    // Rows of the logs name families by number: a table of the family says its name.
    for (const auto& [number, n_bytes] : tables_on_disk_) {
      PARKD_ASSIGN_OR_RETURN(const std::string bytes,
                             read_around_errors(dir_ + "/" + file_name(number, ".sst")));
      const TableScan table(bytes);
      if (table.family()) families_.emplace(*table.family(), table.family_name());
    }
  }
  std::vector<Commit> commits;
  uint64_t synced = 0;
  PARKD_RETURN_IF_ERROR(gather_commits(commits, synced));
  keep_synced(std::move(commits), synced);
  return {};
}

// All whole commits of the live logs in their order, and the places between them that are none.
// What was found by searching counts with the nonce of a mark alone (synced_mark.h).
Status RawRows::gather_commits(std::vector<Commit>& commits, uint64_t& synced) {
  std::string why;
  const std::optional<SyncedMark> mark = SyncedFile::read(dir_, why);
  std::set<uint64_t> nonces;
  if (mark) nonces.insert(mark->nonce);
  synced = manifest_.last_sequence;
  if (mark && mark->log_number >= manifest_.first_log) synced = std::max(synced, mark->sequence);
  for (const auto& [number, n_bytes] : manifest_.closed_logs) {
    if (number < manifest_.first_log || logs_on_disk_.contains(number)) continue;
    RawDamage damage{file_name(number, ".log"), "", 0, n_bytes, "the file is missing"};
    damage.in_log = true;
    damage_.push_back(std::move(damage));
  }
  for (const auto& [number, n_on_disk] : logs_on_disk_) {
    if (number < manifest_.first_log) continue;
    const std::string file = file_name(number, ".log");
    PARKD_ASSIGN_OR_RETURN(const std::string bytes, read_around_errors(dir_ + "/" + file));
    LogReader reader(bytes);
    bool in_searched = false;
    for (;;) {
      Entry entry = reader.next();
      if (entry.kind == Entry::Kind::end) break;
      in_searched = in_searched || entry.after_damage;
      if (entry.kind != Entry::Kind::record || entry.payload.size() < kBatchHeaderBytes) {
        commits.push_back({file, entry.offset, {}, 0, bytes.size() - entry.offset, false, true});
        continue;
      }
      const uint64_t sequence = little_endian_64(entry.payload);
      RowReader reading(sequence, {});
      const rocksdb::WriteBatch batch(entry.payload);
      const bool is_whole = batch.Iterate(&reading).ok();
      if (in_searched && !(reading.mark && nonces.contains(reading.mark->nonce))) continue;
      if (!is_whole) {
        commits.push_back({file, entry.offset, {}, 0, bytes.size() - entry.offset, false, true});
        continue;
      }
      if (reading.mark) {
        nonces.insert(reading.mark->nonce);
        synced = std::max(synced, reading.mark->sequence);
      }
      commits.push_back({file, entry.offset, std::move(entry.payload), sequence, batch.Count(),
                         in_searched, false});
    }
  }
  return {};
}

// Up to the first place where commits are missing that had not been synced: what lies behind it was
// never acknowledged. Holes before it are damage.
void RawRows::keep_synced(std::vector<Commit> commits, uint64_t synced) {
  uint64_t next = 0;  // that should come; 0: none has been read
  const Commit* hole = nullptr;
  const auto first_missing = [&] { return next != 0 ? next : manifest_.last_sequence + 1; };
  const auto note_hole = [&](const Commit& at, const char* what, uint64_t first, uint64_t last) {
    RawDamage damage{at.file, "", at.offset, at.is_hole ? at.n_rows : 0, what};
    damage.first_sequence = first;
    damage.n_rows_max = last >= first ? last - first + 1 : 0;
    damage.in_log = true;
    damage_.push_back(std::move(damage));
  };
  for (Commit& commit : commits) {
    if (commit.is_hole) {
      if (hole == nullptr) hole = &commit;
      continue;
    }
    if (next != 0 && commit.sequence + commit.n_rows <= next) continue;  // was there already
    const bool is_missing = hole != nullptr || (next != 0 && commit.sequence > next);
    if (is_missing) {
      const uint64_t first = std::min(first_missing(), commit.sequence);
      if (first > synced) return;
      note_hole(hole != nullptr ? *hole : commit,
                hole != nullptr ? "its bytes are damaged there" : "commits are missing before it",
                first, commit.sequence - 1);
    }
    hole = nullptr;
    next = commit.sequence + commit.n_rows;
    commits_.push_back(std::move(commit.payload));
  }
  const bool is_log_gone = is_manifest_lost_ && logs_on_disk_.empty();
  if (first_missing() > synced && !is_log_gone) return;
  Commit end{"the log", 0, {}, 0, 0, false, false};
  if (!commits.empty()) {
    end.file = commits.back().file;
    end.offset = commits.back().offset;
  }
  note_hole(hole != nullptr ? *hole : end,
            hole != nullptr ? "its bytes are damaged there"
                            : "it ends there, or a file is missing, and more was synced",
            first_missing(), synced);
}

void RawRows::visit_commit(const std::string& payload,
                           const std::function<void(const RawRow&)>& row) const {
  const RowReader::Visit visit = [&](uint32_t family, const TableRow& at) {
    row({family_name(family), at.key, at.value, at.sequence, at.is_put});
  };
  RowReader reader(little_endian_64(payload), visit);
  (void)rocksdb::WriteBatch(payload).Iterate(&reader);
}

// A family that nothing names, neither MANIFEST nor a table: the fixed ones are made in this order
// when a store is; else it is a period of the mailbox, and each row says which.
std::string RawRows::family_name(uint32_t id) const {
  const auto found = families_.find(id);
  if (found != families_.end()) return found->second;
  constexpr std::array<const char*, 8> kFixed = {"default",     "jobs", "bodies", "history",
                                                 "idempotency", "due",  "outbox", "batches"};
  return is_manifest_lost_ && id < kFixed.size() ? kFixed[id] : "";
}

// --- tables

Status RawRows::visit(const std::function<void(const RawRow&)>& row) {
  if (is_manifest_lost_) {
    for (const auto& [number, n_bytes] : tables_on_disk_) {
      PARKD_RETURN_IF_ERROR(visit_table(number, row));
    }
  } else {
    for (const auto& [number, table] : manifest_.tables) {
      PARKD_RETURN_IF_ERROR(visit_table(number, row));
    }
  }
  for (const std::string& payload : commits_) visit_commit(payload, row);
  is_visited_ = true;
  return {};
}

Result<std::optional<std::string>> RawRows::find(std::string_view family, std::string_view key) {
  uint64_t sequence = 0;
  std::optional<std::string> value;
  const auto look = [&](const RawRow& row) {
    if (row.family != family || row.key != key || row.sequence < sequence) return;
    sequence = row.sequence;
    value.reset();
    if (row.is_put) value = std::string(row.value);
  };
  const bool was_visited = std::exchange(is_visited_, true);  // visit() tells of damage
  for (const auto& [number, n_bytes] : tables_on_disk_) {
    const auto listed = manifest_.tables.find(number);
    const bool is_used = is_manifest_lost_ || (listed != manifest_.tables.end() &&
                                               family_name(listed->second.family) == family);
    if (is_used) PARKD_RETURN_IF_ERROR(visit_table(number, look));
  }
  for (const std::string& payload : commits_) visit_commit(payload, look);
  is_visited_ = was_visited;
  return value;
}

Status RawRows::visit_table(uint64_t number, const std::function<void(const RawRow&)>& row) {
  const std::string file = file_name(number, ".sst");
  const auto listed = manifest_.tables.find(number);
  const auto name_of_listed = [&]() -> std::string {
    if (listed == manifest_.tables.end()) return "";
    return family_name(listed->second.family);
  };
  const auto on_disk = tables_on_disk_.find(number);
  if (on_disk == tables_on_disk_.end()) {
    if (!is_visited_) damage_.push_back({file, name_of_listed(), 0, 0, "the file is missing"});
    return {};
  }
  PARKD_ASSIGN_OR_RETURN(const std::string bytes, read_around_errors(dir_ + "/" + file));
  const TableScan table(bytes);
  const std::string family = table.family() ? table.family_name() : name_of_listed();
  const std::vector<TableGap> gaps = table.read([&](const TableRow& at) {
    row({family, at.key, at.value, at.sequence, at.is_put});
  });
  if (is_visited_) return {};
  for (const TableGap& gap : gaps) {
    damage_.push_back({file, family, gap.offset, gap.n_bytes,
                       table.is_index_lost() ? "the index of the table cannot be used, nor what "
                                               "stands behind"
                                             : "its bytes are damaged there",
                       gap.after, gap.before.value_or("")});
  }
  return {};
}

}  // namespace parkd::wal
