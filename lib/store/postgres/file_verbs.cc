#include "lib/store/postgres/file_verbs.h"

#include <algorithm>
#include <chrono>

#include "lib/base/xxh3.h"
#include "lib/store/postgres/file_statements.h"
#include "lib/store/postgres/pg_text.h"
#include "lib/store/postgres/postgres_files.h"
#include "lib/store/postgres/rows.h"

namespace parkd {
namespace {

constexpr auto kPieceBytes = static_cast<int64_t>(kFilePieceBytes);
constexpr int64_t kPurgedPieces = 64;  // a transaction: some ten milliseconds

// Numbers above 2^63 do not fit a bigint: the same bits.
int64_t checksum_of(std::string_view piece) {
  return static_cast<int64_t>(xxh3_64(piece));
}

// data_corrupted, index_corrupted: what the server itself found wrong.
bool found_damage(const Connection& connection) {
  return connection.sqlstate() == "XX001" || connection.sqlstate() == "XX002";
}

}  // namespace

// --- uploads

Result<TenantFiles> tenant_files(Connection& connection, const std::string& tenant,
                                 const std::string& but, Now now) {
  Params params;
  params.add(encode_text(tenant)).add(but).add(now);
  PARKD_ASSIGN_OR_RETURN(const pqxx::result rows, connection.run(file_sql::kTenantFiles, params));
  if (rows.size() != 1) return internal_error("tenant_files answered no row");
  return TenantFiles{integer(rows[0], "files"), integer(rows[0], "bytes"),
                     integer(rows[0], "uploads")};
}

Status begin_upload_row(Connection& connection, const std::string& id, const std::string& tenant,
                        Now now) {
  Params params;
  params.add(id)
      .add(encode_text(tenant))
      .add(std::chrono::seconds(kUploadLifeMax).count())
      .add(now);
  return connection.run(file_sql::kBeginUpload, params).status();
}

Result<int64_t> append_piece_row(Connection& connection, const std::string& id, int64_t before,
                                 std::string_view piece, Now now) {
  Params params;
  params.add(id)
      .add(before / kPieceBytes)
      .add(before)
      .add(checksum_of(piece))
      .add(bytea_text(piece))
      .add(now);
  PARKD_ASSIGN_OR_RETURN(const pqxx::result rows, connection.run(file_sql::kAppendPiece, params));
  const auto bytes = only_field(rows).optional_integer();
  if (!bytes) return no_such_upload(id);
  return *bytes;
}

Result<StoredFile> finish_upload_row(Connection& connection, const std::string& id, int64_t bytes,
                                     const FileSpec& spec, Now now) {
  const StoredFile file = new_file(id, "", spec, bytes, WallTime());  // as if it were 1970
  const auto life =
      std::chrono::duration_cast<std::chrono::seconds>(file.expires_at - file.created_at);
  Params params;
  params.add(id)
      .add(bytes)
      .add(encode_text(file.filename))
      .add(encode_text(file.purpose))
      .add(life.count())
      .add(now);
  PARKD_ASSIGN_OR_RETURN(const pqxx::result rows, connection.run(file_sql::kFinishUpload, params));
  if (rows.empty()) return no_such_upload(id);
  return parse_file(rows[0]);
}

Status abandon_upload_row(Connection& connection, const std::string& id) {
  if (!is_file_id(id)) return {};
  Params params;
  params.add(id);
  return connection.run(file_sql::kAbandonUpload, params).status();
}

// --- files

Result<StoredFile> get_file_row(Connection& connection, const std::string& id,
                                const std::string& tenant, Now now) {
  if (!is_file_id(id)) return no_such_file(id);
  Params params;
  params.add(id).add(encode_text(tenant)).add(now);
  PARKD_ASSIGN_OR_RETURN(const pqxx::result rows, connection.run(file_sql::kGetFile, params));
  if (rows.empty()) return no_such_file(id);
  return parse_file(rows[0]);
}

Result<std::string> read_piece_row(Connection& connection, const std::string& id,
                                   const std::string& tenant, int64_t n, Now now) {
  if (!is_file_id(id)) return no_such_file(id);
  Params params;
  params.add(id).add(encode_text(tenant)).add(n).add(now);
  const auto rows = connection.run(file_sql::kReadPiece, params);
  if (!rows.ok() && found_damage(connection)) return piece_is_damaged(id, n);
  if (!rows.ok()) return rows.status();
  if (rows->empty()) return no_such_file(id);
  const pqxx::row row = (*rows)[0];
  const int64_t bytes = integer(row, "file_bytes");
  if (n < 0 || n >= (bytes + kPieceBytes - 1) / kPieceBytes) return std::string();
  std::string piece = bytes_of_hex(field(row, "piece").bytes);
  const int64_t size = std::min(bytes - n * kPieceBytes, kPieceBytes);
  if (is_null(row, "piece") || static_cast<int64_t>(piece.size()) != size ||
      checksum_of(piece) != integer(row, "checksum")) {
    return piece_is_damaged(id, n);
  }
  return piece;
}

Result<std::vector<StoredFile>> list_file_rows(Connection& connection, const FileFilter& filter,
                                               Now now) {
  if (!filter.after.empty()) {
    const auto after = get_file_row(connection, filter.after, filter.tenant.value_or(""), now);
    if (!after.ok() && after.status().code() != StatusCode::not_found) return after.status();
    if (!after.ok()) return no_file_to_list_after(filter.after);
  }
  Params params;
  filter.tenant ? params.add(encode_text(*filter.tenant)) : params.add_null();
  params.add(encode_text(filter.purpose))
      .add(filter.after)
      .add(std::string(filter.oldest_first ? "t" : "f"))
      .add(int64_t{std::max(filter.limit, 0)})
      .add(now);
  PARKD_ASSIGN_OR_RETURN(const pqxx::result rows, connection.run(file_sql::kListFiles, params));
  std::vector<StoredFile> files;
  for (const auto& row : rows) files.push_back(parse_file(row));
  return files;
}

Result<StoredFile> keep_file_row(Connection& connection, const std::string& id,
                                 const std::string& tenant, WallTime until, Now now) {
  if (!is_file_id(id)) return no_such_file(id);
  Params params;
  params.add(id).add(encode_text(tenant)).add(to_unix_us(until)).add(now);
  PARKD_ASSIGN_OR_RETURN(const pqxx::result rows, connection.run(file_sql::kKeepFile, params));
  if (rows.empty()) return no_such_file(id);
  return parse_file(rows[0]);
}

Result<bool> remove_file_row(Connection& connection, const std::string& id,
                             const std::string& tenant, Now now) {
  if (!is_file_id(id)) return false;
  Params params;
  params.add(id).add(encode_text(tenant)).add(now);
  PARKD_ASSIGN_OR_RETURN(const pqxx::result rows, connection.run(file_sql::kRemoveFile, params));
  return only_field(rows).flag();
}

// --- housekeeping

Result<PurgedFiles> purge_file_rows(Connection& connection, const std::vector<std::string>& mine,
                                    WallTime before, Now now) {
  ArrayText ids;
  for (const std::string& id : mine) ids.add(id);
  Params params;
  params.add(kPurgedPieces)
      .add(ids.take())
      .add(kUploadUnseenMax.count())
      .add(to_unix_us(before))
      .add(now);
  PARKD_ASSIGN_OR_RETURN(const pqxx::result rows, connection.run(file_sql::kPurgeFiles, params));
  if (rows.size() != 1) return internal_error("purge_files answered no row");
  return PurgedFiles{integer(rows[0], "n_expired"), flag(rows[0], "is_more")};
}

Result<FileFigures> count_files(Connection& connection, Now now) {
  Params params;
  params.add(now);
  PARKD_ASSIGN_OR_RETURN(const pqxx::result rows, connection.run(file_sql::kFileFigures, params));
  if (rows.size() != 1) return internal_error("file_figures answered no row");
  FileFigures figures;
  figures.files = integer(rows[0], "files");
  figures.bytes = integer(rows[0], "bytes");
  figures.uploads = integer(rows[0], "uploads");
  return figures;
}

}  // namespace parkd
