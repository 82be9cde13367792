-- 0014: a cursor does not go past what was stored in a partition that its reader does not know yet. What the functions
-- promise is as before, so they keep their names and programs that know 0013 alone are served too.
--
-- A transaction has ended for every snapshot before the other sessions are sent what it changed in the catalog, and its
-- locks go after that (CommitTransaction in PostgreSQL's xact.c). They read what they were sent when they take a lock
-- that they did not have, so in one open transaction perhaps never again. Until then a reader sees the rows of a
-- partition that was attached, and plans without it. So:
--   who attaches notes it before, where others see it at once, and holds the lock of a table to the end;
--   the horizon stays below the note from the end of the transaction that wrote it until its locks are gone;
--   then the horizon takes a lock, so that the statement after it is planned with what was sent.
-- needs: 13

CREATE TABLE parkd_private.attaching ();              -- never a row: it is there to be locked
CREATE SEQUENCE parkd_private.attached;               -- the transaction that attached a partition last
CREATE SEQUENCE parkd_private.attached_from;          -- the first message sequence that it may have given out
DELETE FROM parkd_private.turns t WHERE t.what = 'partitions';

-- Creates a partition beside the table and attaches it: that waits for nobody, while CREATE TABLE ...
-- PARTITION OF would lock the whole mailbox. Returns whether there was something to do.
CREATE OR REPLACE FUNCTION parkd.ensure_partition_v1(p_table text, p_from timestamptz, p_to timestamptz, p_now timestamptz DEFAULT NULL)
RETURNS bool LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, parkd, pg_temp SET timezone = 'UTC' AS $$
DECLARE v_key CONSTANT text := p_table || '_' || to_char(p_from, 'YYYYMMDD'); v_name text := v_key; v_me bigint;
BEGIN
  IF parkd.has_partition_v1(p_table, p_from) THEN RETURN false; END IF;
  LOCK TABLE parkd_private.attaching IN SHARE UPDATE EXCLUSIVE MODE;   -- one at a time, until the others were sent the news
  IF parkd.has_partition_v1(p_table, p_from) THEN RETURN false; END IF;
  -- Once a transaction: it may have stored messages since, in the partition that it attached before.
  v_me := pg_current_xact_id()::text::bigint;
  IF (SELECT a.last_value FROM parkd_private.attached a) <> v_me THEN
    PERFORM setval('parkd_private.attached_from', s.last_value + s.is_called::int) FROM parkd.message_sequence s;
    PERFORM setval('parkd_private.attached', v_me);
  END IF;
  IF to_regclass('parkd.' || v_name) IS NOT NULL THEN
    v_name := p_table || '_from_' || to_char(p_from, 'YYYYMMDD');
    IF to_regclass('parkd.' || v_name) IS NOT NULL THEN      -- detached in its turn: its data stays, under a name of its own
      EXECUTE format('ALTER TABLE parkd.%I RENAME TO %I', v_name, v_name || '_detached_' || ('parkd.' || v_name)::regclass::oid);
    END IF;
  END IF;
  EXECUTE format('CREATE TABLE parkd.%I (LIKE parkd.%I INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING STORAGE INCLUDING COMPRESSION)',
                 v_name, p_table);
  EXECUTE format('ALTER TABLE parkd.%I ATTACH PARTITION parkd.%I FOR VALUES FROM (%L) TO (%L)',
                 p_table, v_name, p_from, p_to);
  INSERT INTO parkd_private.partitions VALUES (v_key, p_to) ON CONFLICT DO NOTHING;
  IF NOT FOUND THEN
    PERFORM parkd.note_mishap_v1('partition_dropped', format('somebody dropped or detached %s; it was made anew, and %s', v_key,
      CASE p_table WHEN 'mailbox' THEN format('results that would have expired before %s and had not been read are lost', p_to)
                   ELSE format('jobs that ended in the week before %s are forgotten, with their idempotency keys', p_to) END),
      coalesce(p_now, clock_timestamp()));
  END IF;
  RETURN true;
END $$;

-- The largest message sequence below which nothing can appear any more. Sequences are drawn before
-- the commit, so a message may become visible after one with a larger sequence; a cursor that went
-- past the horizon could skip it. Order matters: the counter first, then the finishes in flight and who attached a
-- partition, then the catalog's news, and the caller reads messages in a LATER statement (its snapshot then has every
-- finish that ended, its plan every partition that one may have filled): so only where each statement has a snapshot of
-- its own. Not on a standby: what is in flight is the primary's.
CREATE OR REPLACE FUNCTION parkd.horizon_v1() RETURNS bigint LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, parkd, pg_temp SET jit = off AS $$
DECLARE v_top bigint; v_first bigint; v_attached bigint;
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
  -- Ended, but its locks are still there. (One that has not ended has its place above, if it stores messages.) To look at
  -- the locks of a whole server costs more than all the rest, so a session does it once for each that attached.
  SELECT a.last_value INTO v_attached FROM parkd_private.attached a;
  IF v_attached::text <> coalesce(current_setting('parkd.attached', true), '') THEN
    IF EXISTS (SELECT FROM pg_locks l WHERE l.locktype = 'transactionid' AND l.mode = 'ExclusiveLock' AND l.granted
                  AND l.transactionid = (v_attached & 4294967295)::text::xid) THEN
      IF pg_xact_status(v_attached::text::xid8) <> 'in progress' THEN
        v_first := least(v_first, (SELECT a.last_value FROM parkd_private.attached_from a));
      END IF;
    ELSE
      PERFORM set_config('parkd.attached', v_attached::text, false);
    END IF;
  END IF;
  PERFORM pg_relation_size('parkd_private.attaching');   -- a lock taken and given back: the catalog's news
  RETURN least(v_top, v_first - 1);
END $$;
