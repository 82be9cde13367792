-- 0002: the daemon's verbs. Each is one statement for its caller, runs as the owner with a fixed
-- search_path, and takes the time as a parameter: NULL means the database's clock, a value is given
-- by tests alone. Names end in _vN, so that daemons of two versions can share a database.
--
-- The SET enable_* clauses take the choice from the planner where it could only be wrong: these
-- statements touch few rows of large tables, whatever the statistics say.
--
-- Advisory locks, all of class 1886540395 ('park'): 1 partitions, 2 housekeeping, 3 depth sample; class 1886540396:
-- a finish in flight (horizon_v1).

CREATE FUNCTION parkd.us_v1(t timestamptz) RETURNS bigint LANGUAGE sql STABLE
  RETURN round(date_part('epoch', t) * 1e6::float8)::bigint;
CREATE FUNCTION parkd.from_us_v1(us bigint) RETURNS timestamptz LANGUAGE sql IMMUTABLE
  RETURN to_timestamp(us / 1e6::float8);
-- The time of a statement: given by a test in microseconds, or the database's.
CREATE FUNCTION parkd.now_v1(us bigint) RETURNS timestamptz LANGUAGE sql STABLE
  RETURN coalesce(parkd.from_us_v1(us), clock_timestamp());
CREATE FUNCTION parkd.timeline_v1() RETURNS text LANGUAGE sql STABLE
  RETURN left(pg_walfile_name(pg_current_wal_lsn()), 8);

-- --- daemons ----------------------------------------------------------------------------------

-- The epoch of leases given out from now on; raised when the server is another one than the fence knows.
CREATE FUNCTION parkd.current_epoch_v1() RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, parkd, pg_temp SET jit = off AS $$
DECLARE v_epoch bigint;
BEGIN
  -- Must be durable before a lease of it is used: whoever calls this commits with a sync.
  UPDATE parkd.fence f
     SET epoch = f.epoch + 1, system_identifier = s.system_identifier, timeline = parkd.timeline_v1(),
         server_start = pg_postmaster_start_time(), changed_at = clock_timestamp()
    FROM pg_control_system() s
   WHERE f.system_identifier <> s.system_identifier OR f.timeline <> parkd.timeline_v1()
      OR f.server_start <> pg_postmaster_start_time();
  SELECT f.epoch INTO STRICT v_epoch FROM parkd.fence f;
  RETURN v_epoch;
END $$;

-- A new daemon row.
CREATE FUNCTION parkd.register_v1(p_host text, p_pid int, p_version text, p_ttl interval,
                                  p_now timestamptz DEFAULT NULL)
RETURNS TABLE (daemon_id bigint, fence_epoch bigint) LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, parkd, pg_temp SET jit = off AS $$
DECLARE v_epoch bigint := parkd.current_epoch_v1(); v_now timestamptz := coalesce(p_now, clock_timestamp());
BEGIN
  RETURN QUERY
  INSERT INTO parkd.daemons AS d (beat_at, ttl, started_at, fence_epoch, server_start, timeline, pid, host, version)
    VALUES (v_now, p_ttl, v_now, v_epoch, pg_postmaster_start_time(), parkd.timeline_v1(), p_pid, p_host, p_version)
    RETURNING d.id, v_epoch;
END $$;

-- Says "alive" and returns the claimed jobs somebody wants cancelled. PK001: the daemon was declared
-- gone (or the database is another one); it must stop its work and register anew.
CREATE FUNCTION parkd.heartbeat_v1(p_daemon bigint, p_status json, p_draining bool,
                                   p_now timestamptz DEFAULT NULL)
RETURNS TABLE (job_id bigint, run_lease bigint) LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, parkd, pg_temp SET jit = off
SET enable_seqscan = off SET enable_bitmapscan = off AS $$
BEGIN
  UPDATE parkd.daemons d
     SET beat_at = coalesce(p_now, clock_timestamp()), status = coalesce(p_status, d.status),
         draining = p_draining
   WHERE d.id = p_daemon AND d.lost_at IS NULL AND d.timeline = parkd.timeline_v1();
  IF NOT FOUND THEN
    RAISE EXCEPTION USING ERRCODE = 'PK001',
      MESSAGE = format('daemon %s is no longer registered with this database', p_daemon),
      HINT = 'It was silent for longer than its ttl, or the database was promoted or restored.';
  END IF;
  RETURN QUERY SELECT j.id, j.run_lease FROM parkd.jobs j
    WHERE j.daemon_id = p_daemon AND j.state = 'claimed' AND j.cancel_at IS NOT NULL;
END $$;

-- Puts claimed jobs back into the queue, whoever's they were; those whose cancel was asked for end.
-- Not fenced: for callers that know. Returns how many.
CREATE FUNCTION parkd.unclaim_v1(p_ids bigint[], p_interrupted bool, p_now timestamptz)
RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, parkd, pg_temp SET jit = off
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE n bigint; v_models text[]; v_cancelled bigint[];
BEGIN
  WITH back AS (
    UPDATE parkd.jobs j
       SET state = 'queued', daemon_id = NULL, claimed_at = NULL,
           interruptions = j.interruptions + p_interrupted::int
     WHERE j.id = ANY (p_ids) AND j.daemon_id IS NOT NULL
    RETURNING j.id, j.model, j.cancel_at)
  SELECT count(*), array_agg(DISTINCT b.model) FILTER (WHERE b.cancel_at IS NULL),
         array_agg(b.id) FILTER (WHERE b.cancel_at IS NOT NULL)
    INTO n, v_models, v_cancelled FROM back b;
  IF v_cancelled IS NOT NULL THEN PERFORM parkd.end_waiting_v1(v_cancelled, 'cancelled', p_now); END IF;
  PERFORM pg_notify('parkd_work', m.model) FROM unnest(v_models) m(model)
   WHERE EXISTS (SELECT FROM parkd.waiters w WHERE w.model = m.model);
  RETURN n;
END $$;

-- Claims of this daemon that it does not know of: the answer to the claim was lost on the way.
CREATE FUNCTION parkd.return_unknown_claims_v1(p_daemon bigint, p_known bigint[], p_now timestamptz DEFAULT NULL)
RETURNS bigint LANGUAGE sql SECURITY DEFINER
SET search_path = pg_catalog, parkd, pg_temp SET jit = off
SET enable_seqscan = off SET enable_bitmapscan = off AS $$
  SELECT parkd.unclaim_v1(array_agg(j.id ORDER BY j.id), false, coalesce(p_now, clock_timestamp())) FROM parkd.jobs j
   WHERE j.daemon_id = p_daemon AND j.state = 'claimed' AND j.id <> ALL (p_known);
$$;

-- A daemon leaves for good: what it still holds goes back at once.
CREATE FUNCTION parkd.unregister_v1(p_daemon bigint, p_now timestamptz DEFAULT NULL)
RETURNS void LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, parkd, pg_temp SET jit = off
SET enable_seqscan = off SET enable_bitmapscan = off AS $$
BEGIN
  UPDATE parkd.daemons d SET lost_at = coalesce(p_now, clock_timestamp())
   WHERE d.id = p_daemon AND d.lost_at IS NULL;
  DELETE FROM parkd.waiters w WHERE w.daemon_id = p_daemon;
  PERFORM parkd.return_unknown_claims_v1(p_daemon, '{}', p_now);
END $$;

-- --- submit -----------------------------------------------------------------------------------

-- Whether an idempotency key that points at this job still holds, and where the job is.
CREATE FUNCTION parkd.accepted_v1(p_job bigint, p_now timestamptz,
                                  OUT holds bool, OUT finished bool, OUT mailbox_key text)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, parkd, pg_temp SET jit = off
SET enable_seqscan = off SET enable_bitmapscan = off AS $$
BEGIN
  SELECT j.mailbox_key INTO mailbox_key FROM parkd.jobs j WHERE j.id = p_job;
  IF FOUND THEN holds := true; finished := false; RETURN; END IF;
  SELECT h.mailbox_key, h.key_until > p_now
    INTO mailbox_key, holds FROM parkd.history h WHERE h.job_id = p_job LIMIT 1;
  finished := true;
  holds := coalesce(holds, false);
END $$;

-- The delay of a class in the order of claiming.
CREATE FUNCTION parkd.delay_v1(p parkd.priority) RETURNS interval LANGUAGE sql IMMUTABLE
  RETURN CASE p WHEN 'critical' THEN interval '0' WHEN 'high' THEN interval '10 minutes'
                WHEN 'normal' THEN interval '1 hour' ELSE interval '6 hours' END;

-- What two jobs under one idempotency key must agree in, whether they came by INSERT, parkd.submit or a
-- daemon: all that the submitter chose and nothing that was derived or filled in later. JSON counts by its
-- value (as jsonb has it: spaces, order of keys and repeated keys do not matter); a model inside the body
-- is the column's; a seed inside the body is the column's.
CREATE FUNCTION parkd.content_hash_v1(
  p_endpoint text, p_model text, p_mailbox_key text, p_custom_id text, p_batch_id text, p_metadata json,
  p_body json, p_priority parkd.priority, p_seed bigint, p_run_at timestamptz, p_deadline timestamptz,
  p_run_timeout interval, p_retention interval, p_max_attempts int)
RETURNS text LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, parkd, pg_temp AS $$
DECLARE v_body jsonb; v_metadata jsonb; v_raw text;
BEGIN
  BEGIN
    v_body := p_body;
    v_metadata := p_metadata;
    IF jsonb_typeof(v_body) = 'object' THEN v_body := v_body - 'model'; END IF;
  EXCEPTION WHEN untranslatable_character OR invalid_text_representation THEN
    v_body := NULL; v_metadata := NULL;      -- \u0000: no jsonb can hold it, so the bytes count
    v_raw := p_body::text || E'\x01' || coalesce(p_metadata::text, '');
  END;
  RETURN encode(sha256(convert_to(jsonb_build_array(
    p_endpoint, p_model, coalesce(p_mailbox_key, ''), coalesce(p_custom_id, ''), coalesce(p_batch_id, ''), v_metadata,
    v_body, v_raw, p_priority, coalesce(v_body -> 'seed', to_jsonb(p_seed)), parkd.us_v1(p_run_at), parkd.us_v1(p_deadline),
    date_part('epoch', p_run_timeout)::bigint, (date_part('epoch', p_retention) * 1e6)::bigint,
    p_max_attempts)::text, 'UTF8')), 'hex');
END $$;

-- Many submits in one commit. p_group says which of them a row belongs to: a group is accepted whole or
-- not at all, and the refusal of one does not touch the others. What is left out ('' or NULL: mailbox_key,
-- seed, retention) is filled in here. Of a refused group come rows with a refusal: other_content, sealed,
-- over (n1: the batch's deadline), deadline, full (n1 members, n2 new, n3 limit), depth (likewise); the
-- smallest row_index names the culprit.
CREATE FUNCTION parkd.submit_v1(
  p_group int[], p_model text[], p_tenant text[], p_priority text[], p_mailbox_key text[],
  p_custom_id text[], p_batch_id text[], p_metadata text[], p_idempotency_key text[],
  p_endpoint text[], p_body text[], p_seed bigint[], p_run_at_us bigint[], p_deadline_us bigint[],
  p_run_timeout_s bigint[], p_retention_us bigint[], p_max_attempts int[], p_n_choices int[], p_prompt_tokens int[],
  p_max_new_tokens int[], p_exact bool[], p_keyed bool, p_batched bool, p_retention_default_us bigint,
  p_batch_jobs_max bigint, p_now timestamptz DEFAULT NULL)
RETURNS TABLE (row_index int, job_id bigint, mailbox_key text, existed bool, finished bool, refusal text,
               n1 bigint, n2 bigint, n3 bigint)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, parkd, pg_temp SET jit = off
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
  v_now   timestamptz := coalesce(p_now, clock_timestamp());
  v_ids   bigint[];            -- per row: the id it gets; NULL = not to be inserted
  v_boxes text[];              -- per row: its mailbox key
  v_mine  bigint[] := '{}';    -- keys of this call: their jobs are not there yet
  v_bad   int[] := '{}';       -- refused groups
  v_hash  text;
  v_batch parkd.batches;
  v_taken bigint;
  v_max   bigint;
  v_room  int;
  v_at    int;
  v_asked_b text;
  v_asked_t text;
  r       record;
  a       record;
  v_key   record;
BEGIN
  SELECT array_agg(nextval('parkd.jobs_id_seq') ORDER BY u.i),
         array_agg(coalesce(nullif(u.m, ''), 'mb-' || left(replace(gen_random_uuid()::text, '-', ''), 24)) ORDER BY u.i)
    INTO v_ids, v_boxes FROM unnest(p_mailbox_key) WITH ORDINALITY u(m, i);
  existed := false; finished := false;
  IF p_keyed THEN
    FOR r IN SELECT u.i, u.g, u.t, u.k FROM unnest(p_group, p_tenant, p_idempotency_key) WITH ORDINALITY u(g, t, k, i)
              WHERE u.k <> '' ORDER BY u.t, u.k, u.i LOOP
      v_hash := parkd.content_hash_v1(p_endpoint[r.i], p_model[r.i], p_mailbox_key[r.i], p_custom_id[r.i], p_batch_id[r.i],
        nullif(p_metadata[r.i], '')::json, p_body[r.i]::json, p_priority[r.i]::parkd.priority, p_seed[r.i],
        parkd.from_us_v1(p_run_at_us[r.i]), parkd.from_us_v1(p_deadline_us[r.i]),
        make_interval(secs => p_run_timeout_s[r.i]), p_retention_us[r.i] * interval '1 microsecond', p_max_attempts[r.i]);
      INSERT INTO parkd.idempotency AS k (tenant, key, job_id, check_at, content_hash)
        VALUES (r.t, r.k, v_ids[r.i], v_now + interval '24 hours', v_hash) ON CONFLICT DO NOTHING;
      IF FOUND THEN v_mine := v_mine || v_ids[r.i]; CONTINUE; END IF;
      SELECT k.job_id, k.content_hash INTO STRICT v_key FROM parkd.idempotency k
       WHERE k.tenant = r.t AND k.key = r.k FOR UPDATE;
      IF v_key.job_id = ANY (v_mine) THEN
        SELECT true AS holds, false AS finished, v_boxes[array_position(v_ids, v_key.job_id)] AS mailbox_key INTO a;
      ELSE
        SELECT x.* INTO a FROM parkd.accepted_v1(v_key.job_id, v_now) x;
      END IF;
      IF NOT a.holds THEN        -- of a job that finished long ago: the key is free
        UPDATE parkd.idempotency k SET job_id = v_ids[r.i], content_hash = v_hash,
               check_at = v_now + interval '24 hours' WHERE k.tenant = r.t AND k.key = r.k;
        v_mine := v_mine || v_ids[r.i];
      ELSE
        v_ids[r.i] := NULL;
        IF v_key.content_hash <> v_hash THEN v_bad := v_bad || r.g; END IF;
        row_index := r.i - 1; job_id := v_key.job_id; mailbox_key := a.mailbox_key;
        existed := true; finished := a.finished;
        refusal := CASE WHEN v_key.content_hash <> v_hash THEN 'other_content' END;
        RETURN NEXT;
      END IF;
    END LOOP;
  END IF;

  job_id := NULL; mailbox_key := NULL; existed := false; finished := false;
  IF p_batched THEN
    -- batches_pkey. Each batch is locked once, in the order of ids; a batch_id without a row is a label.
    v_batch := NULL;
    FOR r IN SELECT u.b, u.t, u.g, array_agg(u.i::int ORDER BY u.i) AS members
               FROM unnest(p_group, p_tenant, p_batch_id, v_ids) WITH ORDINALITY u(g, t, b, id, i)
              WHERE u.b <> '' AND u.id IS NOT NULL GROUP BY u.b, u.t, u.g ORDER BY u.b, u.t, u.g LOOP
      IF (v_asked_b, v_asked_t) IS DISTINCT FROM (r.b, r.t) THEN
        v_asked_b := r.b; v_asked_t := r.t;
        SELECT * INTO v_batch FROM parkd.batches b WHERE b.id = r.b AND b.tenant = r.t FOR UPDATE;
        v_taken := v_batch.total;
        v_max := (SELECT least(p_batch_jobs_max, x.max_batch_jobs) FROM parkd.settings x);
      END IF;
      CONTINUE WHEN v_batch.id IS NULL;
      refusal := NULL; v_at := r.members[1]; n1 := NULL; n2 := NULL; n3 := NULL;
      IF v_batch.sealed_at IS NOT NULL THEN
        refusal := 'sealed';
      ELSIF v_batch.deadline <= v_now THEN
        refusal := 'over'; n1 := parkd.us_v1(v_batch.deadline);
      ELSE
        SELECT min(m) INTO v_at FROM unnest(r.members) m WHERE p_deadline_us[m] <> parkd.us_v1(v_batch.deadline);
        IF v_at IS NOT NULL THEN refusal := 'deadline'; END IF;
        v_room := greatest(v_max - v_taken, 0);
        IF cardinality(r.members) > v_room AND (v_at IS NULL OR r.members[v_room + 1] < v_at) THEN
          refusal := 'full'; v_at := r.members[v_room + 1]; n1 := v_taken; n2 := v_room + 1; n3 := v_max;
        END IF;
      END IF;
      IF refusal IS NULL THEN
        IF NOT (r.g = ANY (v_bad)) THEN v_taken := v_taken + cardinality(r.members); END IF;
      ELSE
        v_bad := v_bad || r.g; row_index := v_at - 1;
        RETURN NEXT;
      END IF;
    END LOOP;
  END IF;
  -- The limit of the database, per group; the trigger then leaves these rows alone.
  v_asked_b := NULL;
  IF EXISTS (SELECT FROM parkd.limits) THEN
    FOR r IN SELECT u.m, u.g, min(u.i) AS i, count(*) AS n
               FROM unnest(p_group, p_model, p_batch_id, v_ids) WITH ORDINALITY u(g, m, b, id, i)
              WHERE u.b = '' AND u.id IS NOT NULL AND NOT (u.g = ANY (v_bad)) GROUP BY u.m, u.g ORDER BY u.m, u.g LOOP
      IF v_asked_b IS DISTINCT FROM r.m THEN
        v_asked_b := r.m;
        SELECT d.depth, d.max_depth INTO v_taken, v_max FROM parkd.depth_v1(r.m) d;
      END IF;
      CONTINUE WHEN v_max IS NULL;
      IF v_taken + r.n > v_max THEN
        refusal := 'depth'; row_index := r.i - 1; n1 := v_taken; n2 := r.n; n3 := v_max;
        v_bad := v_bad || r.g;
        RETURN NEXT;
      ELSE
        v_taken := v_taken + r.n;
      END IF;
    END LOOP;
    PERFORM set_config('parkd.on_full', 'held', true);
  END IF;
  IF p_keyed AND v_bad <> '{}' THEN
    DELETE FROM parkd.idempotency k USING unnest(p_group, p_tenant, p_idempotency_key, v_ids) u(g, t, key, id)
     WHERE u.g = ANY (v_bad) AND u.id IS NOT NULL AND k.tenant = u.t AND k.key = u.key AND k.job_id = u.id;
  END IF;

  RETURN QUERY
  WITH u AS MATERIALIZED (
    SELECT * FROM unnest(p_group, p_model, p_tenant, p_priority::parkd.priority[], v_boxes, p_custom_id, p_batch_id,
        p_metadata, p_idempotency_key, p_endpoint, p_body, p_seed, p_run_at_us, p_deadline_us, p_run_timeout_s,
        p_retention_us, p_max_attempts, p_n_choices, p_prompt_tokens, p_max_new_tokens, p_exact, v_ids) WITH ORDINALITY
      u(g, model, tenant, priority, mailbox_key, custom_id, batch_id, metadata, idempotency_key, endpoint,
        body, seed, run_at_us, deadline_us, run_timeout_s, retention_us, max_attempts, n_choices, prompt_tokens,
        max_new_tokens, exact, id, i)
     WHERE u.id IS NOT NULL AND NOT (u.g = ANY (v_bad))),
  stored AS (
    INSERT INTO parkd.jobs (id, model, tenant, priority, mailbox_key, custom_id, batch_id, metadata,
        idempotency_key, endpoint, body, seed, created_at, order_key, run_at, deadline, run_timeout,
        retention, max_attempts, n_choices, prompt_tokens, max_new_tokens, tokens_are_exact, state)
    OVERRIDING SYSTEM VALUE
    SELECT u.id, u.model, u.tenant, u.priority, u.mailbox_key, nullif(u.custom_id, ''),
           nullif(u.batch_id, ''), nullif(u.metadata, '')::json, nullif(u.idempotency_key, ''),
           u.endpoint, u.body::json, coalesce(u.seed, (random() * 9007199254740991)::bigint), v_now,
           greatest(v_now, parkd.from_us_v1(u.run_at_us)) + parkd.delay_v1(u.priority),
           parkd.from_us_v1(u.run_at_us),
           coalesce(b.deadline, parkd.from_us_v1(u.deadline_us)), make_interval(secs => u.run_timeout_s),
           coalesce(u.retention_us * interval '1 microsecond', b.retention, p_retention_default_us * interval '1 microsecond'),
           u.max_attempts, u.n_choices, u.prompt_tokens, u.max_new_tokens, u.exact,
           CASE WHEN parkd.from_us_v1(u.run_at_us) > v_now THEN 'scheduled' ELSE 'queued' END::parkd.job_state
      FROM u LEFT JOIN parkd.batches b ON p_batched AND b.id = u.batch_id AND b.tenant = u.tenant ORDER BY u.i)
  SELECT (u.i - 1)::int, u.id, u.mailbox_key, false, false, NULL::text, NULL::bigint, NULL::bigint, NULL::bigint FROM u;
END $$;

-- After every INSERT statement into the queue, whoever made it: wake idle daemons, one NOTIFY per
-- model and only if somebody waits; count batch members; hold the depth limit.
CREATE FUNCTION parkd.after_insert_v1() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, parkd, pg_temp SET jit = off AS $$
DECLARE r record; b parkd.batches; v_max bigint;
BEGIN
  IF EXISTS (SELECT FROM parkd.limits) THEN PERFORM parkd.hold_limit_v1(n.model, n.jobs) FROM (
    SELECT model, count(*) AS jobs FROM new_rows WHERE batch_id IS NULL AND requeued_from IS NULL GROUP BY model) n;
  END IF;
  FOR r IN SELECT batch_id, tenant, count(*) AS jobs FROM new_rows WHERE batch_id IS NOT NULL
            GROUP BY batch_id, tenant ORDER BY batch_id LOOP
    -- batches_pkey
    SELECT * INTO b FROM parkd.batches x WHERE x.id = r.batch_id AND x.tenant = r.tenant FOR UPDATE;
    CONTINUE WHEN NOT FOUND;    -- a daemon's label
    v_max := (SELECT s.max_batch_jobs FROM parkd.settings s);
    IF b.sealed_at IS NOT NULL THEN
      RAISE EXCEPTION USING ERRCODE = 'object_not_in_prerequisite_state',
        MESSAGE = format('batch %s is sealed: it takes no more jobs', r.batch_id), HINT = 'Open a new batch.';
    ELSIF b.total + r.jobs > v_max THEN
      RAISE EXCEPTION USING ERRCODE = 'program_limit_exceeded',
        MESSAGE = format('batch %s has %s jobs and would get %s more; the limit is %s a batch', r.batch_id, b.total, r.jobs, v_max),
        HINT = 'Open another batch for the rest. An administrator sets parkd.settings.max_batch_jobs.';
    END IF;
    UPDATE parkd.batches x SET total = x.total + r.jobs WHERE x.id = r.batch_id;
  END LOOP;
  IF EXISTS (SELECT FROM parkd.waiters) THEN
    PERFORM pg_notify('parkd_work', m.model)
      FROM (SELECT DISTINCT n.model FROM new_rows n WHERE n.state = 'queued') m
     WHERE EXISTS (SELECT FROM parkd.waiters w WHERE w.model = m.model)
       AND (SELECT s.notify_work FROM parkd.settings s);
  END IF;
  RETURN NULL;
END $$;

-- The limit of a model (its own row or the one of model ''), what it does when full, and the depth as
-- last sampled. NULLs when there is no limit.
CREATE FUNCTION parkd.depth_v1(p_model text, OUT depth bigint, OUT max_depth bigint, OUT on_full text)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, parkd, pg_temp AS $$
BEGIN
  SELECT l.max_queue_depth, l.on_full INTO max_depth, on_full FROM parkd.limits l
   WHERE l.model IN (p_model, '') ORDER BY l.model DESC LIMIT 1;
  IF FOUND THEN
    depth := coalesce((SELECT d.waiting_singles FROM parkd.depth_samples d WHERE d.model = p_model), 0);
  END IF;
END $$;

-- The limit is compared with the last sample of the depth, never with a count of rows. Bound: it is passed
-- by at most what is submitted within one sampling period (maintain_v1 samples every 5 s while there is a
-- limit), plus what was open in other transactions. What happens when it is full the submitter chooses:
-- SET parkd.on_full = 'wait' waits until there is room (statement_timeout bounds it; READ COMMITTED only),
-- 'refuse' fails at once; without it the row's on_full counts.
CREATE FUNCTION parkd.hold_limit_v1(p_model text, p_jobs bigint) RETURNS void LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, parkd, pg_temp AS $$
DECLARE d record; v_choice text := nullif(current_setting('parkd.on_full', true), '');
BEGIN
  IF v_choice = 'held' THEN RETURN; END IF;    -- submit_v1 has looked
  IF v_choice NOT IN ('wait', 'refuse') THEN
    RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
      MESSAGE = format('parkd.on_full is %s', quote_literal(v_choice)), HINT = 'SET parkd.on_full = ''wait'' or ''refuse''.';
  END IF;
  LOOP
    SELECT * INTO d FROM parkd.depth_v1(p_model);
    EXIT WHEN d.max_depth IS NULL OR d.depth + p_jobs <= d.max_depth OR (d.depth = 0 AND p_jobs > d.max_depth);
    IF coalesce(v_choice, d.on_full) <> 'wait' THEN
      RAISE EXCEPTION USING ERRCODE = 'configuration_limit_exceeded',
        MESSAGE = format('the queue of model %s is full: depth %s, limit %s', p_model, d.depth, d.max_depth),
        HINT = 'Submit later, or SET parkd.on_full = ''wait'' (with a statement_timeout).';
    END IF;
    IF current_setting('transaction_isolation') <> 'read committed' THEN
      RAISE EXCEPTION USING ERRCODE = 'configuration_limit_exceeded',
        MESSAGE = format('the queue of model %s is full: depth %s, limit %s', p_model, d.depth, d.max_depth),
        HINT = 'A transaction that is not READ COMMITTED cannot wait for room: it never sees any. Submit later.';
    END IF;
    PERFORM pg_sleep(0.2);
  END LOOP;
END $$;

CREATE TRIGGER jobs_after_insert AFTER INSERT ON parkd.jobs REFERENCING NEW TABLE AS new_rows
  FOR EACH STATEMENT EXECUTE FUNCTION parkd.after_insert_v1();

-- --- claim ------------------------------------------------------------------------------------

-- Up to p_max queued jobs of a model, in the order of DESIGN.md: critical ones by order_key; then
-- tenants by start-time fair queueing of need; in a tenant by order_key, id. Claimers do not wait for
-- each other and do not starve each other: LIMIT counts rows after SKIP LOCKED has passed over those
-- that others hold. Reads per claim: about p_max rows (plus 2 * p_max per tenant when tenants share).
-- PK001 as in heartbeat_v1.
CREATE FUNCTION parkd.claim_v1(p_daemon bigint, p_model text, p_max int, p_now timestamptz DEFAULT NULL)
RETURNS TABLE (
  ord bigint, id bigint, run_lease bigint, created_us bigint, order_us bigint, run_at_us bigint,
  deadline_us bigint, claimed_us bigint, seed bigint, retention_us bigint, run_timeout_s bigint,
  prompt_tokens int, max_new_tokens int, n_choices int, attempts int, max_attempts int,
  interruptions int, priority parkd.priority, tokens_are_exact bool, model text, tenant text,
  mailbox_key text, endpoint text, custom_id text, batch_id text, idempotency_key text, metadata json,
  body json, requeued_from bigint)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, parkd, pg_temp SET jit = off SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
  v_now   timestamptz := coalesce(p_now, clock_timestamp());
  v_epoch bigint;
  v_start timestamptz;
  v_ids   bigint[];
  v_first text;
  v_last  text;
BEGIN
  SELECT d.fence_epoch, d.server_start INTO v_epoch, v_start FROM parkd.daemons d
   WHERE d.id = p_daemon AND d.lost_at IS NULL AND d.beat_at + d.ttl > v_now
     AND d.timeline = parkd.timeline_v1();
  IF NOT FOUND THEN
    RAISE EXCEPTION USING ERRCODE = 'PK001',
      MESSAGE = format('daemon %s is no longer registered with this database', p_daemon);
  END IF;
  IF v_start = pg_postmaster_start_time() THEN
    -- A claim that a crash of the server forgets is a job that is claimed again: not worth a sync.
    PERFORM set_config('synchronous_commit', 'off', true);
  ELSE
    -- It has forgotten some: their leases must not be given out a second time.
    v_epoch := parkd.current_epoch_v1();
    UPDATE parkd.daemons d SET fence_epoch = v_epoch, server_start = pg_postmaster_start_time() WHERE d.id = p_daemon;
  END IF;
  IF EXISTS (SELECT FROM parkd.models m WHERE m.name = p_model AND m.paused_at IS NOT NULL) THEN RETURN; END IF;

  IF EXISTS (SELECT FROM parkd.jobs j WHERE j.state = 'scheduled' AND j.run_at <= v_now) THEN
    PERFORM parkd.promote_v1(v_now);
  END IF;
  -- jobs_critical
  v_ids := ARRAY(SELECT j.id FROM parkd.jobs j
     WHERE j.model = p_model AND j.state = 'queued' AND j.priority = 'critical'
       AND (j.deadline IS NULL OR j.deadline > v_now)
     ORDER BY j.order_key, j.id LIMIT p_max FOR UPDATE SKIP LOCKED);
  IF cardinality(v_ids) < p_max THEN
    -- jobs_queue, its two ends: is there more than one tenant?
    SELECT j.tenant INTO v_first FROM parkd.jobs j
     WHERE j.model = p_model AND j.state = 'queued' AND j.priority <> 'critical'
     ORDER BY j.tenant LIMIT 1;
    SELECT j.tenant INTO v_last FROM parkd.jobs j
     WHERE j.model = p_model AND j.state = 'queued' AND j.priority <> 'critical'
     ORDER BY j.tenant DESC LIMIT 1;
    IF v_first = v_last THEN
      -- Alone, a tenant pays nothing: whoever comes next starts level with it.
      UPDATE parkd.shares s SET tags = '{}' WHERE s.model = p_model AND s.tags <> '{}';
      v_ids := v_ids || ARRAY(SELECT j.id FROM parkd.jobs j
         WHERE j.model = p_model AND j.tenant = v_first AND j.state = 'queued' AND j.priority <> 'critical'
           AND (j.deadline IS NULL OR j.deadline > v_now)
         ORDER BY j.order_key, j.id LIMIT p_max - cardinality(v_ids) FOR UPDATE SKIP LOCKED);
    ELSIF v_first IS NOT NULL THEN
      v_ids := v_ids || parkd.fair_choice_v1(p_model, p_max - cardinality(v_ids), v_now);
    END IF;
  END IF;

  IF cardinality(v_ids) < p_max THEN
    IF NOT EXISTS (SELECT FROM parkd.waiters w WHERE w.model = p_model AND w.daemon_id = p_daemon) THEN
      INSERT INTO parkd.waiters VALUES (p_model, p_daemon) ON CONFLICT DO NOTHING;
    END IF;
  ELSE
    DELETE FROM parkd.waiters w WHERE w.model = p_model AND w.daemon_id = p_daemon;
  END IF;
  IF v_ids = '{}' THEN RETURN; END IF;

  RETURN QUERY
  UPDATE parkd.jobs j
     SET state = 'claimed', daemon_id = p_daemon, claimed_at = v_now,
         run_lease = greatest(j.run_lease + 1, (v_epoch << 32) + 1)
    FROM unnest(v_ids) WITH ORDINALITY c(id, ord)
   WHERE j.id = c.id
  RETURNING c.ord, j.id, j.run_lease, parkd.us_v1(j.created_at), parkd.us_v1(j.order_key),
    parkd.us_v1(j.run_at), parkd.us_v1(j.deadline), parkd.us_v1(j.claimed_at), j.seed,
    (date_part('epoch', j.retention) * 1e6)::bigint, date_part('epoch', j.run_timeout)::bigint,
    j.prompt_tokens, j.max_new_tokens, j.n_choices, j.attempts, j.max_attempts, j.interruptions,
    j.priority, j.tokens_are_exact, j.model, j.tenant, j.mailbox_key, j.endpoint, j.custom_id,
    j.batch_id, j.idempotency_key, j.metadata, j.body, j.requeued_from;
END $$;

-- Start-time fair queueing (Goyal, Vin, Cheng 1996): a job's start tag is max(virtual time, its
-- tenant's finish tag); the smallest is served; the finish tag is start + need / weight. Locks the
-- chosen rows and returns them in order. Looks at up to 128 tenants at a time, as a ring.
-- The tags are locked, so claimers that share tenants take turns; if one that does not read its answer
-- keeps them for half a second, the others go on without charging anybody.
CREATE FUNCTION parkd.fair_choice_v1(p_model text, p_max int, p_now timestamptz)
RETURNS bigint[] LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, parkd, pg_temp SET jit = off SET plan_cache_mode = force_generic_plan
SET lock_timeout = '500ms'
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
  s         parkd.shares;
  v_charge  bool := true;
  v_tenants text[];
  v_window  int;
  v_ids     bigint[] := '{}';
  v_tags    jsonb;
  v_virtual float8;
  r         record;
BEGIN
  INSERT INTO parkd.shares (model) SELECT p_model
   WHERE NOT EXISTS (SELECT FROM parkd.shares x WHERE x.model = p_model) ON CONFLICT DO NOTHING;
  BEGIN
    SELECT * INTO STRICT s FROM parkd.shares x WHERE x.model = p_model FOR UPDATE;
  EXCEPTION WHEN lock_not_available THEN
    SELECT * INTO STRICT s FROM parkd.shares x WHERE x.model = p_model;
    v_charge := false;
  END;
  v_tenants := parkd.queued_tenants_v1(p_model, s.after_tenant, 128);
  -- Enough to fill the claim from any one tenant while tenants are few; with many, tags even out over
  -- the next claims what a short window cut off.
  v_window := greatest(least(2 * p_max, 1024 / greatest(cardinality(v_tenants), 1)), 4);
  v_tags := s.tags;
  v_virtual := s.virtual_time;
  FOR r IN
    WITH head AS MATERIALIZED (
      SELECT t.tenant, q.id, q.order_key, q.need / coalesce(w.weight, 1) AS cost,
             greatest(s.virtual_time, coalesce((s.tags ->> t.tenant)::float8, s.virtual_time)) AS tag
        FROM unnest(v_tenants) t(tenant)
        CROSS JOIN LATERAL (
          SELECT j.id, j.order_key, greatest(j.n_choices::float8 * (j.prompt_tokens + j.max_new_tokens), 1) AS need
            FROM parkd.jobs j
           WHERE j.model = p_model AND j.tenant = t.tenant AND j.state = 'queued'
             AND j.priority <> 'critical' AND (j.deadline IS NULL OR j.deadline > p_now)
           ORDER BY j.order_key, j.id LIMIT v_window) q
        LEFT JOIN parkd.tenants w ON w.name = t.tenant),
    tagged AS (
      SELECT h.id, h.tenant, h.cost, h.order_key,
             h.tag + sum(h.cost) OVER (PARTITION BY h.tenant ORDER BY h.order_key, h.id) - h.cost AS start_tag
        FROM head h),
    chosen AS MATERIALIZED (
      SELECT t.id, t.tenant, t.cost, t.start_tag, row_number() OVER (ORDER BY t.start_tag, t.order_key, t.id) AS ord
        FROM tagged t)
    SELECT c.id, c.tenant, c.cost, c.start_tag FROM chosen c JOIN parkd.jobs j ON j.id = c.id
     WHERE j.state = 'queued' ORDER BY c.ord LIMIT p_max FOR UPDATE OF j SKIP LOCKED
  LOOP
    v_ids := v_ids || r.id;
    v_tags := v_tags || jsonb_build_object(r.tenant, r.start_tag + r.cost);
    v_virtual := greatest(v_virtual, r.start_tag);
  END LOOP;
  IF v_charge THEN
    UPDATE parkd.shares x
       SET virtual_time = v_virtual,
           tags = (SELECT coalesce(jsonb_object_agg(e.key, e.value), '{}') FROM jsonb_each(v_tags) e
                    WHERE e.value::float8 > v_virtual),
           after_tenant = CASE WHEN cardinality(v_tenants) < 128 THEN '' ELSE v_tenants[128] END
     WHERE x.model = p_model;
  END IF;
  -- What others held made the window too short: take what is there, tenant by tenant.
  FOR i IN 1..cardinality(v_tenants) LOOP
    EXIT WHEN cardinality(v_ids) >= p_max;
    v_ids := v_ids || ARRAY(SELECT j.id FROM parkd.jobs j
       WHERE j.model = p_model AND j.tenant = v_tenants[i] AND j.state = 'queued'
         AND j.priority <> 'critical' AND (j.deadline IS NULL OR j.deadline > p_now)
         AND j.id <> ALL (v_ids)
       ORDER BY j.order_key, j.id LIMIT p_max - cardinality(v_ids) FOR UPDATE SKIP LOCKED);
  END LOOP;
  RETURN v_ids;
END $$;

-- Tenants with queued jobs of the model, from p_after on and round to it again: one index probe each.
CREATE FUNCTION parkd.queued_tenants_v1(p_model text, p_after text, p_max int)
RETURNS text[] LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, parkd, pg_temp SET jit = off SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off SET enable_bitmapscan = off AS $$
DECLARE v_tenants text[] := '{}'; v_at text := p_after; v_next text; v_wrapped bool := p_after = '';
BEGIN
  WHILE cardinality(v_tenants) < p_max LOOP
    SELECT j.tenant INTO v_next FROM parkd.jobs j
     WHERE j.model = p_model AND j.tenant > v_at AND j.state = 'queued' AND j.priority <> 'critical'
     ORDER BY j.tenant LIMIT 1;
    IF NOT FOUND THEN
      EXIT WHEN v_wrapped;
      v_wrapped := true;
      v_at := '';
      CONTINUE;
    END IF;
    EXIT WHEN v_wrapped AND p_after <> '' AND v_next > p_after;
    v_tenants := v_tenants || v_next;
    v_at := v_next;
  END LOOP;
  RETURN v_tenants;
END $$;

-- --- finish -----------------------------------------------------------------------------------

-- Whether a choice of this response ended at its token limit.
CREATE FUNCTION parkd.is_truncated_v1(p json) RETURNS bool LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, parkd, pg_temp AS $$
  SELECT CASE WHEN json_typeof(p) = 'object' AND json_typeof(p -> 'choices') = 'array'
              THEN EXISTS (SELECT FROM json_array_elements(p -> 'choices') c WHERE json_typeof(c) = 'object' AND c ->> 'finish_reason' = 'length')
              ELSE false END;
$$;

-- Ends claimed jobs: job out, message and history in, batch counters moved, one statement, fenced.
-- answer: 0 finished_now, 1 already_by_this_lease, 2 lease_lost. An item that was finished may also be
-- listed as 1: the smaller answer counts.
CREATE FUNCTION parkd.finish_v1(
  p_ids bigint[], p_leases bigint[], p_outcomes text[], p_codes text[], p_messages text[],
  p_params text[], p_status int[], p_bodies text[], p_prompt int[], p_completion int[],
  p_units bigint[], p_queue_us bigint[], p_run_us bigint[], p_now timestamptz DEFAULT NULL)
RETURNS TABLE (job_id bigint, run_lease bigint, answer int, tenant text, mailbox_key text)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, parkd, pg_temp SET jit = off SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE v_now timestamptz := coalesce(p_now, clock_timestamp()); v_n int;
BEGIN
  PERFORM parkd.enter_finish_v1();
  RETURN QUERY
  WITH i AS (
    SELECT * FROM unnest(p_ids, p_leases, p_outcomes, p_codes, p_messages, p_params, p_status, p_bodies,
                         p_prompt, p_completion, p_units, p_queue_us, p_run_us)
      i(id, lease, outcome, code, message, param, status, body, prompt, completion, units, queue_us, run_us)),
  gone AS (
    DELETE FROM parkd.jobs j USING i
     -- daemon_id IS NOT NULL is state = 'claimed' (a CHECK says so), in words that keep the planner
     -- from walking jobs_claimed when its statistics believe that few are claimed
     WHERE j.id = i.id AND j.run_lease = i.lease AND j.daemon_id IS NOT NULL
    RETURNING j.id, j.run_lease, j.created_at,
      CASE WHEN j.batch_id IS NULL OR j.deadline IS NULL THEN v_now + j.retention
           -- done early, a member stays until the reader of the whole batch can have come
           ELSE least(greatest(v_now, j.deadline) + j.retention, v_now + interval '60 days')
      END AS expires_at,
      CASE WHEN j.idempotency_key IS NOT NULL THEN v_now + greatest(j.retention, interval '24 hours')
      END AS key_until,
      j.attempts + (i.outcome = 'failed' AND i.code IN ('internal', 'device_lost', 'out_of_resources'))::int
        AS attempts,
      j.tenant, j.mailbox_key, j.model, j.custom_id, j.batch_id, j.metadata, i.outcome::parkd.outcome AS outcome,
      nullif(i.code, '') AS code, nullif(i.message, '') AS message, nullif(i.param, '') AS param, i.status,
      nullif(i.body, '')::json AS body, i.prompt, i.completion, i.units, i.queue_us, i.run_us,
      CASE WHEN i.outcome <> 'completed' THEN json_build_object(
        'endpoint', j.endpoint, 'priority', j.priority, 'seed', j.seed, 'run_timeout', j.run_timeout,
        'retention', j.retention, 'max_attempts', j.max_attempts, 'n_choices', j.n_choices,
        'prompt_tokens', j.prompt_tokens, 'max_new_tokens', j.max_new_tokens,
        'tokens_are_exact', j.tokens_are_exact, 'body', j.body) END AS request,
      nextval('parkd.message_sequence') AS sequence),
  message AS (
    INSERT INTO parkd.mailbox (sequence, job_id, run_lease, created_at, finished_at, expires_at, queue_us,
        run_us, units, prompt_tokens, completion_tokens, status_code, attempts, outcome, tenant,
        mailbox_key, model, custom_id, batch_id, error_code, error_message, error_param, metadata, body, request)
    SELECT g.sequence, g.id, g.run_lease, g.created_at, v_now, g.expires_at, g.queue_us, g.run_us, g.units,
           g.prompt, g.completion, g.status, g.attempts, g.outcome, g.tenant, g.mailbox_key, g.model,
           g.custom_id, g.batch_id, g.code, g.message, g.param, g.metadata, g.body, g.request FROM gone g),
  past AS (
    INSERT INTO parkd.history (job_id, run_lease, sequence, created_at, finished_at, expires_at, key_until,
        run_us, units, prompt_tokens, completion_tokens, outcome, tenant, mailbox_key, model, custom_id,
        batch_id, error_code)
    SELECT g.id, g.run_lease, g.sequence, g.created_at, v_now, g.expires_at, g.key_until, g.run_us, g.units,
           g.prompt, g.completion, g.outcome, g.tenant, g.mailbox_key, g.model, g.custom_id, g.batch_id, g.code
      FROM gone g),
  counted AS (
    -- batches_pkey. Locked in the order of ids, so that two finishes cannot wait for each other.
    UPDATE parkd.batches b
       SET completed = b.completed + c.completed, failed = b.failed + c.failed, cancelled = b.cancelled + c.cancelled,
           deadline_missed = b.deadline_missed + c.deadline_missed, quarantined = b.quarantined + c.quarantined,
           truncated = b.truncated + c.truncated,
           finished_at = CASE WHEN b.sealed_at IS NOT NULL
               AND b.completed + b.failed + b.cancelled + b.deadline_missed + b.quarantined + c.n >= b.total THEN v_now END
      FROM (SELECT x.id, n.* FROM parkd.batches x JOIN (
              SELECT g.batch_id, g.tenant, count(*) AS n,
                     count(*) FILTER (WHERE g.outcome = 'completed') AS completed,
                     count(*) FILTER (WHERE g.outcome = 'failed') AS failed,
                     count(*) FILTER (WHERE g.outcome = 'cancelled') AS cancelled,
                     count(*) FILTER (WHERE g.outcome = 'deadline_missed') AS deadline_missed,
                     count(*) FILTER (WHERE g.outcome = 'quarantined') AS quarantined,
                     count(*) FILTER (WHERE g.outcome = 'completed' AND parkd.is_truncated_v1(g.body)) AS truncated
                FROM gone g WHERE g.batch_id IS NOT NULL GROUP BY g.batch_id, g.tenant) n
              ON x.id = n.batch_id AND x.tenant = n.tenant ORDER BY x.id FOR UPDATE OF x) c
     WHERE b.id = c.id)
  SELECT g.id, g.run_lease, 0, g.tenant, g.mailbox_key FROM gone g;
  GET DIAGNOSTICS v_n = ROW_COUNT;
  IF v_n < cardinality(p_ids) THEN
    RETURN QUERY
    SELECT i.id, i.lease, CASE WHEN i.lease <> 0 AND EXISTS (
               SELECT FROM parkd.history h WHERE h.job_id = i.id AND h.run_lease = i.lease) THEN 1 ELSE 2 END,
           NULL::text, NULL::text
      FROM unnest(p_ids, p_leases) i(id, lease);
  END IF;
  IF v_n > 0 AND (SELECT s.notify_results FROM parkd.settings s) THEN
    PERFORM pg_notify('parkd_results', k.tenant || ' ' || k.mailbox_key) FROM (
      SELECT DISTINCT h.tenant, h.mailbox_key FROM unnest(p_ids) i(id) JOIN parkd.history h ON h.job_id = i.id) k
     WHERE octet_length(k.tenant) + octet_length(k.mailbox_key) < 7900;
  END IF;
END $$;

-- Announces that this transaction is about to draw message sequences above the present one. The lock
-- ends with the transaction; the lower 32 bits are enough, for readers compare by distance.
CREATE FUNCTION parkd.enter_finish_v1() RETURNS void LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, parkd, pg_temp AS $$
BEGIN
  PERFORM pg_advisory_xact_lock_shared(1886540396, ((s.last_value + s.is_called::int) & 4294967295)::bit(32)::int)
     FROM parkd.message_sequence s;
END $$;

-- The largest message sequence below which nothing can appear any more. Sequences are drawn before
-- the commit, so a message may become visible after one with a larger sequence; a cursor that went
-- past the horizon could skip it. Order matters: the counter first, then the finishes in flight, and
-- the caller reads messages in a LATER statement (its snapshot then has every finish that ended).
CREATE FUNCTION parkd.horizon_v1() RETURNS bigint LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, parkd, pg_temp SET jit = off AS $$
DECLARE v_top bigint; v_back bigint;
BEGIN
  SELECT s.last_value - (NOT s.is_called)::int INTO v_top FROM parkd.message_sequence s;
  -- a lock on x says: I shall draw sequences >= x. Distance back from v_top + 1, modulo 2^32.
  SELECT max(((v_top + 1) & 4294967295) - l.objid::bigint + CASE
               WHEN ((v_top + 1) & 4294967295) < l.objid::bigint THEN 4294967296 ELSE 0 END)
    INTO v_back FROM pg_locks l
   WHERE l.locktype = 'advisory' AND l.classid = 1886540396 AND l.objsubid = 2 AND l.granted
     AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
     -- locks taken after v_top was read lie at or above v_top + 1: half the circle says so
     AND ((v_top + 1) & 4294967295) - l.objid::bigint + CASE
           WHEN ((v_top + 1) & 4294967295) < l.objid::bigint THEN 4294967296 ELSE 0 END < 2147483648;
  RETURN v_top - coalesce(v_back, 0);
END $$;

-- --- reading ------------------------------------------------------------------------------------

-- The messages of a key after p_after that no later commit can overtake, in order. mailbox_key.
CREATE FUNCTION parkd.fetch_v1(p_tenant text, p_key text, p_after bigint, p_limit int, p_now timestamptz DEFAULT NULL)
RETURNS SETOF parkd.mailbox LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, parkd, pg_temp SET jit = off
SET enable_seqscan = off SET enable_bitmapscan = off AS $$
DECLARE v_horizon bigint := parkd.horizon_v1();   -- a statement of its own, before the one that reads
BEGIN
  RETURN QUERY
  SELECT m.* FROM parkd.mailbox m
   WHERE m.mailbox_key = p_key AND m.tenant = p_tenant AND m.sequence > p_after AND m.sequence <= v_horizon
     AND m.expires_at > coalesce(p_now, clock_timestamp())
   ORDER BY m.sequence LIMIT p_limit;
END $$;

-- Removes messages and returns those that were still there. Whoever loses the answer to the commit asks
-- pg_xact_status what became of it. mailbox_key.
CREATE FUNCTION parkd.take_v1(p_tenant text, p_key text, p_sequences bigint[], p_now timestamptz DEFAULT NULL)
RETURNS SETOF parkd.mailbox LANGUAGE sql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, parkd, pg_temp SET jit = off
SET enable_seqscan = off SET enable_bitmapscan = off AS $$
  DELETE FROM parkd.mailbox m
   WHERE m.mailbox_key = p_key AND m.tenant = p_tenant AND m.sequence = ANY (p_sequences)
     AND m.expires_at > coalesce(p_now, clock_timestamp())
  RETURNING m.*;
$$;

-- The message of a finished job, if it is still readable. history_job, then mailbox_key in one partition.
CREATE FUNCTION parkd.message_of_v1(p_id bigint, p_now timestamptz DEFAULT NULL)
RETURNS SETOF parkd.mailbox LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, parkd, pg_temp SET jit = off
SET enable_seqscan = off SET enable_bitmapscan = off AS $$
DECLARE h parkd.history;
BEGIN
  SELECT * INTO h FROM parkd.history x WHERE x.job_id = p_id;
  IF NOT FOUND OR h.expires_at <= coalesce(p_now, clock_timestamp()) THEN RETURN; END IF;
  RETURN QUERY SELECT m.* FROM parkd.mailbox m
    WHERE m.expires_at = h.expires_at AND m.mailbox_key = h.mailbox_key AND m.tenant = h.tenant AND m.sequence = h.sequence;
END $$;

-- Messages that can be read now: counted up to 10,000, beyond that what the statistics say.
CREATE FUNCTION parkd.count_messages_v1(p_now timestamptz DEFAULT NULL) RETURNS bigint LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, parkd, pg_temp SET jit = off AS $$
DECLARE n bigint; v_now timestamptz := coalesce(p_now, clock_timestamp());
BEGIN
  SELECT count(*) INTO n FROM (SELECT FROM parkd.mailbox m WHERE m.expires_at > v_now LIMIT 10001) x;
  IF n > 10000 THEN
    SELECT greatest(n, sum(c.reltuples))::bigint INTO n FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
     WHERE i.inhparent = 'parkd.mailbox'::regclass;
  END IF;
  RETURN n;
END $$;

-- Live single jobs of a model that wait, counted up to p_max: the daemon asks this about once a second
-- while it has a depth limit of its own, and counts its own submits and claims in between.
CREATE FUNCTION parkd.waiting_singles_v1(p_model text, p_max bigint) RETURNS bigint LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, parkd, pg_temp SET jit = off SET enable_seqscan = off AS $$
  SELECT (SELECT count(*) FROM (SELECT FROM parkd.jobs j WHERE j.model = p_model AND j.state = 'queued' AND j.priority <> 'critical'
                                   AND j.batch_id IS NULL LIMIT p_max) a)
       + (SELECT count(*) FROM (SELECT FROM parkd.jobs j WHERE j.model = p_model AND j.state = 'queued' AND j.priority = 'critical'
                                   AND j.batch_id IS NULL LIMIT p_max) b)
       + (SELECT count(*) FROM (SELECT FROM parkd.jobs j WHERE j.model = p_model AND j.state = 'scheduled'
                                   AND j.batch_id IS NULL LIMIT p_max) c);
$$;

-- Ends jobs that are not claimed, as cancelled or deadline_missed (the endings of lib/store/rules.cc).
-- Returns (tenant, mailbox_key) of each.
CREATE FUNCTION parkd.end_waiting_v1(p_ids bigint[], p_outcome parkd.outcome, p_now timestamptz)
RETURNS TABLE (tenant text, mailbox_key text) LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, parkd, pg_temp SET jit = off SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE v_ids bigint[]; v_leases bigint[]; n int;
BEGIN
  -- Through the same door as every ending: a claim by nobody (daemon 0), finished in this transaction.
  WITH mine AS (
    UPDATE parkd.jobs j SET state = 'claimed', daemon_id = 0, run_lease = 0
     WHERE j.id = ANY (p_ids) AND j.daemon_id IS NULL RETURNING j.id)
  SELECT coalesce(array_agg(u.id ORDER BY u.n), '{}'), count(*) INTO v_ids, n    -- in the order given
    FROM unnest(p_ids) WITH ORDINALITY u(id, n) WHERE u.id IN (SELECT m.id FROM mine m);
  IF n = 0 THEN RETURN; END IF;
  PERFORM parkd.ensure_partitions_for_v1(v_ids, p_now);
  RETURN QUERY
  SELECT f.tenant, f.mailbox_key FROM parkd.finish_v1(
    v_ids, array_fill(0::bigint, ARRAY[n]), array_fill(p_outcome::text, ARRAY[n]),
    array_fill(p_outcome::text, ARRAY[n]),
    array_fill(CASE p_outcome WHEN 'cancelled' THEN 'the job was cancelled before it ran'
                              ELSE 'the deadline passed before the job ran' END, ARRAY[n]),
    array_fill(''::text, ARRAY[n]),
    array_fill(CASE p_outcome WHEN 'cancelled' THEN 499 ELSE 408 END, ARRAY[n]),
    array_fill(''::text, ARRAY[n]), array_fill(0, ARRAY[n]),
    array_fill(0, ARRAY[n]), array_fill(0::bigint, ARRAY[n]), array_fill(0::bigint, ARRAY[n]),
    array_fill(0::bigint, ARRAY[n]), p_now) f WHERE f.answer = 0;
END $$;

-- --- release, cancel ---------------------------------------------------------------------------

-- A job whose cancel was asked for meanwhile ends instead; its (tenant, mailbox_key) say so.
CREATE FUNCTION parkd.release_v1(p_ids bigint[], p_leases bigint[], p_spend bool[], p_run_at_us bigint[],
                                 p_now timestamptz DEFAULT NULL)
RETURNS TABLE (job_id bigint, run_lease bigint, model text, tenant text, mailbox_key text)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, parkd, pg_temp SET jit = off
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE v_now timestamptz := coalesce(p_now, clock_timestamp()); r record;
BEGIN
  FOR r IN
    UPDATE parkd.jobs j
       SET state = CASE WHEN j.cancel_at IS NULL AND i.run_at > v_now THEN 'scheduled' ELSE 'queued' END::parkd.job_state,
           run_at = coalesce(i.run_at, j.run_at), attempts = j.attempts + i.spend::int,
           daemon_id = NULL, claimed_at = NULL
      FROM (SELECT u.id, u.lease, u.spend, parkd.from_us_v1(u.run_at_us) AS run_at
              FROM unnest(p_ids, p_leases, p_spend, p_run_at_us) u(id, lease, spend, run_at_us)) i
     WHERE j.id = i.id AND j.run_lease = i.lease AND j.daemon_id IS NOT NULL
    RETURNING j.id, j.run_lease, j.model, j.state, j.cancel_at
  LOOP
    job_id := r.id; run_lease := r.run_lease; model := NULL; tenant := NULL; mailbox_key := NULL;
    IF r.cancel_at IS NOT NULL THEN
      SELECT e.tenant, e.mailbox_key INTO tenant, mailbox_key
        FROM parkd.end_waiting_v1(ARRAY[r.id], 'cancelled', v_now) e;
    ELSIF r.state = 'queued' THEN
      model := r.model;
    END IF;
    RETURN NEXT;
  END LOOP;
  PERFORM pg_notify('parkd_work', w.model) FROM parkd.waiters w
   WHERE w.model IN (SELECT j.model FROM unnest(p_ids) i(id) JOIN parkd.jobs j ON j.id = i.id WHERE j.state = 'queued');
END $$;

CREATE FUNCTION parkd.cancel_v1(p_id bigint, p_tenant text, p_history interval DEFAULT '30 days',
    p_now timestamptz DEFAULT NULL, OUT answer text, OUT run_lease bigint, OUT mine bigint,
    OUT tenant text, OUT mailbox_key text) LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, parkd, pg_temp SET jit = off
SET enable_seqscan = off SET enable_bitmapscan = off AS $$
DECLARE v_now timestamptz := coalesce(p_now, clock_timestamp()); r record;
BEGIN
  SELECT j.state, j.daemon_id, j.run_lease INTO r FROM parkd.jobs j
   WHERE j.id = p_id AND (p_tenant = '' OR j.tenant = p_tenant) FOR UPDATE;
  IF NOT FOUND THEN
    answer := CASE WHEN EXISTS (
        SELECT FROM parkd.history h WHERE h.job_id = p_id AND (p_tenant = '' OR h.tenant = p_tenant)
           AND h.expires_at + p_history > v_now) THEN 'already_finished' ELSE 'not_found' END;
  ELSIF r.state = 'claimed' THEN
    UPDATE parkd.jobs j SET cancel_at = coalesce(j.cancel_at, v_now) WHERE j.id = p_id;
    PERFORM pg_notify('parkd_cancel', format('%s %s %s', r.daemon_id, p_id, r.run_lease));
    answer := 'cancel_requested'; run_lease := r.run_lease; mine := r.daemon_id;
  ELSE
    answer := 'cancelled';
    SELECT e.tenant, e.mailbox_key INTO tenant, mailbox_key
      FROM parkd.end_waiting_v1(ARRAY[p_id], 'cancelled', v_now) e;
  END IF;
END $$;

-- --- requeue -----------------------------------------------------------------------------------

-- Makes a new job of each finished one that did not complete and whose message is still there: those of
-- p_ids, or all of an error code; both, when both are given. The history row remembers what a job became, so
-- a repeated call by ids answers the same (and by code alone, nothing). p_tenant '' is any tenant.
-- By ids: history_job, mailbox_key; by code: mailbox_failed.
CREATE FUNCTION parkd.requeue_v1(p_tenant text, p_ids bigint[], p_error_code text, p_model text, p_limit int,
                                 p_now timestamptz DEFAULT NULL)
RETURNS TABLE (requeued_from bigint, id bigint, mailbox_key text, model text, existed bool)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, parkd, pg_temp SET jit = off SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE v_now timestamptz := coalesce(p_now, clock_timestamp()); v_jobs bigint[]; v_made bigint[];
BEGIN
  IF coalesce(cardinality(p_ids), 0) > 0 THEN
    v_jobs := ARRAY(
      SELECT h.job_id FROM (SELECT DISTINCT u.id FROM unnest(p_ids) u(id)) i JOIN parkd.history h ON h.job_id = i.id
       WHERE (p_tenant = '' OR h.tenant = p_tenant) AND h.outcome <> 'completed' AND h.expires_at > v_now
         AND (p_error_code = '' OR h.error_code = p_error_code) AND (p_model = '' OR h.model = p_model)
         AND (h.requeued_as IS NOT NULL OR EXISTS (
           SELECT FROM parkd.mailbox m WHERE m.expires_at = h.expires_at AND m.mailbox_key = h.mailbox_key
              AND m.sequence = h.sequence AND m.request IS NOT NULL))
       ORDER BY h.sequence LIMIT p_limit);
  ELSE
    v_jobs := ARRAY(
      SELECT m.job_id FROM parkd.mailbox m
       WHERE m.error_code = p_error_code AND m.request IS NOT NULL AND m.expires_at > v_now
         AND (p_tenant = '' OR m.tenant = p_tenant) AND (p_model = '' OR m.model = p_model)
       ORDER BY m.sequence LIMIT p_limit FOR UPDATE SKIP LOCKED);
  END IF;
  -- In portions, as in cancel_batch_v1. A concurrent call for the same job waits here, and finds the
  -- request gone.
  FOR i IN 1..cardinality(v_jobs) BY 500 LOOP
  WITH old AS MATERIALIZED (
    SELECT m.expires_at, m.sequence, m.finished_at, m.job_id, m.tenant, m.mailbox_key, m.model, m.custom_id, m.metadata, m.request
      FROM unnest(v_jobs[i : i + 499]) u(job_id) JOIN parkd.history h ON h.job_id = u.job_id
      JOIN parkd.mailbox m ON m.expires_at = h.expires_at AND m.mailbox_key = h.mailbox_key AND m.sequence = h.sequence
     WHERE m.request IS NOT NULL ORDER BY m.sequence FOR UPDATE OF m),
  fresh AS MATERIALIZED (SELECT o.*, nextval('parkd.jobs_id_seq') AS new_id FROM old o ORDER BY o.sequence),
  used AS (
    UPDATE parkd.mailbox m SET request = NULL FROM fresh f
     WHERE m.expires_at = f.expires_at AND m.mailbox_key = f.mailbox_key AND m.sequence = f.sequence),
  remembered AS (
    UPDATE parkd.history h SET requeued_as = f.new_id FROM fresh f WHERE h.finished_at = f.finished_at AND h.job_id = f.job_id),
  made AS (
    INSERT INTO parkd.jobs (id, requeued_from, created_at, order_key, model, tenant, mailbox_key, custom_id, metadata, endpoint,
        priority, seed, run_timeout, retention, max_attempts, n_choices, prompt_tokens, max_new_tokens, tokens_are_exact, body)
    OVERRIDING SYSTEM VALUE
    SELECT f.new_id, f.job_id, v_now, v_now + parkd.delay_v1((f.request ->> 'priority')::parkd.priority), f.model, f.tenant,
           f.mailbox_key, f.custom_id, f.metadata, f.request ->> 'endpoint', (f.request ->> 'priority')::parkd.priority,
           (f.request ->> 'seed')::bigint, (f.request ->> 'run_timeout')::interval, (f.request ->> 'retention')::interval,
           (f.request ->> 'max_attempts')::int, (f.request ->> 'n_choices')::int, (f.request ->> 'prompt_tokens')::int,
           (f.request ->> 'max_new_tokens')::int, (f.request ->> 'tokens_are_exact')::bool, f.request -> 'body'
      FROM fresh f)
  SELECT array_agg(f.new_id) INTO v_made FROM fresh f;
  RETURN QUERY
  SELECT h.job_id, h.requeued_as, h.mailbox_key, h.model, h.requeued_as NOT IN (SELECT x FROM unnest(v_made) x)
    FROM unnest(v_jobs[i : i + 499]) u(job_id) JOIN parkd.history h ON h.job_id = u.job_id
   WHERE h.requeued_as IS NOT NULL ORDER BY h.sequence;
  END LOOP;
END $$;

-- --- batches -----------------------------------------------------------------------------------

-- conflict: the key belongs to a batch of another content. With p_find_only nothing is opened, and no row
-- says that there is no batch of that key. batches_key.
CREATE FUNCTION parkd.open_batch_v1(p_tenant text, p_name text, p_metadata json, p_key text, p_deadline timestamptz,
                                    p_retention interval, p_retention_default interval, p_find_only bool DEFAULT false,
                                    p_now timestamptz DEFAULT NULL)
RETURNS TABLE (existed bool, conflict bool, batch parkd.batches) LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, parkd, pg_temp SET jit = off
SET enable_seqscan = off SET enable_bitmapscan = off AS $$
DECLARE
  v_now  timestamptz := coalesce(p_now, clock_timestamp());
  v_hash text := encode(sha256(convert_to(jsonb_build_array(coalesce(p_name, ''), p_metadata::jsonb, parkd.us_v1(p_deadline),
                   (date_part('epoch', p_retention) * 1e6)::bigint)::text, 'UTF8')), 'hex');
BEGIN
  existed := false; conflict := false;
  IF NOT p_find_only THEN
    INSERT INTO parkd.batches AS b (tenant, name, metadata, idempotency_key, content_hash, created_at, deadline, retention)
      VALUES (p_tenant, nullif(p_name, ''), p_metadata, nullif(p_key, ''), CASE WHEN p_key <> '' THEN v_hash END, v_now,
              coalesce(p_deadline, v_now + interval '24 hours'), coalesce(p_retention, p_retention_default))
      ON CONFLICT (tenant, idempotency_key) WHERE idempotency_key IS NOT NULL DO NOTHING
      RETURNING b.* INTO batch;
    IF FOUND THEN RETURN NEXT; RETURN; END IF;
  END IF;
  SELECT b.* INTO batch FROM parkd.batches b WHERE b.tenant = p_tenant AND b.idempotency_key = p_key;
  IF NOT FOUND THEN RETURN; END IF;
  existed := true;
  conflict := (batch).content_hash <> v_hash;
  RETURN NEXT;
END $$;

-- No more members; the batch is finished when all of them have ended. Answers the batch, if there is one
-- (p_tenant '': any tenant's). batches_pkey.
CREATE FUNCTION parkd.seal_batch_v1(p_id text, p_tenant text, p_now timestamptz DEFAULT NULL)
RETURNS SETOF parkd.batches LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, parkd, pg_temp SET jit = off
SET enable_seqscan = off SET enable_bitmapscan = off AS $$
DECLARE v_now timestamptz := coalesce(p_now, clock_timestamp());
BEGIN
  UPDATE parkd.batches b
     SET sealed_at = v_now,
         finished_at = CASE WHEN b.completed + b.failed + b.cancelled + b.deadline_missed + b.quarantined >= b.total THEN v_now END
   WHERE b.id = p_id AND (p_tenant = '' OR b.tenant = p_tenant) AND b.sealed_at IS NULL;
  RETURN QUERY SELECT b.* FROM parkd.batches b WHERE b.id = p_id AND (p_tenant = '' OR b.tenant = p_tenant);
END $$;

-- Seals the batch, ends its waiting members and asks for the end of those that are claimed. One row per
-- ended member's (tenant, mailbox_key) and per claimed one (job_id, run_lease, daemon); the batch itself
-- is read after it. jobs_batch, batches_pkey.
CREATE FUNCTION parkd.cancel_batch_v1(p_id text, p_tenant text, p_now timestamptz DEFAULT NULL)
RETURNS TABLE (tenant text, mailbox_key text, job_id bigint, run_lease bigint, daemon bigint) LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, parkd, pg_temp SET jit = off
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE v_now timestamptz := coalesce(p_now, clock_timestamp()); v_owner text; v_waiting bigint[];
BEGIN
  SELECT b.tenant INTO v_owner FROM parkd.batches b
   WHERE b.id = p_id AND (p_tenant = '' OR b.tenant = p_tenant) AND b.finished_at IS NULL;
  IF NOT FOUND THEN RETURN; END IF;
  -- Members before the batch, as a finish locks them; then those that came in between.
  PERFORM FROM (SELECT FROM parkd.jobs j WHERE j.batch_id = p_id AND j.tenant = v_owner ORDER BY j.id FOR UPDATE) x;
  UPDATE parkd.batches b SET cancel_at = coalesce(b.cancel_at, v_now) WHERE b.id = p_id;
  PERFORM parkd.seal_batch_v1(p_id, v_owner, v_now);
  PERFORM FROM (SELECT FROM parkd.jobs j WHERE j.batch_id = p_id AND j.tenant = v_owner ORDER BY j.id FOR UPDATE) x;

  v_waiting := ARRAY(SELECT j.id FROM parkd.jobs j
    WHERE j.batch_id = p_id AND j.tenant = v_owner AND j.daemon_id IS NULL ORDER BY j.id);
  -- In portions: whatever the planner believes, none costs more than 500 times 500.
  FOR i IN 1..cardinality(v_waiting) BY 500 LOOP
    RETURN QUERY SELECT e.tenant, e.mailbox_key, NULL::bigint, NULL::bigint, NULL::bigint
      FROM parkd.end_waiting_v1(v_waiting[i : i + 499], 'cancelled', v_now) e;
  END LOOP;
  FOR tenant, mailbox_key, job_id, run_lease, daemon IN
    UPDATE parkd.jobs j SET cancel_at = coalesce(j.cancel_at, v_now)
     WHERE j.batch_id = p_id AND j.tenant = v_owner AND j.daemon_id IS NOT NULL
    RETURNING NULL, NULL, j.id, j.run_lease, j.daemon_id
  LOOP
    PERFORM pg_notify('parkd_cancel', format('%s %s %s', daemon, job_id, run_lease));
    RETURN NEXT;
  END LOOP;
END $$;

-- --- housekeeping -------------------------------------------------------------------------------

-- One daemon at a time; bounded work a call. The others get zeros.
CREATE FUNCTION parkd.maintain_v1(p_history interval DEFAULT '30 days', p_idempotency interval DEFAULT '24 hours',
                                  p_now timestamptz DEFAULT NULL)
RETURNS TABLE (messages bigint, history_rows bigint, deadlines_missed bigint, rescued bigint,
               promoted_models text[], ended_tenants text[], ended_keys text[], to_vacuum text[], piled_up text)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, parkd, pg_temp SET timezone = 'UTC' SET lock_timeout = '2s'
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE v_now timestamptz := coalesce(p_now, clock_timestamp()); r record;
BEGIN
  messages := 0; history_rows := 0; deadlines_missed := 0; rescued := 0;
  IF NOT pg_try_advisory_xact_lock(1886540395, 2) THEN RETURN NEXT; RETURN; END IF;
  PERFORM parkd.ensure_partitions_v1(p_now);

  -- jobs_scheduled
  promoted_models := parkd.promote_v1(v_now);

  -- jobs_deadline
  SELECT count(*), array_agg(e.tenant), array_agg(e.mailbox_key)
    INTO deadlines_missed, ended_tenants, ended_keys FROM parkd.end_waiting_v1(ARRAY(
    SELECT j.id FROM parkd.jobs j WHERE j.deadline <= v_now AND j.state <> 'claimed'
     ORDER BY j.deadline LIMIT 1000 FOR UPDATE SKIP LOCKED), 'deadline_missed', v_now) e;

  rescued := parkd.rescue_v1(v_now);
  SELECT coalesce(sum(d.dropped), 0) INTO messages FROM parkd.drop_before_v1('mailbox', interval '0', v_now) d(dropped);
  SELECT coalesce(sum(d.dropped), 0) INTO history_rows FROM parkd.drop_before_v1('history', p_history, v_now) d(dropped);

  -- batches_open, batches_finished
  PERFORM parkd.seal_batch_v1(b.id, b.tenant, v_now) FROM (
    SELECT x.id, x.tenant FROM parkd.batches x WHERE x.sealed_at IS NULL AND x.deadline <= v_now
     ORDER BY x.deadline LIMIT 1000) b;
  DELETE FROM parkd.batches d WHERE d.id = ANY (ARRAY(
    SELECT x.id FROM parkd.batches x
     WHERE x.finished_at <= v_now - p_history AND greatest(x.finished_at, x.deadline) + x.retention + p_history <= v_now
     ORDER BY x.finished_at LIMIT 1000));

  FOR r IN SELECT k.tenant, k.key, k.job_id FROM parkd.idempotency k WHERE k.check_at <= v_now
            ORDER BY k.check_at LIMIT 1000 FOR UPDATE SKIP LOCKED LOOP
    IF (SELECT a.holds FROM parkd.accepted_v1(r.job_id, v_now) a) THEN
      UPDATE parkd.idempotency k SET check_at = v_now + greatest(p_idempotency, interval '1 hour')
       WHERE k.tenant = r.tenant AND k.key = r.key;
    ELSE
      DELETE FROM parkd.idempotency k WHERE k.tenant = r.tenant AND k.key = r.key;
    END IF;
  END LOOP;
  IF EXISTS (SELECT FROM parkd.limits) THEN PERFORM parkd.sample_depth_v1(p_now, interval '5 seconds'); END IF;

  SELECT array_agg(h.name) FILTER (WHERE h.vacuum_helps AND pg_has_role(session_user, h.owner, 'USAGE')),
         string_agg(format('%s has %s dead rows of %s%s', h.name, h.dead, h.live + h.dead,
           CASE WHEN NOT h.vacuum_helps THEN ', which no vacuum can remove while ' || coalesce(h.held_by, 'an old snapshot is open')
                WHEN NOT pg_has_role(session_user, h.owner, 'USAGE')
                THEN format(', and %s may not vacuum it: autovacuum must', session_user) END), '; ')
           FILTER (WHERE NOT h.vacuum_helps OR NOT pg_has_role(session_user, h.owner, 'USAGE'))
    INTO to_vacuum, piled_up FROM parkd.health_v1() h WHERE h.needs_vacuum;
  RETURN NEXT;
END $$;

-- Whoever keeps the oldest snapshot of this database, and so keeps every row that died since: none of
-- them can be removed by any vacuum. Of other logins' sessions as much as the owner may see.
CREATE FUNCTION parkd.oldest_snapshot_v1(OUT held_since timestamptz, OUT held_by text) LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, parkd, pg_temp AS $$
BEGIN
  SELECT x.since, x.who INTO held_since, held_by FROM (
    SELECT a.xact_start AS since, format('session %s of %s (%s) holds a snapshot since %s', a.pid, a.usename,
             coalesce(nullif(a.application_name, ''), 'no name'), a.xact_start) AS who, age(a.backend_xmin) AS age
      FROM pg_stat_activity a WHERE a.backend_xmin IS NOT NULL AND a.pid <> pg_backend_pid() AND a.datname = current_database()
    UNION ALL
    SELECT NULL, format('replication slot %s holds a snapshot', s.slot_name), greatest(age(s.xmin), age(s.catalog_xmin))
      FROM pg_replication_slots s WHERE s.xmin IS NOT NULL
    UNION ALL
    SELECT p.prepared, format('prepared transaction %s is open since %s', quote_literal(p.gid), p.prepared), age(p.transaction)
      FROM pg_prepared_xacts p WHERE p.database = current_database()) x
   ORDER BY x.age DESC LIMIT 1;
END $$;

-- The tables that are deleted from and updated, by the server's own counters. needs_vacuum: more than
-- 5000 dead rows and a fifth of the table, and nobody vacuumed within a minute; vacuum_helps: not when the
-- oldest snapshot is older than the last vacuum, which left the same rows.
CREATE FUNCTION parkd.health_v1()
RETURNS TABLE (name text, owner oid, live bigint, dead bigint, vacuumed_at timestamptz, needs_vacuum bool,
               vacuum_helps bool, held_since timestamptz, held_by text)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, parkd, pg_temp AS $$
DECLARE h record;
BEGIN
  SELECT * INTO h FROM parkd.oldest_snapshot_v1();
  RETURN QUERY
  SELECT s.relname::text, c.relowner, s.n_live_tup, s.n_dead_tup, v.at,
         s.n_dead_tup > greatest(5000, s.n_live_tup / 4) AND coalesce(v.at < clock_timestamp() - interval '1 minute', true),
         coalesce(h.held_since > v.at, true), h.held_since, h.held_by
    FROM pg_stat_user_tables s JOIN pg_class c ON c.oid = s.relid
   CROSS JOIN LATERAL (SELECT greatest(s.last_vacuum, s.last_autovacuum) AS at) v
   WHERE s.schemaname = 'parkd' AND s.relname IN ('jobs', 'idempotency', 'batches', 'daemons', 'shares', 'depth_samples');
END $$;

-- Scheduled jobs whose time has come. One index probe when there are none.
CREATE FUNCTION parkd.promote_v1(p_now timestamptz) RETURNS text[] LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, parkd, pg_temp SET jit = off
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE v_models text[];
BEGIN
  -- jobs_scheduled
  WITH due AS MATERIALIZED (
    SELECT j.id FROM parkd.jobs j WHERE j.state = 'scheduled' AND j.run_at <= p_now
     ORDER BY j.run_at LIMIT 2000 FOR UPDATE SKIP LOCKED),
  woken AS (UPDATE parkd.jobs j SET state = 'queued' FROM due WHERE j.id = due.id RETURNING j.model)
  SELECT array_agg(DISTINCT w.model) INTO v_models FROM woken w;
  PERFORM pg_notify('parkd_work', m.model) FROM unnest(v_models) m(model)
   WHERE EXISTS (SELECT FROM parkd.waiters w WHERE w.model = m.model);
  RETURN v_models;
END $$;

-- Jobs whose daemon is gone go back; a daemon is gone when it said so or was silent for its ttl.
CREATE FUNCTION parkd.rescue_v1(p_now timestamptz DEFAULT NULL)
RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, parkd, pg_temp SET jit = off
SET enable_bitmapscan = off AS $$
DECLARE v_now timestamptz := coalesce(p_now, clock_timestamp()); n bigint := 0; d record;
BEGIN
  UPDATE parkd.daemons x SET lost_at = v_now WHERE x.lost_at IS NULL AND x.beat_at + x.ttl <= v_now;
  FOR d IN SELECT x.id, x.lost_at FROM parkd.daemons x WHERE x.lost_at IS NOT NULL LOOP
    -- jobs_claimed
    n := n + coalesce(parkd.unclaim_v1(ARRAY(
      SELECT j.id FROM parkd.jobs j WHERE j.daemon_id = d.id AND j.state = 'claimed'
       LIMIT 2000 FOR UPDATE SKIP LOCKED), true, v_now), 0);
    DELETE FROM parkd.waiters w WHERE w.daemon_id = d.id;
    -- A claim of its that was in flight is found by the passes of the next day.
    IF d.lost_at < v_now - interval '1 day'
       AND NOT EXISTS (SELECT FROM parkd.jobs j WHERE j.daemon_id = d.id AND j.state = 'claimed') THEN
      DELETE FROM parkd.daemons x WHERE x.id = d.id;
    END IF;
  END LOOP;
  RETURN n;
END $$;

-- Drops the partitions nothing of which is wanted any more, at most four a call; says how many rows each
-- held (an estimate for large ones). A message's partition says when it expired; a history row stays
-- p_keep after its message expired, so its partition is looked into.
CREATE FUNCTION parkd.drop_before_v1(p_table text, p_keep interval, p_now timestamptz)
RETURNS SETOF bigint LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, parkd, pg_temp SET timezone = 'UTC' SET lock_timeout = '2s' AS $$
DECLARE r record; n bigint; v_wanted bool; v_dropped int := 0;
        v_width interval := CASE p_table WHEN 'history' THEN interval '7 days' ELSE interval '1 day' END;
BEGIN
  FOR r IN SELECT c.relname, c.relpages, c.reltuples FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
            WHERE i.inhparent = ('parkd.' || p_table)::regclass
              AND to_timestamp(right(c.relname, 8), 'YYYYMMDD') + v_width <= p_now
            ORDER BY right(c.relname, 8) LOOP
    EXIT WHEN v_dropped >= 4;
    IF p_keep > interval '0' THEN
      EXECUTE format('SELECT EXISTS (SELECT FROM parkd.%I WHERE expires_at + $1 > $2)', r.relname)
        INTO v_wanted USING p_keep, p_now;
      CONTINUE WHEN v_wanted;
    END IF;
    IF r.relpages < 1000 THEN
      EXECUTE format('SELECT count(*) FROM parkd.%I', r.relname) INTO n;
    ELSE
      n := r.reltuples;
    END IF;
    EXECUTE format('DROP TABLE parkd.%I', r.relname);
    v_dropped := v_dropped + 1;
    RETURN NEXT n;
  END LOOP;
END $$;

-- A finish found no partition: makes those that messages of these jobs would go to.
CREATE FUNCTION parkd.ensure_partitions_for_v1(p_ids bigint[], p_now timestamptz DEFAULT NULL)
RETURNS void LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, parkd, pg_temp SET timezone = 'UTC' SET enable_seqscan = off AS $$
DECLARE v_now timestamptz := coalesce(p_now, clock_timestamp()); d timestamptz;
BEGIN
  PERFORM parkd.ensure_partitions_v1(p_now);
  FOR d IN SELECT DISTINCT date_trunc('day', least(greatest(v_now, j.deadline) + j.retention, v_now + interval '60 days'))
             FROM parkd.jobs j WHERE j.id = ANY (p_ids) AND j.batch_id IS NOT NULL AND j.deadline IS NOT NULL LOOP
    -- and the next day, for the clock goes on until the finish is tried again
    PERFORM parkd.ensure_partition_v1('mailbox', d, d + interval '1 day');
    PERFORM parkd.ensure_partition_v1('mailbox', d + interval '1 day', d + interval '2 days');
  END LOOP;
END $$;

-- Counts the live jobs once for everybody, unless somebody did within p_age_max, or within fifty times as
-- long as it took then: at most a fiftieth of a core goes into it. NULL: count now. Returns whether it did.
CREATE FUNCTION parkd.sample_depth_v1(p_now timestamptz DEFAULT NULL, p_age_max interval DEFAULT NULL)
RETURNS bool LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, parkd, pg_temp SET jit = off AS $$
DECLARE v_now timestamptz := coalesce(p_now, clock_timestamp()); v_began timestamptz := clock_timestamp();
BEGIN
  IF p_age_max IS NOT NULL AND (
       EXISTS (SELECT FROM parkd.depth_samples d WHERE d.sampled_at > v_now - greatest(p_age_max, 50 * d.took))
       OR NOT pg_try_advisory_xact_lock(1886540395, 3)) THEN
    RETURN false;
  END IF;
  INSERT INTO parkd.depth_samples AS d
  SELECT j.model, count(*) FILTER (WHERE j.state = 'scheduled'), count(*) FILTER (WHERE j.state = 'queued'),
         count(*) FILTER (WHERE j.state = 'claimed'),
         count(*) FILTER (WHERE j.state <> 'claimed' AND j.batch_id IS NULL),
         min(j.created_at) FILTER (WHERE j.state = 'queued'), v_now
    FROM parkd.jobs j GROUP BY j.model
  ON CONFLICT (model) DO UPDATE SET scheduled = excluded.scheduled, queued = excluded.queued,
    claimed = excluded.claimed, waiting_singles = excluded.waiting_singles,
    oldest_created_at = excluded.oldest_created_at, sampled_at = excluded.sampled_at;
  DELETE FROM parkd.depth_samples d WHERE d.sampled_at < v_now - interval '1 hour';
  UPDATE parkd.depth_samples d SET scheduled = 0, queued = 0, claimed = 0, waiting_singles = 0, oldest_created_at = NULL,
         sampled_at = v_now
   WHERE NOT EXISTS (SELECT FROM parkd.jobs j WHERE j.model = d.model);
  UPDATE parkd.depth_samples d SET took = clock_timestamp() - v_began;
  RETURN true;
END $$;

-- Nobody but those granted in 0003 may call a verb.
DO $$
DECLARE f record;
BEGIN
  FOR f IN SELECT p.oid::regprocedure AS signature FROM pg_proc p
            WHERE p.pronamespace = 'parkd'::regnamespace LOOP
    EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', f.signature);
  END LOOP;
END $$;
