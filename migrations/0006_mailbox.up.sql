-- 0006: reading the mailbox: a page that skips no late commit, taking, and the message of a job.

-- The largest message sequence below which nothing can appear any more. Sequences are drawn before
-- the commit, so a message may become visible after one with a larger sequence; a cursor that went
-- past the horizon could skip it. Order matters: the counter first, then the finishes in flight, and
-- the caller reads messages in a LATER statement (its snapshot then has every finish that ended): so only where each
-- statement has a snapshot of its own. Not on a standby: what is in flight is the primary's.
CREATE FUNCTION parkd.horizon_v1() RETURNS bigint LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, parkd, pg_temp SET jit = off AS $$
DECLARE v_top bigint; v_first bigint;
BEGIN
  IF pg_is_in_recovery() THEN
    RAISE EXCEPTION USING ERRCODE = 'read_only_sql_transaction',
      MESSAGE = 'a standby does not see which results are still being stored: a cursor could skip them',
      HINT = 'Fetch from the primary, or SELECT from parkd.results without a cursor.';
  ELSIF current_setting('transaction_isolation') NOT IN ('read committed', 'read uncommitted') THEN
    RAISE EXCEPTION USING ERRCODE = 'object_not_in_prerequisite_state',
      MESSAGE = format('a %s transaction does not see which results were stored since it began: a cursor could skip them',
                       current_setting('transaction_isolation')),
      HINT = 'Fetch in a READ COMMITTED transaction, or SELECT from parkd.results without a cursor.';
  END IF;
  SELECT s.last_value - (NOT s.is_called)::int INTO v_top FROM parkd.message_sequence s;
  -- xmax is who has the row locked, or had last. 32 bits: its distance back from the snapshot's end, modulo 2^32; what
  -- lies in the upper half is younger than the snapshot. Lockers write it in place, under whoever looks: OFFSET 0, so
  -- that it is read once and not once for each time that age stands below.
  SELECT min(pg_sequence_last_value(n.began)) INTO v_first FROM (
    SELECT f.began, s.next, (s.next - f.xmax::text::bigint) & 4294967295 AS age
      FROM parkd_private.finishing f,
           (SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint) s(next)
     WHERE f.xmax::text <> '0' OFFSET 0) n
   WHERE CASE WHEN n.age < 2147483648 AND n.age < n.next
              THEN coalesce(pg_xact_status((n.next - n.age)::text::xid8) = 'in progress', false)
              ELSE n.age >= 2147483648 END;
  RETURN least(v_top, v_first - 1);
END $$;

-- Who has a place among the finishes now, and since when as far as the owner may see: the horizon waits for each. A
-- prepared transaction (gid) has no session.
CREATE FUNCTION parkd.finishing_now_v1()
RETURNS TABLE (transaction text, pid int, login text, application text, since timestamptz, gid text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, parkd, pg_temp AS $$
  SELECT l.transactionid::text, a.pid, coalesce(a.usename, p.owner)::text, a.application_name, coalesce(a.xact_start, p.prepared), p.gid
    FROM parkd_private.finishing f
    JOIN pg_locks l ON l.locktype = 'transactionid' AND l.transactionid = f.xmax AND l.mode = 'ExclusiveLock' AND l.granted
    LEFT JOIN pg_stat_activity a ON a.pid = l.pid
    LEFT JOIN pg_prepared_xacts p ON p.transaction = f.xmax;
$$;

-- The messages of a key after p_after that no later commit can overtake, in order. mailbox_key.
CREATE FUNCTION parkd.fetch_v1(p_tenant text, p_key text, p_after bigint, p_limit int, p_now timestamptz DEFAULT NULL)
RETURNS SETOF parkd.mailbox LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, parkd, pg_temp SET jit = off
SET enable_seqscan = off SET enable_bitmapscan = off SET max_parallel_workers_per_gather = 0 AS $$
DECLARE v_horizon bigint := parkd.horizon_v1();   -- a statement of its own, before the one that reads
BEGIN
  RETURN QUERY
  SELECT m.* FROM parkd.mailbox m
   WHERE m.mailbox_key = p_key AND m.tenant = p_tenant AND m.sequence > p_after AND m.sequence <= v_horizon
     AND m.expires_at > coalesce(p_now, clock_timestamp())
   ORDER BY m.sequence LIMIT p_limit;
END $$;

-- Removes messages and returns those that were still there. It waits for nobody: a message in another open
-- take is that one's, and here again should that be rolled back. Whoever loses the answer to the commit asks
-- pg_xact_status what became of it. mailbox_key.
CREATE FUNCTION parkd.take_v1(p_tenant text, p_key text, p_sequences bigint[], p_now timestamptz DEFAULT NULL)
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

-- The message of a finished job, if it is still readable. history_job, then mailbox_key in one partition.
CREATE FUNCTION parkd.message_of_v1(p_id bigint, p_now timestamptz DEFAULT NULL)
RETURNS SETOF parkd.mailbox LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, parkd, pg_temp SET jit = off
SET enable_seqscan = off SET enable_bitmapscan = off SET max_parallel_workers_per_gather = 0 AS $$
DECLARE h parkd.history;
BEGIN
  SELECT * INTO h FROM parkd.history x WHERE x.job_id = p_id;
  IF NOT FOUND OR h.expires_at <= coalesce(p_now, clock_timestamp()) THEN RETURN; END IF;
  RETURN QUERY SELECT m.* FROM parkd.mailbox m
    WHERE m.expires_at = h.expires_at AND m.mailbox_key = h.mailbox_key AND m.tenant = h.tenant AND m.sequence = h.sequence;
END $$;

-- Messages that can be read now: counted up to 10,000, beyond that what the statistics say. Today's partition
-- comes last: nobody knows how many in it have expired already.
CREATE FUNCTION parkd.count_messages_v1(p_now timestamptz DEFAULT NULL) RETURNS bigint LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, parkd, pg_temp SET jit = off SET timezone = 'UTC' AS $$
DECLARE
  c_max      CONSTANT int := 10000;
  v_now      timestamptz := coalesce(p_now, clock_timestamp());
  v_tomorrow timestamptz := date_trunc('day', v_now) + interval '1 day';
  n bigint; n_today bigint; n_seen bigint;
BEGIN
  SELECT count(*) INTO n FROM (SELECT FROM parkd.mailbox m WHERE m.expires_at >= v_tomorrow LIMIT c_max + 1) x;
  IF n <= c_max THEN
    SELECT count(*) FILTER (WHERE x.expires_at > v_now), count(*) INTO n_today, n_seen FROM (
      SELECT m.expires_at FROM parkd.mailbox m
       WHERE m.expires_at >= v_tomorrow - interval '1 day' AND m.expires_at < v_tomorrow LIMIT c_max + 1) x;
    IF n + n_seen <= c_max THEN RETURN n + n_today; END IF;
  END IF;
  -- Of today's as much as is left of the day.
  SELECT greatest(n, sum(c.reltuples * CASE WHEN x.day >= v_tomorrow THEN 1
           ELSE date_part('epoch', v_tomorrow - v_now) / 86400 END))::bigint INTO n
    FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
   CROSS JOIN LATERAL (     -- whatever else the planner looks at first has no date in its name
     SELECT CASE WHEN c.relname ~ '_[0-9]{8}$' THEN to_timestamp(right(c.relname, 8), 'YYYYMMDD') END AS day) x
   WHERE i.inhparent = 'parkd.mailbox'::regclass AND c.reltuples > 0 AND x.day >= v_tomorrow - interval '1 day';
  RETURN n;
END $$;
