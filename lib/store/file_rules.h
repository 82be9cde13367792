// What every FileStore decides alike: which specs are refused, when a file expires, and the words
// of refusals. Pure functions, any thread (new_file_id also draws random bytes).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "lib/base/clock.h"
#include "lib/base/status.h"
#include "lib/job/stored_file.h"
#include "lib/store/file_store.h"

namespace parkd {

std::string new_file_id();
// Whether a text has the form of an id; what has not names no file.
bool is_file_id(std::string_view text);

// The first thing wrong with it, param = the field of the upload.
Status check_file(const FileSpec& spec);
// The file a checked spec becomes.
StoredFile new_file(std::string id, std::string tenant, FileSpec spec, int64_t bytes, WallTime now);

// What a tenant has now, uploads included.
struct TenantFiles {
  int64_t files = 0;
  int64_t bytes = 0;
  int64_t uploads = 0;
};
// Whether one more upload may begin, and whether `more_bytes` may be added to one that has
// `upload_bytes`. Errors: exhausted; invalid where the file itself is too large (413).
Status check_upload(const std::string& tenant, const TenantFiles& has, const FileLimits& limits);
Status check_piece(const std::string& tenant, const TenantFiles& has, int64_t upload_bytes,
                   size_t more_bytes, const FileLimits& limits);

// OpenAI's word for a file or request that is too large, which answers with 413.
inline constexpr std::string_view kFileTooLarge = "file_too_large";

Status no_such_file(std::string_view id);
Status no_such_upload(std::string_view id);
Status no_file_to_list_after(std::string_view id);
Status piece_is_damaged(std::string_view id, int64_t n);

}  // namespace parkd
