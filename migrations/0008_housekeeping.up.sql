-- 0008: housekeeping: one daemon at a time does it for all.

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

-- --- dead rows -----------------------------------------------------------------------------------

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
