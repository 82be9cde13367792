-- 0020: jobs that are cancelled when their last caller has gone (lib/store/caller_store.h): at which daemons' doors callers
-- wait, so that another daemon counts their grace when one of those is gone. Programs that know 0019 alone go on beside it:
-- what they do for callers dies with them, as before.
-- needs: 19

-- Few: the jobs that somebody waits for at a door. One that has ended stays until the next adopt_v1.
CREATE TABLE parkd.callers (
  job_id    bigint NOT NULL,
  daemon_id bigint NOT NULL,
  grace_s   int    NOT NULL CHECK (grace_s >= 0),   -- so long after the last of them the job is cancelled
  PRIMARY KEY (job_id, daemon_id)
);

-- Callers of a live job wait at this daemon. p_grace NULL: that of the job, if it has one. Returns it; NULL: nobody's going
-- ends the job, or it has ended. A daemon that is not registered any more is not written down: its jobs would be adopted at
-- once. callers_pkey, jobs_pkey, daemons_pkey.
CREATE FUNCTION parkd.attach_v1(p_daemon bigint, p_job bigint, p_grace int) RETURNS int LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, parkd, pg_temp SET jit = off SET enable_seqscan = off SET enable_bitmapscan = off AS $$
DECLARE v_grace int := coalesce(p_grace, (SELECT max(c.grace_s) FROM parkd.callers c WHERE c.job_id = p_job));
BEGIN
  IF v_grace IS NULL OR NOT EXISTS (SELECT FROM parkd.jobs j WHERE j.id = p_job) THEN RETURN NULL; END IF;
  INSERT INTO parkd.callers (job_id, daemon_id, grace_s)
    SELECT p_job, d.id, v_grace FROM parkd.daemons d WHERE d.id = p_daemon AND d.lost_at IS NULL
    ON CONFLICT (job_id, daemon_id) DO NOTHING;
  RETURN v_grace;
END $$;

-- Whether the job may be cancelled for this daemon's part: no other has callers of it. If one has, this one has none from here
-- on. Of two that ask at once, one is told so. callers_pkey.
CREATE FUNCTION parkd.detach_v1(p_daemon bigint, p_job bigint) RETURNS bool LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, parkd, pg_temp SET jit = off SET enable_seqscan = off SET enable_bitmapscan = off AS $$
BEGIN
  PERFORM FROM parkd.callers c WHERE c.job_id = p_job ORDER BY c.daemon_id FOR UPDATE;
  IF NOT EXISTS (SELECT FROM parkd.callers c WHERE c.job_id = p_job AND c.daemon_id <> p_daemon) THEN RETURN true; END IF;
  DELETE FROM parkd.callers c WHERE c.job_id = p_job AND c.daemon_id = p_daemon;
  RETURN false;
END $$;

-- Nobody's going ends the job any more. Returns whether any would have. callers_pkey.
CREATE FUNCTION parkd.keep_v1(p_job bigint) RETURNS bool LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, parkd, pg_temp SET jit = off SET enable_seqscan = off SET enable_bitmapscan = off AS $$
BEGIN
  DELETE FROM parkd.callers c WHERE c.job_id = p_job;
  RETURN FOUND;
END $$;

-- The jobs of daemons that are gone, which are this one's now; those that have ended are forgotten. What somebody holds comes
-- in a later call. A scan of callers; jobs_pkey, daemons_pkey.
CREATE FUNCTION parkd.adopt_v1(p_daemon bigint) RETURNS TABLE (job_id bigint, tenant text, grace_s int)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, parkd, pg_temp SET jit = off
SET enable_hashjoin = off SET enable_mergejoin = off AS $$
BEGIN
  DELETE FROM parkd.callers c WHERE (c.job_id, c.daemon_id) IN (
    SELECT x.job_id, x.daemon_id FROM parkd.callers x
     WHERE NOT EXISTS (SELECT FROM parkd.jobs j WHERE j.id = x.job_id) FOR UPDATE SKIP LOCKED);
  IF NOT EXISTS (SELECT FROM parkd.daemons d WHERE d.id = p_daemon AND d.lost_at IS NULL) THEN RETURN; END IF;
  RETURN QUERY
  WITH orphans AS (
    DELETE FROM parkd.callers c WHERE (c.job_id, c.daemon_id) IN (
      SELECT x.job_id, x.daemon_id FROM parkd.callers x
       WHERE NOT EXISTS (SELECT FROM parkd.daemons d WHERE d.id = x.daemon_id AND d.lost_at IS NULL) FOR UPDATE SKIP LOCKED)
    RETURNING c.job_id, c.grace_s),
  adopted AS (
    INSERT INTO parkd.callers AS c (job_id, daemon_id, grace_s)
      SELECT o.job_id, p_daemon, max(o.grace_s) FROM orphans o GROUP BY o.job_id
      ON CONFLICT ON CONSTRAINT callers_pkey DO NOTHING
      RETURNING c.job_id, c.grace_s)
  SELECT a.job_id, j.tenant, a.grace_s FROM adopted a JOIN parkd.jobs j ON j.id = a.job_id;
END $$;

DO $$
DECLARE f record;
BEGIN
  FOR f IN SELECT p.oid::regprocedure AS signature FROM pg_proc p
            WHERE p.pronamespace = 'parkd'::regnamespace AND p.proname IN ('attach_v1', 'detach_v1', 'keep_v1', 'adopt_v1') LOOP
    EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', f.signature);
    EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO parkd_daemon', f.signature);
  END LOOP;
END $$;
