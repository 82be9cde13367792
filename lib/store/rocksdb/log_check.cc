#include "lib/store/rocksdb/log_check.h"

#include <rocksdb/write_batch.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <set>
#include <system_error>
#include <utility>

#include "lib/store/rocksdb/manifest_scan.h"
#include "lib/store/rocksdb/wal_scan.h"

namespace parkd::wal {
namespace {

namespace fs = std::filesystem;

constexpr size_t kBatchHeaderBytes = 12;  // sequence (8), count (4), little-endian

Result<std::string> read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::string bytes{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
  if (!in.is_open() || in.bad()) {
    return unavailable("cannot read " + path + ": " + std::generic_category().message(errno));
  }
  return bytes;
}

std::string log_name(uint64_t number) {
  std::string digits = std::to_string(number);
  if (digits.size() < 6) digits.insert(0, 6 - digits.size(), '0');
  return digits + ".log";
}

struct Files {
  std::map<uint64_t, uint64_t> logs;  // number -> bytes
  bool has_current = false;
  bool has_data = false;  // tables, or logs with something in them
};

Result<Files> list_files(const std::string& dir) {
  Files files;
  std::error_code error;
  for (fs::directory_iterator at(dir, error), end; !error && at != end; at.increment(error)) {
    const std::string name = at->path().filename().string();
    if (name == "CURRENT") files.has_current = true;
    if (name.ends_with(".sst")) files.has_data = true;
    if (!name.ends_with(".log")) continue;
    uint64_t number = 0;
    const char* stop = name.data() + name.size() - 4;
    if (std::from_chars(name.data(), stop, number).ptr != stop) continue;
    const uint64_t n_bytes = at->file_size(error);
    files.logs[number] = n_bytes;
    if (n_bytes > 0) files.has_data = true;
  }
  if (error) return unavailable("cannot list " + dir + ": " + error.message());
  return files;
}

// One commit as the log has it.
class CommitReader final : public rocksdb::WriteBatch::Handler {
 public:
  explicit CommitReader(const Manifest& manifest) : manifest_(manifest) {}

  rocksdb::Status PutCF(uint32_t family, const rocksdb::Slice&, const rocksdb::Slice&) override {
    const auto found = manifest_.families.find(family);
    const std::string name = found == manifest_.families.end() ? "" : found->second;
    if (name == "jobs") ++n_jobs;
    if (name == "history") ++n_results;
    return know(family);
  }
  rocksdb::Status DeleteCF(uint32_t family, const rocksdb::Slice&) override { return know(family); }
  rocksdb::Status SingleDeleteCF(uint32_t family, const rocksdb::Slice&) override {
    return know(family);
  }
  rocksdb::Status DeleteRangeCF(uint32_t family, const rocksdb::Slice&,
                                const rocksdb::Slice&) override {
    return know(family);
  }
  void LogData(const rocksdb::Slice& blob) override {
    if (!mark) mark = decode_commit_mark(blob.ToStringView());
  }

  std::optional<CommitMark> mark;
  int64_t n_jobs = 0;
  int64_t n_results = 0;
  bool has_unknown_family = false;

 private:
  rocksdb::Status know(uint32_t family) {
    if (family > manifest_.max_family) has_unknown_family = true;
    return rocksdb::Status::OK();
  }
  const Manifest& manifest_;
};

// Goes through the logs in order; the first place where the sequence of commits breaks is the gap.
class Checker {
 public:
  Checker(const Manifest& manifest, const std::optional<SyncedMark>& file_mark)
      : manifest_(manifest), file_mark_(file_mark) {
    if (file_mark_) nonces_.insert(file_mark_->nonce);
  }

  Status read(const std::string& dir, uint64_t number) {
    file_ = log_name(number);
    PARKD_ASSIGN_OR_RETURN(const std::string bytes, read_file(dir + "/" + file_));
    LogReader reader(bytes);
    damage_.reset();
    for (;;) {
      const Entry entry = reader.next();
      if (entry.kind == Entry::Kind::end) break;
      if (entry.kind == Entry::Kind::record) {
        add(entry);
      } else if (!damage_) {
        damage_ = entry.offset;
      }
    }
    if (damage_) note_gap(*damage_, "its bytes are damaged there", bytes.size() - *damage_);
    end_ = bytes.size();
    ++n_logs_;
    return {};
  }

  LogVerdict judge(bool is_synced) {
    LogVerdict verdict;
    verdict.n_logs = n_logs_;
    verdict.n_commits = n_commits_;
    uint64_t synced = synced_;
    if (is_synced && next_ != 0) synced = std::max(synced, manifest_.last_sequence);
    const bool in_live_log = file_mark_ && file_mark_->log_number >= manifest_.first_log;
    if (in_live_log) synced = std::max(synced, file_mark_->sequence);
    verdict.last_sequence =
        gap_ ? (gap_->known ? gap_->first - 1 : 0) : (next_ == 0 ? 0 : next_ - 1);
    if (unknown_family_) {
      verdict.loss = unknown_family_;
    } else if (gap_) {
      judge_gap(synced, in_live_log, verdict);
    } else if (in_live_log && file_mark_->sequence >= file_mark_->log_first && next_ == 0) {
      Loss loss{log_name(file_mark_->log_number), 0, "the file is missing or empty"};
      loss.rows_max = static_cast<int64_t>(file_mark_->sequence - file_mark_->log_first) + 1;
      verdict.loss = loss;
    } else if (next_ != 0 && next_ - 1 < synced) {
      Loss loss{file_, end_, "the log ends there, and more was synced"};
      loss.rows_max = static_cast<int64_t>(synced - next_) + 1;
      verdict.loss = loss;
    }
    return verdict;
  }

 private:
  struct Gap {
    std::string file;
    uint64_t offset = 0;
    std::string what;
    uint64_t n_bytes = 0;
    uint64_t first = 0;   // sequence that should have come
    bool known = true;    // false: nothing whole stood before it
    uint64_t behind = 0;  // sequence of the first whole commit behind it; 0: none
    int64_t n_commits = 0, n_jobs = 0, n_results = 0;
  };

  void note_gap(uint64_t offset, std::string what, uint64_t n_bytes) {
    if (gap_) return;
    gap_ = Gap{file_, offset, std::move(what), n_bytes};
    gap_->known = next_ != 0;
    gap_->first = gap_->known ? next_ : manifest_.last_sequence + 1;
  }

  void add(const Entry& entry) {
    if (entry.payload.size() < kBatchHeaderBytes) {
      damage_ = damage_.value_or(entry.offset);
      return;
    }
    uint64_t sequence = 0;
    for (size_t i = 0; i < 8; ++i) {
      sequence |= uint64_t{static_cast<unsigned char>(entry.payload[i])} << (8 * i);
    }
    const rocksdb::WriteBatch batch(entry.payload);
    CommitReader commit(manifest_);
    const bool is_whole = batch.Iterate(&commit).ok();
    const bool is_ours =
        !is_searched(entry) || (commit.mark && nonces_.contains(commit.mark->nonce));
    if (!is_ours) return;
    if (!is_whole) {
      damage_ = damage_.value_or(entry.offset);
      return;
    }
    if (damage_) note_gap(*damage_, "its bytes are damaged there", 0);
    if (next_ != 0 && sequence > next_) {
      note_gap(entry.offset, "commits are missing before it", 0);
    }
    if (commit.mark) {
      nonces_.insert(commit.mark->nonce);
      synced_ = std::max(synced_, commit.mark->sequence);
    }
    if (commit.has_unknown_family && !unknown_family_) {
      unknown_family_ = Loss{file_, entry.offset,
                             "a commit there names a column family that the MANIFEST, which has "
                             "lost an edit, does not know"};
      unknown_family_->in_log = false;
    }
    ++n_commits_;
    if (gap_) {
      if (gap_->behind == 0) gap_->behind = sequence;
      ++gap_->n_commits;
      gap_->n_jobs += commit.n_jobs;
      gap_->n_results += commit.n_results;
    }
    next_ = std::max(next_, sequence + batch.Count());
  }

  bool is_searched(const Entry& entry) {
    in_searched_ = entry.after_damage || (in_searched_ && damage_);
    return in_searched_;
  }

  void judge_gap(uint64_t synced, bool in_live_log, LogVerdict& verdict) const {
    uint64_t first = gap_->first;
    if (!gap_->known && gap_->behind != 0) first = std::min(first, gap_->behind - 1);
    if (!gap_->known && in_live_log) first = std::min(first, file_mark_->log_first);
    if (first > synced) {
      verdict.tail = DroppedTail{gap_->file, gap_->offset, gap_->n_bytes};
      return;
    }
    Loss loss{gap_->file, gap_->offset, gap_->what};
    const uint64_t last = gap_->behind != 0 ? gap_->behind - 1 : synced;
    loss.rows_max = static_cast<int64_t>(last - first) + 1;
    loss.commits_behind = gap_->n_commits;
    loss.jobs_behind = gap_->n_jobs;
    loss.results_behind = gap_->n_results;
    verdict.loss = loss;
  }

  const Manifest& manifest_;
  const std::optional<SyncedMark>& file_mark_;
  std::string file_;
  uint64_t end_ = 0;
  std::optional<uint64_t> damage_;  // in this log
  bool in_searched_ = false;
  std::optional<Gap> gap_;
  std::optional<Loss> unknown_family_;
  std::set<uint64_t> nonces_;
  uint64_t next_ = 0;    // sequence that should come; 0: none was read yet
  uint64_t synced_ = 0;  // as the commits' marks say
  int64_t n_logs_ = 0;
  int64_t n_commits_ = 0;
};

Loss damage_outside_the_log(std::string file, uint64_t offset, std::string what) {
  Loss loss{std::move(file), offset, std::move(what)};
  loss.in_log = false;
  return loss;
}

}  // namespace

std::string Loss::name() const {
  return file + " " + std::to_string(offset);
}

std::string Loss::summary() const {
  std::string out = file + ", offset " + std::to_string(offset) + ": " + what;
  if (rows_max > 0) out += "; at most " + std::to_string(rows_max) + " rows are unreadable";
  if (commits_behind > 0) {
    out += "; " + std::to_string(commits_behind) + " whole commits behind it (" +
           std::to_string(jobs_behind) + " job rows, " + std::to_string(results_behind) +
           " results) go with them";
  }
  return out;
}

std::string Loss::text(const std::string& dir) const {
  return "the store " + dir + " has lost acknowledged work: " + summary() +
         ". Nothing was changed. `jobctl store verify " + dir +
         "` reads everything and says what is damaged; " +
         (in_log ? "`jobctl store open-anyway " + dir +
                       "` lets the next start go on without what is lost; "
                 : "no start can go on from here; ") +
         "`jobctl store salvage " + dir +
         " --replace` writes what can be read to a fresh store and lists what is gone; or "
         "put a backup of the directory in its place";
}

Result<LogVerdict> check_log(const std::string& dir, bool is_synced) {
  LogVerdict verdict;
  PARKD_ASSIGN_OR_RETURN(const Files files, list_files(dir));
  const std::optional<SyncedMark> mark = SyncedFile::read(dir, verdict.mark_unusable);
  if (!files.has_current) {
    if (files.has_data || (mark && mark->sequence > 0)) {
      verdict.loss = damage_outside_the_log("CURRENT", 0, "the file is missing");
    }
    return verdict;
  }
  PARKD_ASSIGN_OR_RETURN(std::string manifest_name, read_file(dir + "/CURRENT"));
  if (manifest_name.ends_with('\n')) manifest_name.pop_back();
  if (!manifest_name.starts_with("MANIFEST-") || !fs::exists(dir + "/" + manifest_name)) {
    verdict.loss = damage_outside_the_log("CURRENT", 0, "it names no MANIFEST that is there");
    return verdict;
  }
  PARKD_ASSIGN_OR_RETURN(const std::string manifest_bytes, read_file(dir + "/" + manifest_name));
  const Result<Manifest> manifest = scan_manifest(manifest_bytes);
  if (!manifest.ok()) {
    verdict.loss = damage_outside_the_log(manifest_name, 0, manifest.status().message());
    return verdict;
  }
  if (manifest->is_damaged) {
    verdict.loss = damage_outside_the_log(manifest_name, manifest->damage_offset,
                                          "its bytes are damaged there");
    return verdict;
  }
  verdict.manifest = *manifest;
  for (const auto& [number, n_bytes] : manifest->closed_logs) {
    if (number < manifest->first_log) continue;
    const auto found = files.logs.find(number);
    if (found != files.logs.end() && found->second >= n_bytes) continue;
    verdict.loss =
        Loss{log_name(number), found == files.logs.end() ? 0 : found->second,
             found == files.logs.end() ? "the file is missing" : "the file is too short"};
    return verdict;
  }
  Checker checker(*manifest, mark);
  for (const auto& [number, n_bytes] : files.logs) {
    if (number >= manifest->first_log) PARKD_RETURN_IF_ERROR(checker.read(dir, number));
  }
  std::string unusable = std::move(verdict.mark_unusable);
  verdict = checker.judge(is_synced);
  verdict.mark_unusable = std::move(unusable);
  verdict.manifest = *manifest;
  return verdict;
}

}  // namespace parkd::wal
