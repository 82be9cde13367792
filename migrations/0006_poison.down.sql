-- Suspects become ordinary jobs again; what was quarantined stays so.
DROP FUNCTION parkd.claim_v2, parkd.release_v2, parkd.note_deaths_v1;
DROP SEQUENCE parkd.suspect_groups;
ALTER TABLE parkd.jobs DROP COLUMN noted_lease, DROP COLUMN suspect_group, DROP COLUMN deaths_alone;
CREATE OR REPLACE FUNCTION parkd.unclaim_v1(p_ids bigint[], p_interrupted bool, p_now timestamptz)
RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, parkd, pg_temp SET jit = off
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE n bigint; v_models text[]; v_cancelled bigint[];
BEGIN
  WITH back AS (
    UPDATE parkd.jobs j
       SET state = 'queued', daemon_id = NULL, claimed_at = NULL,
           interruptions = j.interruptions + p_interrupted::int
     WHERE j.id = ANY (p_ids) AND j.daemon_id IS NOT NULL
    RETURNING j.id, j.model, j.cancel_at)
  SELECT count(*), array_agg(DISTINCT b.model) FILTER (WHERE b.cancel_at IS NULL),
         array_agg(b.id) FILTER (WHERE b.cancel_at IS NOT NULL)
    INTO n, v_models, v_cancelled FROM back b;
  IF v_cancelled IS NOT NULL THEN PERFORM parkd.end_waiting_v1(v_cancelled, 'cancelled', p_now); END IF;
  PERFORM pg_notify('parkd_work', m.model) FROM unnest(v_models) m(model)
   WHERE EXISTS (SELECT FROM parkd.waiters w WHERE w.model = m.model);
  RETURN n;
END $$;
