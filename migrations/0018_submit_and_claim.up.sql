-- 0018: a job whose caller waits at a daemon's door is submitted and claimed by that daemon in one transaction.
-- needs: 14

-- The claim of a job that this transaction has submitted (NULL: none) by the daemon p_daemon, as claim_v1's p_only has it.
-- A claim need not be synced, a submit has to be: the transaction stays as it was. A daemon that is not registered any more
-- claims nothing; its next claim says so. jobs_pkey.
CREATE FUNCTION parkd.claim_submitted_v1(p_daemon bigint, p_model text, p_job bigint, p_now timestamptz, p_listens bool)
RETURNS SETOF parkd.claimed_job LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, parkd, pg_temp SET jit = off AS $$
DECLARE v_sync text := current_setting('synchronous_commit');
BEGIN
  IF p_job IS NULL THEN RETURN; END IF;
  BEGIN
    RETURN QUERY SELECT c.* FROM parkd.claim_v1(p_daemon, p_model, 1, p_now, p_listens, p_only => ARRAY[p_job]) c;
  EXCEPTION WHEN SQLSTATE 'PK001' THEN NULL;
  END;
  PERFORM set_config('synchronous_commit', v_sync, true);
END $$;
REVOKE ALL ON FUNCTION parkd.claim_submitted_v1(bigint, text, bigint, timestamptz, bool) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION parkd.claim_submitted_v1(bigint, text, bigint, timestamptz, bool) TO parkd_daemon;
