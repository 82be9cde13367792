-- Functions hold nothing.
DROP TRIGGER jobs_after_insert ON parkd.jobs;
DO $$
DECLARE f record;
BEGIN
  FOR f IN SELECT p.oid::regprocedure AS signature FROM pg_proc p
            WHERE p.pronamespace = 'parkd'::regnamespace
              AND p.proname NOT IN ('ensure_partition_v1', 'ensure_partitions_v1')
            ORDER BY p.oid DESC LOOP   -- what uses another was made after it
    EXECUTE format('DROP FUNCTION %s', f.signature);
  END LOOP;
END $$;
