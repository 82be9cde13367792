#include "lib/store/postgres/postgres_files.h"

#include <chrono>
#include <condition_variable>
#include <map>
#include <mutex>
#include <utility>
#include <vector>

#include "lib/base/log.h"
#include "lib/base/thread.h"
#include "lib/store/drop_clock.h"
#include "lib/store/file_rules.h"
#include "lib/store/postgres/file_verbs.h"
#include "lib/store/postgres/migrator.h"
#include "lib/store/postgres/shared_state.h"
#include "lib/store/postgres/task_session.h"
#include "lib/store/postgres/upkeep_verbs.h"

namespace parkd {
namespace {

using std::chrono::steady_clock;

constexpr int kPurgePortionsMax = 4;  // a call of purge_files
constexpr size_t kDamagedMax = 100;   // files that are remembered as damaged

// One session; but for the watchdog all that is here happens on its thread.
class PostgresFiles final : public FileStore {
 public:
  PostgresFiles(PostgresOptions options, FileLimits limits)
      : shared_(std::move(options), StoreOptions()),
        limits_(limits),
        drop_clock_(shared_.options().test_clock ? *shared_.options().test_clock : system_clock_,
                    std::nullopt),
        session_(shared_, "pg-files", shared_.connection_options("parkd-files")) {}
  ~PostgresFiles() override { stop(); }

  Status start();
  void stop() override;

  void begin_upload(std::string tenant, Completion<std::string> done) override;
  void append(std::string id, std::string piece, Completion<int64_t> done) override;
  void finish_upload(std::string id, FileSpec spec, Completion<StoredFile> done) override;
  void abandon_upload(std::string id) override;

  void get_file(std::string id, std::string tenant, Completion<StoredFile> done) override {
    ask<StoredFile>(std::move(done),
                    [this, id = std::move(id), tenant = std::move(tenant)](Connection& c) {
                      return get_file_row(c, id, tenant, now());
                    });
  }
  void read_piece(std::string id, std::string tenant, int64_t n,
                  Completion<std::string> done) override {
    ask<std::string>(std::move(done),
                     [this, id = std::move(id), tenant = std::move(tenant), n](Connection& c) {
                       auto piece = read_piece_row(c, id, tenant, n, now());
                       if (piece.status().code() == StatusCode::corrupt) note_damage(id, n);
                       return piece;
                     });
  }
  void list_files(FileFilter filter, Completion<std::vector<StoredFile>> done) override {
    ask<std::vector<StoredFile>>(std::move(done),
                                 [this, filter = std::move(filter)](Connection& c) {
                                   return list_file_rows(c, filter, now());
                                 });
  }
  void keep_file(std::string id, std::string tenant, WallTime until,
                 Completion<StoredFile> done) override {
    ask<StoredFile>(std::move(done),
                    [this, id = std::move(id), tenant = std::move(tenant), until](Connection& c) {
                      return keep_file_row(c, id, tenant, until, now());
                    });
  }
  void remove_file(std::string id, std::string tenant, Completion<StoredFile> done) override;

  void purge_files(Completion<int64_t> done) override {
    ask<int64_t>(std::move(done), [this](Connection& c) { return purge(c); });
  }
  void file_figures(Completion<FileFigures> done) override {
    ask<FileFigures>(std::move(done), [this](Connection& c) -> Result<FileFigures> {
      PARKD_ASSIGN_OR_RETURN(FileFigures figures, count_files(c, now()));
      PARKD_RETURN_IF_ERROR(forget_what_is_gone(c));
      if (!damaged_.empty()) figures.notices.push_back(damage_notice());
      return figures;
    });
  }

 private:
  // An upload that this process has begun.
  struct Upload {
    std::string tenant;
    int64_t bytes = 0;
    // A piece is on its way, or nobody knows what became of it: no other may follow.
    bool is_open_ended = false;
    steady_clock::time_point begun_at{};
  };

  Now now() const { return shared_.now(); }

  template <class T, class Verb>
  void ask(Completion<T> done, Verb verb) {
    session_.retried<T>(std::move(done), Repeatable::yes,
                        [this, verb = std::move(verb)](Connection& connection) -> Result<T> {
                          PARKD_RETURN_IF_ERROR(ready(connection));
                          return verb(connection);
                        });
  }
  Status ready(Connection& connection);
  void watch_loop();

  Result<int64_t> append_now(Connection& connection, const std::string& id,
                             const std::string& piece, bool& is_sent);
  Result<StoredFile> finish_now(Connection& connection, const std::string& id,
                                const FileSpec& spec);
  Result<int64_t> purge(Connection& connection);
  void note_damage(const std::string& id, int64_t n);
  Status forget_what_is_gone(Connection& connection);
  HealthNotice damage_notice() const;

  SharedState shared_;
  const FileLimits limits_;
  SystemClock system_clock_;
  DropClock drop_clock_;
  bool is_checked_ = false;  // the schema and the server
  std::map<std::string, Upload> uploads_;
  std::map<std::string, int64_t> damaged_;  // by id: the piece that was found first

  std::mutex watch_mutex_;  // guards watch_ends_
  std::condition_variable watch_wakes_;
  bool watch_ends_ = false;
  TaskSession session_;  // its thread uses what is above
  Thread watch_thread_;
};

// --- the session

Status PostgresFiles::start() {
  watch_thread_ = Thread({"pg-files-watch", 0}, [this] { watch_loop(); });
  const Status status = ready(session_.connection());
  if (!status.ok() && status.code() != StatusCode::unavailable) return status;
  session_.start();
  return {};
}

// What the schema or the server is not good for today may be so when the next session is opened.
Status PostgresFiles::ready(Connection& connection) {
  if (connection.connected()) return {};
  PARKD_RETURN_IF_ERROR(connection.connect());
  Status status = is_checked_ ? Status() : check_schema(connection, embedded_migrations());
  if (status.ok()) status = is_checked_ ? check_writable(connection) : check_server(connection);
  if (!status.ok()) connection.close();
  is_checked_ = is_checked_ || status.ok();
  return status;
}

// The listener's watchdog, of this session.
void PostgresFiles::watch_loop() {
  std::unique_lock lock(watch_mutex_);
  while (!watch_wakes_.wait_for(lock, std::chrono::seconds(1), [this] { return watch_ends_; })) {
    session_.connection().interrupt_if_overdue();
  }
}

void PostgresFiles::stop() {
  shared_.begin_stop();
  session_.close();
  session_.join();
  {
    const std::lock_guard lock(watch_mutex_);
    watch_ends_ = true;
  }
  watch_wakes_.notify_all();
  watch_thread_.join();
}

// --- uploads

void PostgresFiles::begin_upload(std::string tenant, Completion<std::string> done) {
  ask<std::string>(
      std::move(done),
      [this, id = new_file_id(), tenant = std::move(tenant)](Connection& c) -> Result<std::string> {
        // Sent again it does not count itself.
        PARKD_ASSIGN_OR_RETURN(const TenantFiles has, tenant_files(c, tenant, id, now()));
        PARKD_RETURN_IF_ERROR(check_upload(tenant, has, limits_));
        PARKD_RETURN_IF_ERROR(begin_upload_row(c, id, tenant, now()));
        uploads_[id] = {tenant, 0, false, steady_clock::now()};
        return id;
      });
}

void PostgresFiles::append(std::string id, std::string piece, Completion<int64_t> done) {
  struct Append {
    std::string id;
    std::string piece;
    bool is_sent = false;
  };
  // One copy of the piece, however often it is sent.
  auto append = std::make_shared<Append>();
  append->id = std::move(id);
  append->piece = std::move(piece);
  ask<int64_t>(std::move(done), [this, append = std::move(append)](Connection& c) {
    return append_now(c, append->id, append->piece, append->is_sent);
  });
}

Result<int64_t> PostgresFiles::append_now(Connection& connection, const std::string& id,
                                          const std::string& piece, bool& is_sent) {
  const auto found = uploads_.find(id);
  if (found == uploads_.end()) return no_such_upload(id);
  Upload& upload = found->second;
  if (!is_sent) {
    if (upload.is_open_ended) return no_such_upload(id);
    if (piece.empty() || piece.size() > kFilePieceBytes ||
        upload.bytes % static_cast<int64_t>(kFilePieceBytes) != 0) {
      return internal_error("a piece of an upload has the wrong size");
    }
    PARKD_ASSIGN_OR_RETURN(const TenantFiles has,
                           tenant_files(connection, upload.tenant, "", now()));
    const Status fits = check_piece(upload.tenant, has, upload.bytes, piece.size(), limits_);
    upload.is_open_ended = true;
    PARKD_RETURN_IF_ERROR(fits);
    is_sent = true;
  }
  PARKD_ASSIGN_OR_RETURN(const int64_t bytes,
                         append_piece_row(connection, id, upload.bytes, piece, now()));
  upload.bytes = bytes;
  upload.is_open_ended = false;
  return bytes;
}

void PostgresFiles::finish_upload(std::string id, FileSpec spec, Completion<StoredFile> done) {
  ask<StoredFile>(std::move(done), [this, id = std::move(id), spec = std::move(spec)](
                                       Connection& c) { return finish_now(c, id, spec); });
}

Result<StoredFile> PostgresFiles::finish_now(Connection& connection, const std::string& id,
                                             const FileSpec& spec) {
  PARKD_RETURN_IF_ERROR(check_file(spec));
  const auto upload = uploads_.find(id);
  if (upload == uploads_.end() || upload->second.is_open_ended) return no_such_upload(id);
  PARKD_ASSIGN_OR_RETURN(StoredFile file,
                         finish_upload_row(connection, id, upload->second.bytes, spec, now()));
  uploads_.erase(upload);
  return file;
}

// Where the database stays away it is swept like one whose process died.
void PostgresFiles::abandon_upload(std::string id) {
  ask<bool>([](const Result<bool>&) {},
            [this, id = std::move(id)](Connection& c) -> Result<bool> {
              uploads_.erase(id);
              PARKD_RETURN_IF_ERROR(abandon_upload_row(c, id));
              return true;
            });
}

// --- files

void PostgresFiles::remove_file(std::string id, std::string tenant, Completion<StoredFile> done) {
  // The file as it was, once the removal has been sent: sent again it finds none.
  auto sent = std::make_shared<std::optional<StoredFile>>();
  ask<StoredFile>(std::move(done),
                  [this, id = std::move(id), tenant = std::move(tenant),
                   sent = std::move(sent)](Connection& c) -> Result<StoredFile> {
                    const bool is_again = sent->has_value();
                    if (!is_again) {
                      PARKD_ASSIGN_OR_RETURN(StoredFile file, get_file_row(c, id, tenant, now()));
                      *sent = std::move(file);
                    }
                    PARKD_ASSIGN_OR_RETURN(const bool is_removed,
                                           remove_file_row(c, id, tenant, now()));
                    if (!is_removed && !is_again) return no_such_file(id);  // another was faster
                    return **sent;
                  });
}

// --- housekeeping

Result<int64_t> PostgresFiles::purge(Connection& connection) {
  const auto steady_now = steady_clock::now();
  std::erase_if(uploads_, [&](const auto& entry) {
    return steady_now - entry.second.begun_at > kUploadLifeMax;
  });
  std::vector<std::string> mine;
  for (const auto& [id, upload] : uploads_) mine.push_back(id);
  const WallTime before = drop_clock_.now();
  int64_t n_expired = 0;
  for (int i = 0; i < kPurgePortionsMax; ++i) {
    PARKD_ASSIGN_OR_RETURN(const PurgedFiles purged,
                           purge_file_rows(connection, mine, before, now()));
    n_expired += purged.n_expired;
    if (!purged.is_more) break;
  }
  return n_expired;
}

void PostgresFiles::note_damage(const std::string& id, int64_t n) {
  if (damaged_.size() >= kDamagedMax || !damaged_.emplace(id, n).second) return;
  log_error("files.damaged", {{"id", id}, {"piece", n}});
}

Status PostgresFiles::forget_what_is_gone(Connection& connection) {
  for (auto at = damaged_.begin(); at != damaged_.end();) {
    const auto file = get_file_row(connection, at->first, "", now());
    if (!file.ok() && file.status().code() != StatusCode::not_found) return file.status();
    at = file.ok() ? std::next(at) : damaged_.erase(at);
  }
  return {};
}

HealthNotice PostgresFiles::damage_notice() const {
  return {"file_damaged",
          std::to_string(damaged_.size()) + " uploaded files are damaged, one is " +
              damaged_.begin()->first +
              " (parkd.files, parkd.file_pieces): its bytes are not those that were uploaded. Its "
              "owner deletes it and uploads it again"};
}

}  // namespace

Result<std::unique_ptr<FileStore>> open_postgres_files(PostgresOptions options, FileLimits limits) {
  auto opened = std::make_unique<PostgresFiles>(std::move(options), limits);
  PARKD_RETURN_IF_ERROR(opened->start());
  return std::unique_ptr<FileStore>(std::move(opened));
}

}  // namespace parkd
