-- 0003: submitting: idempotency keys and what lies behind them, the daemon's submit, limits on the depth,
-- and what every INSERT into the queue sets off.

-- The delay of a class in the order of claiming.
CREATE FUNCTION parkd.delay_v1(p parkd.priority) RETURNS interval LANGUAGE sql IMMUTABLE
  RETURN CASE p WHEN 'critical' THEN interval '0' WHEN 'high' THEN interval '10 minutes'
                WHEN 'normal' THEN interval '1 hour' ELSE interval '6 hours' END;

-- What a job may be for, by path; the first where it names none. lib/job/endpoints.h has the same.
CREATE FUNCTION parkd.endpoints_v1() RETURNS text[] LANGUAGE sql IMMUTABLE   -- inlined
  RETURN ARRAY['/v1/chat/completions'];

-- What a job gets that brings none.
CREATE FUNCTION parkd.new_mailbox_key_v1() RETURNS text LANGUAGE sql VOLATILE
  RETURN 'mb-' || left(replace(gen_random_uuid()::text, '-', ''), 24);
CREATE FUNCTION parkd.new_seed_v1() RETURNS bigint LANGUAGE sql VOLATILE
  RETURN (random() * 9007199254740991)::bigint;

-- What fairness counts, in tokens: n * (prompt + new), none of them more than the model's context. New tokens that
-- were left out (NULL, only where SQL submitted) are the daemon's default: resolve_max_new_tokens, lib/openai/chat_request.h.
CREATE FUNCTION parkd.need_tokens_v1(p_choices int, p_prompt int, p_new int, p_context int) RETURNS bigint LANGUAGE sql IMMUTABLE
  RETURN p_choices::bigint * (least(p_prompt, p_context)::bigint
    + least(coalesce(p_new, least(greatest(p_context / 5, 128), 16384)), p_context));

-- The text of a jsonb with each number written in one way: 4.0 as 4. (jsonb keeps the zeros behind the point that a
-- number came with; all else of its text is one for each value.) Strings are matched whole, and left as they are.
CREATE FUNCTION parkd.value_text_v1(p_value jsonb) RETURNS text LANGUAGE sql IMMUTABLE
  RETURN CASE WHEN p_value::text ~ '[.][0-9]*0[],}]'
    THEN regexp_replace(p_value::text, '("(?:[^"\\]|\\.)*")|[.]0+(?![0-9])|([.][0-9]*[1-9])0+(?![0-9])', '\1\2', 'g')
    ELSE p_value::text END;

-- What two jobs under one idempotency key must agree in, whether they came by INSERT, parkd.submit or a
-- daemon: all that the submitter chose and nothing that was derived or filled in later. JSON counts by its
-- value: spaces, order of keys, repeated keys and the way a number or a string is written do not matter; a model inside
-- the body is the column's; a seed inside the body is the column's. The other stores: lib/store/content.h.
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
  EXCEPTION WHEN untranslatable_character OR invalid_text_representation OR numeric_value_out_of_range THEN
    v_body := NULL; v_metadata := NULL;      -- \u0000, 1e999999: no jsonb can hold it, so the bytes count
    v_raw := p_body::text || E'\x01' || coalesce(p_metadata::text, '');
  END;
  RETURN encode(sha256(convert_to(parkd.value_text_v1(jsonb_build_array(
    p_endpoint, p_model, coalesce(p_mailbox_key, ''), coalesce(p_custom_id, ''), coalesce(p_batch_id, ''), v_metadata,
    v_body, v_raw, p_priority, coalesce(v_body -> 'seed', to_jsonb(p_seed)), parkd.us_v1(p_run_at), parkd.us_v1(p_deadline),
    date_part('epoch', p_run_timeout)::bigint, (date_part('epoch', p_retention) * 1e6)::bigint,
    p_max_attempts)), 'UTF8')), 'hex');
END $$;

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

-- Which of these keys (by place, from 0) name a job. A daemon asks before it refuses a submission for what
-- is so only now: a deadline that has passed, a queue that is full. idempotency_pkey
CREATE FUNCTION parkd.known_keys_v1(p_tenant text[], p_key text[], p_now timestamptz DEFAULT NULL) RETURNS SETOF int
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, parkd, pg_temp SET jit = off
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
BEGIN
  RETURN QUERY
  SELECT u.i::int - 1 FROM unnest(p_tenant, p_key) WITH ORDINALITY u(t, k, i)
    JOIN parkd.idempotency k ON k.tenant = u.t AND k.key = u.k
   CROSS JOIN LATERAL parkd.accepted_v1(k.job_id, coalesce(p_now, clock_timestamp())) a WHERE a.holds;
END $$;

-- Makes the key this job's, unless it is another's. Locked either way.
CREATE FUNCTION parkd.hold_key_v1(p_tenant text, p_key text, p_job bigint, p_hash text, p_now timestamptz,
                                  OUT fresh bool, OUT job_id bigint, OUT content_hash text)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, parkd, pg_temp SET jit = off
SET enable_seqscan = off SET enable_bitmapscan = off AS $$
BEGIN
  LOOP
    INSERT INTO parkd.idempotency AS k (tenant, key, job_id, check_at, content_hash)
      VALUES (p_tenant, p_key, p_job, p_now + interval '24 hours', p_hash) ON CONFLICT DO NOTHING;
    fresh := FOUND;
    EXIT WHEN fresh;
    SELECT k.job_id, k.content_hash INTO job_id, content_hash FROM parkd.idempotency k
     WHERE k.tenant = p_tenant AND k.key = p_key FOR UPDATE;
    EXIT WHEN FOUND;      -- else housekeeping has deleted it in between: again
  END LOOP;
END $$;

-- Accounts of a model and a tenant in it, and their limits: depth_v1.
CREATE TYPE parkd.depths AS (queued bigint, of_tenant bigint, scheduled bigint,
                             max_queued bigint, max_of_tenant bigint, max_scheduled bigint, on_full text);

-- Many submits in one commit. p_group says which of them a row belongs to: a group is accepted whole or
-- not at all, and the refusal of one does not touch the others. What is left out ('' or NULL: mailbox_key,
-- seed, retention) is filled in here. Of a refused group come rows with a refusal: other_content, sealed,
-- over (n1: the batch's deadline), deadline, never (run_at; n1 likewise), full (n1 members, n2 new, n3 limit), depth, tenant_depth, scheduled
-- (likewise: over_v1); the smallest row_index names the culprit. With p_skip a group whose key or batch somebody else has locked for
-- more than a moment is refused as held, to be sent again.
CREATE FUNCTION parkd.submit_v1(
  p_group int[], p_model text[], p_tenant text[], p_priority text[], p_mailbox_key text[],
  p_custom_id text[], p_batch_id text[], p_metadata text[], p_idempotency_key text[],
  p_endpoint text[], p_body text[], p_seed bigint[], p_run_at_us bigint[], p_deadline_us bigint[],
  p_run_timeout_s bigint[], p_retention_us bigint[], p_max_attempts int[], p_n_choices int[], p_prompt_tokens int[],
  p_max_new_tokens int[], p_exact bool[], p_keyed bool, p_batched bool, p_retention_default_us bigint,
  p_batch_jobs_max bigint, p_now timestamptz DEFAULT NULL, p_skip bool DEFAULT false)
RETURNS TABLE (row_index int, job_id bigint, mailbox_key text, existed bool, finished bool, refusal text,
               n1 bigint, n2 bigint, n3 bigint)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, parkd, pg_temp SET jit = off
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
  v_now   timestamptz := coalesce(p_now, clock_timestamp());
  v_ids   bigint[];            -- per row: the id it gets; NULL = not to be inserted
  v_boxes text[];              -- per row: its mailbox key
  v_new   int[];               -- rows that become jobs
  v_mine  bigint[] := '{}';    -- keys of this call: their jobs are not there yet
  v_bad   int[] := '{}';       -- refused groups
  v_wait  int[] := '{}';       -- of them those with a key that is held
  v_hash  text;
  v_batch parkd.batches;
  v_taken bigint;
  v_max   bigint;
  v_room  int;
  v_at    int;
  v_other int;
  v_asked_b text;
  v_asked_t text;
  r       record;
  a       record;
  v_key   record;
  v_held  bool;
  v_depth parkd.depths;
  v_over  record;
BEGIN
  IF p_skip THEN PERFORM set_config('lock_timeout', '1ms', true); END IF;   -- 0 would be: for ever
  SELECT array_agg(nextval('parkd.jobs_id_seq') ORDER BY u.i),
         array_agg(coalesce(nullif(u.m, ''), parkd.new_mailbox_key_v1()) ORDER BY u.i)
    INTO v_ids, v_boxes FROM unnest(p_mailbox_key) WITH ORDINALITY u(m, i);
  existed := false; finished := false;
  IF p_keyed THEN
    FOR r IN SELECT u.i, u.g, u.t, u.k FROM unnest(p_group, p_tenant, p_idempotency_key) WITH ORDINALITY u(g, t, k, i)
              WHERE u.k <> '' ORDER BY u.t, u.k, u.i LOOP
      v_hash := parkd.content_hash_v1(p_endpoint[r.i], p_model[r.i], p_mailbox_key[r.i], p_custom_id[r.i], p_batch_id[r.i],
        nullif(p_metadata[r.i], '')::json, p_body[r.i]::json, p_priority[r.i]::parkd.priority, p_seed[r.i],
        parkd.from_us_v1(p_run_at_us[r.i]), parkd.from_us_v1(p_deadline_us[r.i]),
        make_interval(secs => p_run_timeout_s[r.i]), p_retention_us[r.i] * interval '1 microsecond', p_max_attempts[r.i]);
      IF NOT p_skip THEN
        SELECT * INTO STRICT v_key FROM parkd.hold_key_v1(r.t, r.k, v_ids[r.i], v_hash, v_now);
      ELSIF r.g = ANY (v_wait) THEN
        v_ids[r.i] := NULL;
        CONTINUE;
      ELSE
        BEGIN
          SELECT * INTO STRICT v_key FROM parkd.hold_key_v1(r.t, r.k, v_ids[r.i], v_hash, v_now);
        EXCEPTION WHEN lock_not_available THEN
          v_ids[r.i] := NULL; v_bad := v_bad || r.g; v_wait := v_wait || r.g;
          row_index := r.i - 1; job_id := NULL; mailbox_key := NULL; existed := false; finished := false;
          refusal := 'held';
          RETURN NEXT;
          CONTINUE;
        END;
      END IF;
      IF v_key.fresh THEN v_mine := v_mine || v_ids[r.i]; CONTINUE; END IF;
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
        v_held := false;
        IF p_skip THEN
          SELECT * INTO v_batch FROM parkd.batches b WHERE b.id = r.b AND b.tenant = r.t FOR UPDATE SKIP LOCKED;
          v_held := NOT FOUND AND EXISTS (SELECT FROM parkd.batches b WHERE b.id = r.b AND b.tenant = r.t);
        ELSE
          SELECT * INTO v_batch FROM parkd.batches b WHERE b.id = r.b AND b.tenant = r.t FOR UPDATE;
        END IF;
        v_taken := v_batch.total;
        v_max := (SELECT least(p_batch_jobs_max, x.max_batch_jobs) FROM parkd.settings x);
      END IF;
      CONTINUE WHEN v_batch.id IS NULL AND NOT v_held;
      refusal := NULL; v_at := r.members[1]; n1 := NULL; n2 := NULL; n3 := NULL;
      IF v_held THEN
        refusal := 'held';
      ELSIF v_batch.sealed_at IS NOT NULL THEN
        refusal := 'sealed';
      ELSIF v_batch.deadline <= v_now THEN
        refusal := 'over'; n1 := parkd.us_v1(v_batch.deadline);
      ELSE
        SELECT min(m) INTO v_at FROM unnest(r.members) m WHERE p_deadline_us[m] <> parkd.us_v1(v_batch.deadline);
        IF v_at IS NOT NULL THEN refusal := 'deadline'; END IF;
        SELECT min(m) INTO v_other FROM unnest(r.members) m WHERE p_run_at_us[m] >= parkd.us_v1(v_batch.deadline);
        IF v_other < coalesce(v_at, v_other + 1) THEN
          refusal := 'never'; v_at := v_other; n1 := parkd.us_v1(v_batch.deadline);
        END IF;
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
  -- The limits of the database, per group; the trigger then leaves these rows alone.
  IF EXISTS (SELECT FROM parkd.limits) OR EXISTS (SELECT FROM unnest(p_run_at_us) u(at) WHERE parkd.from_us_v1(u.at) > v_now) THEN
    v_asked_b := NULL; v_asked_t := NULL;
    FOR r IN SELECT u.m, u.t, u.g, min(u.i) AS i,
                    count(*) FILTER (WHERE parkd.from_us_v1(u.at) > v_now) AS scheduled,
                    count(*) FILTER (WHERE coalesce(parkd.from_us_v1(u.at) <= v_now, true)) AS queued
               FROM unnest(p_group, p_model, p_tenant, p_run_at_us, v_ids) WITH ORDINALITY u(g, m, t, at, id, i)
              WHERE u.id IS NOT NULL GROUP BY u.m, u.t, u.g ORDER BY u.m, u.t, u.g LOOP
      CONTINUE WHEN r.g = ANY (v_bad);
      IF (v_asked_b, v_asked_t) IS DISTINCT FROM (r.m, r.t) THEN
        IF v_asked_b IS DISTINCT FROM r.m THEN v_taken := 0; END IF;      -- of the model's queue by this call
        v_asked_b := r.m; v_asked_t := r.t;
        SELECT * INTO v_depth FROM parkd.depth_v1(r.m, r.t);
        v_depth.queued := v_depth.queued + v_taken;
      END IF;
      SELECT * INTO v_over FROM parkd.over_v1(v_depth, r.queued, r.scheduled);
      IF v_over.refusal IS NOT NULL THEN
        refusal := v_over.refusal; row_index := r.i - 1; n1 := v_over.depth; n2 := v_over.jobs; n3 := v_over.max_depth;
        v_bad := v_bad || r.g;
        RETURN NEXT;
      ELSE
        v_taken := v_taken + r.queued;
        v_depth.queued := v_depth.queued + r.queued;
        v_depth.of_tenant := v_depth.of_tenant + r.queued;
        v_depth.scheduled := v_depth.scheduled + r.scheduled;
      END IF;
    END LOOP;
    PERFORM set_config('parkd.on_full', 'held', true);
  END IF;
  IF p_keyed AND v_bad <> '{}' THEN
    DELETE FROM parkd.idempotency k USING unnest(p_group, p_tenant, p_idempotency_key, v_ids) u(g, t, key, id)
     WHERE u.g = ANY (v_bad) AND u.id IS NOT NULL AND k.tenant = u.t AND k.key = u.key AND k.job_id = u.id;
  END IF;

  -- Arguments by subscript: an unnest of this many arrays is a row of them that is stored, read twice and sorted.
  v_new := ARRAY(SELECT i FROM generate_subscripts(v_ids, 1) i WHERE v_ids[i] IS NOT NULL AND NOT (p_group[i] = ANY (v_bad)));
  INSERT INTO parkd.jobs (id, model, tenant, priority, mailbox_key, custom_id, batch_id, metadata, idempotency_key, endpoint,
      body, seed, created_at, order_key, run_at, deadline, run_timeout, retention, max_attempts, n_choices, prompt_tokens,
      max_new_tokens, tokens_are_exact, state)
  OVERRIDING SYSTEM VALUE
  SELECT v_ids[i], p_model[i], p_tenant[i], p_priority[i]::parkd.priority, v_boxes[i], nullif(p_custom_id[i], ''),
         nullif(p_batch_id[i], ''), nullif(p_metadata[i], '')::json, nullif(p_idempotency_key[i], ''), p_endpoint[i],
         p_body[i]::json, coalesce(p_seed[i], parkd.new_seed_v1()), v_now,
         greatest(v_now, parkd.from_us_v1(p_run_at_us[i])) + parkd.delay_v1(p_priority[i]::parkd.priority),
         parkd.from_us_v1(p_run_at_us[i]), coalesce(b.deadline, parkd.from_us_v1(p_deadline_us[i])),
         make_interval(secs => p_run_timeout_s[i]),
         coalesce(p_retention_us[i] * interval '1 microsecond', b.retention, p_retention_default_us * interval '1 microsecond'),
         p_max_attempts[i], p_n_choices[i], p_prompt_tokens[i], p_max_new_tokens[i], p_exact[i],
         CASE WHEN parkd.from_us_v1(p_run_at_us[i]) > v_now THEN 'scheduled' ELSE 'queued' END::parkd.job_state
    FROM unnest(v_new) i LEFT JOIN parkd.batches b ON p_batched AND b.id = p_batch_id[i] AND b.tenant = p_tenant[i];
  RETURN QUERY SELECT i - 1, v_ids[i], v_boxes[i], false, false, NULL::text, NULL::bigint, NULL::bigint, NULL::bigint
                 FROM unnest(v_new) i;
END $$;

-- --- limits -------------------------------------------------------------------------------------

-- What waits, of these accounts (lib/store/depth.h): of the model's queue, of the tenant in it, and of the tenant's
-- scheduled jobs. A job whose run_at lay ahead of its submission (or that backs off) is in the last one until it is
-- claimed, whatever its state. From the last sample where it is fresh (sampled_at), else counted by index, and no
-- further than these limits need: so many rows of either are looked at, and four times as many scheduled ones of all
-- tenants. Nothing is written or locked. depth_samples_pkey, tenant_samples_pkey; jobs_queue, jobs_critical, jobs_scheduled
CREATE FUNCTION parkd.waiting_v1(p_model text, p_tenant text, p_queued_max bigint, p_scheduled_max bigint,
                                 OUT queued bigint, OUT of_tenant bigint, OUT scheduled bigint, OUT sampled_at timestamptz)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, parkd, pg_temp SET jit = off SET max_parallel_workers_per_gather = 0
SET enable_seqscan = off SET enable_bitmapscan = off AS $$
DECLARE v_visits bigint := p_queued_max + p_scheduled_max + 1; v_now timestamptz := clock_timestamp();
BEGIN
  -- Three periods of sample_depth_v1: every 5 s, or every fifty times as long as it takes.
  SELECT d.waiting, d.sampled_at INTO queued, sampled_at FROM parkd.depth_samples d
   WHERE d.model = p_model AND d.sampled_at > v_now - 3 * greatest(interval '5 s', 50 * d.took)
     AND d.sampled_at < v_now + interval '1 minute';
  IF FOUND THEN
    SELECT t.waiting, t.scheduled INTO of_tenant, scheduled FROM parkd.tenant_samples t
     WHERE t.model = p_model AND t.tenant = p_tenant;
    of_tenant := coalesce(of_tenant, 0); scheduled := coalesce(scheduled, 0);
    RETURN;
  END IF;
  SELECT count(*) FILTER (WHERE NOT x.timed), count(*) FILTER (WHERE x.timed) INTO of_tenant, scheduled FROM (
    (SELECT coalesce(j.run_at > j.created_at, false) AS timed FROM parkd.jobs j
      WHERE j.model = p_model AND j.tenant = p_tenant AND j.state = 'queued' AND j.priority <> 'critical' LIMIT v_visits)
    UNION ALL
    (SELECT coalesce(j.run_at > j.created_at, false) FROM parkd.jobs j
      WHERE j.model = p_model AND j.tenant = p_tenant AND j.state = 'queued' AND j.priority = 'critical' LIMIT v_visits)) x;
  scheduled := scheduled + (SELECT count(*) FILTER (WHERE x.tenant = p_tenant) FROM (
    SELECT j.tenant FROM parkd.jobs j WHERE j.model = p_model AND j.state = 'scheduled' LIMIT 4 * p_scheduled_max) x);
  queued := 0;
  IF p_queued_max > 0 THEN
    SELECT count(*) INTO queued FROM (
      (SELECT coalesce(j.run_at > j.created_at, false) AS timed FROM parkd.jobs j
        WHERE j.model = p_model AND j.state = 'queued' AND j.priority <> 'critical' LIMIT v_visits)
      UNION ALL
      (SELECT coalesce(j.run_at > j.created_at, false) FROM parkd.jobs j
        WHERE j.model = p_model AND j.state = 'queued' AND j.priority = 'critical' LIMIT v_visits)) x WHERE NOT x.timed;
  END IF;
END $$;

-- The limits of a model (its own row or the one of model ''; NULL: none) and what waits in its accounts, without the jobs
-- of the asking statement, where it has inserted them already.
CREATE FUNCTION parkd.depth_v1(p_model text, p_tenant text, p_queued bigint DEFAULT 0, p_scheduled bigint DEFAULT 0)
RETURNS parkd.depths LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, parkd, pg_temp AS $$
DECLARE d parkd.depths; w record;
BEGIN
  SELECT l.max_queue_depth, coalesce(l.max_queued_per_tenant, (l.max_queue_depth + 1) / 2), l.on_full
    INTO d.max_queued, d.max_of_tenant, d.on_full FROM parkd.limits l
   WHERE l.model IN (p_model, '') ORDER BY l.model DESC LIMIT 1;
  d.max_scheduled := (SELECT s.max_scheduled_per_tenant FROM parkd.settings s);
  SELECT * INTO w FROM parkd.waiting_v1(p_model, p_tenant, coalesce(greatest(d.max_queued, d.max_of_tenant) + p_queued, 0),
                                        d.max_scheduled + p_scheduled);
  IF w.sampled_at IS NOT NULL THEN p_queued := 0; p_scheduled := 0; END IF;
  d.queued := greatest(w.queued - p_queued, 0);
  d.of_tenant := greatest(w.of_tenant - p_queued, 0);
  d.scheduled := greatest(w.scheduled - p_scheduled, 0);
  RETURN d;
END $$;

-- The limit that so many more jobs would pass: tenant_depth, depth or scheduled; NULL: none.
CREATE FUNCTION parkd.over_v1(d parkd.depths, p_queued bigint, p_scheduled bigint,
                              OUT refusal text, OUT depth bigint, OUT jobs bigint, OUT max_depth bigint) LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
  IF p_queued > 0 AND d.of_tenant + p_queued > d.max_of_tenant THEN
    refusal := 'tenant_depth'; depth := d.of_tenant; jobs := p_queued; max_depth := d.max_of_tenant;
  ELSIF p_queued > 0 AND d.queued + p_queued > d.max_queued THEN
    refusal := 'depth'; depth := d.queued; jobs := p_queued; max_depth := d.max_queued;
  ELSIF p_scheduled > 0 AND d.scheduled + p_scheduled > d.max_scheduled THEN
    refusal := 'scheduled'; depth := d.scheduled; jobs := p_scheduled; max_depth := d.max_scheduled;
  END IF;
END $$;

-- The limits are compared with the last sample of the depth where there is one, never with a count of all rows.
-- Bound: each is passed by at most what is submitted within one sampling period (housekeeping samples every
-- 5 s), plus what was open in other transactions. What happens when it is full the
-- submitter chooses: SET parkd.on_full = 'wait' waits until there is room (READ COMMITTED only), for as long
-- as parkd.wait_at_most says (30 s, for a waiting statement keeps its rows and holds up vacuum; 10 minutes at
-- the most), 'refuse' fails at once; without it the row's on_full counts. 'held' says that submit_v1 has
-- looked; it counts only from those who may call that: a login can set any word.
CREATE FUNCTION parkd.hold_limit_v1(p_model text, p_tenant text, p_queued bigint, p_scheduled bigint) RETURNS void LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, parkd, pg_temp AS $$
DECLARE
  d        parkd.depths;
  o        record;
  v_choice text := nullif(current_setting('parkd.on_full', true), '');
  v_wait   interval := least(coalesce(nullif(current_setting('parkd.wait_at_most', true), ''), '30 s')::interval, interval '10 minutes');
  v_began  timestamptz := clock_timestamp();
  v_hint   text;
BEGIN
  IF v_choice = 'held' AND pg_has_role(session_user, 'parkd_daemon', 'member') THEN RETURN; END IF;
  IF v_choice NOT IN ('wait', 'refuse') THEN
    RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
      MESSAGE = format('parkd.on_full is %s', quote_literal(v_choice)), HINT = 'SET parkd.on_full = ''wait'' or ''refuse''.';
  END IF;
  LOOP
    d := parkd.depth_v1(p_model, p_tenant, p_queued, p_scheduled);
    SELECT * INTO o FROM parkd.over_v1(d, p_queued, p_scheduled);
    EXIT WHEN o.refusal IS NULL;
    v_hint := CASE
      WHEN o.jobs > o.max_depth THEN 'So many never fit: submit them in pieces.'
      WHEN coalesce(v_choice, d.on_full, 'refuse') <> 'wait' THEN 'Submit later, or SET parkd.on_full = ''wait''.'
      WHEN current_setting('transaction_isolation') <> 'read committed'
      THEN 'A transaction that is not READ COMMITTED cannot wait for room: it never sees any. Submit later.'
      WHEN clock_timestamp() >= v_began + v_wait
      THEN format('No room appeared within %s. Submit later, or SET parkd.wait_at_most (up to 10 minutes).', v_wait) END;
    IF v_hint IS NOT NULL THEN
      RAISE EXCEPTION USING ERRCODE = 'configuration_limit_exceeded',
        MESSAGE = CASE o.refusal
            WHEN 'depth' THEN format('the queue of model %s is full: depth %s, limit %s', p_model, o.depth, o.max_depth)
            WHEN 'tenant_depth' THEN format('the queue of model %s is full for tenant %s: depth %s, limit %s a tenant',
                                            p_model, p_tenant, o.depth, o.max_depth)
            ELSE format('tenant %s has %s scheduled jobs of model %s waiting, limit %s a tenant', p_tenant, o.depth, p_model, o.max_depth)
          END || CASE WHEN o.jobs > 1 THEN format('; %s were submitted', o.jobs) ELSE '' END,
        HINT = v_hint || CASE o.refusal WHEN 'scheduled' THEN ' An administrator sets parkd.settings.max_scheduled_per_tenant.'
                                        ELSE ' An administrator sets parkd.limits.' END;
    END IF;
    PERFORM pg_sleep(0.2);
  END LOOP;
END $$;

-- --- after every INSERT -------------------------------------------------------------------------

-- Inlined where it is used, so it is bound to nobody's search_path.
CREATE FUNCTION parkd.acts_for_any() RETURNS bool LANGUAGE sql STABLE
  RETURN pg_has_role(session_user, 'parkd_admin', 'member') OR pg_has_role(session_user, 'parkd_daemon', 'member');

-- The tenant of this login, given what its row in tenant_logins says (NULL: it has none). NULL: a login of the
-- name of the administrators' and daemons' tenant is not it.
CREATE FUNCTION parkd.tenant_of_login_v1(p_bound text) RETURNS text LANGUAGE sql STABLE
  RETURN coalesce(p_bound, CASE WHEN parkd.acts_for_any() THEN 'default'
                                WHEN session_user <> 'default' THEN session_user::text END);

-- After every INSERT statement into the queue, whoever made it: wake idle daemons, one NOTIFY per
-- model and only if somebody waits; count batch members; hold the depth limit. And what a login may not choose,
-- tenant and model, is compared with the tables: plain_job_v1 (0009) believed the session.
CREATE FUNCTION parkd.after_insert_v1() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
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
  END IF;
  IF v_awaited THEN
    PERFORM pg_notify('parkd_work', m.model)
      FROM (SELECT DISTINCT n.model FROM new_rows n WHERE n.state = 'queued') m
     WHERE EXISTS (SELECT FROM parkd.waiters w WHERE w.model = m.model)
       AND (SELECT s.notify_work FROM parkd.settings s);
  END IF;
  RETURN NULL;
END $$;
CREATE TRIGGER jobs_after_insert AFTER INSERT ON parkd.jobs REFERENCING NEW TABLE AS new_rows
  FOR EACH STATEMENT EXECUTE FUNCTION parkd.after_insert_v1();
