-- 0004: claiming, giving back, and the notes about deaths of a process.

-- A row of a claim. A type, for the columns of a RETURNS TABLE are looked up one by one at each call, twice.
CREATE TYPE parkd.claimed_job AS (
  ord bigint, id bigint, run_lease bigint, created_us bigint, order_us bigint, run_at_us bigint,
  deadline_us bigint, claimed_us bigint, seed bigint, retention_us bigint, run_timeout_s bigint,
  prompt_tokens int, max_new_tokens int, n_choices int, attempts int, max_attempts int,
  interruptions int, priority parkd.priority, tokens_are_exact bool, model text, tenant text,
  mailbox_key text, endpoint text, custom_id text, batch_id text, idempotency_key text, metadata json,
  body json, requeued_from bigint, deaths_alone int, suspect_group bigint, noted_lease bigint, weight real);

-- Up to p_max queued jobs of a model, in the order of lib/store/README.md: critical ones by order_key; then
-- tenants by start-time fair queueing of need; in a tenant by order_key, id. Claimers do not wait for
-- each other and do not starve each other: LIMIT counts rows after SKIP LOCKED has passed over those
-- that others hold. Reads per claim: about p_max rows (plus 2 * p_max per tenant when tenants share).
-- A daemon that goes short waits for NOTIFY, unless p_listens is false. PK001 as in heartbeat_v1.
-- Limits (NULL: none): at most p_rooms[i] jobs of p_tenants[i] and p_others of any other tenant, critical
-- ones counted; only jobs of at most p_need tokens, for which the first 1024 jobs of the tenants are looked
-- at, shared between them (16 at least of each), and the first 1024 critical ones of each. p_only, without
-- limits: only these jobs, whoever's turn it is.
CREATE FUNCTION parkd.claim_v1(p_daemon bigint, p_model text, p_max int, p_now timestamptz DEFAULT NULL,
                               p_listens bool DEFAULT true, p_tenants text[] DEFAULT NULL, p_rooms int[] DEFAULT NULL,
                               p_others int DEFAULT NULL, p_need bigint DEFAULT NULL, p_only bigint[] DEFAULT NULL)
RETURNS SETOF parkd.claimed_job LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, parkd, pg_temp SET jit = off SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
  v_now      timestamptz := coalesce(p_now, clock_timestamp());
  v_now_us   bigint := parkd.us_v1(v_now);
  v_noted    text := coalesce(current_setting('parkd.marks', true), '');
  v_marks    jsonb := CASE WHEN v_noted <> '' THEN parkd.marks_v1(p_model) END;   -- NULL: look at everything
  v_reads    bigint := pg_stat_get_xact_tuples_returned('parkd.jobs_queue'::regclass);
  v_room_of  jsonb;          -- after critical jobs
  v_rows     tid[] := '{}';
  v_n        int := 0;
  v_epoch    bigint;
  v_same     bool;
  v_paused   bool;
  v_due      bool;
  v_critical bool;
  v_charged  bool;
  v_waits    bool;
  v_first    text;
  v_alone    bool;
BEGIN
  -- What there is to do, in one statement: one that finds nothing costs as much as the claim of a job. A second
  -- time when jobs became due.
  FOR i IN 1..2 LOOP
    SELECT d.fence_epoch, d.server_start = pg_postmaster_start_time(),
           EXISTS (SELECT FROM parkd.models m WHERE m.name = p_model AND m.paused_at IS NOT NULL),
           -- jobs_scheduled
           EXISTS (SELECT FROM parkd.jobs j WHERE j.model = p_model AND j.state = 'scheduled' AND j.run_at <= v_now),
           -- jobs_critical
           EXISTS (SELECT FROM parkd.jobs j WHERE j.model = p_model AND j.state = 'queued' AND j.priority = 'critical'),
           -- jobs_queue: the first tenant, and is there another one? (Not the last one: the end of the index is full of
           -- what is just being inserted.)
           f.tenant,
           NOT EXISTS (SELECT FROM parkd.jobs j WHERE j.model = p_model AND j.tenant > f.tenant AND j.state = 'queued'
                          AND j.priority <> 'critical'),
           EXISTS (SELECT FROM parkd.shares s WHERE s.model = p_model AND s.tags <> '{}'),
           EXISTS (SELECT FROM parkd.waiters w WHERE w.model = p_model AND w.daemon_id = p_daemon)
      INTO v_epoch, v_same, v_paused, v_due, v_critical, v_first, v_alone, v_charged, v_waits
      FROM parkd.daemons d
      LEFT JOIN LATERAL (SELECT j.tenant FROM parkd.jobs j
                          WHERE v_marks IS NULL AND j.model = p_model AND j.state = 'queued' AND j.priority <> 'critical'
                          ORDER BY j.tenant LIMIT 1) f ON true
     WHERE d.id = p_daemon AND d.lost_at IS NULL AND d.beat_at + d.ttl > v_now AND d.timeline = parkd.timeline_v1();
    IF NOT FOUND THEN
      RAISE EXCEPTION USING ERRCODE = 'PK001',
        MESSAGE = format('daemon %s is no longer registered with this database', p_daemon);
    END IF;
    EXIT WHEN v_paused OR NOT v_due OR i = 2;
    PERFORM parkd.promote_v1(v_now);
  END LOOP;
  IF v_same THEN
    -- A claim that a crash of the server forgets is a job that is claimed again: not worth a sync.
    PERFORM set_config('synchronous_commit', 'off', true);
  ELSE
    -- It has forgotten some: their leases must not be given out a second time.
    v_epoch := parkd.current_epoch_v1();
    UPDATE parkd.daemons d SET fence_epoch = v_epoch, server_start = pg_postmaster_start_time() WHERE d.id = p_daemon;
  END IF;
  IF v_paused THEN RETURN; END IF;

  IF p_only IS NOT NULL THEN
    v_rows := parkd.named_choice_v1(p_model, p_max, v_now, p_only);
    v_n := p_max;
  ELSIF v_critical THEN
    v_room_of := jsonb_object(p_tenants, p_rooms::text[]);
    v_rows := parkd.critical_choice_v1(p_model, p_max, v_now, v_room_of, p_others, p_need);
    v_n := cardinality(v_rows);
    IF v_n > 0 AND (v_room_of IS NOT NULL OR p_others IS NOT NULL) THEN
      SELECT coalesce(v_room_of, '{}')
             || jsonb_object_agg(x.tenant, coalesce((v_room_of ->> x.tenant)::int, p_others, p_max) - x.n)
        INTO v_room_of
        FROM (SELECT j.tenant, count(*) AS n FROM parkd.jobs j WHERE j.ctid = ANY (v_rows) GROUP BY j.tenant) x;
    END IF;
  END IF;
  IF v_n < p_max THEN
    IF v_marks IS NOT NULL THEN
      SELECT min(k.tenant), min(k.tenant) = max(k.tenant) INTO v_first, v_alone FROM jsonb_object_keys(v_marks) k(tenant);
    END IF;
    -- Limits stand in functions of their own: they cost a claim without any next to nothing.
    IF v_first IS NOT NULL AND v_alone AND p_tenants IS NULL AND p_others IS NULL AND p_need IS NULL THEN
      -- Alone, a tenant pays nothing: whoever comes next starts level with it.
      IF v_charged THEN
        UPDATE parkd.shares s SET tags = '{}' WHERE s.model = (
          SELECT x.model FROM parkd.shares x WHERE x.model = p_model AND x.tags <> '{}' FOR UPDATE SKIP LOCKED);
      END IF;
      v_rows := v_rows || ARRAY(SELECT j.ctid FROM parkd.jobs j
         WHERE j.model = p_model AND j.tenant = v_first AND j.state = 'queued' AND j.priority <> 'critical'
           AND j.order_key >= coalesce((v_marks ->> v_first)::timestamptz, '-infinity')
           AND (j.deadline IS NULL OR j.deadline > v_now)
         ORDER BY j.order_key, j.id LIMIT p_max - v_n FOR UPDATE SKIP LOCKED);
    ELSIF v_first IS NOT NULL AND v_alone AND p_need IS NULL THEN
      v_rows := v_rows || parkd.alone_choice_v1(p_model, p_max - v_n, v_now, v_marks, v_first,
        coalesce((coalesce(v_room_of, jsonb_object(p_tenants, p_rooms::text[])) ->> v_first)::int, p_others));
    ELSIF v_first IS NOT NULL THEN
      v_rows := v_rows || parkd.fair_choice_v1(p_model, p_max - v_n, v_now, v_marks,
        coalesce(v_room_of, jsonb_object(p_tenants, p_rooms::text[])), p_others, p_need);
    END IF;
    v_reads := pg_stat_get_xact_tuples_returned('parkd.jobs_queue'::regclass) - v_reads;
    IF v_noted <> '' OR v_reads > 1000 + 20 * p_max THEN
      IF p_need IS NOT NULL OR p_others <= 0 THEN
        -- It says nothing of where the others' jobs begin.
        PERFORM parkd.mark_v1(p_model, '{}', p_tenants, false, v_reads, p_max);
      ELSE
        PERFORM parkd.mark_v1(p_model, v_rows[v_n + 1:], p_tenants, v_marks IS NULL, v_reads, p_max);
      END IF;
    END IF;
  END IF;

  IF p_only IS NOT NULL THEN NULL;   -- it says nothing of what else there is
  ELSIF cardinality(v_rows) < p_max THEN
    IF p_listens AND NOT v_waits THEN
      INSERT INTO parkd.waiters VALUES (p_model, p_daemon) ON CONFLICT DO NOTHING;
    END IF;
  ELSIF v_waits THEN
    DELETE FROM parkd.waiters w WHERE w.model = p_model AND w.daemon_id = p_daemon;
  END IF;
  IF v_rows = '{}' THEN RETURN; END IF;

  -- By ctid: the rows are locked, so nobody but this transaction can move them, and what was locked is the newest
  -- version of each, which the snapshot of a later statement sees.
  RETURN QUERY
  UPDATE parkd.jobs j
     SET state = 'claimed', daemon_id = p_daemon, claimed_at = v_now,
         run_lease = greatest(j.run_lease + 1, (v_epoch << 32) + 1)
    FROM generate_series(1, cardinality(v_rows)) c(ord)
   WHERE j.ctid = v_rows[c.ord]
  RETURNING c.ord::bigint, j.id, j.run_lease, parkd.us_v1(j.created_at), parkd.us_v1(j.order_key),
    parkd.us_v1(j.run_at), parkd.us_v1(j.deadline), v_now_us, j.seed,
    (date_part('epoch', j.retention) * 1e6)::bigint, date_part('epoch', j.run_timeout)::bigint,
    j.prompt_tokens, j.max_new_tokens, j.n_choices, j.attempts, j.max_attempts, j.interruptions,
    j.priority, j.tokens_are_exact, j.model, j.tenant, j.mailbox_key, j.endpoint, j.custom_id,
    j.batch_id, j.idempotency_key, j.metadata, j.body, j.requeued_from,
    j.deaths_alone, j.suspect_group, j.noted_lease,
    coalesce((SELECT w.weight FROM parkd.tenants w WHERE w.name = j.tenant), 1);
END $$;

-- Those of p_only that wait, in that order. Each is charged as the next one of its tenant; the virtual time stays,
-- for nobody's turn has come. If somebody keeps the tags for half a second, nobody is charged. jobs_pkey.
CREATE FUNCTION parkd.named_choice_v1(p_model text, p_max int, p_now timestamptz, p_only bigint[])
RETURNS tid[] LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, parkd, pg_temp SET jit = off SET plan_cache_mode = force_generic_plan
SET lock_timeout = '500ms'
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
  v_context int := (SELECT m.context_tokens FROM parkd.models m WHERE m.name = p_model);   -- NULL: not registered
  v_rows    tid[] := ARRAY(SELECT j.ctid FROM parkd.jobs j
     WHERE j.id = ANY (p_only) AND j.model = p_model AND j.state = 'queued' AND (j.deadline IS NULL OR j.deadline > p_now)
     ORDER BY array_position(p_only, j.id) LIMIT p_max FOR UPDATE SKIP LOCKED);
  v_costs   jsonb;
  v_largest float8;
BEGIN
  SELECT jsonb_object_agg(c.tenant, c.cost), max(c.largest) INTO v_costs, v_largest
    FROM (SELECT j.tenant, sum(n.cost) AS cost, max(n.cost) AS largest
            FROM parkd.jobs j
            LEFT JOIN parkd.tenants w ON w.name = j.tenant
            CROSS JOIN LATERAL (SELECT greatest(parkd.need_tokens_v1(j.n_choices, j.prompt_tokens, j.max_new_tokens,
                                  v_context), 1)::float8 / coalesce(w.weight, 1) AS cost) n
           WHERE j.ctid = ANY (v_rows) AND j.priority <> 'critical' GROUP BY j.tenant) c;
  IF v_costs IS NULL THEN RETURN v_rows; END IF;
  INSERT INTO parkd.shares (model) SELECT p_model
   WHERE NOT EXISTS (SELECT FROM parkd.shares x WHERE x.model = p_model) ON CONFLICT DO NOTHING;
  BEGIN
    UPDATE parkd.shares s
       SET largest_cost = greatest(s.largest_cost, v_largest),
           tags = s.tags || (
             SELECT jsonb_object_agg(c.key, c.value::float8 + greatest(coalesce((s.tags ->> c.key)::float8, s.virtual_time),
                                       s.virtual_time - greatest(s.largest_cost, v_largest)))
               FROM jsonb_each(v_costs) c)
     WHERE s.model = p_model;
  EXCEPTION WHEN lock_not_available THEN NULL;
  END;
  RETURN v_rows;
END $$;

-- Critical jobs by (order_key, id), whoever's they are; nobody is charged. One probe a tenant that has some,
-- and of each the jobs that it has room for.
CREATE FUNCTION parkd.critical_choice_v1(p_model text, p_max int, p_now timestamptz, p_room_of jsonb, p_others int,
                                         p_need bigint)
RETURNS tid[] LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, parkd, pg_temp SET jit = off SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
  v_context int := (SELECT m.context_tokens FROM parkd.models m WHERE m.name = p_model);   -- NULL: not registered
  v_tenants text[] := '{}';
  v_rooms   int[] := '{}';
  v_rows    tid[] := '{}';
  v_at      text := '';
  v_room    int;
BEGIN
  LOOP
    SELECT j.tenant INTO v_at FROM parkd.jobs j
     WHERE j.model = p_model AND j.tenant > v_at AND j.state = 'queued' AND j.priority = 'critical'
     ORDER BY j.tenant LIMIT 1;
    EXIT WHEN NOT FOUND;
    v_room := least(p_max, coalesce((p_room_of ->> v_at)::int, p_others));
    CONTINUE WHEN v_room <= 0;
    v_tenants := v_tenants || v_at;
    v_rooms := v_rooms || v_room;
  END LOOP;
  IF cardinality(v_tenants) > 1 OR p_need IS NOT NULL THEN
    v_rows := ARRAY(
      WITH head AS MATERIALIZED (
        SELECT h.id, h.order_key FROM unnest(v_tenants, v_rooms) t(tenant, room)
          CROSS JOIN LATERAL (
            SELECT q.id, q.order_key
              FROM (SELECT j.id, j.order_key, parkd.need_tokens_v1(j.n_choices, j.prompt_tokens, j.max_new_tokens, v_context) AS need
                      FROM parkd.jobs j
                     WHERE j.model = p_model AND j.tenant = t.tenant AND j.state = 'queued' AND j.priority = 'critical'
                       AND (j.deadline IS NULL OR j.deadline > p_now)
                     ORDER BY j.order_key, j.id LIMIT CASE WHEN p_need IS NULL THEN t.room ELSE 1024 END) q
             WHERE p_need IS NULL OR q.need <= p_need
             ORDER BY q.order_key, q.id LIMIT t.room) h)
      SELECT j.ctid FROM head h JOIN parkd.jobs j ON j.id = ANY (ARRAY[h.id])
       WHERE j.state = 'queued' ORDER BY h.order_key, h.id LIMIT p_max FOR UPDATE OF j SKIP LOCKED);
  END IF;
  -- One tenant alone, or others hold some of these.
  FOR i IN 1..cardinality(v_tenants) LOOP
    EXIT WHEN cardinality(v_rows) >= p_max OR p_need IS NOT NULL;
    v_room := v_rooms[i] - (SELECT count(*) FROM parkd.jobs j WHERE j.ctid = ANY (v_rows) AND j.tenant = v_tenants[i]);
    v_rows := v_rows || ARRAY(SELECT j.ctid FROM parkd.jobs j
       WHERE j.model = p_model AND j.tenant = v_tenants[i] AND j.state = 'queued' AND j.priority = 'critical'
         AND (j.deadline IS NULL OR j.deadline > p_now) AND j.ctid <> ALL (v_rows)
       ORDER BY j.order_key, j.id LIMIT least(v_room, p_max - cardinality(v_rows)) FOR UPDATE SKIP LOCKED);
  END LOOP;
  RETURN v_rows;
END $$;

-- As claim_v1 does it for a tenant that is alone, within its room (NULL: no limit).
CREATE FUNCTION parkd.alone_choice_v1(p_model text, p_max int, p_now timestamptz, p_marks jsonb, p_tenant text, p_room int)
RETURNS tid[] LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, parkd, pg_temp SET jit = off SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
BEGIN
  UPDATE parkd.shares s SET tags = '{}' WHERE s.model = (
    SELECT x.model FROM parkd.shares x WHERE x.model = p_model AND x.tags <> '{}' FOR UPDATE SKIP LOCKED);
  RETURN ARRAY(SELECT j.ctid FROM parkd.jobs j
     WHERE j.model = p_model AND j.tenant = p_tenant AND j.state = 'queued' AND j.priority <> 'critical'
       AND j.order_key >= coalesce((p_marks ->> p_tenant)::timestamptz, '-infinity')
       AND (j.deadline IS NULL OR j.deadline > p_now)
     ORDER BY j.order_key, j.id LIMIT greatest(least(p_max, p_room), 0) FOR UPDATE SKIP LOCKED);
END $$;

-- Start-time fair queueing (Goyal, Vin, Cheng 1996): a job starts at its tenant's tag, which grows by the
-- job's cost, need / weight; the smallest start is served; the virtual time is the latest. A tenant that has
-- no tag, for it was away, begins there. One that waits and is passed over, for it has no room or nothing
-- that fits, keeps its tag: what it is owed is one largest job at most. Locks the chosen rows and returns
-- them in order. Looks at up to 128 tenants that have room at a time, as a ring.
-- The tags are locked, so claimers that share tenants take turns; if one that does not read its answer
-- keeps them for half a second, the others go on without charging anybody.
CREATE FUNCTION parkd.fair_choice_v1(p_model text, p_max int, p_now timestamptz, p_marks jsonb, p_room_of jsonb,
                                     p_others int, p_need bigint)
RETURNS tid[] LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, parkd, pg_temp SET jit = off SET plan_cache_mode = force_generic_plan
SET lock_timeout = '500ms'
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
  s         parkd.shares;
  v_charge  bool := true;
  v_limited bool := p_room_of IS NOT NULL OR p_others IS NOT NULL OR p_need IS NOT NULL;
  v_context int := (SELECT m.context_tokens FROM parkd.models m WHERE m.name = p_model);   -- NULL: not registered
  v_waiting text[];            -- who has queued jobs
  v_tenants text[];            -- and room
  v_window  int;
  v_rows    tid[] := '{}';
  v_largest float8;
  v_room    int;
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
  v_waiting := CASE WHEN p_marks IS NOT NULL THEN ARRAY(SELECT k.tenant FROM jsonb_object_keys(p_marks) k(tenant))
                    ELSE parkd.queued_tenants_v1(p_model, s.after_tenant, 128, p_room_of, p_others) END;
  v_tenants := v_waiting;
  IF v_limited THEN
    v_tenants := ARRAY(SELECT t.tenant FROM unnest(v_waiting) t(tenant)
                        WHERE coalesce((p_room_of ->> t.tenant)::int, p_others, p_max) > 0);
  END IF;
  -- Enough to fill the claim from any one tenant while tenants are few; with many, tags even out over
  -- the next claims what a short window cut off.
  v_window := CASE WHEN p_need IS NULL THEN greatest(least(2 * p_max, 1024 / greatest(cardinality(v_tenants), 1)), 4)
                   ELSE greatest(1024 / greatest(cardinality(v_tenants), 1), 16) END;
  v_tags := s.tags;
  v_virtual := s.virtual_time;
  v_largest := s.largest_cost;
  FOR r IN
    WITH head AS MATERIALIZED (
      SELECT t.tenant, q.id, q.order_key, q.need / coalesce(w.weight, 1) AS cost,
             greatest(coalesce((s.tags ->> t.tenant)::float8, s.virtual_time), s.virtual_time - s.largest_cost) AS tag
        FROM unnest(v_tenants) t(tenant)
        CROSS JOIN LATERAL (
          SELECT j.id, j.order_key, greatest(parkd.need_tokens_v1(j.n_choices, j.prompt_tokens, j.max_new_tokens, v_context), 1)::float8 AS need
            FROM parkd.jobs j
           WHERE j.model = p_model AND j.tenant = t.tenant AND j.state = 'queued'
             AND j.order_key >= coalesce((p_marks ->> t.tenant)::timestamptz, '-infinity')
             AND j.priority <> 'critical' AND (j.deadline IS NULL OR j.deadline > p_now)
           ORDER BY j.order_key, j.id
           LIMIT CASE WHEN p_need IS NOT NULL OR NOT v_limited THEN v_window
                      ELSE least(v_window, 2 * coalesce((p_room_of ->> t.tenant)::int, p_others, p_max)) END) q
        LEFT JOIN parkd.tenants w ON w.name = t.tenant
       WHERE p_need IS NULL OR q.need <= p_need),
    tagged AS (
      SELECT h.id, h.tenant, h.cost, h.order_key, row_number() OVER of_tenant AS place,
             h.tag + sum(h.cost) OVER of_tenant - h.cost AS start_tag
        FROM head h WINDOW of_tenant AS (PARTITION BY h.tenant ORDER BY h.order_key, h.id)),
    chosen AS MATERIALIZED (
      SELECT t.id, t.tenant, t.cost, t.start_tag, row_number() OVER (ORDER BY t.start_tag, t.order_key, t.id) AS ord
        FROM tagged t WHERE NOT v_limited OR t.place <= coalesce((p_room_of ->> t.tenant)::int, p_others, p_max))
    SELECT j.ctid, c.tenant, c.cost, c.start_tag FROM chosen c JOIN parkd.jobs j ON j.id = ANY (ARRAY[c.id])
     WHERE j.state = 'queued' ORDER BY c.ord LIMIT p_max FOR UPDATE OF j SKIP LOCKED
  LOOP
    v_rows := v_rows || r.ctid;
    IF r.cost > v_largest THEN v_largest := r.cost; END IF;
    v_tags := v_tags || jsonb_build_object(r.tenant, r.start_tag + r.cost);
    v_virtual := greatest(v_virtual, r.start_tag);
  END LOOP;
  IF v_limited THEN
    -- Who had no tag and was passed over waits since now.
    v_tags := coalesce((SELECT jsonb_object_agg(t.tenant, s.virtual_time) FROM unnest(v_waiting) t(tenant)), '{}') || v_tags;
  END IF;
  IF v_charge THEN
    UPDATE parkd.shares x
       SET virtual_time = v_virtual, largest_cost = v_largest,
           tags = (SELECT coalesce(jsonb_object_agg(e.key, greatest(e.value::float8, v_virtual - v_largest)), '{}')
                     FROM jsonb_each(v_tags) e WHERE e.value::float8 > v_virtual OR e.key = ANY (v_waiting)),
           after_tenant = CASE WHEN p_marks IS NOT NULL THEN x.after_tenant
                               WHEN cardinality(v_tenants) < 128 THEN '' ELSE v_tenants[128] END
     WHERE x.model = p_model;
  END IF;
  -- What others held made the window too short: take what is there, tenant by tenant.
  FOR i IN 1..cardinality(v_tenants) LOOP
    EXIT WHEN cardinality(v_rows) >= p_max OR p_need IS NOT NULL;
    v_room := p_max - cardinality(v_rows);
    IF v_limited THEN
      v_room := least(v_room, coalesce((p_room_of ->> v_tenants[i])::int, p_others, p_max)
        - (SELECT count(*) FROM parkd.jobs j WHERE j.ctid = ANY (v_rows) AND j.tenant = v_tenants[i]));
    END IF;
    v_rows := v_rows || ARRAY(SELECT j.ctid FROM parkd.jobs j
       WHERE j.model = p_model AND j.tenant = v_tenants[i] AND j.state = 'queued'
         AND j.order_key >= coalesce((p_marks ->> v_tenants[i])::timestamptz, '-infinity')
         AND j.priority <> 'critical' AND (j.deadline IS NULL OR j.deadline > p_now)
         AND j.ctid <> ALL (v_rows)
       ORDER BY j.order_key, j.id LIMIT v_room FOR UPDATE SKIP LOCKED);
  END LOOP;
  RETURN v_rows;
END $$;

-- Tenants with queued jobs of the model, from p_after on and round to it again: one index probe each. Up to
-- p_max that have room; those without stand between them. Where nobody has who is not named, only the named.
CREATE FUNCTION parkd.queued_tenants_v1(p_model text, p_after text, p_max int, p_room_of jsonb, p_others int)
RETURNS text[] LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, parkd, pg_temp SET jit = off SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off SET enable_bitmapscan = off AS $$
DECLARE v_tenants text[] := '{}'; v_at text := p_after; v_next text; v_wrapped bool := p_after = ''; v_passed int := 0;
BEGIN
  IF p_others <= 0 THEN
    RETURN ARRAY(SELECT k.tenant FROM jsonb_object_keys(p_room_of) k(tenant)
                  CROSS JOIN LATERAL (SELECT FROM parkd.jobs j
                                       WHERE j.model = p_model AND j.tenant = k.tenant AND j.state = 'queued'
                                         AND j.priority <> 'critical' LIMIT 1) x);
  END IF;
  WHILE cardinality(v_tenants) - v_passed < p_max LOOP
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
    IF p_room_of IS NOT NULL AND (p_room_of ->> v_next)::int <= 0 THEN v_passed := v_passed + 1; END IF;
    v_at := v_next;
  END LOOP;
  RETURN v_tenants;
END $$;

-- Scheduled jobs whose time has come, up to 2000 of each model. An index probe a model when there are none.
CREATE FUNCTION parkd.promote_v1(p_now timestamptz) RETURNS text[] LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, parkd, pg_temp SET jit = off
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE v_models text[]; v_model text := ''; v_due bigint[];
BEGIN
  LOOP
    -- jobs_scheduled: the next model with scheduled jobs, then those of them that are due.
    SELECT j.model INTO v_model FROM parkd.jobs j WHERE j.state = 'scheduled' AND j.model > v_model ORDER BY j.model LIMIT 1;
    EXIT WHEN NOT FOUND;
    v_due := ARRAY(SELECT j.id FROM parkd.jobs j WHERE j.model = v_model AND j.state = 'scheduled' AND j.run_at <= p_now
                    ORDER BY j.run_at LIMIT 2000 FOR UPDATE SKIP LOCKED);
    CONTINUE WHEN v_due = '{}';
    UPDATE parkd.jobs j SET state = 'queued' WHERE j.id = ANY (v_due);
    v_models := v_models || v_model;
  END LOOP;
  PERFORM pg_notify('parkd_work', m.model) FROM unnest(v_models) m(model)
   WHERE EXISTS (SELECT FROM parkd.waiters w WHERE w.model = m.model);
  RETURN v_models;
END $$;

-- --- marks ---------------------------------------------------------------------------------------
--
-- Claims stay cheap while old rows cannot be removed (a transaction somewhere pins xmin). An index entry of
-- a job that left the queue is read by every claim until vacuum may take it away; after 100,000 jobs a claim
-- read 200,000 of them.
--
-- A claim that read far more entries than it took leaves marks in its session: from which order_key on each
-- tenant had jobs (one that it passed over: from the beginning). The next claims of this session start there, so many that they pay for what that one read
-- (twenty entries a job), and for 5 s at most. A job that turns up below a mark (given back, or of a higher
-- priority), or of a tenant without one, waits for that long. Where nothing pins xmin there are no marks, and
-- order is exact.

-- Custom settings of the session hold them: a hint, worth nothing to anybody else. NULL: there are none.
CREATE FUNCTION parkd.marks_v1(p_model text) RETURNS jsonb LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, parkd, pg_temp AS $$
DECLARE v_mark jsonb := nullif(current_setting('parkd.marks', true), '')::jsonb -> p_model;
BEGIN
  RETURN CASE WHEN (v_mark ->> 'claims_left')::int > 0 AND (v_mark ->> 'until')::timestamptz > clock_timestamp()
              THEN v_mark -> 'tenants' END;
END $$;

-- After a claim of p_rows that read p_reads index entries; complete: without marks. p_passed: tenants that it
-- may have passed over.
CREATE FUNCTION parkd.mark_v1(p_model text, p_rows tid[], p_passed text[], p_complete bool, p_reads bigint, p_max int)
RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, parkd, pg_temp SET jit = off
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
  v_marks   jsonb := coalesce(nullif(current_setting('parkd.marks', true), '')::jsonb, '{}');
  v_mark    jsonb := coalesce(v_marks -> p_model, '{}');
  v_tenants jsonb;
BEGIN
  IF p_complete AND p_reads <= 1000 + 20 * p_max THEN
    IF v_marks ? p_model THEN PERFORM set_config('parkd.marks', (v_marks - p_model)::text, false); END IF;
    RETURN;
  END IF;
  -- Tenants without a job in this claim keep their mark.
  SELECT coalesce((SELECT jsonb_object_agg(t.tenant, '-infinity') FROM unnest(p_passed) t(tenant) WHERE p_complete), '{}')
         || coalesce(v_mark -> 'tenants', '{}') || coalesce(jsonb_object_agg(m.tenant, m.low), '{}')
    INTO v_tenants
    FROM (SELECT j.tenant, min(j.order_key) AS low FROM parkd.jobs j WHERE j.ctid = ANY (p_rows) GROUP BY j.tenant) m;
  IF v_tenants = '{}' OR (SELECT count(*) FROM jsonb_object_keys(v_tenants)) > 256 THEN
    v_marks := v_marks - p_model;
  ELSIF p_complete THEN
    v_marks := v_marks || jsonb_build_object(p_model, jsonb_build_object('tenants', v_tenants,
      'claims_left', p_reads / (20 * p_max), 'until', clock_timestamp() + interval '5 s'));
  ELSE
    v_marks := v_marks || jsonb_build_object(p_model, v_mark || jsonb_build_object('tenants', v_tenants,
      'claims_left', (v_mark ->> 'claims_left')::int - 1));
  END IF;
  PERFORM set_config('parkd.marks', v_marks::text, false);
END $$;

-- --- giving back ----------------------------------------------------------------------------------

-- Takes back what the claims of jobs charged to their tenants, which are then as if they had been passed over.
-- Who claimed alone paid nothing and has no tag. Last in a transaction: the tags are locked from here on. If
-- somebody keeps them for half a second, the jobs stay charged.
CREATE FUNCTION parkd.uncharge_v1(p_models text[], p_tenants text[], p_needs bigint[])
RETURNS void LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, parkd, pg_temp SET jit = off SET lock_timeout = '500ms'
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE r record;
BEGIN
  IF NOT EXISTS (SELECT FROM parkd.shares s WHERE s.model = ANY (p_models) AND s.tags ?| p_tenants) THEN RETURN; END IF;
  FOR r IN
    SELECT c.model, jsonb_object_agg(c.tenant, c.cost) AS cost
      FROM (SELECT i.model, i.tenant, sum(greatest(i.need, 1) / coalesce(w.weight, 1)) AS cost
              FROM unnest(p_models, p_tenants, p_needs) i(model, tenant, need)
              LEFT JOIN parkd.tenants w ON w.name = i.tenant GROUP BY i.model, i.tenant) c
     GROUP BY c.model ORDER BY c.model
  LOOP
    UPDATE parkd.shares s
       SET tags = s.tags || (
         SELECT coalesce(jsonb_object_agg(t.key, least(t.tag, greatest(t.tag - (r.cost ->> t.key)::float8,
                                                                       s.virtual_time - s.largest_cost))), '{}')
           FROM (SELECT e.key, e.value::float8 AS tag FROM jsonb_each(s.tags) e WHERE r.cost ? e.key) t)
     WHERE s.model = r.model;
  END LOOP;
EXCEPTION WHEN lock_not_available THEN NULL;
END $$;

-- A spent attempt clears the poison notes: the job ran, and the process lived. A job whose cancel was asked for
-- meanwhile ends instead; its (tenant, mailbox_key) say so. p_skip as in finish_v1: an item that is held stays
-- as it is, and its row says so.
CREATE FUNCTION parkd.release_v1(p_ids bigint[], p_leases bigint[], p_spend bool[], p_run_at_us bigint[],
                                 p_now timestamptz DEFAULT NULL, p_skip bool DEFAULT false)
RETURNS TABLE (job_id bigint, run_lease bigint, model text, tenant text, mailbox_key text, held bool)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, parkd, pg_temp SET jit = off
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
  v_now     timestamptz := coalesce(p_now, clock_timestamp());
  v_held    bigint[] := '{}';
  v_models  text[] := '{}';   -- of those without a spent attempt
  v_tenants text[] := '{}';
  v_needs   bigint[] := '{}';
  r         record;
BEGIN
  IF p_skip THEN
    v_held := parkd.held_v1(p_ids, true);
    RETURN QUERY SELECT i.id, i.lease, NULL::text, NULL::text, NULL::text, true FROM unnest(p_ids, p_leases) i(id, lease)
                  WHERE i.id = ANY (v_held);
  END IF;
  held := false;
  FOR r IN
    UPDATE parkd.jobs j
       SET state = CASE WHEN j.cancel_at IS NULL AND i.run_at > v_now THEN 'scheduled' ELSE 'queued' END::parkd.job_state,
           run_at = coalesce(i.run_at, j.run_at), attempts = j.attempts + i.spend::int,
           daemon_id = NULL, claimed_at = NULL,
           deaths_alone = CASE WHEN i.spend THEN 0 ELSE j.deaths_alone END,
           suspect_group = CASE WHEN i.spend THEN 0 ELSE j.suspect_group END,
           interruptions = CASE WHEN i.spend THEN 0 ELSE j.interruptions END
      FROM (SELECT u.id, u.lease, u.spend, parkd.from_us_v1(u.run_at_us) AS run_at
              FROM unnest(p_ids, p_leases, p_spend, p_run_at_us) u(id, lease, spend, run_at_us)) i
     WHERE j.id = ANY (ARRAY[i.id]) AND j.run_lease = i.lease AND j.daemon_id IS NOT NULL AND j.id <> ALL (v_held)
    RETURNING j.id, j.run_lease, j.model, j.state, j.cancel_at, j.tenant, NOT i.spend AND j.priority <> 'critical' AS uncharged,
      parkd.need_tokens_v1(j.n_choices, j.prompt_tokens, j.max_new_tokens,
        (SELECT m.context_tokens FROM parkd.models m WHERE m.name = j.model)) AS need
  LOOP
    job_id := r.id; run_lease := r.run_lease; model := NULL; tenant := NULL; mailbox_key := NULL;
    IF r.uncharged THEN
      v_models := v_models || r.model;
      v_tenants := v_tenants || r.tenant;
      v_needs := v_needs || r.need;
    END IF;
    IF r.cancel_at IS NOT NULL THEN
      SELECT e.tenant, e.mailbox_key INTO tenant, mailbox_key
        FROM parkd.end_waiting_v1(ARRAY[r.id], 'cancelled', v_now) e;
    ELSIF r.state = 'queued' THEN
      model := r.model;
    END IF;
    RETURN NEXT;
  END LOOP;
  IF v_needs <> '{}' THEN PERFORM parkd.uncharge_v1(v_models, v_tenants, v_needs); END IF;
  PERFORM pg_notify('parkd_work', w.model) FROM parkd.waiters w
   WHERE w.model IN (SELECT j.model FROM parkd.jobs j WHERE j.id = ANY (p_ids) AND j.state = 'queued');
END $$;

-- --- poison -------------------------------------------------------------------------------------------
--
-- Which jobs were in the engine when a process died. The rule is judge_death's in lib/store/rules.h; this is
-- that rule in SQL, and the conformance suite holds the two together. A suspect claimed by another daemon
-- carries its notes with it, and is alone there too.

-- judge_death. One row: suspects, quarantined; and of each job that ended its tenant and mailbox_key.
-- jobs_pkey; finish_v1 for those that end.
CREATE FUNCTION parkd.note_deaths_v1(p_ids bigint[], p_leases bigint[], p_noted bool, p_now timestamptz DEFAULT NULL)
RETURNS TABLE (suspects bigint, quarantined bigint, tenants text[], mailbox_keys text[])
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, parkd, pg_temp SET jit = off SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
  v_now     timestamptz := coalesce(p_now, clock_timestamp());
  v_present bigint := (SELECT count(DISTINCT i.id) FROM unnest(p_ids) i(id));
  v_accused bigint[];
  v_groups  bigint[] := ARRAY[nextval('parkd.suspect_groups'), nextval('parkd.suspect_groups')];
  v_ended   bigint[];
  v_leases  bigint[];
  n         int;
BEGIN
  PERFORM FROM parkd.jobs j WHERE j.id = ANY (p_ids) ORDER BY j.id FOR UPDATE;
  WITH changed AS (
    UPDATE parkd.jobs j SET noted_lease = i.lease, interruptions = j.interruptions + 1
      FROM (SELECT u.id, max(u.lease) AS lease FROM unnest(p_ids, p_leases) u(id, lease) GROUP BY u.id) i
     WHERE j.id = ANY (ARRAY[i.id]) AND i.lease > j.noted_lease
    RETURNING j.id, j.interruptions)
  SELECT array_agg(c.id ORDER BY c.id) INTO v_accused FROM changed c WHERE p_noted OR c.interruptions >= 20;
  v_accused := coalesce(v_accused, '{}');
  n := cardinality(v_accused);
  WITH accused AS (
    UPDATE parkd.jobs j
       SET suspect_group = v_groups[CASE WHEN a.place <= (n + 1) / 2 THEN 1 ELSE 2 END],
           deaths_alone = j.deaths_alone + (v_present = 1)::int
      FROM unnest(v_accused) WITH ORDINALITY a(id, place)
     WHERE j.id = ANY (ARRAY[a.id])
    RETURNING j.id, j.deaths_alone)
  SELECT array_agg(a.id ORDER BY a.id) INTO v_ended FROM accused a WHERE a.deaths_alone >= 2;
  v_ended := coalesce(v_ended, '{}');
  suspects := n - cardinality(v_ended);
  quarantined := cardinality(v_ended);
  IF quarantined > 0 THEN
    -- Whoever holds it: a claim by nobody (daemon 0), finished in this transaction.
    UPDATE parkd.jobs j SET state = 'claimed', daemon_id = 0, run_lease = 0 WHERE j.id = ANY (v_ended);
    PERFORM parkd.ensure_partitions_for_v1(v_ended, v_now);
    v_leases := array_fill(0::bigint, ARRAY[quarantined::int]);
    SELECT array_agg(f.tenant), array_agg(f.mailbox_key) INTO tenants, mailbox_keys
      FROM parkd.finish_v1(v_ended, v_leases, array_fill('quarantined'::text, ARRAY[quarantined::int]),
        array_fill('quarantined'::text, ARRAY[quarantined::int]),
        array_fill('the process died twice with only this job in the engine; requeue it to try again'::text,
                   ARRAY[quarantined::int]),
        array_fill(''::text, ARRAY[quarantined::int]), array_fill(parkd.status_code_v1('quarantined'), ARRAY[quarantined::int]),
        array_fill(''::text, ARRAY[quarantined::int]), array_fill(0, ARRAY[quarantined::int]),
        array_fill(0, ARRAY[quarantined::int]), v_leases, v_leases, v_leases, v_now) f
     WHERE f.answer = 0;
  END IF;
  RETURN NEXT;
END $$;
