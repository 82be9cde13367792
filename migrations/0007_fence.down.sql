-- The definitions of 0002. The epoch stays where it is: it may only grow.
DROP FUNCTION parkd.disown_v1(bool);
CREATE OR REPLACE FUNCTION parkd.current_epoch_v1() RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER
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
CREATE OR REPLACE FUNCTION parkd.enter_finish_v1() RETURNS void LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, parkd, pg_temp AS $$
BEGIN
  PERFORM pg_advisory_xact_lock_shared(1886540396, ((s.last_value + s.is_called::int) & 4294967295)::bit(32)::int)
     FROM parkd.message_sequence s;
END $$;
