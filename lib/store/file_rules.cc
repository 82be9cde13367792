#include "lib/store/file_rules.h"

#include <utility>

#include "lib/base/json_reader.h"
#include "lib/base/text.h"
#include "lib/job/bounds.h"

namespace parkd {
namespace {

constexpr std::string_view kIdPrefix = "file-";
constexpr int kIdBytes = 16;

}  // namespace

std::string new_file_id() {
  return std::string(kIdPrefix) + random_hex(kIdBytes);
}

bool is_file_id(std::string_view text) {
  return text.size() == kIdPrefix.size() + 2 * kIdBytes &&
         text.substr(0, kIdPrefix.size()) == kIdPrefix &&
         text.find_first_not_of("0123456789abcdef", kIdPrefix.size()) == text.npos;
}

Status check_file(const FileSpec& spec) {
  if (spec.filename.empty()) {
    return invalid_param("file", "the part file has no filename: send one that ends in .jsonl");
  }
  if (spec.filename.size() > kTextBytesMax) {
    return invalid_param("file", "the filename has " + std::to_string(spec.filename.size()) +
                                     " bytes, the limit is " + std::to_string(kTextBytesMax));
  }
  if (!is_valid_utf8(spec.filename) || spec.filename.find('\0') != spec.filename.npos) {
    return invalid_param("file", "the filename is not UTF-8 text without NUL");
  }
  if (spec.purpose != kPurposeBatch) {
    return invalid_param("purpose", spec.purpose.empty()
                                        ? std::string("purpose is missing: parkd takes \"batch\"")
                                        : "purpose is \"" + shown_name(spec.purpose) +
                                              "\"; parkd takes \"batch\" alone");
  }
  constexpr std::string_view kEnding = ".jsonl";
  if (spec.filename.size() < kEnding.size() ||
      spec.filename.substr(spec.filename.size() - kEnding.size()) != kEnding) {
    return invalid_param("file", "the filename is \"" + shown_name(spec.filename) +
                                     "\"; the file of a batch has one request a line and a name "
                                     "that ends in .jsonl");
  }
  if (spec.life && (*spec.life < kFileLifeMin || *spec.life > kFileLifeMax)) {
    return invalid_param("expires_after",
                         "expires_after[seconds] is " + std::to_string(spec.life->count()) +
                             ", it must be from " + std::to_string(kFileLifeMin.count()) + " to " +
                             std::to_string(kFileLifeMax.count()));
  }
  return {};
}

StoredFile new_file(std::string id, std::string tenant, FileSpec spec, int64_t bytes,
                    WallTime now) {
  StoredFile file;
  file.id = std::move(id);
  file.tenant = std::move(tenant);
  file.filename = std::move(spec.filename);
  file.purpose = std::move(spec.purpose);
  file.bytes = bytes;
  file.created_at = now;
  file.expires_at = now + spec.life.value_or(kFileLifeDefault);
  return file;
}

Status check_upload(const std::string& tenant, const TenantFiles& has, const FileLimits& limits) {
  if (has.uploads >= limits.tenant_uploads_max) {
    return exhausted("tenant " + tenant + " has " + std::to_string(has.uploads) +
                     " uploads under way, the limit is " +
                     std::to_string(limits.tenant_uploads_max) +
                     " (daemon.files.max_uploads): wait until one has ended");
  }
  if (has.files + has.uploads >= limits.tenant_files_max) {
    return exhausted("tenant " + tenant + " has " + std::to_string(has.files + has.uploads) +
                     " files, the limit is " + std::to_string(limits.tenant_files_max) +
                     " (daemon.files.max_files): delete some");
  }
  return check_piece(tenant, has, 0, 1, limits);
}

Status check_piece(const std::string& tenant, const TenantFiles& has, int64_t upload_bytes,
                   size_t more_bytes, const FileLimits& limits) {
  const auto more = static_cast<int64_t>(more_bytes);
  if (upload_bytes + more > limits.file_bytes_max) {
    return invalid_param("file", "the file has more than " + std::to_string(limits.file_bytes_max) +
                                     " bytes, the limit of one file (daemon.files.max_file_mb); " +
                                     std::to_string(upload_bytes + more) + " have come so far")
        .with_error_code(kFileTooLarge);
  }
  if (has.bytes + more > limits.tenant_bytes_max) {
    return exhausted("the files of tenant " + tenant + " would have " +
                     std::to_string(has.bytes + more) + " bytes, the limit is " +
                     std::to_string(limits.tenant_bytes_max) +
                     " (daemon.files.max_total_mb): delete some");
  }
  return {};
}

Status no_such_file(std::string_view id) {
  return not_found("there is no file " + shown_name(id));
}

Status no_such_upload(std::string_view id) {
  return not_found("there is no upload " + std::string(id) + " any more: one that is not whole " +
                   "within " + std::to_string(kUploadLifeMax.count()) +
                   " h is given up. Send the file again");
}

Status no_file_to_list_after(std::string_view id) {
  return invalid_param("after", "after is \"" + shown_name(id) + "\", which is not a file");
}

Status piece_is_damaged(std::string_view id, int64_t n) {
  return corrupt("file " + std::string(id) + " is damaged: its bytes from " +
                 std::to_string(n * static_cast<int64_t>(kFilePieceBytes)) +
                 " on are not those that were uploaded. Delete it and upload it again");
}

}  // namespace parkd
