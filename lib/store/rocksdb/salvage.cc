#include "lib/store/rocksdb/salvage.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <system_error>
#include <utility>

#include "lib/base/file_io.h"
#include "lib/base/text.h"
#include "lib/store/rocksdb/database.h"
#include "lib/store/rocksdb/raw_rows.h"
#include "lib/store/rocksdb/salvage_facts.h"
#include "lib/store/rocksdb/salvage_writer.h"

namespace parkd {
namespace {

namespace fs = std::filesystem;

// What this makes is its owner's alone, whatever the caller's umask.
class PrivateUmask {
 public:
  PrivateUmask() : before_(::umask(077)) {}
  ~PrivateUmask() { ::umask(before_); }
  PrivateUmask(const PrivateUmask&) = delete;
  PrivateUmask& operator=(const PrivateUmask&) = delete;

 private:
  const mode_t before_;
};

Status sync_path(const std::string& path) {
  const OwnedFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  if (file.get() >= 0 && ::fsync(file.get()) == 0) return {};
  return io_failure("sync " + path, errno);
}

Status give_to_owner_of(const std::string& of, const std::string& dir) {
  struct stat owner {};
  if (::stat(of.c_str(), &owner) != 0) return io_failure("stat " + of, errno);
  std::error_code error;
  for (fs::directory_iterator at(dir, error), end; !error && at != end; at.increment(error)) {
    const std::string path = at->path().string();
    if (::geteuid() == 0 && ::lchown(path.c_str(), owner.st_uid, owner.st_gid) != 0) {
      return io_failure("give " + path + " to the owner of " + of, errno);
    }
    PARKD_RETURN_IF_ERROR(sync_path(path));
  }
  if (error) return unavailable("cannot list " + dir + ": " + error.message());
  if (::geteuid() == 0 && ::chown(dir.c_str(), owner.st_uid, owner.st_gid) != 0) {
    return io_failure("give " + dir + " to the owner of " + of, errno);
  }
  return sync_path(dir);
}

std::string without_slash(std::string path) {
  while (path.size() > 1 && path.ends_with('/')) path.pop_back();
  return path;
}

std::string parent_of(const std::string& path) {
  std::error_code none;
  return fs::absolute(path, none).parent_path().string();
}

Status check_target(const std::string& store, const std::string& to, const std::string& work) {
  std::error_code none;
  if (fs::exists(fs::symlink_status(to, none)) &&
      !(fs::is_directory(to, none) && fs::is_empty(to, none))) {
    return invalid(to + " is there and not an empty directory: name one that is not there");
  }
  if (fs::weakly_canonical(to, none).string().starts_with(
          fs::weakly_canonical(store, none).string() + "/")) {
    return invalid(to + " lies in the damaged store, which is not written to");
  }
  if (!fs::is_directory(parent_of(to), none)) {
    return invalid(parent_of(to) + " is not a directory: make it first");
  }
  if (fs::exists(fs::symlink_status(work, none))) {
    return conflict(work + " is there: a salvage that did not come to its end; remove it");
  }
  return {};
}

std::string range_text(const wal::RawDamage& damage) {
  if (damage.family.empty()) return "";
  const auto id = [](const std::string& key) {
    const Result<JobId> decoded = record::decode_id_key(key);
    return decoded.ok() ? std::to_string(*decoded) : std::string("an end");
  };
  const bool by_id =
      damage.family == "jobs" || damage.family == "bodies" || damage.family == "history";
  if (!by_id) return " (" + damage.family + ")";
  return " (" + damage.family + ", between " + id(damage.after_key) + " and " +
         id(damage.before_key) + ")";
}

// The mailbox and the sequence that a message's key names.
struct MessagePlace {
  std::string tenant, mailbox_key;
  uint64_t sequence = 0;
};
std::optional<MessagePlace> place_of(std::string_view key) {
  MessagePlace place;
  for (std::string* text : {&place.tenant, &place.mailbox_key}) {
    if (key.size() < 4) return std::nullopt;
    size_t n = 0;
    for (size_t i = 0; i < 4; ++i) n = n << 8 | static_cast<unsigned char>(key[i]);
    if (key.size() - 4 < n) return std::nullopt;
    *text = std::string(key.substr(4, n));
    key.remove_prefix(4 + n);
  }
  const Result<JobId> sequence = record::decode_id_key(key);
  if (!sequence.ok()) return std::nullopt;
  place.sequence = *sequence;
  return place;
}

SalvageFinding finding_of(const wal::RawDamage& damage) {
  SalvageFinding finding{"damage", damage.what + range_text(damage)};
  finding.file = damage.file;
  finding.family = damage.family;
  finding.offset = damage.offset;
  if (damage.n_bytes > 0) finding.n_bytes = damage.n_bytes;
  if (damage.n_rows_max > 0) {
    finding.text += "; at most " + std::to_string(damage.n_rows_max) + " rows are unreadable";
  }
  const auto ids = [](const std::string& key, int64_t step) -> std::optional<uint64_t> {
    const Result<JobId> id = record::decode_id_key(key);
    return id.ok() ? std::optional<uint64_t>(*id + static_cast<uint64_t>(step)) : std::nullopt;
  };
  if (damage.family == "jobs" || damage.family == "bodies" || damage.family == "history") {
    finding.first_id = ids(damage.after_key, 1);
    finding.last_id = ids(damage.before_key, -1);
  }
  if (!end_of_period(damage.family)) return finding;
  const auto first = place_of(damage.after_key);
  const auto last = place_of(damage.before_key);
  // One mailbox: the cursors between which its messages are gone.
  if (first && last && first->tenant == last->tenant && first->mailbox_key == last->mailbox_key) {
    finding.tenant = first->tenant;
    finding.mailbox_key = first->mailbox_key;
    finding.first_sequence = first->sequence + 1;
    finding.last_sequence = last->sequence - 1;
  }
  return finding;
}

struct Scanned {
  wal::RawRows rows;
  SalvageFacts facts;
};

Result<Scanned> scan(const std::string& dir) {
  PARKD_ASSIGN_OR_RETURN(wal::RawRows rows, wal::RawRows::open(dir));
  Scanned scanned{std::move(rows), {}};
  SalvageFacts& facts = scanned.facts;
  PARKD_RETURN_IF_ERROR(scanned.rows.visit([&facts](const wal::RawRow& row) { facts.note(row); }));
  facts.settle();
  const auto format = facts.meta().find(meta_key::kFormat);
  if (format != facts.meta().end()) {
    PARKD_ASSIGN_OR_RETURN(const uint64_t number, record::decode_count(format->second));
    PARKD_RETURN_IF_ERROR(check_format(dir, number));
  }
  return scanned;
}

Status fill(Scanned& scanned, const std::string& dir, Clock& clock,
            const std::function<void(const SalvageFinding&)>& list, SalvageSummary& summary) {
  auto& [rows, facts] = scanned;
  SalvageWriter::Lost lost;
  lost.manifest = rows.is_manifest_lost();
  for (const wal::RawDamage& damage : rows.damage()) {
    lost.any = true;
    lost.log = lost.log || damage.in_log;
    if (damage.in_log || damage.family == "default") lost.add_rows(damage.n_rows_max);
    list(finding_of(damage));
  }
  if (facts.n_undecodable() > 0) {
    lost.any = true;
    list(
        {"undecodable", std::to_string(facts.n_undecodable()) +
                            " rows have whole bytes that are not records of this version: they are "
                            "left out"});
  }
  RocksDbStoreOptions options;
  options.dir = dir;
  PARKD_ASSIGN_OR_RETURN(const std::unique_ptr<Database> database, Database::open(options, {}));
  SalvageWriter writer(facts, *database, clock.now(), lost, list);
  Status status;
  PARKD_RETURN_IF_ERROR(scanned.rows.visit([&](const wal::RawRow& row) {
    if (status.ok()) status = writer.take(row);
  }));
  PARKD_RETURN_IF_ERROR(status);
  summary.is_manifest_lost = rows.is_manifest_lost();
  summary.n_damaged =
      static_cast<int64_t>(rows.damage().size()) + (facts.n_undecodable() > 0 ? 1 : 0);
  return writer.finish(summary);
}

}  // namespace

std::string SalvageSummary::text() const {
  std::string out = std::to_string(n_damaged) + " damaged places; " + std::to_string(n_jobs_gone) +
                    " jobs gone, " + std::to_string(n_jobs_failed) +
                    " ended as failed without their request, at most " +
                    std::to_string(n_results_gone) + " results and " +
                    std::to_string(n_ids_untraced) + " jobs without trace, " +
                    std::to_string(n_may_run_again) + " may run again";
  if (is_manifest_lost) {
    out += "; without a MANIFEST, what was ended or taken may be there again";
  }
  return out;
}

Result<SalvageSummary> salvage(const OfflineStore& store, const std::string& target, Clock& clock,
                               const std::function<void(const SalvageFinding&)>& list) {
  const std::string to = without_slash(target);
  const std::string work = to + ".unfinished";
  PARKD_RETURN_IF_ERROR(check_target(store.dir(), to, work));
  PARKD_ASSIGN_OR_RETURN(Scanned scanned, scan(store.dir()));
  const PrivateUmask umask;
  if (::mkdir(work.c_str(), 0700) != 0) return io_failure("make " + work, errno);
  SalvageSummary summary;
  PARKD_RETURN_IF_ERROR(fill(scanned, work, clock, list, summary));
  summary.store = to;
  {
    PARKD_ASSIGN_OR_RETURN(const OfflineStore fresh, OfflineStore::open(work));
    PARKD_ASSIGN_OR_RETURN(const StoreReport report, fresh.verify());
    if (!report.is_whole()) {
      return corrupt("the fresh store " + work +
                     " does not pass verify: is this disk, too, failing?");
    }
  }
  const std::string earlier = wal::accepted_loss(store.dir());
  if (!summary.is_whole() || !earlier.empty()) {
    PARKD_RETURN_IF_ERROR(wal::note_loss(
        work, (earlier.empty() ? "" : earlier + "; ") +
                  (summary.is_whole()
                       ? ""
                       : "salvaged at " + to_rfc3339(clock.now()) + ": " + summary.text())));
  }
  PARKD_RETURN_IF_ERROR(give_to_owner_of(store.dir(), work));
  if (::rename(work.c_str(), to.c_str()) != 0)
    return io_failure("rename " + work + " to " + to, errno);
  PARKD_RETURN_IF_ERROR(sync_path(parent_of(to)));
  return summary;
}

Result<std::string> put_in_place(const std::string& store_dir, const std::string& fresh_dir,
                                 Clock& clock) {
  const std::string store = without_slash(store_dir);
  const std::string fresh = without_slash(fresh_dir);
  std::string stamp = to_rfc3339(clock.now()).substr(0, 19);
  std::erase_if(stamp, [](char c) { return c == '-' || c == ':'; });
  const std::string kept = store + ".damaged-" + stamp;
  std::error_code none;
  if (fs::exists(fs::symlink_status(kept, none))) return conflict(kept + " is there already");
  // Two renames would leave none under the name between them, and a daemon that starts then would
  // make an empty one.
  if (::renameat2(AT_FDCWD, fresh.c_str(), AT_FDCWD, store.c_str(), RENAME_EXCHANGE) != 0) {
    return io_failure("let " + fresh + " and " + store +
                          " change places in one step (type it: mv " + store + " " + kept +
                          " && mv " + fresh + " " + store + ")",
                      errno);
  }
  PARKD_RETURN_IF_ERROR(sync_path(parent_of(store)));
  PARKD_RETURN_IF_ERROR(sync_path(parent_of(fresh)));
  if (::rename(fresh.c_str(), kept.c_str()) != 0) {
    return io_failure(
        "rename the damaged store (the fresh one is in place) " + fresh + " to " + kept, errno);
  }
  PARKD_RETURN_IF_ERROR(sync_path(parent_of(store)));
  return kept;
}

}  // namespace parkd
