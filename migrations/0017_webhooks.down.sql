-- Which ends are to be told is nowhere else.
DO $$
DECLARE n bigint;
BEGIN
  SELECT count(*) INTO n FROM parkd.file_batches WHERE webhook_status = 'pending';
  IF n > 0 THEN
    RAISE EXCEPTION '% batches have webhooks that have still to be told of their end (parkd.file_batches.webhook_url)', n
      USING HINT = 'When nobody waits for them any more: UPDATE parkd.file_batches SET webhook_status = ''given_up'', webhook_at = NULL WHERE webhook_status = ''pending'';';
  END IF;
END $$;
-- The functions and the view of 0016, again.
CREATE OR REPLACE FUNCTION parkd.open_batch_v2(p_tenant text, p_name text, p_metadata json, p_key text, p_deadline timestamptz,
                                    p_retention interval, p_retention_default interval, p_find_only bool DEFAULT false,
                                    p_now timestamptz DEFAULT NULL, p_max_open bigint DEFAULT NULL, p_file text DEFAULT NULL,
                                    p_endpoint text DEFAULT NULL, p_window text DEFAULT NULL, p_retried_from text DEFAULT NULL,
                                    p_max_tokens int DEFAULT NULL)
RETURNS TABLE (existed bool, conflict bool, batch parkd.batches, file parkd.file_batches, n_open bigint, max_open bigint)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, parkd, pg_temp SET jit = off
SET enable_seqscan = off SET enable_bitmapscan = off AS $$
DECLARE
  v_now  timestamptz := coalesce(p_now, clock_timestamp());
  v_hash text := encode(sha256(convert_to(parkd.value_text_v1(jsonb_build_array(coalesce(p_name, ''), p_metadata::jsonb,
                   CASE WHEN p_file IS NULL THEN parkd.us_v1(p_deadline) END, (date_part('epoch', p_retention) * 1e6)::bigint)
                 || CASE WHEN p_file IS NULL THEN '[]' ELSE jsonb_build_array(p_file, p_endpoint, p_window,
                      coalesce(p_retried_from, ''), p_max_tokens) END), 'UTF8')), 'hex');
BEGIN
  existed := false; conflict := false;
  IF NOT p_find_only THEN
    max_open := least(p_max_open, (SELECT s.max_open_batches FROM parkd.settings s));
    n_open := (SELECT count(*) FROM (SELECT FROM parkd.batches b WHERE b.tenant = p_tenant AND b.finished_at IS NULL LIMIT max_open) x);
  END IF;
  IF n_open < max_open THEN
    INSERT INTO parkd.batches AS b (tenant, name, metadata, idempotency_key, content_hash, created_at, deadline, retention, stage)
      VALUES (p_tenant, nullif(p_name, ''), p_metadata, nullif(p_key, ''), CASE WHEN p_key <> '' THEN v_hash END, v_now,
              coalesce(p_deadline, v_now + interval '24 hours'), coalesce(p_retention, p_retention_default),
              CASE WHEN p_file IS NOT NULL THEN 'validating'::parkd.file_stage END)
      ON CONFLICT (tenant, idempotency_key) WHERE idempotency_key IS NOT NULL DO NOTHING
      RETURNING b.* INTO batch;
    IF FOUND THEN
      IF p_file IS NOT NULL THEN
        INSERT INTO parkd.file_batches AS f (batch_id, input_file_id, endpoint, completion_window, retried_from, max_tokens)
          VALUES ((batch).id, p_file, p_endpoint, p_window, nullif(p_retried_from, ''), p_max_tokens) RETURNING f.* INTO file;
      END IF;
      RETURN NEXT;
      RETURN;
    END IF;
  END IF;
  SELECT b.* INTO batch FROM parkd.batches b WHERE b.tenant = p_tenant AND b.idempotency_key = p_key;
  IF NOT FOUND THEN
    IF n_open >= max_open THEN batch := NULL; RETURN NEXT; END IF;
    RETURN;
  END IF;
  SELECT f.* INTO file FROM parkd.file_batches f WHERE f.batch_id = (batch).id;
  existed := true;
  conflict := (batch).content_hash <> v_hash;
  RETURN NEXT;
END $$;
CREATE OR REPLACE FUNCTION parkd.advance_batch_v1(
  p_id text, p_stage text, p_model text, p_lines bigint, p_reached bigint, p_faults json,
  p_output_lines bigint, p_output_bytes bigint, p_output_deleted bool, p_errors_lines bigint, p_errors_bytes bigint,
  p_errors_deleted bool, p_input_tokens bigint, p_cached_tokens bigint, p_output_tokens bigint, p_reasoning_tokens bigint,
  p_now timestamptz DEFAULT NULL)
RETURNS TABLE (batch parkd.batches, file parkd.file_batches) LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, parkd, pg_temp SET jit = off SET enable_seqscan = off SET enable_bitmapscan = off AS $$
DECLARE
  v_now     timestamptz := coalesce(p_now, clock_timestamp());
  v_to      parkd.file_stage := p_stage;
  v_faults  json := p_faults;
  v_goes_on bool;     -- who works on it
BEGIN
  SELECT b.* INTO batch FROM parkd.batches b WHERE b.id = p_id FOR UPDATE;
  IF NOT FOUND THEN RETURN; END IF;
  SELECT f.* INTO file FROM parkd.file_batches f WHERE f.batch_id = p_id FOR UPDATE;
  IF batch.stage = 'ended' THEN     -- for good, but that its result files can be deleted
    IF v_to = 'ended' AND (p_output_deleted > file.output_deleted OR p_errors_deleted > file.errors_deleted) THEN
      UPDATE parkd.file_batches f SET output_deleted = f.output_deleted OR p_output_deleted,
             errors_deleted = f.errors_deleted OR p_errors_deleted
       WHERE f.batch_id = p_id RETURNING f.* INTO file;
    END IF;
    RETURN NEXT;
    RETURN;
  END IF;
  IF batch.sealed_at IS NOT NULL AND batch.stage <= 'expanding' AND v_to IN ('expanding', 'failed') THEN
    v_to := 'running'; v_faults := NULL;
  END IF;
  IF (v_to > batch.stage OR v_to = batch.stage AND p_reached >= file.reached)      -- of no file: neither
     AND NOT (v_to = 'ended' AND batch.finished_at IS NULL) AND NOT (v_to = 'failed' AND batch.stage <> 'validating') THEN
    v_goes_on := v_to <= 'expanding' OR v_to = batch.stage;
    UPDATE parkd.file_batches f
       SET model = nullif(p_model, ''), lines = p_lines, reached = p_reached, faults = v_faults,
           validated_at = coalesce(f.validated_at, CASE WHEN v_to <> 'validating' THEN v_now END),
           ended_at = coalesce(f.ended_at, CASE WHEN v_to = 'ended' THEN v_now END),
           output_lines = p_output_lines, output_bytes = p_output_bytes, output_deleted = f.output_deleted OR p_output_deleted,
           errors_lines = p_errors_lines, errors_bytes = p_errors_bytes, errors_deleted = f.errors_deleted OR p_errors_deleted,
           input_tokens = p_input_tokens, cached_tokens = p_cached_tokens, output_tokens = p_output_tokens,
           reasoning_tokens = p_reasoning_tokens, worker = CASE WHEN v_goes_on THEN f.worker END,
           hold = CASE WHEN v_goes_on THEN f.hold END, worked_until = CASE WHEN v_goes_on THEN v_now + f.hold END
     WHERE f.batch_id = p_id RETURNING f.* INTO file;
    IF v_to <> batch.stage THEN UPDATE parkd.batches b SET stage = v_to WHERE b.id = p_id; END IF;
    IF v_to >= 'running' THEN PERFORM parkd.seal_batch_v1(p_id, batch.tenant, v_now); END IF;
    SELECT b.* INTO batch FROM parkd.batches b WHERE b.id = p_id;
  END IF;
  RETURN NEXT;
END $$;
DROP VIEW parkd.batch_status;
CREATE VIEW parkd.batch_status WITH (security_barrier) AS
SELECT b.id, b.tenant, b.name, b.total, b.completed, b.failed, b.cancelled, b.deadline_missed, b.quarantined, b.truncated,
       b.total - b.completed - b.failed - b.cancelled - b.deadline_missed - b.quarantined AS unfinished,
       CASE WHEN b.finished_at IS NOT NULL THEN 'finished' WHEN b.cancel_at IS NOT NULL THEN 'cancelling'
            WHEN b.sealed_at IS NOT NULL THEN 'in_progress' ELSE 'open' END AS status,
       b.created_at, b.sealed_at, b.cancel_at, b.finished_at, b.deadline, b.retention, b.metadata, b.deleted,
       b.stage, f.input_file_id, f.endpoint, f.completion_window, f.retried_from, f.max_tokens, f.model, f.lines, f.reached,
       f.validated_at, f.ended_at, f.output_lines, f.output_bytes, f.output_deleted, f.errors_lines, f.errors_bytes, f.errors_deleted,
       f.input_tokens, f.cached_tokens, f.output_tokens, f.reasoning_tokens, f.faults
  FROM parkd.batches b LEFT JOIN parkd.file_batches f ON f.batch_id = b.id
 WHERE b.tenant = (SELECT parkd.my_tenant()) OR (SELECT parkd.acts_for_any());
GRANT SELECT ON parkd.batch_status TO parkd_submitter, parkd_reader, parkd_daemon, parkd_admin;
DROP FUNCTION parkd.open_batch_v3(text, text, json, text, timestamptz, interval, interval, bool, timestamptz, bigint, text, text, text,
                                  text, int, text),
  parkd.next_webhook_v1(text, interval, text[], text[], timestamptz),
  parkd.note_webhook_v1(text, int, text, interval, text, timestamptz);
ALTER TABLE parkd.file_batches DROP COLUMN webhook_url, DROP COLUMN webhook_status, DROP COLUMN webhook_attempts,
  DROP COLUMN webhook_at, DROP COLUMN webhook_delivered_at, DROP COLUMN webhook_error, DROP COLUMN webhook_worker,
  DROP COLUMN webhook_held_until;
DROP TYPE parkd.webhook_status;
