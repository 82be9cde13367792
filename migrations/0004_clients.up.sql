-- 0004: the mailbox for clients without a daemon (jobctl --dsn, or any program): a page that cannot skip
-- a late commit, taking, and what stays of a job when its message is gone. Always the login's own tenant;
-- members of parkd_admin and parkd_daemon may name another.

-- The tenant a call acts for: the login's own when none is named.
CREATE FUNCTION parkd.tenant_for_v1(p_tenant text) RETURNS text LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, parkd, pg_temp AS $$
DECLARE v_mine text := parkd.my_tenant();
BEGIN
  IF coalesce(p_tenant, '') IN ('', v_mine) THEN RETURN v_mine; END IF;
  IF parkd.acts_for_any() THEN RETURN p_tenant; END IF;
  RAISE EXCEPTION USING ERRCODE = 'insufficient_privilege',
    MESSAGE = format('login %s acts for tenant %s, not for %s', session_user, v_mine, p_tenant),
    HINT = 'Leave the tenant out, or let an administrator add a row to parkd.tenant_logins.';
END $$;

-- The messages of a key later than p_after (a message's sequence), in order; none that a later commit
-- could still precede. mailbox_key.
CREATE FUNCTION parkd.fetch(p_key text, p_after bigint DEFAULT 0, p_limit int DEFAULT 100, p_tenant text DEFAULT NULL)
RETURNS SETOF parkd.mailbox LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, parkd, pg_temp AS $$
BEGIN
  RETURN QUERY SELECT * FROM parkd.fetch_v1(parkd.tenant_for_v1(p_tenant), p_key, p_after, p_limit);
END $$;

-- Removes the oldest messages of a key and returns them. Of two takers at a time each gets its own:
-- neither waits, and a message goes to one. mailbox_key.
CREATE FUNCTION parkd.take(p_key text, p_limit int DEFAULT 100, p_tenant text DEFAULT NULL)
RETURNS SETOF parkd.mailbox LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, parkd, pg_temp SET jit = off
SET enable_seqscan = off SET enable_bitmapscan = off AS $$
DECLARE v_tenant text := parkd.tenant_for_v1(p_tenant); v_sequences bigint[];
BEGIN
  v_sequences := ARRAY(
    SELECT m.sequence FROM parkd.mailbox m
     WHERE m.mailbox_key = p_key AND m.tenant = v_tenant AND m.expires_at > clock_timestamp()
     ORDER BY m.sequence LIMIT p_limit FOR UPDATE SKIP LOCKED);
  RETURN QUERY SELECT * FROM parkd.take_v1(v_tenant, p_key, v_sequences);
END $$;

-- What stays of a finished job for 30 days: "done and gone" differs from "never existed". history_job.
CREATE VIEW parkd.past WITH (security_barrier) AS
SELECT h.job_id AS id, h.mailbox_key, h.custom_id, h.outcome, h.error_code, h.prompt_tokens, h.completion_tokens,
       h.model, h.tenant, h.batch_id, h.sequence, h.units, h.created_at, h.finished_at, h.expires_at
  FROM parkd.history h
 WHERE h.tenant = (SELECT parkd.my_tenant()) OR (SELECT parkd.acts_for_any());

GRANT SELECT ON parkd.past TO parkd_submitter, parkd_reader, parkd_daemon, parkd_admin;
GRANT SELECT ON parkd.models, parkd.settings TO parkd_submitter, parkd_reader;
GRANT SELECT ON parkd.schema_version TO parkd_submitter, parkd_reader, parkd_monitor;
REVOKE ALL ON FUNCTION parkd.tenant_for_v1(text), parkd.fetch(text, bigint, int, text), parkd.take(text, int, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION parkd.fetch(text, bigint, int, text) TO parkd_submitter, parkd_reader, parkd_admin;
GRANT EXECUTE ON FUNCTION parkd.take(text, int, text) TO parkd_submitter, parkd_admin;
GRANT EXECUTE ON FUNCTION parkd.register_model_v1(text, text, int) TO parkd_admin;
-- Plain arithmetic on times.
GRANT EXECUTE ON FUNCTION parkd.us_v1(timestamptz), parkd.from_us_v1(bigint) TO PUBLIC;
