-- 0016: batches whose members are the lines of an uploaded file (lib/job/file_batch.h): what their client gave, how far they
-- have come, and which daemon works on one. What was promised of all other batches and messages is as before, so functions
-- keep their names and programs that know 0014 alone are served too; such a one opens none of these and takes no results
-- of them.
-- needs: 14

CREATE TYPE parkd.file_stage AS ENUM ('validating', 'expanding', 'running', 'ended', 'failed');   -- in order: it never goes back

-- In the row of the account, so that one index finds what needs a daemon. NULL: a batch of no file.
ALTER TABLE parkd.batches ADD COLUMN stage parkd.file_stage;
CREATE INDEX batches_to_work_on ON parkd.batches (created_at, id)
  WHERE stage <= 'expanding' OR stage = 'running' AND finished_at IS NOT NULL;
CREATE INDEX batches_with_file           ON parkd.batches (created_at, id)         WHERE stage IS NOT NULL;
CREATE INDEX batches_with_file_of_tenant ON parkd.batches (tenant, created_at, id) WHERE stage IS NOT NULL;

CREATE TABLE parkd.file_batches (
  batch_id          text PRIMARY KEY REFERENCES parkd.batches ON DELETE CASCADE,
  input_file_id     text NOT NULL,
  endpoint          text NOT NULL,                    -- of every line
  completion_window text NOT NULL,                    -- as it was written
  retried_from      text,                             -- the batch whose failed lines these are
  max_tokens        int,                              -- in place of the lines' own
  model             text,                             -- of all lines, once it is validated
  lines             bigint NOT NULL DEFAULT 0,        -- that become members
  reached           bigint NOT NULL DEFAULT 0,        -- bytes of the file whose lines are members
  validated_at      timestamptz,
  ended_at          timestamptz,
  -- The two files of results, counted when it ended: the messages of mailbox key batch_id.
  output_lines      bigint NOT NULL DEFAULT 0,
  output_bytes      bigint NOT NULL DEFAULT 0,
  output_deleted    bool   NOT NULL DEFAULT false,
  errors_lines      bigint NOT NULL DEFAULT 0,
  errors_bytes      bigint NOT NULL DEFAULT 0,
  errors_deleted    bool   NOT NULL DEFAULT false,
  input_tokens      bigint NOT NULL DEFAULT 0,        -- of all completed members
  cached_tokens     bigint NOT NULL DEFAULT 0,        -- of the input
  output_tokens     bigint NOT NULL DEFAULT 0,
  reasoning_tokens  bigint NOT NULL DEFAULT 0,        -- of the output
  -- Who works on it, and until when nobody else is given it: for hold after each step. NULL: nobody does.
  worker            text,
  hold              interval,
  worked_until      timestamptz,
  faults            json                              -- of the file: [{"code", "message", "param", "line"}]
) WITH (fillfactor = 50);                             -- no index but its key's: HOT

-- --- the daemon's verbs ----------------------------------------------------------------------------

-- As open_batch_v1, which is this without a file (p_file NULL). The file is part of the content behind the key; its window
-- is, and not the deadline that was made of that.
-- batches_key, batches_unfinished, file_batches_pkey.
CREATE FUNCTION parkd.open_batch_v2(p_tenant text, p_name text, p_metadata json, p_key text, p_deadline timestamptz,
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
CREATE OR REPLACE FUNCTION parkd.open_batch_v1(p_tenant text, p_name text, p_metadata json, p_key text, p_deadline timestamptz,
                                               p_retention interval, p_retention_default interval, p_find_only bool DEFAULT false,
                                               p_now timestamptz DEFAULT NULL, p_max_open bigint DEFAULT NULL)
RETURNS TABLE (existed bool, conflict bool, batch parkd.batches, n_open bigint, max_open bigint) LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, parkd, pg_temp AS $$
BEGIN
  RETURN QUERY SELECT o.existed, o.conflict, o.batch, o.n_open, o.max_open
    FROM parkd.open_batch_v2(p_tenant, p_name, p_metadata, p_key, p_deadline, p_retention, p_retention_default, p_find_only,
                             p_now, p_max_open) o;
END $$;

-- The oldest batch that needs a daemon, for p_worker to work on: nobody else is given it for p_hold, unless it gets to where
-- there is nothing to do for it now. Of p_tenants_passed_over only what has finished. Its row here is locked first, which
-- only who moves it on changes: so whether it still needs somebody is asked once more.
-- batches_to_work_on, file_batches_pkey, batches_pkey.
CREATE FUNCTION parkd.next_batch_work_v1(p_worker text, p_hold interval, p_passed_over text[], p_tenants_passed_over text[],
                                         p_now timestamptz DEFAULT NULL)
RETURNS TABLE (batch parkd.batches, file parkd.file_batches) LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, parkd, pg_temp SET jit = off SET enable_seqscan = off SET enable_bitmapscan = off
SET enable_hashjoin = off SET enable_mergejoin = off SET enable_sort = off AS $$
DECLARE v_now timestamptz := coalesce(p_now, clock_timestamp()); v_id text;
BEGIN
  SELECT b.id INTO v_id FROM parkd.batches b JOIN parkd.file_batches f ON f.batch_id = b.id
   WHERE (b.stage <= 'expanding' OR b.stage = 'running' AND b.finished_at IS NOT NULL) AND b.id <> ALL (p_passed_over)
     AND (b.stage = 'running' OR b.tenant <> ALL (p_tenants_passed_over))
     AND (f.worked_until IS NULL OR f.worked_until <= v_now OR f.worker = p_worker)
   ORDER BY b.created_at, b.id LIMIT 1 FOR UPDATE OF f SKIP LOCKED;
  SELECT b.* INTO batch FROM parkd.batches b
   WHERE b.id = v_id AND (b.stage <= 'expanding' OR b.stage = 'running' AND b.finished_at IS NOT NULL);
  IF NOT FOUND THEN RETURN; END IF;
  UPDATE parkd.file_batches f SET worker = p_worker, hold = p_hold, worked_until = v_now + p_hold
   WHERE f.batch_id = v_id RETURNING f.* INTO file;
  RETURN NEXT;
END $$;

-- How far it has come, unless that is behind where it is: advance() of lib/store/batch_rules.h. One row, the batch as it is
-- then (its stage NULL: it is of no file); no row: there is none. batches_pkey, file_batches_pkey.
CREATE FUNCTION parkd.advance_batch_v1(
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

-- As list_batches_v1; those of files, those of none, or (NULL) all. Those of none it looks for among all. With p_reads_file
-- those that have still to read that file: among all that a daemon has something to do for.
-- batches_with_file_of_tenant, batches_with_file; batches_of_tenant, batches_newest; batches_to_work_on, file_batches_pkey.
CREATE FUNCTION parkd.list_batches_v2(p_tenant text, p_after text, p_limit int, p_of_file bool, p_reads_file text DEFAULT '')
RETURNS SETOF parkd.batches LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, parkd, pg_temp SET jit = off SET max_parallel_workers_per_gather = 0
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE v_at timestamptz := 'infinity'; v_id text := '';
BEGIN
  IF p_of_file IS NULL AND p_reads_file = '' THEN
    RETURN QUERY SELECT b.* FROM parkd.list_batches_v1(p_tenant, p_after, p_limit) b;
    RETURN;
  END IF;
  IF p_after <> '' THEN
    SELECT b.created_at, b.id INTO v_at, v_id FROM parkd.batches b WHERE b.id = p_after;
    IF NOT FOUND THEN RETURN; END IF;
  END IF;
  IF p_reads_file <> '' THEN    -- the tenant in a form that leads to no index of its batches
    RETURN QUERY SELECT b.* FROM parkd.batches b JOIN parkd.file_batches f ON f.batch_id = b.id
                  WHERE (b.stage <= 'expanding' OR b.stage = 'running' AND b.finished_at IS NOT NULL)
                    AND b.stage <= 'expanding' AND b.sealed_at IS NULL AND f.input_file_id = p_reads_file
                    AND coalesce(b.tenant = p_tenant, true) AND (b.created_at, b.id) < (v_at, v_id)
                    AND p_of_file IS NOT FALSE
                  ORDER BY b.created_at DESC, b.id DESC LIMIT p_limit;
  ELSIF p_of_file AND p_tenant IS NULL THEN
    RETURN QUERY SELECT b.* FROM parkd.batches b WHERE b.stage IS NOT NULL AND (b.created_at, b.id) < (v_at, v_id)
                  ORDER BY b.created_at DESC, b.id DESC LIMIT p_limit;
  ELSIF p_of_file THEN
    RETURN QUERY SELECT b.* FROM parkd.batches b
                  WHERE b.stage IS NOT NULL AND b.tenant = p_tenant AND (b.created_at, b.id) < (v_at, v_id)
                  ORDER BY b.created_at DESC, b.id DESC LIMIT p_limit;
  ELSIF p_tenant IS NULL THEN
    RETURN QUERY SELECT b.* FROM parkd.batches b WHERE b.stage IS NULL AND (b.created_at, b.id) < (v_at, v_id)
                  ORDER BY b.created_at DESC, b.id DESC LIMIT p_limit;
  ELSE
    RETURN QUERY SELECT b.* FROM parkd.batches b
                  WHERE b.stage IS NULL AND b.tenant = p_tenant AND (b.created_at, b.id) < (v_at, v_id)
                  ORDER BY b.created_at DESC, b.id DESC LIMIT p_limit;
  END IF;
END $$;

-- The file (p_tenant '': any tenant's), whose time is not over before p_until: for what a batch uses. files_pkey.
CREATE FUNCTION parkd.keep_file_v1(p_id text, p_tenant text, p_until timestamptz, p_now timestamptz DEFAULT NULL)
RETURNS SETOF parkd.files LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, parkd, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off AS $$
DECLARE v_now timestamptz := coalesce(p_now, clock_timestamp());
BEGIN
  UPDATE parkd.files f SET expires_at = p_until
   WHERE f.id = p_id AND (p_tenant = '' OR f.tenant = p_tenant) AND f.created_at IS NOT NULL AND f.expires_at > v_now
     AND f.expires_at < p_until;
  RETURN QUERY SELECT f.* FROM parkd.files f
    WHERE f.id = p_id AND (p_tenant = '' OR f.tenant = p_tenant) AND f.created_at IS NOT NULL AND f.expires_at > v_now;
END $$;

-- --- members, and their messages ---------------------------------------------------------------------

-- As before; but the messages of such a batch's members are the lines of its two result files, and go through no door until
-- both are deleted. mailbox_key; batches_pkey, file_batches_pkey.
CREATE OR REPLACE FUNCTION parkd.take_v1(p_tenant text, p_key text, p_sequences bigint[], p_now timestamptz DEFAULT NULL)
RETURNS SETOF parkd.mailbox LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, parkd, pg_temp SET jit = off
SET enable_seqscan = off SET enable_bitmapscan = off AS $$
BEGIN
  IF (SELECT b.stage IS NOT NULL FROM parkd.batches b WHERE b.id = p_key AND b.tenant = p_tenant)
     AND EXISTS (SELECT FROM parkd.file_batches f WHERE f.batch_id = p_key AND NOT (f.output_deleted AND f.errors_deleted)) THEN
    RAISE EXCEPTION USING ERRCODE = 'object_not_in_prerequisite_state',
      MESSAGE = format('the messages of mailbox key %s are the lines of the batch''s output and error file', p_key),
      HINT = 'Read those files, and delete them when they are not wanted any more; parkd.results shows the messages, too.';
  END IF;
  RETURN QUERY
  DELETE FROM parkd.mailbox m
   WHERE m.mailbox_key = p_key AND m.tenant = p_tenant AND m.sequence = ANY (ARRAY(
     SELECT x.sequence FROM parkd.mailbox x
      WHERE x.mailbox_key = p_key AND x.tenant = p_tenant AND x.sequence = ANY (p_sequences)
        AND x.expires_at > coalesce(p_now, clock_timestamp()) FOR UPDATE SKIP LOCKED))
  RETURNING m.*;
END $$;

-- In the place of after_insert_v1. The same, but that a batch of a file takes its lines alone, which a daemon brings.
CREATE FUNCTION parkd.after_insert_v2() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, parkd, pg_temp SET jit = off AS $$
DECLARE r record; b parkd.batches; v_max bigint; v_limited bool; v_batched bool; v_awaited bool;
BEGIN
  IF NOT parkd.acts_for_any() THEN
    -- The tenant in a SELECT of its own: asked for once, not once a row. tenant_logins_pkey, models_pkey
    SELECT n.tenant, n.model INTO r FROM new_rows n
     WHERE n.tenant IS DISTINCT FROM (SELECT parkd.tenant_of_login_v1(
                                        (SELECT l.tenant FROM parkd.tenant_logins l WHERE l.login = session_user)))
        OR n.requeued_from IS NULL AND NOT EXISTS (SELECT FROM parkd.models m WHERE m.name = n.model) LIMIT 1;
    IF FOUND THEN
      RAISE EXCEPTION USING ERRCODE = 'insufficient_privilege',
        MESSAGE = format('login %s may not submit for tenant %s and model %s', session_user, left(r.tenant, 512), left(r.model, 512)),
        HINT = 'Either has just changed, or somebody wrote parkd.seen: RESET parkd.seen and submit again.';
    END IF;
  END IF;
  SELECT EXISTS (SELECT FROM parkd.limits) OR EXISTS (SELECT FROM new_rows WHERE run_at > created_at),
         EXISTS (SELECT FROM new_rows WHERE batch_id IS NOT NULL),
         EXISTS (SELECT FROM parkd.waiters) INTO v_limited, v_batched, v_awaited;
  IF v_limited THEN PERFORM parkd.hold_limit_v1(n.model, n.tenant, n.jobs - n.scheduled, n.scheduled) FROM (
    SELECT model, tenant, count(*) AS jobs, count(*) FILTER (WHERE run_at > created_at) AS scheduled
      FROM new_rows GROUP BY model, tenant) n;
  END IF;
  IF v_batched THEN
    FOR r IN SELECT batch_id, tenant, count(*) AS jobs FROM new_rows WHERE batch_id IS NOT NULL
              GROUP BY batch_id, tenant ORDER BY batch_id LOOP
      -- batches_pkey
      SELECT * INTO b FROM parkd.batches x WHERE x.id = r.batch_id AND x.tenant = r.tenant FOR UPDATE;
      CONTINUE WHEN NOT FOUND;    -- a daemon's label
      v_max := (SELECT s.max_batch_jobs FROM parkd.settings s);
      IF b.stage IS NOT NULL AND (NOT pg_has_role(session_user, 'parkd_daemon', 'member') OR EXISTS (
           SELECT FROM new_rows n WHERE n.batch_id = r.batch_id AND n.mailbox_key <> r.batch_id)) THEN
        RAISE EXCEPTION USING ERRCODE = 'object_not_in_prerequisite_state',
          MESSAGE = format('batch %s takes the lines of a file and no other jobs', r.batch_id),
          HINT = 'Open a batch of your own: SELECT parkd.open_batch();';
      ELSIF b.sealed_at IS NOT NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'object_not_in_prerequisite_state',
          MESSAGE = format('batch %s is sealed: it takes no more jobs', r.batch_id), HINT = 'Open a new batch.';
      ELSIF b.total + r.jobs > v_max THEN
        RAISE EXCEPTION USING ERRCODE = 'program_limit_exceeded',
          MESSAGE = format('batch %s has %s jobs and would get %s more; the limit is %s a batch', r.batch_id, b.total, r.jobs, v_max),
          HINT = 'Open another batch for the rest. An administrator sets parkd.settings.max_batch_jobs.';
      END IF;
      UPDATE parkd.batches x SET total = x.total + r.jobs WHERE x.id = r.batch_id;
    END LOOP;
  END IF;
  IF v_awaited THEN
    PERFORM pg_notify('parkd_work', m.model)
      FROM (SELECT DISTINCT n.model FROM new_rows n WHERE n.state = 'queued') m
     WHERE EXISTS (SELECT FROM parkd.waiters w WHERE w.model = m.model)
       AND (SELECT s.notify_work FROM parkd.settings s);
  END IF;
  RETURN NULL;
END $$;
REVOKE ALL ON FUNCTION parkd.after_insert_v2() FROM PUBLIC;
DROP TRIGGER jobs_after_insert ON parkd.jobs;
CREATE TRIGGER jobs_after_insert AFTER INSERT ON parkd.jobs REFERENCING NEW TABLE AS new_rows
  FOR EACH STATEMENT EXECUTE FUNCTION parkd.after_insert_v2();

-- --- who may see what ----------------------------------------------------------------------------------

-- Of a batch of a file this is where a login sees all; the table is the daemons', as that of the accounts.
CREATE OR REPLACE VIEW parkd.batch_status WITH (security_barrier) AS
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
GRANT SELECT ON parkd.file_batches TO parkd_daemon, parkd_admin;
DO $$
DECLARE f record;
BEGIN
  FOR f IN SELECT p.oid::regprocedure AS signature FROM pg_proc p
            WHERE p.pronamespace = 'parkd'::regnamespace
              AND p.proname IN ('open_batch_v2', 'next_batch_work_v1', 'advance_batch_v1', 'list_batches_v2',
                                'keep_file_v1') LOOP
    EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', f.signature);
    EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO parkd_daemon', f.signature);
  END LOOP;
END $$;
