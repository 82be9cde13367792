-- 0015: files that clients upload (lib/store/file_store.h), kept here so that any daemon serves any of them.
--
-- Their tables are not partitioned, though messages are: a file ends by itself, when its owner deletes it or at an
-- instant of its own (and what a batch uses stays for longer), so a partition would seldom be dropped whole. What is over
-- is invisible at once by its row in parkd.files; housekeeping deletes its pieces in small portions, and autovacuum
-- gives their room to the next file.
-- needs: 14

CREATE TABLE parkd.files (
  id         text COLLATE "C" PRIMARY KEY,
  bytes      bigint NOT NULL DEFAULT 0,   -- of the pieces that are there
  begun_at   timestamptz NOT NULL,
  seen_at    timestamptz NOT NULL,        -- of an upload: when its process last told of it
  created_at timestamptz,                 -- when it was whole. NULL: an upload, which is no file; or removed
  expires_at timestamptz NOT NULL,        -- not there any more from then on. -infinity: removed, or given up
  tenant     text NOT NULL,
  filename   text,                        -- an upload has none yet
  purpose    text
) WITH (fillfactor = 70);
CREATE INDEX files_of_tenant ON parkd.files (tenant, created_at, id);
CREATE INDEX files_newest    ON parkd.files (created_at, id) WHERE created_at IS NOT NULL;
CREATE INDEX files_expiry    ON parkd.files (expires_at);
CREATE INDEX files_unseen    ON parkd.files (seen_at) WHERE created_at IS NULL AND isfinite(expires_at);   -- of uploads

-- No cascade: purge_files_v1 deletes pieces, and then their file. Whose row a hand deletes first is refused.
CREATE TABLE parkd.file_pieces (
  file_id  text COLLATE "C" NOT NULL REFERENCES parkd.files,
  n        int NOT NULL,                  -- from 0
  checksum bigint NOT NULL,               -- XXH3 of bytes, 64 bits, by the daemon that had them
  bytes    bytea NOT NULL,                -- 1 MiB, the last one fewer
  PRIMARY KEY (file_id, n)
) WITH (autovacuum_vacuum_scale_factor = 0.05, toast.autovacuum_vacuum_scale_factor = 0.05);
ALTER TABLE parkd.file_pieces ALTER COLUMN bytes SET STORAGE EXTERNAL;   -- not compressed: it costs more than it saves

-- --- uploads -------------------------------------------------------------------------------------

-- What counts of a tenant for its limits, but for the upload p_but. files_of_tenant.
CREATE FUNCTION parkd.tenant_files_v1(p_tenant text, p_but text, p_now timestamptz DEFAULT NULL)
RETURNS TABLE (files bigint, bytes bigint, uploads bigint) LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, parkd, pg_temp SET jit = off SET max_parallel_workers_per_gather = 0
SET enable_seqscan = off SET enable_bitmapscan = off AS $$
DECLARE v_now timestamptz := coalesce(p_now, clock_timestamp());
BEGIN
  RETURN QUERY SELECT count(f.created_at), coalesce(sum(f.bytes), 0)::bigint, count(*) - count(f.created_at)
    FROM parkd.files f WHERE f.tenant = p_tenant AND f.expires_at > v_now AND f.id <> p_but;
END $$;

-- The same again does nothing.
CREATE FUNCTION parkd.begin_upload_v1(p_id text, p_tenant text, p_life interval, p_now timestamptz DEFAULT NULL)
RETURNS void LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, parkd, pg_temp AS $$
DECLARE v_now timestamptz := coalesce(p_now, clock_timestamp());
BEGIN
  INSERT INTO parkd.files (id, tenant, begun_at, seen_at, expires_at) VALUES (p_id, p_tenant, v_now, v_now, v_now + p_life)
    ON CONFLICT (id) DO NOTHING;
END $$;

-- Piece p_n, of an upload that has p_before bytes without it. Answers how many it has with it; the same again answers the
-- same. NULL: there is no such upload, or it has others. files_pkey, file_pieces_pkey.
CREATE FUNCTION parkd.append_piece_v1(p_id text, p_n int, p_before bigint, p_checksum bigint, p_bytes bytea,
                                      p_now timestamptz DEFAULT NULL)
RETURNS bigint LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, parkd, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off AS $$
DECLARE v_now timestamptz := coalesce(p_now, clock_timestamp()); v_after bigint := p_before + octet_length(p_bytes);
BEGIN
  UPDATE parkd.files f SET bytes = v_after, seen_at = v_now
   WHERE f.id = p_id AND f.created_at IS NULL AND f.expires_at > v_now AND f.bytes = p_before;
  IF FOUND THEN
    INSERT INTO parkd.file_pieces VALUES (p_id, p_n, p_checksum, p_bytes);
    RETURN v_after;
  END IF;
  RETURN (SELECT f.bytes FROM parkd.files f JOIN parkd.file_pieces p ON p.file_id = f.id AND p.n = p_n
           WHERE f.id = p_id AND f.created_at IS NULL AND f.expires_at > v_now AND f.bytes = v_after
             AND p.checksum = p_checksum);
END $$;

-- Makes a file of an upload that has p_bytes bytes; the same again answers the same file. No row: there is none such.
-- files_pkey.
CREATE FUNCTION parkd.finish_upload_v1(p_id text, p_bytes bigint, p_filename text, p_purpose text, p_life interval,
                                       p_now timestamptz DEFAULT NULL)
RETURNS SETOF parkd.files LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, parkd, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off AS $$
DECLARE v_now timestamptz := coalesce(p_now, clock_timestamp());
BEGIN
  UPDATE parkd.files f SET created_at = v_now, expires_at = v_now + p_life, filename = p_filename, purpose = p_purpose
   WHERE f.id = p_id AND f.created_at IS NULL AND f.expires_at > v_now AND f.bytes = p_bytes;
  RETURN QUERY SELECT f.* FROM parkd.files f
    WHERE f.id = p_id AND f.created_at IS NOT NULL AND f.expires_at > v_now
      AND f.bytes = p_bytes AND f.filename = p_filename AND f.purpose = p_purpose;
END $$;

CREATE FUNCTION parkd.abandon_upload_v1(p_id text) RETURNS void LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, parkd, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off AS $$
BEGIN
  UPDATE parkd.files f SET expires_at = '-infinity' WHERE f.id = p_id AND f.created_at IS NULL;
END $$;

-- --- files ---------------------------------------------------------------------------------------
-- A p_tenant of '' is any tenant's.

-- One row where the file is: its bytes, and of its piece p_n what there is. files_pkey, file_pieces_pkey.
CREATE FUNCTION parkd.read_piece_v1(p_id text, p_tenant text, p_n bigint, p_now timestamptz DEFAULT NULL)
RETURNS TABLE (file_bytes bigint, checksum bigint, bytes bytea) LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, parkd, pg_temp SET jit = off SET enable_seqscan = off SET enable_bitmapscan = off
SET enable_hashjoin = off SET enable_mergejoin = off AS $$
BEGIN
  RETURN QUERY SELECT f.bytes, p.checksum, p.bytes
    FROM parkd.files f LEFT JOIN parkd.file_pieces p ON p.file_id = f.id AND p.n = p_n
   WHERE f.id = p_id AND (p_tenant = '' OR f.tenant = p_tenant) AND f.created_at IS NOT NULL
     AND f.expires_at > coalesce(p_now, clock_timestamp());
END $$;

-- Files behind p_after ('': from the first on), of one tenant or (NULL) of all. It walks past those of another purpose.
-- files_of_tenant, files_newest.
CREATE FUNCTION parkd.list_files_v1(p_tenant text, p_purpose text, p_after text, p_oldest_first bool, p_limit int,
                                    p_now timestamptz DEFAULT NULL)
RETURNS SETOF parkd.files LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, parkd, pg_temp SET jit = off SET max_parallel_workers_per_gather = 0
SET enable_seqscan = off SET enable_bitmapscan = off AS $$
DECLARE
  v_now timestamptz := coalesce(p_now, clock_timestamp());
  v_at  timestamptz := CASE WHEN p_oldest_first THEN '-infinity' ELSE 'infinity' END;
  v_id  text := '';
BEGIN
  IF p_after <> '' THEN
    SELECT f.created_at, f.id INTO v_at, v_id FROM parkd.files f WHERE f.id = p_after AND f.created_at IS NOT NULL;
    IF NOT FOUND THEN RETURN; END IF;
  END IF;
  IF p_tenant IS NULL AND p_oldest_first THEN
    RETURN QUERY SELECT f.* FROM parkd.files f
      WHERE f.created_at IS NOT NULL AND (f.created_at, f.id) > (v_at, v_id) AND f.expires_at > v_now
        AND (p_purpose = '' OR f.purpose = p_purpose)
      ORDER BY f.created_at, f.id LIMIT p_limit;
  ELSIF p_tenant IS NULL THEN
    RETURN QUERY SELECT f.* FROM parkd.files f
      WHERE f.created_at IS NOT NULL AND (f.created_at, f.id) < (v_at, v_id) AND f.expires_at > v_now
        AND (p_purpose = '' OR f.purpose = p_purpose)
      ORDER BY f.created_at DESC, f.id DESC LIMIT p_limit;
  ELSIF p_oldest_first THEN
    RETURN QUERY SELECT f.* FROM parkd.files f
      WHERE f.tenant = p_tenant AND (f.created_at, f.id) > (v_at, v_id) AND f.expires_at > v_now
        AND (p_purpose = '' OR f.purpose = p_purpose)
      ORDER BY f.created_at, f.id LIMIT p_limit;
  ELSE
    RETURN QUERY SELECT f.* FROM parkd.files f
      WHERE f.tenant = p_tenant AND (f.created_at, f.id) < (v_at, v_id) AND f.expires_at > v_now
        AND (p_purpose = '' OR f.purpose = p_purpose)
      ORDER BY f.created_at DESC, f.id DESC LIMIT p_limit;
  END IF;
END $$;

-- Whether there was one to remove. A row is marked, no more: quick however large the file is; and no list walks past it.
-- files_pkey.
CREATE FUNCTION parkd.remove_file_v1(p_id text, p_tenant text, p_now timestamptz DEFAULT NULL)
RETURNS bool LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, parkd, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off AS $$
BEGIN
  UPDATE parkd.files f SET expires_at = '-infinity', created_at = NULL
   WHERE f.id = p_id AND (p_tenant = '' OR f.tenant = p_tenant) AND f.created_at IS NOT NULL
     AND f.expires_at > coalesce(p_now, clock_timestamp());
  RETURN FOUND;
END $$;

-- A step of housekeeping, as those of 0008: deletes what was removed, and what had expired by p_now and by p_before (a
-- daemon's clock that does not leap). p_mine are the uploads of the process that calls, which are seen now; one that its
-- process has not told of for p_unseen is given up, for that process is dead. At most p_pieces pieces and a hundred files
-- a call. n_expired: files and uploads that are gone now because their time was over; is_more: something is left. Daemons
-- share the work: what one has locked the others pass over. files_pkey, files_unseen, files_expiry, file_pieces_pkey.
CREATE FUNCTION parkd.purge_files_v1(p_pieces int, p_mine text[], p_unseen interval, p_before timestamptz,
                                     p_now timestamptz DEFAULT NULL, OUT n_expired bigint, OUT is_more bool)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, parkd, pg_temp SET jit = off SET enable_seqscan = off SET enable_bitmapscan = off
SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
  c_files CONSTANT int := 100;
  v_now   timestamptz := coalesce(p_now, clock_timestamp());
  v_by    timestamptz := least(v_now, p_before);
  v_left  bigint := p_pieces;
  v_first int;
  v_id    text;
  n_files int := 0;
  n       bigint;
  r       record;
BEGIN
  n_expired := 0;
  is_more := false;
  FOREACH v_id IN ARRAY p_mine LOOP      -- one by one: of many at a time no plan is sure to begin with the ids
    UPDATE parkd.files f SET seen_at = v_now
     WHERE f.id = v_id AND f.created_at IS NULL AND f.seen_at < v_now - p_unseen / 4;
  END LOOP;
  UPDATE parkd.files f SET expires_at = v_by WHERE f.id = ANY (ARRAY(
    SELECT x.id FROM parkd.files x
     WHERE x.created_at IS NULL AND isfinite(x.expires_at) AND x.seen_at <= v_by - p_unseen
     ORDER BY x.seen_at LIMIT c_files FOR UPDATE SKIP LOCKED));
  FOR r IN SELECT f.id, f.expires_at FROM parkd.files f WHERE f.expires_at <= v_by
            ORDER BY f.expires_at LIMIT c_files FOR UPDATE SKIP LOCKED LOOP
    n_files := n_files + 1;
    SELECT p.n INTO v_first FROM parkd.file_pieces p WHERE p.file_id = r.id ORDER BY p.n LIMIT 1;
    IF FOUND THEN
      DELETE FROM parkd.file_pieces p WHERE p.file_id = r.id AND p.n < v_first + v_left;
      GET DIAGNOSTICS n = ROW_COUNT;
      v_left := v_left - n;
      IF EXISTS (SELECT FROM parkd.file_pieces p WHERE p.file_id = r.id) THEN
        is_more := true;
        EXIT;
      END IF;
    END IF;
    DELETE FROM parkd.files f WHERE f.id = r.id;
    n_expired := n_expired + isfinite(r.expires_at)::int;
  END LOOP;
  is_more := is_more OR n_files = c_files;
END $$;

-- --- who may see what -------------------------------------------------------------------------------

-- Numbers for people, counted now: what each tenant has. Files that are removed or over, and not yet deleted, do not count.
CREATE VIEW parkd.file_usage WITH (security_barrier) AS
SELECT f.tenant, count(f.created_at) AS files, coalesce(sum(f.bytes) FILTER (WHERE f.created_at IS NOT NULL), 0)::bigint AS bytes,
       count(*) - count(f.created_at) AS uploads,
       coalesce(sum(f.bytes) FILTER (WHERE f.created_at IS NULL), 0)::bigint AS upload_bytes,
       min(f.seen_at) FILTER (WHERE f.created_at IS NULL) AS uploads_seen_at,
       min(f.expires_at) FILTER (WHERE f.created_at IS NOT NULL) AS expires_first_at
  FROM parkd.files f
 WHERE f.expires_at > clock_timestamp()
   AND (f.tenant = (SELECT parkd.my_tenant()) OR (SELECT parkd.acts_for_any()) OR pg_has_role(session_user, 'parkd_monitor', 'member'))
 GROUP BY f.tenant;

-- A login sees the files of its tenant, and nobody's pieces: those are read through a daemon.
ALTER TABLE parkd.files ENABLE ROW LEVEL SECURITY;
ALTER TABLE parkd.file_pieces ENABLE ROW LEVEL SECURITY;
CREATE POLICY look ON parkd.files FOR SELECT TO parkd_submitter, parkd_reader
  USING (tenant = (SELECT parkd.my_tenant()) AND created_at IS NOT NULL AND expires_at > clock_timestamp());
CREATE POLICY every ON parkd.files FOR SELECT TO parkd_daemon, parkd_admin USING (true);
GRANT SELECT ON parkd.files TO parkd_submitter, parkd_reader, parkd_daemon, parkd_admin;
GRANT SELECT ON parkd.file_usage TO parkd_submitter, parkd_reader, parkd_daemon, parkd_admin, parkd_monitor;
DO $$
DECLARE f record;
BEGIN
  FOR f IN SELECT p.oid::regprocedure AS signature FROM pg_proc p
            WHERE p.pronamespace = 'parkd'::regnamespace
              AND p.proname IN ('tenant_files_v1', 'begin_upload_v1', 'append_piece_v1', 'finish_upload_v1', 'abandon_upload_v1',
                                'read_piece_v1', 'list_files_v1', 'remove_file_v1', 'purge_files_v1') LOOP
    EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', f.signature);
    EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO parkd_daemon', f.signature);
  END LOOP;
END $$;
