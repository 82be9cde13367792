-- 0017: webhooks of batches of files (lib/job/webhook.h): which URL is told of a batch's end, and how far that has come. What
-- was promised of all other batches is as before, so functions keep their names and programs that know 0014 alone are served
-- too: those tell nobody, but what they end is told by the others.
-- needs: 14

CREATE TYPE parkd.webhook_status AS ENUM ('pending', 'delivered', 'given_up');

-- In the row of the file's batch, so that the commit that ends it makes its webhook due.
ALTER TABLE parkd.file_batches
  ADD COLUMN webhook_url          text,                     -- NULL: nobody is told, and all of these are as they are
  ADD COLUMN webhook_status       parkd.webhook_status,
  ADD COLUMN webhook_attempts     int NOT NULL DEFAULT 0,   -- that came to an end
  ADD COLUMN webhook_at           timestamptz,              -- of the next attempt. NULL: not ended yet, delivered, or given up
  ADD COLUMN webhook_delivered_at timestamptz,
  ADD COLUMN webhook_error        text,                     -- of the last attempt that failed
  ADD COLUMN webhook_worker       text,                     -- the daemon that makes one, and until when nobody else does
  ADD COLUMN webhook_held_until   timestamptz;
CREATE INDEX file_batches_webhook ON parkd.file_batches (webhook_at, batch_id) WHERE webhook_at IS NOT NULL;

-- --- the daemon's verbs ----------------------------------------------------------------------------

-- As open_batch_v2, which is this without a webhook (p_webhook NULL). It is part of the content behind the key.
-- batches_key, batches_unfinished, file_batches_pkey.
CREATE FUNCTION parkd.open_batch_v3(p_tenant text, p_name text, p_metadata json, p_key text, p_deadline timestamptz,
                                    p_retention interval, p_retention_default interval, p_find_only bool DEFAULT false,
                                    p_now timestamptz DEFAULT NULL, p_max_open bigint DEFAULT NULL, p_file text DEFAULT NULL,
                                    p_endpoint text DEFAULT NULL, p_window text DEFAULT NULL, p_retried_from text DEFAULT NULL,
                                    p_max_tokens int DEFAULT NULL, p_webhook text DEFAULT NULL)
RETURNS TABLE (existed bool, conflict bool, batch parkd.batches, file parkd.file_batches, n_open bigint, max_open bigint)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, parkd, pg_temp SET jit = off
SET enable_seqscan = off SET enable_bitmapscan = off AS $$
DECLARE
  v_now  timestamptz := coalesce(p_now, clock_timestamp());
  v_hash text := encode(sha256(convert_to(parkd.value_text_v1(jsonb_build_array(coalesce(p_name, ''), p_metadata::jsonb,
                   CASE WHEN p_file IS NULL THEN parkd.us_v1(p_deadline) END, (date_part('epoch', p_retention) * 1e6)::bigint)
                 || CASE WHEN p_file IS NULL THEN '[]' ELSE jsonb_build_array(p_file, p_endpoint, p_window,
                      coalesce(p_retried_from, ''), p_max_tokens) END
                 || CASE WHEN p_webhook IS NULL THEN '[]' ELSE jsonb_build_array(p_webhook) END), 'UTF8')), 'hex');
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
        INSERT INTO parkd.file_batches AS f (batch_id, input_file_id, endpoint, completion_window, retried_from, max_tokens,
                                             webhook_url, webhook_status)
          VALUES ((batch).id, p_file, p_endpoint, p_window, nullif(p_retried_from, ''), p_max_tokens,
                  p_webhook, CASE WHEN p_webhook IS NOT NULL THEN 'pending'::parkd.webhook_status END)
          RETURNING f.* INTO file;
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
CREATE OR REPLACE FUNCTION parkd.open_batch_v2(p_tenant text, p_name text, p_metadata json, p_key text, p_deadline timestamptz,
                                    p_retention interval, p_retention_default interval, p_find_only bool DEFAULT false,
                                    p_now timestamptz DEFAULT NULL, p_max_open bigint DEFAULT NULL, p_file text DEFAULT NULL,
                                    p_endpoint text DEFAULT NULL, p_window text DEFAULT NULL, p_retried_from text DEFAULT NULL,
                                    p_max_tokens int DEFAULT NULL)
RETURNS TABLE (existed bool, conflict bool, batch parkd.batches, file parkd.file_batches, n_open bigint, max_open bigint)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, parkd, pg_temp AS $$
BEGIN
  RETURN QUERY SELECT o.existed, o.conflict, o.batch, o.file, o.n_open, o.max_open
    FROM parkd.open_batch_v3(p_tenant, p_name, p_metadata, p_key, p_deadline, p_retention, p_retention_default, p_find_only,
                             p_now, p_max_open, p_file, p_endpoint, p_window, p_retried_from, p_max_tokens) o;
END $$;

-- As before; and where it has ended, or failed, its webhook is due. batches_pkey, file_batches_pkey.
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
           hold = CASE WHEN v_goes_on THEN f.hold END, worked_until = CASE WHEN v_goes_on THEN v_now + f.hold END,
           webhook_at = CASE WHEN v_to >= 'ended' AND f.webhook_url IS NOT NULL THEN v_now END
     WHERE f.batch_id = p_id RETURNING f.* INTO file;
    IF v_to <> batch.stage THEN UPDATE parkd.batches b SET stage = v_to WHERE b.id = p_id; END IF;
    IF v_to >= 'running' THEN PERFORM parkd.seal_batch_v1(p_id, batch.tenant, v_now); END IF;
    SELECT b.* INTO batch FROM parkd.batches b WHERE b.id = p_id;
  END IF;
  RETURN NEXT;
END $$;

-- The batch whose webhook has been due for longest, for p_worker to send: nobody else is given it for p_hold.
-- file_batches_webhook, batches_pkey, file_batches_pkey.
CREATE FUNCTION parkd.next_webhook_v1(p_worker text, p_hold interval, p_passed_over text[], p_tenants_passed_over text[],
                                      p_now timestamptz DEFAULT NULL)
RETURNS TABLE (batch parkd.batches, file parkd.file_batches) LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, parkd, pg_temp SET jit = off SET enable_seqscan = off SET enable_bitmapscan = off
SET enable_hashjoin = off SET enable_mergejoin = off SET enable_sort = off AS $$
DECLARE v_now timestamptz := coalesce(p_now, clock_timestamp()); v_id text;
BEGIN
  SELECT f.batch_id INTO v_id FROM parkd.file_batches f JOIN parkd.batches b ON b.id = f.batch_id
   WHERE f.webhook_at <= v_now AND f.batch_id <> ALL (p_passed_over) AND b.tenant <> ALL (p_tenants_passed_over)
     AND (f.webhook_held_until IS NULL OR f.webhook_held_until <= v_now OR f.webhook_worker = p_worker)
   ORDER BY f.webhook_at, f.batch_id LIMIT 1 FOR UPDATE OF f SKIP LOCKED;
  IF NOT FOUND THEN RETURN; END IF;
  UPDATE parkd.file_batches f SET webhook_worker = p_worker, webhook_held_until = v_now + p_hold
   WHERE f.batch_id = v_id RETURNING f.* INTO file;
  SELECT b.* INTO batch FROM parkd.batches b WHERE b.id = v_id;
  RETURN NEXT;
END $$;

-- What became of an attempt: note_attempt() of lib/store/batch_rules.h. One row, the batch as it is then (its stage NULL: it
-- is of no file); no row: there is none. batches_pkey, file_batches_pkey.
CREATE FUNCTION parkd.note_webhook_v1(p_id text, p_number int, p_status text, p_pause interval, p_error text,
                                      p_now timestamptz DEFAULT NULL)
RETURNS TABLE (batch parkd.batches, file parkd.file_batches) LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, parkd, pg_temp SET jit = off SET enable_seqscan = off SET enable_bitmapscan = off AS $$
DECLARE v_now timestamptz := coalesce(p_now, clock_timestamp());
BEGIN
  SELECT f.* INTO file FROM parkd.file_batches f WHERE f.batch_id = p_id FOR UPDATE;
  IF file.webhook_at IS NOT NULL AND (p_status = 'delivered' OR p_number = file.webhook_attempts + 1) THEN
    UPDATE parkd.file_batches f
       SET webhook_status = p_status::parkd.webhook_status, webhook_attempts = greatest(f.webhook_attempts, p_number),
           webhook_at = CASE WHEN p_status = 'pending' THEN v_now + p_pause END,
           webhook_delivered_at = CASE WHEN p_status = 'delivered' THEN v_now END,
           webhook_error = coalesce(nullif(p_error, ''), f.webhook_error), webhook_worker = NULL, webhook_held_until = NULL
     WHERE f.batch_id = p_id RETURNING f.* INTO file;
  END IF;
  SELECT b.* INTO batch FROM parkd.batches b WHERE b.id = p_id;
  IF FOUND THEN RETURN NEXT; END IF;
END $$;

-- --- who may see what ----------------------------------------------------------------------------------

CREATE OR REPLACE VIEW parkd.batch_status WITH (security_barrier) AS
SELECT b.id, b.tenant, b.name, b.total, b.completed, b.failed, b.cancelled, b.deadline_missed, b.quarantined, b.truncated,
       b.total - b.completed - b.failed - b.cancelled - b.deadline_missed - b.quarantined AS unfinished,
       CASE WHEN b.finished_at IS NOT NULL THEN 'finished' WHEN b.cancel_at IS NOT NULL THEN 'cancelling'
            WHEN b.sealed_at IS NOT NULL THEN 'in_progress' ELSE 'open' END AS status,
       b.created_at, b.sealed_at, b.cancel_at, b.finished_at, b.deadline, b.retention, b.metadata, b.deleted,
       b.stage, f.input_file_id, f.endpoint, f.completion_window, f.retried_from, f.max_tokens, f.model, f.lines, f.reached,
       f.validated_at, f.ended_at, f.output_lines, f.output_bytes, f.output_deleted, f.errors_lines, f.errors_bytes, f.errors_deleted,
       f.input_tokens, f.cached_tokens, f.output_tokens, f.reasoning_tokens, f.faults,
       f.webhook_url, f.webhook_status, f.webhook_attempts, f.webhook_at, f.webhook_delivered_at, f.webhook_error
  FROM parkd.batches b LEFT JOIN parkd.file_batches f ON f.batch_id = b.id
 WHERE b.tenant = (SELECT parkd.my_tenant()) OR (SELECT parkd.acts_for_any());
DO $$
DECLARE f record;
BEGIN
  FOR f IN SELECT p.oid::regprocedure AS signature FROM pg_proc p
            WHERE p.pronamespace = 'parkd'::regnamespace
              AND p.proname IN ('open_batch_v3', 'next_webhook_v1', 'note_webhook_v1') LOOP
    EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', f.signature);
    EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO parkd_daemon', f.signature);
  END LOOP;
END $$;
