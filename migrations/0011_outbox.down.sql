-- A store that has delivered must still find how far it came, and its messages their names.
DO $$
BEGIN
  IF EXISTS (SELECT FROM parkd.outboxes) OR EXISTS (SELECT FROM parkd.mailbox WHERE origin IS NOT NULL) THEN
    RAISE EXCEPTION 'embedded stores deliver into this mailbox (parkd.outboxes): going down would lose their place'
      USING HINT = 'When they are gone for good: DELETE FROM parkd.outboxes, and wait until their messages have expired.';
  END IF;
END $$;
DROP FUNCTION parkd.take_origin_v1(uuid, text, text, bigint[], timestamptz),
  parkd.fetch_origin_v1(uuid, text, text, bigint, int, timestamptz),
  parkd.ensure_delivery_partitions_v1(bigint[], bigint[], timestamptz),
  parkd.open_outbox_v1(uuid, bigint, uuid, bigint, text, timestamptz);
DO $$
DECLARE f record;
BEGIN
  FOR f IN SELECT p.oid::regprocedure AS signature FROM pg_proc p
            WHERE p.pronamespace = 'parkd'::regnamespace AND p.proname = 'deliver_v1' LOOP
    EXECUTE format('DROP FUNCTION %s', f.signature);
  END LOOP;
END $$;
DROP TABLE parkd.outboxes;
DROP INDEX parkd.mailbox_origin;
ALTER TABLE parkd.mailbox DROP COLUMN origin, DROP COLUMN origin_sequence, DROP COLUMN origin_job;
