-- How far they have come is nowhere else, and without it others could take their results.
DO $$
DECLARE n bigint;
BEGIN
  SELECT count(*) INTO n FROM parkd.file_batches;
  IF n > 0 THEN
    RAISE EXCEPTION '% batches are of files (parkd.file_batches): going down would lose how far they have come', n
      USING HINT = 'When nobody needs them any more: DELETE FROM parkd.batches WHERE stage IS NOT NULL;';
  END IF;
END $$;
DROP TRIGGER jobs_after_insert ON parkd.jobs;
CREATE TRIGGER jobs_after_insert AFTER INSERT ON parkd.jobs REFERENCING NEW TABLE AS new_rows
  FOR EACH STATEMENT EXECUTE FUNCTION parkd.after_insert_v1();
-- The functions of 0006 and 0007, and the view of 0010, again.
CREATE OR REPLACE FUNCTION parkd.take_v1(p_tenant text, p_key text, p_sequences bigint[], p_now timestamptz DEFAULT NULL)
RETURNS SETOF parkd.mailbox LANGUAGE sql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, parkd, pg_temp SET jit = off
SET enable_seqscan = off SET enable_bitmapscan = off AS $$
  DELETE FROM parkd.mailbox m
   WHERE m.mailbox_key = p_key AND m.tenant = p_tenant AND m.sequence = ANY (ARRAY(
     SELECT x.sequence FROM parkd.mailbox x
      WHERE x.mailbox_key = p_key AND x.tenant = p_tenant AND x.sequence = ANY (p_sequences)
        AND x.expires_at > coalesce(p_now, clock_timestamp()) FOR UPDATE SKIP LOCKED))
  RETURNING m.*;
$$;
CREATE OR REPLACE FUNCTION parkd.open_batch_v1(p_tenant text, p_name text, p_metadata json, p_key text, p_deadline timestamptz,
                                    p_retention interval, p_retention_default interval, p_find_only bool DEFAULT false,
                                    p_now timestamptz DEFAULT NULL, p_max_open bigint DEFAULT NULL)
RETURNS TABLE (existed bool, conflict bool, batch parkd.batches, n_open bigint, max_open bigint) LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, parkd, pg_temp SET jit = off
SET enable_seqscan = off SET enable_bitmapscan = off AS $$
DECLARE
  v_now  timestamptz := coalesce(p_now, clock_timestamp());
  v_hash text := encode(sha256(convert_to(parkd.value_text_v1(jsonb_build_array(coalesce(p_name, ''), p_metadata::jsonb,
                   parkd.us_v1(p_deadline), (date_part('epoch', p_retention) * 1e6)::bigint)), 'UTF8')), 'hex');
BEGIN
  existed := false; conflict := false;
  IF NOT p_find_only THEN
    max_open := least(p_max_open, (SELECT s.max_open_batches FROM parkd.settings s));
    n_open := (SELECT count(*) FROM (SELECT FROM parkd.batches b WHERE b.tenant = p_tenant AND b.finished_at IS NULL LIMIT max_open) x);
  END IF;
  IF n_open < max_open THEN
    INSERT INTO parkd.batches AS b (tenant, name, metadata, idempotency_key, content_hash, created_at, deadline, retention)
      VALUES (p_tenant, nullif(p_name, ''), p_metadata, nullif(p_key, ''), CASE WHEN p_key <> '' THEN v_hash END, v_now,
              coalesce(p_deadline, v_now + interval '24 hours'), coalesce(p_retention, p_retention_default))
      ON CONFLICT (tenant, idempotency_key) WHERE idempotency_key IS NOT NULL DO NOTHING
      RETURNING b.* INTO batch;
    IF FOUND THEN RETURN NEXT; RETURN; END IF;
  END IF;
  SELECT b.* INTO batch FROM parkd.batches b WHERE b.tenant = p_tenant AND b.idempotency_key = p_key;
  IF NOT FOUND THEN
    IF n_open >= max_open THEN batch := NULL; RETURN NEXT; END IF;
    RETURN;
  END IF;
  existed := true;
  conflict := (batch).content_hash <> v_hash;
  RETURN NEXT;
END $$;
DROP VIEW parkd.batch_status;
CREATE VIEW parkd.batch_status WITH (security_barrier) AS
SELECT b.id, b.tenant, b.name, b.total, b.completed, b.failed, b.cancelled, b.deadline_missed, b.quarantined, b.truncated,
       b.total - b.completed - b.failed - b.cancelled - b.deadline_missed - b.quarantined AS unfinished,
       CASE WHEN b.finished_at IS NOT NULL THEN 'finished' WHEN b.cancel_at IS NOT NULL THEN 'cancelling'
            WHEN b.sealed_at IS NOT NULL THEN 'in_progress' ELSE 'open' END AS status,
       b.created_at, b.sealed_at, b.cancel_at, b.finished_at, b.deadline, b.retention, b.metadata, b.deleted
  FROM parkd.batches b WHERE b.tenant = (SELECT parkd.my_tenant()) OR (SELECT parkd.acts_for_any());
GRANT SELECT ON parkd.batch_status TO parkd_submitter, parkd_reader, parkd_daemon, parkd_admin;
DROP FUNCTION parkd.after_insert_v2(), parkd.list_batches_v2(text, text, int, bool, text),
  parkd.keep_file_v1(text, text, timestamptz, timestamptz),
  parkd.advance_batch_v1(text, text, text, bigint, bigint, json, bigint, bigint, bool, bigint, bigint, bool, bigint, bigint,
                         bigint, bigint, timestamptz),
  parkd.next_batch_work_v1(text, interval, text[], text[], timestamptz),
  parkd.open_batch_v2(text, text, json, text, timestamptz, interval, interval, bool, timestamptz, bigint, text, text, text, text, int);
DROP TABLE parkd.file_batches;
ALTER TABLE parkd.batches DROP COLUMN stage;
DROP TYPE parkd.file_stage;
