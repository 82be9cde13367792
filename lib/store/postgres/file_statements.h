// The statements of files, each with the index it lives on. The verbs are functions of migrations
// 0015 and 0016.
#pragma once

#include "lib/store/postgres/connection.h"
#include "lib/store/postgres/rows.h"

namespace parkd::file_sql {

// files_of_tenant
inline constexpr Statement kTenantFiles{
    "tenant_files",
    "SELECT files, bytes, uploads FROM parkd.tenant_files_v1($1, $2, parkd.from_us_v1($3))"};
inline constexpr Statement kBeginUpload{"begin_upload",
                                        "SELECT parkd.begin_upload_v1($1, $2, make_interval(secs "
                                        "=> $3), parkd.from_us_v1($4))"};
// files_pkey, file_pieces_pkey
inline constexpr Statement kAppendPiece{
    "append_piece",
    "SELECT parkd.append_piece_v1($1, $2, $3, $4, $5::bytea, parkd.from_us_v1($6)) AS bytes"};
// files_pkey
inline constexpr Statement kFinishUpload{
    "finish_upload", joined([] {
      return "SELECT " + list(kFileColumns) +
             " FROM parkd.finish_upload_v1($1, $2, $3, $4, make_interval(secs => $5), "
             "parkd.from_us_v1($6))";
    })};
inline constexpr Statement kAbandonUpload{"abandon_upload", "SELECT parkd.abandon_upload_v1($1)"};
// files_pkey
inline constexpr Statement kGetFile{
    "get_file", joined([] {
      return "SELECT " + list(kFileColumns) +
             " FROM parkd.files WHERE id = $1 AND ($2 = '' OR tenant = $2) AND created_at IS NOT "
             "NULL AND expires_at > parkd.now_v1($3)";
    })};
// files_pkey, file_pieces_pkey
inline constexpr Statement kReadPiece{
    "read_piece",
    "SELECT file_bytes, checksum, encode(bytes, 'hex') AS piece FROM parkd.read_piece_v1($1, $2, "
    "$3, parkd.from_us_v1($4))"};
// files_of_tenant, files_newest
inline constexpr Statement kListFiles{
    "list_files", joined([] {
      return "SELECT " + list(kFileColumns) +
             " FROM parkd.list_files_v1($1, $2, $3, $4, $5, parkd.from_us_v1($6))";
    })};
// files_pkey
inline constexpr Statement kKeepFile{
    "keep_file", joined([] {
      return "SELECT " + list(kFileColumns) +
             " FROM parkd.keep_file_v1($1, $2, parkd.from_us_v1($3), parkd.from_us_v1($4))";
    })};
// files_pkey
inline constexpr Statement kRemoveFile{
    "remove_file", "SELECT parkd.remove_file_v1($1, $2, parkd.from_us_v1($3)) AS removed"};
// files_pkey, files_unseen, files_expiry, file_pieces_pkey
inline constexpr Statement kPurgeFiles{
    "purge_files",
    "SELECT n_expired, is_more FROM parkd.purge_files_v1($1, $2::text[], make_interval(secs => "
    "$3), parkd.from_us_v1($4), parkd.from_us_v1($5))"};
// Each file's row once (of a tenant there are as many as its limit); no piece.
inline constexpr Statement kFileFigures{
    "file_figures",
    "SELECT count(created_at) AS files, coalesce(sum(bytes) FILTER (WHERE created_at IS NOT NULL), "
    "0)::bigint AS bytes, count(*) - count(created_at) AS uploads FROM parkd.files WHERE "
    "expires_at > parkd.now_v1($1)"};

}  // namespace parkd::file_sql
