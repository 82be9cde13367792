-- 0008: housekeeping. Each function is a step of its own, a transaction for its caller, and bounded a call: what
-- one of them fails at, or waits for, undoes nothing of another. One daemon at a time does a step for all; the
-- others find nothing to do. None waits for a row that somebody else holds: a later call finds it.
-- (rescue_v1 and promote_v1 in 0002 and 0004 are such steps too.)

CREATE FUNCTION parkd.my_turn_v1(p_what text DEFAULT 'housekeeping') RETURNS bool LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, parkd, pg_temp AS $$
BEGIN
  PERFORM FROM parkd_private.turns t WHERE t.what = p_what FOR UPDATE SKIP LOCKED;
  RETURN FOUND;
END $$;

-- Waiting jobs whose deadline has passed end. (tenant, mailbox_key) of each. jobs_deadline, batches_pkey.
CREATE FUNCTION parkd.end_overdue_v1(p_now timestamptz DEFAULT NULL)
RETURNS TABLE (tenant text, mailbox_key text) LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, parkd, pg_temp SET jit = off
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
  v_now  timestamptz := coalesce(p_now, clock_timestamp());
  v_ids  bigint[] := '{}';
  v_mine text[] := '{}';   -- batches that this transaction has locked
  v_held text[] := '{}';   -- somebody else: their members are passed over, others behind them are overdue too
  r      record;
BEGIN
  IF NOT parkd.my_turn_v1() THEN RETURN; END IF;
  FOR r IN SELECT j.id, j.batch_id, j.tenant FROM parkd.jobs j WHERE j.deadline <= v_now AND j.state IN ('scheduled', 'queued')
            ORDER BY j.deadline FOR UPDATE SKIP LOCKED LOOP
    CONTINUE WHEN r.batch_id = ANY (v_held);
    IF r.batch_id IS NOT NULL AND r.batch_id <> ALL (v_mine) THEN
      PERFORM FROM parkd.batches b WHERE b.id = r.batch_id AND b.tenant = r.tenant FOR UPDATE SKIP LOCKED;
      IF FOUND THEN
        v_mine := v_mine || r.batch_id;
      ELSIF EXISTS (SELECT FROM parkd.batches b WHERE b.id = r.batch_id AND b.tenant = r.tenant) THEN
        v_held := v_held || r.batch_id;
        CONTINUE;
      END IF;              -- else a label: there is no such batch
    END IF;
    v_ids := v_ids || r.id;
    EXIT WHEN cardinality(v_ids) = 1000;
  END LOOP;
  RETURN QUERY SELECT * FROM parkd.end_waiting_v1(v_ids, 'deadline_missed', v_now);
END $$;

-- A batch of which somebody deleted members would wait for them for ever: where none lives any more its account is closed
-- without them. Some batches a call, in a ring, one probe each. batches_running, jobs_batch. Called in housekeeping's turn.
CREATE FUNCTION parkd.reconcile_batches_v1(p_now timestamptz) RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, parkd, pg_temp SET jit = off
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
  c_batches CONSTANT int := 20;
  v_at text := coalesce((SELECT t.reached FROM parkd_private.turns t WHERE t.what = 'batches'), '');
  v_from text := v_at; n int := 0; n_gone bigint; r record; b parkd.batches;
BEGIN
  FOR r IN SELECT x.id, x.tenant FROM parkd.batches x
            WHERE x.sealed_at IS NOT NULL AND x.finished_at IS NULL AND x.id > v_from ORDER BY x.id LIMIT c_batches LOOP
    n := n + 1;
    v_at := r.id;
    CONTINUE WHEN EXISTS (SELECT FROM parkd.jobs j WHERE j.batch_id = r.id AND j.tenant = r.tenant);
    -- A finish takes members away and counts them in one transaction, under this lock; then the members again.
    SELECT x.* INTO b FROM parkd.batches x WHERE x.id = r.id AND x.finished_at IS NULL FOR UPDATE SKIP LOCKED;
    CONTINUE WHEN NOT FOUND;
    CONTINUE WHEN EXISTS (SELECT FROM parkd.jobs j WHERE j.batch_id = r.id AND j.tenant = r.tenant);
    n_gone := b.total - b.completed - b.failed - b.cancelled - b.deadline_missed - b.quarantined;
    UPDATE parkd.batches x SET total = x.total - n_gone, deleted = x.deleted + n_gone, finished_at = p_now WHERE x.id = r.id;
    PERFORM parkd.note_mishap_v1('batch_members_deleted', format('somebody deleted %s of %s members of batch %s of tenant %s: '
      'they have no results, and the batch was finished without them', n_gone, b.total, left(r.id, 100), left(r.tenant, 100)), p_now);
  END LOOP;
  IF n < c_batches THEN v_at := ''; END IF;
  IF v_at <> v_from THEN UPDATE parkd_private.turns t SET reached = v_at WHERE t.what = 'batches'; END IF;
END $$;

-- Batches whose deadline has passed are sealed; old ones, and idempotency keys that hold no more, go. A
-- thousand of each. batches_open, batches_finished, idempotency_check.
CREATE FUNCTION parkd.tidy_v1(p_history interval DEFAULT '30 days', p_idempotency interval DEFAULT '24 hours',
                              p_now timestamptz DEFAULT NULL)
RETURNS void LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, parkd, pg_temp SET jit = off
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE v_now timestamptz := coalesce(p_now, clock_timestamp()); r record;
BEGIN
  IF NOT parkd.my_turn_v1() THEN RETURN; END IF;
  PERFORM parkd.seal_batch_v1(b.id, b.tenant, v_now) FROM (
    SELECT x.id, x.tenant FROM parkd.batches x WHERE x.sealed_at IS NULL AND x.deadline <= v_now
     ORDER BY x.deadline LIMIT 1000 FOR UPDATE SKIP LOCKED) b;
  PERFORM parkd.reconcile_batches_v1(v_now);
  DELETE FROM parkd.mishaps m WHERE m.at < v_now - interval '30 days';
  DELETE FROM parkd_private.partitions p WHERE p.ends_at < v_now - interval '70 days';
  DELETE FROM parkd.batches d WHERE d.id = ANY (ARRAY(
    SELECT x.id FROM parkd.batches x
     WHERE x.finished_at IS NOT NULL
       AND (greatest(x.finished_at, x.deadline) AT TIME ZONE 'UTC' + x.retention) <= (v_now - p_history) AT TIME ZONE 'UTC'
     ORDER BY (greatest(x.finished_at, x.deadline) AT TIME ZONE 'UTC' + x.retention) LIMIT 1000 FOR UPDATE SKIP LOCKED));

  FOR r IN SELECT k.tenant, k.key, k.job_id FROM parkd.idempotency k WHERE k.check_at <= v_now
            ORDER BY k.check_at LIMIT 1000 FOR UPDATE SKIP LOCKED LOOP
    IF (SELECT a.holds FROM parkd.accepted_v1(r.job_id, v_now) a) THEN
      UPDATE parkd.idempotency k SET check_at = v_now + greatest(p_idempotency, interval '1 hour')
       WHERE k.tenant = r.tenant AND k.key = r.key;
    ELSE
      DELETE FROM parkd.idempotency k WHERE k.tenant = r.tenant AND k.key = r.key;
    END IF;
  END LOOP;
END $$;

-- --- partitions that have passed ---------------------------------------------------------------

-- What is known of them, so that they are not looked at every few seconds.
CREATE TABLE parkd.past_partitions (
  name        text PRIMARY KEY,
  last_expiry timestamptz,     -- of a partition of the history: no message of its rows expires later
  retry_at    timestamptz      -- somebody was reading when it should have gone
);

-- Drops the oldest partition nothing of which is wanted any more: one a call, for the lock on the whole table
-- that this takes is kept to the end of the transaction. Whoever comes meanwhile waits behind it, so it gives up
-- after a tenth of a second and comes back to this partition five minutes later. Says how many rows were in it
-- (an estimate for a large one): a row when one was dropped. A message's partition says when it expired; a
-- history row stays p_keep after its message expired, so the last of them counts.
-- DETACH ... CONCURRENTLY would take no such lock, but the owner alone can do it, outside of any function, and
-- while it waits for the readers (a backup: hours) nobody can attach the partition that a finish needs.
CREATE FUNCTION parkd.drop_past_partition_v1(p_table text, p_keep interval, p_now timestamptz DEFAULT NULL)
RETURNS TABLE (name text, n_rows bigint) LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, parkd, pg_temp SET timezone = 'UTC' SET lock_timeout = '100ms' AS $$
#variable_conflict use_column
DECLARE v_now timestamptz := coalesce(p_now, clock_timestamp()); r record; v_last timestamptz;
BEGIN
  IF NOT parkd.my_turn_v1() THEN RETURN; END IF;
  FOR r IN SELECT c.relname::text AS relname, c.oid::regclass::text AS partition, c.relpages, c.reltuples
             FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid LEFT JOIN parkd.past_partitions p ON p.name = c.relname,
                  -- The end of its range: a name says nothing, and a default partition has none. Whatever else the
                  -- planner looks at first has other bounds.
                  LATERAL (SELECT CASE WHEN i.inhparent = ('parkd.' || p_table)::regclass THEN
                    substring(pg_get_expr(c.relpartbound, c.oid) FROM 'TO \(''([^'']+)''\)$')::timestamptz END AS ends_at) b
            WHERE i.inhparent = ('parkd.' || p_table)::regclass AND b.ends_at <= v_now
              AND coalesce(p.retry_at <= v_now, true) AND coalesce(p.last_expiry + p_keep <= v_now, true)
            ORDER BY b.ends_at LOOP
    BEGIN
      IF p_table = 'history' THEN      -- a scan; again only when that time has come: a delivery may have added rows
        EXECUTE format('SELECT max(expires_at) FROM %s', r.partition) INTO v_last;
        IF v_last + p_keep > v_now THEN
          INSERT INTO parkd.past_partitions AS p (name, last_expiry) VALUES (r.relname, v_last)
            ON CONFLICT (name) DO UPDATE SET last_expiry = excluded.last_expiry;
          CONTINUE;
        END IF;
      END IF;
      IF r.relpages < 1000 THEN
        EXECUTE format('SELECT count(*) FROM %s', r.partition) INTO n_rows;
      ELSE
        n_rows := r.reltuples;
      END IF;
      EXECUTE format('DROP TABLE %s', r.partition);
    EXCEPTION WHEN lock_not_available THEN
      INSERT INTO parkd.past_partitions AS p (name, retry_at) VALUES (r.relname, v_now + interval '5 minutes')
        ON CONFLICT (name) DO UPDATE SET retry_at = excluded.retry_at;
      RETURN;                          -- the next one would wait for the same reader
    END;
    DELETE FROM parkd.past_partitions p WHERE p.name = r.relname;
    DELETE FROM parkd_private.partitions p WHERE p.name = replace(r.relname, '_from_', '_');
    name := r.relname;
    RETURN NEXT;
    RETURN;
  END LOOP;
END $$;

-- --- depth -------------------------------------------------------------------------------------

-- Counts the live jobs once for everybody, unless somebody did within p_age_max, or within fifty times as
-- long as it took then: at most a fiftieth of a core goes into it. NULL: count now. Returns whether it did.
CREATE FUNCTION parkd.sample_depth_v1(p_now timestamptz DEFAULT NULL, p_age_max interval DEFAULT NULL)
RETURNS bool LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, parkd, pg_temp SET jit = off AS $$
DECLARE v_now timestamptz := coalesce(p_now, clock_timestamp()); v_began timestamptz := clock_timestamp();
BEGIN
  IF p_age_max IS NOT NULL AND (
       EXISTS (SELECT FROM parkd.depth_samples d WHERE d.sampled_at > v_now - greatest(p_age_max, 50 * d.took))
       OR NOT parkd.my_turn_v1('depth')) THEN
    RETURN false;
  END IF;
  DELETE FROM parkd.depth_samples d WHERE d.sampled_at < v_now - interval '1 hour';
  WITH counted AS MATERIALIZED (      -- the one reading of the queue
    SELECT j.model, j.tenant, count(*) FILTER (WHERE j.state = 'scheduled') AS scheduled,
           count(*) FILTER (WHERE j.state = 'queued') AS queued, count(*) FILTER (WHERE j.state = 'claimed') AS claimed,
           count(*) FILTER (WHERE j.state IN ('scheduled', 'queued') AND NOT coalesce(j.run_at > j.created_at, false)) AS waiting,
           count(*) FILTER (WHERE j.state IN ('scheduled', 'queued') AND j.run_at > j.created_at) AS timed,
           min(j.created_at) FILTER (WHERE j.state = 'queued') AS oldest
      FROM parkd.jobs j GROUP BY j.model, j.tenant),
  of_tenants AS (
    INSERT INTO parkd.tenant_samples AS t SELECT c.model, c.tenant, c.waiting, c.timed FROM counted c
    ON CONFLICT (model, tenant) DO UPDATE SET waiting = excluded.waiting, scheduled = excluded.scheduled
      WHERE (t.waiting, t.scheduled) IS DISTINCT FROM (excluded.waiting, excluded.scheduled)),
  gone AS (
    DELETE FROM parkd.tenant_samples t
     WHERE NOT EXISTS (SELECT FROM counted c WHERE c.model = t.model AND c.tenant = t.tenant)),
  of_models AS (
    INSERT INTO parkd.depth_samples AS d
    SELECT c.model, sum(c.scheduled), sum(c.queued), sum(c.claimed), sum(c.waiting), min(c.oldest), v_now
      FROM counted c GROUP BY c.model
    ON CONFLICT (model) DO UPDATE SET scheduled = excluded.scheduled, queued = excluded.queued,
      claimed = excluded.claimed, waiting = excluded.waiting,
      oldest_created_at = excluded.oldest_created_at, sampled_at = excluded.sampled_at
    RETURNING model)
  UPDATE parkd.depth_samples d SET scheduled = 0, queued = 0, claimed = 0, waiting = 0, oldest_created_at = NULL,
         sampled_at = v_now
   WHERE d.model NOT IN (SELECT c.model FROM of_models c);
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
   WHERE s.schemaname = 'parkd' AND s.relname IN ('jobs', 'idempotency', 'batches', 'daemons', 'shares', 'depth_samples', 'jobs_copy');
END $$;

-- What a vacuum would help and this login may do; and, for people, what it cannot help.
CREATE FUNCTION parkd.dead_rows_v1(OUT to_vacuum text[], OUT piled_up text) LANGUAGE sql SECURITY DEFINER
SET search_path = pg_catalog, parkd, pg_temp AS $$
  SELECT array_agg(h.name) FILTER (WHERE h.vacuum_helps AND pg_has_role(session_user, h.owner, 'USAGE')),
         string_agg(format('%s has %s dead rows of %s%s', h.name, h.dead, h.live + h.dead,
           CASE WHEN NOT h.vacuum_helps THEN ', which no vacuum can remove while ' || coalesce(h.held_by, 'an old snapshot is open')
                WHEN NOT pg_has_role(session_user, h.owner, 'USAGE')
                THEN format(', and %s may not vacuum it: autovacuum must', session_user) END), '; ')
           FILTER (WHERE NOT h.vacuum_helps OR NOT pg_has_role(session_user, h.owner, 'USAGE'))
    FROM parkd.health_v1() h WHERE h.needs_vacuum;
$$;
