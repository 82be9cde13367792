#include "lib/store/folder/folder_files.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <mutex>
#include <utility>

#include "lib/base/blocking_pool.h"
#include "lib/base/disk_space.h"
#include "lib/base/file_io.h"
#include "lib/base/kill_point.h"
#include "lib/base/log.h"
#include "lib/base/text.h"
#include "lib/base/thread_safety.h"
#include "lib/base/xxh3.h"
#include "lib/store/answer_caught.h"
#include "lib/store/drop_clock.h"
#include "lib/store/file_rules.h"
#include "lib/store/folder/file_catalog.h"
#include "lib/store/folder/file_record.h"

namespace parkd {
namespace {

namespace fs = std::filesystem;

constexpr int kThreads = 2;
constexpr size_t kPurgedMax = 100;                      // files a call
constexpr int64_t kWritebackBytes = int64_t{16} << 20;  // begun before an upload's end
constexpr std::string_view kUploads = "uploads";
constexpr std::string_view kKept = "kept";
constexpr std::string_view kMark = "clock";  // a ClockMark
constexpr std::chrono::minutes kMarkEvery{1};
constexpr std::chrono::seconds kNotWrittenEvery{10};  // a line in the log

std::optional<ClockMark> read_mark(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
  const auto mark = ClockMark::decode(text);
  return mark.ok() ? std::optional(*mark) : std::nullopt;
}

// What stands in DIR/kept: the time, and a checksum of it and of whose it is.
std::string until_text(const std::string& id, WallTime until) {
  const std::string time = std::to_string(to_unix_us(until));
  return time + " " + to_hex(xxh3_64(id + " " + time)) + "\n";
}

// Nothing: it is damaged.
std::optional<WallTime> read_until(const std::string& path, const std::string& id) {
  std::ifstream in(path, std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
  int64_t us = 0;
  std::from_chars(text.data(), text.data() + text.size(), us);
  const WallTime until = from_unix_us(us);
  return text == until_text(id, until) ? std::optional(until) : std::nullopt;
}

Status write_until(const std::string& path, const std::string& text) {
  const OwnedFd file(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  if (file.get() < 0) return io_failure("write " + path, errno);
  PARKD_RETURN_IF_ERROR(write_at(file, text, 0, path));
  return ::fsync(file.get()) == 0 ? Status() : io_failure("sync " + path, errno);
}

Status has_stopped() {
  return unavailable("parkd is stopping");
}

// An upload: the file that it is written to, and what is known of its bytes.
struct Upload {
  OwnedFd file;
  std::string tenant;
  int64_t bytes = 0;
  std::vector<uint64_t> sums;
  SteadyTime begun_at{};
  bool is_whole = false;    // a piece that is not full was the last
  bool has_failed = false;  // a piece is not there: it can only be abandoned
};

class FolderFiles final : public FileStore {
 public:
  FolderFiles(FolderFilesOptions options, Clock& clock)
      : dir_(std::move(options.dir)),
        limits_(options.limits),
        clock_(clock),
        catalog_(options.limits),
        drop_clock_(clock, read_mark(dir_ + "/" + std::string(kMark))),
        pool_(kThreads, 0) {}
  ~FolderFiles() override { stop(); }

  // Before any verb.
  Status open();

  void begin_upload(std::string tenant, Completion<std::string> done) override {
    run<std::string>(std::move(done), [this, tenant = std::move(tenant)] { return begin(tenant); });
  }
  void append(std::string id, std::string piece, Completion<int64_t> done) override {
    run<int64_t>(std::move(done), [this, id = std::move(id), piece = std::move(piece)] {
      return append_now(id, piece);
    });
  }
  void finish_upload(std::string id, FileSpec spec, Completion<StoredFile> done) override {
    run<StoredFile>(std::move(done), [this, id = std::move(id), spec = std::move(spec)] {
      return finish(id, spec);
    });
  }
  void abandon_upload(std::string id) override { give_up(id); }
  void get_file(std::string id, std::string tenant, Completion<StoredFile> done) override {
    run<StoredFile>(std::move(done), [this, id = std::move(id), tenant = std::move(tenant)]() {
      const auto found = catalog_.find(id, tenant, clock_.now());
      return found.ok() ? Result<StoredFile>(found->file) : Result<StoredFile>(found.status());
    });
  }
  void read_piece(std::string id, std::string tenant, int64_t n,
                  Completion<std::string> done) override {
    run<std::string>(std::move(done), [this, id = std::move(id), tenant = std::move(tenant), n] {
      return read_now(id, tenant, n);
    });
  }
  void list_files(FileFilter filter, Completion<std::vector<StoredFile>> done) override {
    run<std::vector<StoredFile>>(std::move(done), [this, filter = std::move(filter)] {
      return catalog_.list(filter, clock_.now());
    });
  }
  void keep_file(std::string id, std::string tenant, WallTime until,
                 Completion<StoredFile> done) override {
    run<StoredFile>(std::move(done), [this, id = std::move(id), tenant = std::move(tenant), until] {
      return keep_now(id, tenant, until);
    });
  }
  void remove_file(std::string id, std::string tenant, Completion<StoredFile> done) override {
    run<StoredFile>(std::move(done),
                    [this, id = std::move(id), tenant = std::move(tenant)]() -> Result<StoredFile> {
                      PARKD_ASSIGN_OR_RETURN(const FileRecord record,
                                             catalog_.find(id, tenant, clock_.now()));
                      PARKD_RETURN_IF_ERROR(remove_now(id));
                      return record.file;
                    });
  }
  void purge_files(Completion<int64_t> done) override {
    run<int64_t>(std::move(done), [this] { return purge(); });
  }
  void file_figures(Completion<FileFigures> done) override {
    run<FileFigures>(std::move(done), [this]() -> Result<FileFigures> {
      FileFigures figures = catalog_.figures();
      if (auto notice = damage_notice()) figures.notices.push_back(std::move(*notice));
      return figures;
    });
  }
  void stop() override {
    pool_.stop();
    const std::lock_guard lock(mutex_);
    for (const auto& [id, upload] : uploads_) ::unlink(upload_path(id).c_str());
    uploads_.clear();
  }

 private:
  template <class T, class Work>
  void run(Completion<T> done, Work work) {
    const auto stop_answer = done;
    const bool accepted = pool_.run([done = std::move(done), work = std::move(work)] {
      answer_caught(done, [&]() -> Result<T> { return work(); });
    });
    if (!accepted) stop_answer(has_stopped());
  }

  std::string path_of(const std::string& id) const { return dir_ + "/" + id; }
  std::string upload_path(const std::string& id) const {
    return dir_ + "/" + std::string(kUploads) + "/" + id;
  }

  std::string kept_path(const std::string& id) const {
    return dir_ + "/" + std::string(kKept) + "/" + id;
  }

  Status make_directories() const;
  Status make_directory(const std::string& path) const;
  Status clear_uploads() const;
  Status read_all();
  Status read_kept();
  Result<FileRecord> read_record(const std::string& id) const;

  Result<std::string> begin(const std::string& tenant);
  Result<int64_t> append_now(const std::string& id, const std::string& piece);
  Result<StoredFile> finish(const std::string& id, const FileSpec& spec);
  void give_up(const std::string& id);
  Result<std::string> read_now(const std::string& id, const std::string& tenant, int64_t n);
  Result<StoredFile> keep_now(const std::string& id, const std::string& tenant, WallTime until);
  Status remove_now(const std::string& id);
  Result<int64_t> purge();
  Status write_mark();
  Status check_disk(int64_t more_bytes);
  Status not_written(Status why);
  std::shared_ptr<Upload> find_upload(const std::string& id);
  std::shared_ptr<Upload> take_upload(const std::string& id);
  void note_damage(const std::string& id, const std::string& what);
  std::optional<HealthNotice> damage_notice();

  const std::string dir_;
  const FileLimits limits_;
  Clock& clock_;
  FileCatalog catalog_;
  std::mutex mutex_;
  std::map<std::string, std::shared_ptr<Upload>> uploads_ PARKD_GUARDED_BY(mutex_);
  std::map<std::string, std::string> damaged_ PARKD_GUARDED_BY(mutex_);  // by id: how
  DropClock drop_clock_ PARKD_GUARDED_BY(mutex_);
  SteadyTime marked_at_ PARKD_GUARDED_BY(mutex_){};
  std::optional<SteadyTime> not_written_logged_ PARKD_GUARDED_BY(mutex_);
  std::mutex keep_mutex_;  // one at a time writes into DIR/kept
  BlockingPool pool_;      // last: its threads use the rest
};

// --- opening

// A full disk holds up no start: what cannot be written now is written when there is room.
Status FolderFiles::open() {
  const Status made = make_directories();
  if (made.code() == StatusCode::exhausted) {
    log_warn("files.disk_full", {{"error", made.to_string()}});
  } else {
    PARKD_RETURN_IF_ERROR(made);
  }
  PARKD_RETURN_IF_ERROR(clear_uploads());
  PARKD_RETURN_IF_ERROR(read_all());
  PARKD_RETURN_IF_ERROR(read_kept());
  const Status marked = made.ok() ? write_mark() : made;
  return marked.code() == StatusCode::exhausted ? Status() : marked;
}

Status FolderFiles::make_directories() const {
  PARKD_RETURN_IF_ERROR(make_directory(dir_));
  PARKD_RETURN_IF_ERROR(make_directory(dir_ + "/" + std::string(kKept)));
  return make_directory(dir_ + "/" + std::string(kUploads));
}

// What the next process will know of the time. A torn one is as none.
Status FolderFiles::write_mark() {
  const std::string path = dir_ + "/" + std::string(kMark);
  const std::string fresh = path + ".new";
  std::string text;
  {
    const std::lock_guard lock(mutex_);
    text = drop_clock_.mark().encode();
    marked_at_ = clock_.steady_now();
  }
  const OwnedFd file(::open(fresh.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  if (file.get() < 0) return io_failure("write " + fresh, errno);
  PARKD_RETURN_IF_ERROR(write_at(file, text, 0, fresh));
  if (::rename(fresh.c_str(), path.c_str()) != 0) return io_failure("rename " + fresh, errno);
  return {};
}

Status FolderFiles::make_directory(const std::string& path) const {
  if (::mkdir(path.c_str(), 0700) == 0)
    return sync_directory(fs::path(path).parent_path().string());
  return errno == EEXIST ? Status() : io_failure("make the directory " + path, errno);
}

// What a dead process had not finished.
Status FolderFiles::clear_uploads() const {
  const std::string path = dir_ + "/" + std::string(kUploads);
  std::error_code error;
  int64_t n_removed = 0;
  for (fs::directory_iterator at(path, error), end; !error && at != end; at.increment(error)) {
    fs::remove(at->path(), error);
    ++n_removed;
  }
  if (error && error != std::errc::no_such_file_or_directory) {
    return io_failure("clear " + path, error.value());
  }
  if (n_removed > 0) log_info("files.uploads_cut_off", {{"count", n_removed}});
  return {};
}

Status FolderFiles::read_all() {
  std::error_code error;
  for (fs::directory_iterator at(dir_, error), end; !error && at != end; at.increment(error)) {
    const std::string id = at->path().filename().string();
    if (!is_file_id(id)) continue;
    auto record = read_record(id);
    if (record.ok()) {
      catalog_.add_file(*std::move(record));
    } else if (record.status().code() == StatusCode::corrupt) {
      note_damage(id, record.status().message());
    } else {
      return record.status();
    }
  }
  if (!error || error == std::errc::no_such_file_or_directory) return {};
  return io_failure("list " + dir_, error.value());
}

// Of files that are gone, and what a dead process had not finished, nothing stays.
Status FolderFiles::read_kept() {
  const std::string path = dir_ + "/" + std::string(kKept);
  std::error_code error;
  std::vector<std::string> useless;
  for (fs::directory_iterator at(path, error), end; !error && at != end; at.increment(error)) {
    const std::string name = at->path().filename().string();
    const std::string id = name.substr(0, name.find('.'));
    if (!is_file_id(id)) continue;
    if (name != id || !catalog_.find(id, "", WallTime::min()).ok()) {
      useless.push_back(at->path().string());
    } else if (const auto until = read_until(at->path().string(), id)) {
      PARKD_RETURN_IF_ERROR(catalog_.keep(id, *until).status());
    } else {
      note_damage(id, "until when it is kept cannot be read (" + at->path().string() + ")");
    }
  }
  for (const std::string& each : useless) ::unlink(each.c_str());
  if (!error || error == std::errc::no_such_file_or_directory) return {};
  return io_failure("list " + path, error.value());
}

Result<FileRecord> FolderFiles::read_record(const std::string& id) const {
  const std::string path = path_of(id);
  const OwnedFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  struct stat is {};
  if (file.get() < 0 || ::fstat(file.get(), &is) != 0) return io_failure("read " + path, errno);
  const auto size = static_cast<int64_t>(is.st_size);
  const auto n_tail = std::min(size, static_cast<int64_t>(kFileTailBytes));
  PARKD_ASSIGN_OR_RETURN(const std::string tail,
                         read_at(file, static_cast<size_t>(n_tail), size - n_tail, path));
  PARKD_ASSIGN_OR_RETURN(const size_t n_behind, record_bytes_behind(tail));
  if (static_cast<int64_t>(n_behind) > size) return corrupt("it was cut short");
  const int64_t from = size - static_cast<int64_t>(n_behind);
  PARKD_ASSIGN_OR_RETURN(const std::string behind, read_at(file, n_behind, from, path));
  PARKD_ASSIGN_OR_RETURN(FileRecord record, decode_file_record(behind));
  if (record.file.id != id) return corrupt("it is called like another file");
  if (record.file.bytes != from) return corrupt("its length is not what it was");
  return record;
}

// --- uploads

// Below what shall stay free nothing is written: the queue is on the same disk.
Status FolderFiles::check_disk(int64_t more_bytes) {
  const auto disk = disk_space(dir_);
  if (!disk || disk->free_bytes - more_bytes >= limits_.min_free_disk_bytes) return {};
  constexpr int64_t kMb = 1 << 20;
  if (limits_.min_free_disk_bytes == 0) {
    return not_written(exhausted("the disk of " + dir_ + " has " +
                                 std::to_string(disk->free_bytes) +
                                 " bytes free, the next piece of the file takes " +
                                 std::to_string(more_bytes) + ": make room"));
  }
  return not_written(exhausted("the disk of " + dir_ + " has " +
                               std::to_string(disk->free_bytes / kMb) + " MiB free, " +
                               std::to_string(limits_.min_free_disk_bytes / kMb) +
                               " MiB must stay free (daemon.min_free_disk_mb): make room"));
}

// Its client is told; so is the operator, once for as many as come in a while.
Status FolderFiles::not_written(Status why) {
  {
    const std::lock_guard lock(mutex_);
    const SteadyTime now = clock_.steady_now();
    if (not_written_logged_ && now - *not_written_logged_ < kNotWrittenEvery) return why;
    not_written_logged_ = now;
  }
  log_warn("files.not_written", {{"error", why.message()}});
  return why;
}

Result<std::string> FolderFiles::begin(const std::string& tenant) {
  PARKD_RETURN_IF_ERROR(check_disk(static_cast<int64_t>(kFilePieceBytes)));
  PARKD_RETURN_IF_ERROR(make_directories());
  const std::string id = new_file_id();
  PARKD_RETURN_IF_ERROR(catalog_.begin_upload(id, tenant));
  const std::string path = upload_path(id);
  auto upload = std::make_shared<Upload>();
  upload->file =
      OwnedFd(::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (upload->file.get() < 0) {
    const int error = errno;
    catalog_.end_upload(id);
    return not_written(io_failure("make " + path, error));
  }
  upload->tenant = tenant;
  upload->begun_at = clock_.steady_now();
  const std::lock_guard lock(mutex_);
  uploads_[id] = std::move(upload);
  return id;
}

std::shared_ptr<Upload> FolderFiles::find_upload(const std::string& id) {
  const std::lock_guard lock(mutex_);
  const auto found = uploads_.find(id);
  return found == uploads_.end() ? nullptr : found->second;
}

std::shared_ptr<Upload> FolderFiles::take_upload(const std::string& id) {
  const std::lock_guard lock(mutex_);
  const auto found = uploads_.find(id);
  if (found == uploads_.end()) return nullptr;
  auto upload = std::move(found->second);
  uploads_.erase(found);
  return upload;
}

Result<int64_t> FolderFiles::append_now(const std::string& id, const std::string& piece) {
  const auto upload = find_upload(id);
  if (upload == nullptr || upload->has_failed) return no_such_upload(id);
  if (piece.empty() || piece.size() > kFilePieceBytes || upload->is_whole) {
    return internal_error("a piece of an upload has the wrong size");
  }
  upload->has_failed = true;
  PARKD_RETURN_IF_ERROR(check_disk(static_cast<int64_t>(piece.size())));
  PARKD_RETURN_IF_ERROR(catalog_.add_bytes(id, piece.size()));
  PARKD_KILL_POINT("upload.before_piece");
  const Status written = write_at(upload->file, piece, upload->bytes, upload_path(id));
  if (!written.ok()) return not_written(written);
  upload->has_failed = false;
  upload->sums.push_back(xxh3_64(piece));
  upload->bytes += static_cast<int64_t>(piece.size());
  upload->is_whole = piece.size() < kFilePieceBytes;
  // So that the end has little left to wait for.
  if (upload->bytes % kWritebackBytes == 0) {
    (void)::sync_file_range(upload->file.get(), upload->bytes - kWritebackBytes, kWritebackBytes,
                            SYNC_FILE_RANGE_WRITE);
  }
  return upload->bytes;
}

Result<StoredFile> FolderFiles::finish(const std::string& id, const FileSpec& spec) {
  PARKD_RETURN_IF_ERROR(check_file(spec));
  const auto begun = find_upload(id);
  if (begun == nullptr || begun->has_failed) return no_such_upload(id);
  const auto upload = take_upload(id);
  if (upload == nullptr) return no_such_upload(id);
  const std::string from = upload_path(id);
  const std::string to = path_of(id);
  FileRecord record{new_file(id, upload->tenant, spec, upload->bytes, clock_.now()), upload->sums};
  Status status = write_at(upload->file, record.encode(), upload->bytes, from);
  if (status.ok() && ::fsync(upload->file.get()) != 0) status = io_failure("sync " + from, errno);
  PARKD_KILL_POINT("upload.before_rename");
  if (status.ok() && ::rename(from.c_str(), to.c_str()) != 0) {
    status = io_failure("rename " + from + " to " + to, errno);
  }
  PARKD_KILL_POINT("upload.after_rename");
  if (status.ok()) status = sync_directory(dir_);
  if (!status.ok()) {
    ::unlink(from.c_str());
    ::unlink(to.c_str());
    catalog_.end_upload(id);
    return not_written(status);
  }
  StoredFile file = record.file;
  catalog_.add_file(std::move(record));
  return file;
}

// At once; its bytes go later.
void FolderFiles::give_up(const std::string& id) {
  if (take_upload(id) == nullptr) return;
  catalog_.end_upload(id);
  const auto unlink = [path = upload_path(id)] { ::unlink(path.c_str()); };
  if (!pool_.run(unlink)) unlink();
}

// --- files

Result<std::string> FolderFiles::read_now(const std::string& id, const std::string& tenant,
                                          int64_t n) {
  PARKD_ASSIGN_OR_RETURN(const FileRecord record, catalog_.find(id, tenant, clock_.now()));
  if (n < 0 || n >= static_cast<int64_t>(record.sums.size())) return std::string();
  const std::string path = path_of(id);
  const int64_t from = n * static_cast<int64_t>(kFilePieceBytes);
  const int64_t size = std::min(record.file.bytes - from, static_cast<int64_t>(kFilePieceBytes));
  const OwnedFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  if (file.get() < 0 && errno != ENOENT) return io_failure("read " + path, errno);
  if (file.get() >= 0) {
    PARKD_ASSIGN_OR_RETURN(std::string piece, read_at(file, static_cast<size_t>(size), from, path));
    const bool is_whole = static_cast<int64_t>(piece.size()) == size;
    if (is_whole && xxh3_64(piece) == record.sums[static_cast<size_t>(n)]) return piece;
  } else {
    // Removed meanwhile, or by somebody else.
    PARKD_RETURN_IF_ERROR(catalog_.find(id, tenant, clock_.now()).status());
  }
  const Status damaged = piece_is_damaged(id, n);
  note_damage(id, "its bytes are not those that were uploaded");
  return damaged;
}

Result<StoredFile> FolderFiles::keep_now(const std::string& id, const std::string& tenant,
                                         WallTime until) {
  const std::lock_guard lock(keep_mutex_);
  PARKD_ASSIGN_OR_RETURN(const FileRecord record, catalog_.find(id, tenant, clock_.now()));
  if (record.file.expires_at >= until) return record.file;
  PARKD_RETURN_IF_ERROR(make_directories());
  const std::string path = kept_path(id);
  const std::string fresh = path + ".new";
  if (Status written = write_until(fresh, until_text(id, until)); !written.ok()) {
    ::unlink(fresh.c_str());
    return written;
  }
  if (::rename(fresh.c_str(), path.c_str()) != 0) return io_failure("rename " + fresh, errno);
  PARKD_RETURN_IF_ERROR(sync_directory(dir_ + "/" + std::string(kKept)));
  auto kept = catalog_.keep(id, until);
  if (!kept.ok()) ::unlink(path.c_str());  // removed meanwhile
  return kept;
}

Status FolderFiles::remove_now(const std::string& id) {
  const std::string path = path_of(id);
  const bool removed = ::unlink(path.c_str()) == 0;
  if (!removed && errno != ENOENT) return io_failure("remove " + path, errno);
  catalog_.remove(id);
  ::unlink(kept_path(id).c_str());
  {
    const std::lock_guard lock(mutex_);
    damaged_.erase(id);
  }
  // Of two that remove it, one has.
  return removed ? sync_directory(dir_) : no_such_file(id);
}

Result<int64_t> FolderFiles::purge() {
  WallTime drop_by;
  bool is_mark_old = false;
  std::vector<std::string> given_up;
  {
    const std::lock_guard lock(mutex_);
    drop_by = drop_clock_.now();
    is_mark_old = clock_.steady_now() - marked_at_ >= kMarkEvery;
    for (const auto& [id, upload] : uploads_) {
      if (clock_.steady_now() - upload->begun_at >= kUploadLifeMax) given_up.push_back(id);
    }
  }
  int64_t n_dropped = 0;
  for (const std::string& id : given_up) {
    log_warn("files.upload_given_up", {{"id", id}, {"after_h", kUploadLifeMax.count()}});
    give_up(id);
    ++n_dropped;
  }
  for (const std::string& id : catalog_.expired_by(drop_by, kPurgedMax)) {
    const Status removed = remove_now(id);
    if (!removed.ok() && removed.code() != StatusCode::not_found) return removed;
    ++n_dropped;
  }
  if (is_mark_old) PARKD_RETURN_IF_ERROR(write_mark());
  return n_dropped;
}

// --- damage

void FolderFiles::note_damage(const std::string& id, const std::string& what) {
  {
    const std::lock_guard lock(mutex_);
    if (!damaged_.emplace(id, what).second) return;
  }
  log_error("files.damaged", {{"path", path_of(id)}, {"what", what}});
}

// What an operator has removed is not damage any more.
std::optional<HealthNotice> FolderFiles::damage_notice() {
  const std::lock_guard lock(mutex_);
  std::erase_if(damaged_, [&](const auto& entry) {
    return ::access(path_of(entry.first).c_str(), F_OK) != 0 && errno == ENOENT &&
           !catalog_.find(entry.first, "", clock_.now()).ok();
  });
  if (damaged_.empty()) return std::nullopt;
  const auto& [id, what] = *damaged_.begin();
  return HealthNotice{
      "file_damaged",
      std::to_string(damaged_.size()) + " uploaded files are damaged, one is " + path_of(id) +
          ": " + what +
          ". Its owner deletes it and uploads it again; one that GET /v1/files does "
          "not list is removed here with rm",
      false};
}

}  // namespace

Result<std::unique_ptr<FileStore>> open_folder_files(FolderFilesOptions options, Clock& clock) {
  auto files = std::make_unique<FolderFiles>(std::move(options), clock);
  PARKD_RETURN_IF_ERROR(files->open());
  return std::unique_ptr<FileStore>(std::move(files));
}

}  // namespace parkd
