// The verbs of files: by verbs.h's rules. Each can be sent again when its commit was not answered.
// Ids are looked at first: what has not their form names nothing.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "lib/store/file_rules.h"
#include "lib/store/file_store.h"
#include "lib/store/postgres/connection.h"
#include "lib/store/postgres/verbs.h"

namespace parkd {

// What counts for the limits of a tenant, but for the upload `but`.
Result<TenantFiles> tenant_files(Connection& connection, const std::string& tenant,
                                 const std::string& but, Now now);
Status begin_upload_row(Connection& connection, const std::string& id, const std::string& tenant,
                        Now now);
// The piece behind `before` bytes. Errors: not_found (given up, or it has not these bytes).
Result<int64_t> append_piece_row(Connection& connection, const std::string& id, int64_t before,
                                 std::string_view piece, Now now);
// A checked spec. Errors: not_found, as above.
Result<StoredFile> finish_upload_row(Connection& connection, const std::string& id, int64_t bytes,
                                     const FileSpec& spec, Now now);
Status abandon_upload_row(Connection& connection, const std::string& id);

Result<StoredFile> get_file_row(Connection& connection, const std::string& id,
                                const std::string& tenant, Now now);
Result<std::string> read_piece_row(Connection& connection, const std::string& id,
                                   const std::string& tenant, int64_t n, Now now);
Result<std::vector<StoredFile>> list_file_rows(Connection& connection, const FileFilter& filter,
                                               Now now);
Result<StoredFile> keep_file_row(Connection& connection, const std::string& id,
                                 const std::string& tenant, WallTime until, Now now);
// Whether it was there: false also where the same was sent before.
Result<bool> remove_file_row(Connection& connection, const std::string& id,
                             const std::string& tenant, Now now);

// One portion of what is to be deleted; `before`: a DropClock's. `mine`: this process's uploads,
// which are not given up for being unseen.
struct PurgedFiles {
  int64_t n_expired = 0;
  bool is_more = false;
};
Result<PurgedFiles> purge_file_rows(Connection& connection, const std::vector<std::string>& mine,
                                    WallTime before, Now now);
Result<FileFigures> count_files(Connection& connection, Now now);  // without notices

}  // namespace parkd
