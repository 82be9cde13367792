-- 0002: the daemon's side: time, the fence, one row per process, and what becomes of a claim whose process
-- is gone.
--
-- In this and the next files the daemon's verbs: each is one statement for its caller, runs as the owner
-- with a fixed search_path, and takes the time as a parameter: NULL means the database's clock, a value is
-- given by tests alone. Names end in _vN, so that daemons of two versions can share a database. Nobody can
-- call them before 0010 gives USAGE on the schema, and then only those it names.
--
-- The SET enable_* clauses take the choice from the planner where it could only be wrong: these
-- statements touch few rows of large tables, whatever the statistics say.
--
-- A join to jobs by id says j.id = ANY (ARRAY[x.id]). With j.id = x.id a plan may read jobs_pkey from end to end
-- (its order is useful to a merge join), which costs little where statistics know of few rows and goes on while
-- xmin is pinned and dead entries pile up. An array leaves one probe for each x.
--
-- Turns are rows of parkd_private.turns, a finish in flight is one of parkd_private.finishing. No advisory locks: any
-- login of the database can take those.

-- Total: what lies outside 1970 to 9999 (infinity too) is the nearer end.
CREATE FUNCTION parkd.us_v1(t timestamptz) RETURNS bigint LANGUAGE sql STABLE
  RETURN CASE WHEN t IS NOT NULL THEN round(date_part('epoch', greatest(least(t, timestamptz '9999-12-31 23:59:59Z'),
                                              timestamptz '1970-01-01 00:00:00Z')) * 1e6::float8)::bigint END;
CREATE FUNCTION parkd.from_us_v1(us bigint) RETURNS timestamptz LANGUAGE sql IMMUTABLE
  RETURN to_timestamp(us / 1e6::float8);
-- The time of a statement: given by a test in microseconds, or the database's.
CREATE FUNCTION parkd.now_v1(us bigint) RETURNS timestamptz LANGUAGE sql STABLE
  RETURN coalesce(parkd.from_us_v1(us), clock_timestamp());
-- VOLATILE, as what it calls: a STABLE one could not be inlined, and was read and planned by every call (60,000
-- instructions).
CREATE FUNCTION parkd.timeline_v1() RETURNS text LANGUAGE sql VOLATILE
  RETURN left(pg_walfile_name(pg_current_wal_lsn()), 8);

-- --- the fence --------------------------------------------------------------------------------

-- The epoch of leases given out from now on; raised when the server is another one than the fence knows.
-- It always rises, by chance, so that two servers with one past do not go the same way; its 31 bits
-- last for about 65,000 starts of the server.
CREATE FUNCTION parkd.current_epoch_v1() RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, parkd, pg_temp SET jit = off AS $$
DECLARE v_epoch bigint; v_before parkd.fence; v_system bigint;
BEGIN
  SELECT * INTO STRICT v_before FROM parkd.fence f;
  IF v_before.server_start = pg_postmaster_start_time() AND v_before.timeline = parkd.timeline_v1() THEN
    RETURN v_before.epoch;
  END IF;
  SELECT s.system_identifier INTO STRICT v_system FROM pg_control_system() s;
  -- Must be durable before a lease of it is used: whoever calls this commits with a sync.
  SELECT * INTO STRICT v_before FROM parkd.fence f FOR UPDATE;   -- somebody else may have been faster
  UPDATE parkd.fence f
     SET epoch = f.epoch + 1 + floor(random() * 65536)::bigint,
         system_identifier = v_system, timeline = parkd.timeline_v1(),
         server_start = pg_postmaster_start_time(), changed_at = clock_timestamp()
   WHERE f.system_identifier <> v_system OR f.timeline <> parkd.timeline_v1()
      OR f.server_start <> pg_postmaster_start_time();
  IF FOUND AND (v_before.system_identifier <> v_system OR v_before.timeline <> parkd.timeline_v1()) THEN
    -- What the lost part of history drew from them is in readers' cursors: no such number may come again.
    PERFORM setval(s.name, nextval(s.name) + (1::bigint << 32))
       FROM (VALUES ('parkd.message_sequence'::regclass), ('parkd.jobs_id_seq')) s(name);
    PERFORM parkd.disown_v1(v_before.system_identifier <> v_system);
  END IF;
  SELECT f.epoch INTO STRICT v_epoch FROM parkd.fence f;
  RETURN v_epoch;
END $$;

-- Claims of daemons that registered with another database: theirs no more. Returns how many.
CREATE FUNCTION parkd.disown_v1(p_all bool) RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, parkd, pg_temp SET jit = off
SET enable_seqscan = off SET enable_bitmapscan = off AS $$
DECLARE v_now timestamptz := clock_timestamp(); n bigint := 0; d record;
BEGIN
  FOR d IN UPDATE parkd.daemons x SET lost_at = coalesce(x.lost_at, v_now)
            WHERE p_all OR x.timeline <> parkd.timeline_v1() RETURNING x.id LOOP
    -- jobs_claimed
    n := n + coalesce(parkd.unclaim_v1(ARRAY(
      SELECT j.id FROM parkd.jobs j WHERE j.daemon_id = d.id AND j.state = 'claimed' FOR UPDATE SKIP LOCKED), v_now), 0);
  END LOOP;
  RETURN n;
END $$;

-- --- registration -----------------------------------------------------------------------------

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
SET search_path = pg_catalog, parkd, pg_temp SET jit = off SET plan_cache_mode = force_custom_plan
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
  -- jobs_cancelled: not jobs_claimed, which has an entry of every job it ever claimed while xmin is pinned. (A
  -- daemon_id says that the job is claimed.) Planned each time, for the two cost the same while they are empty.
  RETURN QUERY SELECT j.id, j.run_lease FROM parkd.jobs j
    WHERE j.daemon_id = p_daemon AND j.cancel_at IS NOT NULL;
END $$;

-- A daemon names a model it serves. A second daemon whose files differ is told so and does not claim.
CREATE FUNCTION parkd.register_model_v1(p_name text, p_content_hash text, p_context_tokens int)
RETURNS bool LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, parkd, pg_temp AS $$
BEGIN
  INSERT INTO parkd.models AS m (name, content_hash, context_tokens) VALUES (p_name, nullif(p_content_hash, ''), p_context_tokens)
    ON CONFLICT (name) DO UPDATE SET content_hash = excluded.content_hash, context_tokens = excluded.context_tokens
    WHERE m.content_hash IS NULL;
  RETURN (SELECT m.content_hash IS NOT DISTINCT FROM nullif(p_content_hash, '') FROM parkd.models m WHERE m.name = p_name);
END $$;

-- The daemon's models are named again where somebody deleted their rows. Returns those whose row names other files now
-- (NULL: an administrator lets the next daemon say which).
CREATE FUNCTION parkd.keep_models_v1(p_names text[], p_hashes text[], p_contexts int[], p_now timestamptz DEFAULT NULL)
RETURNS SETOF text LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, parkd, pg_temp AS $$
DECLARE r record;
BEGIN
  FOR r IN SELECT u.name, u.hash, u.context, m.name IS NULL AS gone
             FROM unnest(p_names, p_hashes, p_contexts) u(name, hash, context) LEFT JOIN parkd.models m ON m.name = u.name
            WHERE m.name IS NULL OR m.content_hash <> u.hash LOOP
    IF NOT parkd.register_model_v1(r.name, r.hash, r.context) THEN
      RETURN NEXT r.name;
    ELSIF r.gone THEN
      PERFORM parkd.note_mishap_v1('model_deleted', format('somebody deleted the row of model %s in parkd.models; it was made anew, '
        'without a pause that it may have had, and submits by SQL in between were refused', r.name), coalesce(p_now, clock_timestamp()));
    END IF;
  END LOOP;
END $$;

-- --- claims that come back --------------------------------------------------------------------

-- Puts claimed jobs back into the queue, whoever's they were; those whose cancel was asked for end. What
-- somebody else holds (held_v1) stays claimed. Not fenced: for callers that know. No evidence of poison: who
-- was in the engine, the daemon itself tells when it is back. They are charged anew when they are claimed anew,
-- so their tenants get back what they paid (uncharge_v1). Returns how many.
CREATE FUNCTION parkd.unclaim_v1(p_ids bigint[], p_now timestamptz)
RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, parkd, pg_temp SET jit = off
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
  n bigint; v_models text[]; v_cancelled bigint[]; v_held bigint[] := parkd.held_v1(p_ids, true);
  v_of text[]; v_tenants text[]; v_needs bigint[];
BEGIN
  WITH back AS (
    UPDATE parkd.jobs j SET state = 'queued', daemon_id = NULL, claimed_at = NULL
     WHERE j.id = ANY (p_ids) AND j.daemon_id IS NOT NULL AND j.id <> ALL (v_held)
    RETURNING j.id, j.model, j.cancel_at, j.tenant, j.priority <> 'critical' AS charged,
      parkd.need_tokens_v1(j.n_choices, j.prompt_tokens, j.max_new_tokens,
        (SELECT m.context_tokens FROM parkd.models m WHERE m.name = j.model)) AS need)
  SELECT count(*), array_agg(DISTINCT b.model) FILTER (WHERE b.cancel_at IS NULL),
         array_agg(b.id) FILTER (WHERE b.cancel_at IS NOT NULL), array_agg(b.model) FILTER (WHERE b.charged),
         array_agg(b.tenant) FILTER (WHERE b.charged), array_agg(b.need) FILTER (WHERE b.charged)
    INTO n, v_models, v_cancelled, v_of, v_tenants, v_needs FROM back b;
  IF v_cancelled IS NOT NULL THEN PERFORM parkd.end_waiting_v1(v_cancelled, 'cancelled', p_now); END IF;
  PERFORM pg_notify('parkd_work', m.model) FROM unnest(v_models) m(model)
   WHERE EXISTS (SELECT FROM parkd.waiters w WHERE w.model = m.model);
  IF v_needs IS NOT NULL THEN PERFORM parkd.uncharge_v1(v_of, v_tenants, v_needs); END IF;
  RETURN n;
END $$;

-- Claims of this daemon that it does not know of: the answer to the claim was lost on the way. Returns how
-- many went back, and how many are held and must be asked for again.
CREATE FUNCTION parkd.return_unknown_claims_v1(p_daemon bigint, p_known bigint[], p_now timestamptz DEFAULT NULL,
                                               OUT returned bigint, OUT held bigint)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, parkd, pg_temp SET jit = off
SET enable_seqscan = off SET enable_bitmapscan = off AS $$
DECLARE v_ids bigint[] := ARRAY(SELECT j.id FROM parkd.jobs j
  WHERE j.daemon_id = p_daemon AND j.state = 'claimed' AND j.id <> ALL (p_known));
BEGIN
  returned := parkd.unclaim_v1(v_ids, coalesce(p_now, clock_timestamp()));
  held := cardinality(v_ids) - returned;
END $$;

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

-- Jobs whose daemon is gone go back; a daemon is gone when it said so or was silent for its ttl. What somebody
-- holds goes back in a later call.
CREATE FUNCTION parkd.rescue_v1(p_now timestamptz DEFAULT NULL)
RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, parkd, pg_temp SET jit = off
SET enable_bitmapscan = off AS $$
DECLARE v_now timestamptz := coalesce(p_now, clock_timestamp()); n bigint := 0; d record;
BEGIN
  IF NOT parkd.my_turn_v1() THEN RETURN 0; END IF;
  UPDATE parkd.daemons x SET lost_at = v_now WHERE x.lost_at IS NULL AND x.beat_at + x.ttl <= v_now;
  FOR d IN SELECT x.id, x.lost_at FROM parkd.daemons x WHERE x.lost_at IS NOT NULL LOOP
    -- jobs_claimed
    n := n + coalesce(parkd.unclaim_v1(ARRAY(
      SELECT j.id FROM parkd.jobs j WHERE j.daemon_id = d.id AND j.state = 'claimed'
       LIMIT 2000 FOR UPDATE SKIP LOCKED), v_now), 0);
    DELETE FROM parkd.waiters w WHERE w.daemon_id = d.id;
    -- A claim of its that was in flight is found by the passes of the next day.
    IF d.lost_at < v_now - interval '1 day'
       AND NOT EXISTS (SELECT FROM parkd.jobs j WHERE j.daemon_id = d.id AND j.state = 'claimed') THEN
      DELETE FROM parkd.daemons x WHERE x.id = d.id;
    END IF;
  END LOOP;
  RETURN n;
END $$;
