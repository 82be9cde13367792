-- The functions of 0001 and 0006 again.
CREATE OR REPLACE FUNCTION parkd.ensure_partition_v1(p_table text, p_from timestamptz, p_to timestamptz, p_now timestamptz DEFAULT NULL)
RETURNS bool LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, parkd, pg_temp SET timezone = 'UTC' AS $$
DECLARE v_key CONSTANT text := p_table || '_' || to_char(p_from, 'YYYYMMDD'); v_name text := v_key;
BEGIN
  IF parkd.has_partition_v1(p_table, p_from) THEN RETURN false; END IF;
  PERFORM FROM parkd_private.turns t WHERE t.what = 'partitions' FOR UPDATE;
  IF parkd.has_partition_v1(p_table, p_from) THEN RETURN false; END IF;
  IF to_regclass('parkd.' || v_name) IS NOT NULL THEN
    v_name := p_table || '_from_' || to_char(p_from, 'YYYYMMDD');
    IF to_regclass('parkd.' || v_name) IS NOT NULL THEN      -- detached in its turn: its data stays, under a name of its own
      EXECUTE format('ALTER TABLE parkd.%I RENAME TO %I', v_name, v_name || '_detached_' || ('parkd.' || v_name)::regclass::oid);
    END IF;
  END IF;
  BEGIN
    EXECUTE format('CREATE TABLE parkd.%I (LIKE parkd.%I INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING STORAGE INCLUDING COMPRESSION)',
                   v_name, p_table);
  EXCEPTION WHEN duplicate_table THEN      -- of whose turn it was before us: to wait for a row brings no news of the catalog
    IF parkd.has_partition_v1(p_table, p_from) THEN RETURN false; END IF;
    RAISE;
  END;
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
CREATE OR REPLACE FUNCTION parkd.horizon_v1() RETURNS bigint LANGUAGE plpgsql VOLATILE SECURITY DEFINER
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
INSERT INTO parkd_private.turns VALUES ('partitions');
DROP SEQUENCE parkd_private.attached, parkd_private.attached_from;
DROP TABLE parkd_private.attaching;
