-- 0007: the fence holds a finish too, and no two databases with one past give out the same lease.
--
-- Until the first daemon registered with a promoted standby or a restored backup, a daemon of the old
-- one could end the jobs it had claimed there. And an epoch that is counted up by one repeats itself:
-- the original and a copy of it from a backup both go from 5 to 6.
-- needs: 4

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
      SELECT j.id FROM parkd.jobs j WHERE j.daemon_id = d.id AND j.state = 'claimed' FOR UPDATE), true, v_now), 0);
  END LOOP;
  RETURN n;
END $$;
REVOKE ALL ON FUNCTION parkd.disown_v1(bool) FROM PUBLIC;

-- The epoch of leases given out from now on; raised when the server is another one than the fence knows.
-- It always rises, by chance, so that two servers with one past do not go the same way; its 31 bits
-- last for about 65,000 starts of the server.
CREATE OR REPLACE FUNCTION parkd.current_epoch_v1() RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER
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
    PERFORM parkd.disown_v1(v_before.system_identifier <> v_system);
  END IF;
  SELECT f.epoch INTO STRICT v_epoch FROM parkd.fence f;
  RETURN v_epoch;
END $$;

-- Looks at the fence, then announces that this transaction is about to draw message sequences above
-- the present one. The lock ends with the transaction; the lower 32 bits are enough, for readers
-- compare by distance.
CREATE OR REPLACE FUNCTION parkd.enter_finish_v1() RETURNS void LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, parkd, pg_temp AS $$
BEGIN
  PERFORM parkd.current_epoch_v1();
  PERFORM pg_advisory_xact_lock_shared(1886540396, ((s.last_value + s.is_called::int) & 4294967295)::bit(32)::int)
     FROM parkd.message_sequence s;
END $$;
