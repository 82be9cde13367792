// FileStore: files that clients upload in pieces and read in pieces (OpenAI's Files).
//
// An upload is begun, appended to, and finished: then, and only then, there is a file, whole and
// synced, until it is removed or expires. An upload that is not finished leaves nothing: abandoned
// by its caller, or when its process died (swept after kUploadLifeMax at the latest).
//
// The bytes are kept in pieces of kFilePieceBytes, each with a checksum (lib/base/xxh3.h) that is
// compared when it is read: damage is `corrupt`, never other bytes.
//
// Verbs are asynchronous and complete once (completion.h); they may be called from any thread,
// those of one upload one after the other. A `tenant` given to look at a file: empty is any
// tenant's (the caller is privileged); another's file answers like none. Expired files are
// invisible from the exact instant. After stop() every verb completes with unavailable.
//
// Implementations: lib/store/folder (a directory of one daemon's), lib/store/postgres (the database
// that daemons share). tests/store/files runs one suite on both.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "lib/base/clock.h"
#include "lib/base/health.h"
#include "lib/job/stored_file.h"
#include "lib/store/completion.h"

namespace parkd {

inline constexpr size_t kFilePieceBytes = 1 << 20;
// An upload that is not finished so long after it was begun is given up.
inline constexpr std::chrono::hours kUploadLifeMax{1};

struct FileLimits {
  int64_t file_bytes_max = int64_t{200} << 20;  // of one file
  int64_t tenant_bytes_max = int64_t{2} << 30;  // of a tenant's files and uploads
  int64_t tenant_files_max = 1000;
  int64_t tenant_uploads_max = 8;   // of a tenant at a time
  int64_t min_free_disk_bytes = 0;  // where the disk is this daemon's to look at
};

struct FileFilter {
  std::optional<std::string> tenant{};  // empty: all tenants'
  std::string purpose{};                // empty: any
  std::string after{};                  // the id of a file: those behind it; empty: from the first
  bool oldest_first = false;            // else the newest first
  int32_t limit = 100;
};

struct FileFigures {
  int64_t files = 0;
  int64_t bytes = 0;                    // of files
  int64_t uploads = 0;                  // begun and not finished
  std::vector<HealthNotice> notices{};  // of damage that was found
};

class FileStore {
 public:
  virtual ~FileStore() = default;

  // Answers the id that the file will have. Errors: exhausted (files, bytes or uploads of the
  // tenant, the disk; naming both numbers).
  virtual void begin_upload(std::string tenant, Completion<std::string> done) = 0;
  // The next piece: kFilePieceBytes, or fewer of the last. Errors: exhausted (the file's or the
  // tenant's bytes, the disk), not_found (given up, or no such upload). After an error the upload
  // can only be abandoned.
  virtual void append(std::string id, std::string piece,
                      Completion<int64_t> done) = 0;  // bytes now
  // Makes it a file. Errors: invalid (param "file", "purpose" or "expires_after"), not_found.
  virtual void finish_upload(std::string id, FileSpec spec, Completion<StoredFile> done) = 0;
  // As if it had not been begun. Nothing happens where there is no such upload.
  virtual void abandon_upload(std::string id) = 0;

  virtual void get_file(std::string id, std::string tenant, Completion<StoredFile> done) = 0;
  // The bytes from piece `n` (from 0) of the file: empty behind the last. Errors: not_found,
  // corrupt.
  virtual void read_piece(std::string id, std::string tenant, int64_t n,
                          Completion<std::string> done) = 0;
  // By creation, then id. Errors: invalid (param = "after": no such file, or none of the tenant's).
  virtual void list_files(FileFilter filter, Completion<std::vector<StoredFile>> done) = 0;
  // The file does not expire before `until` from now on; answers it. Errors: not_found.
  virtual void keep_file(std::string id, std::string tenant, WallTime until,
                         Completion<StoredFile> done) = 0;
  // Answers the file as it was. Errors: not_found.
  virtual void remove_file(std::string id, std::string tenant, Completion<StoredFile> done) = 0;

  // Housekeeping, every few seconds: drops what has expired and uploads that were given up. Answers
  // how many. Bounded work a call.
  virtual void purge_files(Completion<int64_t> done) = 0;
  virtual void file_figures(Completion<FileFigures> done) = 0;

  // Completes what was accepted. Blocks; idempotent.
  virtual void stop() = 0;
};

}  // namespace parkd
