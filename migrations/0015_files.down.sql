-- Files are nowhere else.
DO $$
DECLARE n bigint;
BEGIN
  SELECT count(*) INTO n FROM parkd.files f WHERE f.created_at IS NOT NULL AND f.expires_at > clock_timestamp();
  IF n > 0 THEN
    RAISE EXCEPTION 'clients have % files here (parkd.files): going down would lose them', n
      USING HINT = 'When nobody needs them any more: DELETE FROM parkd.file_pieces; DELETE FROM parkd.files;';
  END IF;
END $$;
DROP VIEW parkd.file_usage;
DROP FUNCTION parkd.purge_files_v1(int, text[], interval, timestamptz, timestamptz),
  parkd.remove_file_v1(text, text, timestamptz),
  parkd.list_files_v1(text, text, text, bool, int, timestamptz),
  parkd.read_piece_v1(text, text, bigint, timestamptz),
  parkd.abandon_upload_v1(text),
  parkd.finish_upload_v1(text, bigint, text, text, interval, timestamptz),
  parkd.append_piece_v1(text, int, bigint, bigint, bytea, timestamptz),
  parkd.begin_upload_v1(text, text, interval, timestamptz),
  parkd.tenant_files_v1(text, text, timestamptz);
DROP TABLE parkd.file_pieces, parkd.files;
