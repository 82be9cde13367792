-- 0012: pages of jobs and of batches. Functions, as the daemon's verbs are, so that no statistics make the
-- planner read and sort the queue for one page of it, nor give it to parallel workers.
-- needs: 10

-- Live jobs later than p_after and up to p_until (NULL: all), by id. A scheduled job whose time has come counts as
-- queued. With the caller's rights: row-level security says what a login sees. Of a batch, and of the claimed ones, of
-- whom there are never many, only those are looked at; by anything else it walks past the others, so who asks for a
-- page of those gives list_until_v1() as p_until, and goes on from there. jobs_pkey; jobs_claimed; jobs_batch.
CREATE FUNCTION parkd.list_v1(p_after bigint, p_until bigint, p_tenant text, p_model text, p_state text, p_batch text,
                              p_mailbox text, p_custom_id text, p_limit int, p_now timestamptz)
RETURNS SETOF parkd.jobs LANGUAGE plpgsql STABLE SECURITY INVOKER
SET search_path = pg_catalog, parkd, pg_temp SET jit = off SET max_parallel_workers_per_gather = 0
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
BEGIN
  IF p_batch IS NOT NULL THEN
    RETURN QUERY
    SELECT j.* FROM parkd.jobs j
     WHERE j.batch_id = p_batch AND j.id > p_after
       AND (p_tenant IS NULL OR j.tenant = p_tenant) AND (p_model IS NULL OR j.model = p_model)
       AND (p_mailbox IS NULL OR j.mailbox_key = p_mailbox) AND (p_custom_id IS NULL OR j.custom_id = p_custom_id)
       AND (p_state IS NULL OR CASE WHEN j.state = 'scheduled' AND j.run_at <= p_now THEN 'queued' ELSE j.state::text END = p_state)
     ORDER BY j.id + 0 LIMIT p_limit;     -- + 0: not in the order of jobs_pkey, which holds the others too
  ELSIF p_state = 'claimed' THEN
    RETURN QUERY
    SELECT j.* FROM parkd.jobs j
     WHERE j.state = 'claimed' AND j.daemon_id IS NOT NULL AND j.id > p_after
       AND (p_tenant IS NULL OR j.tenant = p_tenant) AND (p_model IS NULL OR j.model = p_model)
       AND (p_mailbox IS NULL OR j.mailbox_key = p_mailbox) AND (p_custom_id IS NULL OR j.custom_id = p_custom_id)
     ORDER BY j.id + 0 LIMIT p_limit;
  ELSE
    RETURN QUERY
    SELECT j.* FROM parkd.jobs j
     WHERE j.id > p_after AND j.id <= coalesce(p_until, 9223372036854775807)
       AND (p_tenant IS NULL OR j.tenant = p_tenant) AND (p_model IS NULL OR j.model = p_model)
       AND (p_mailbox IS NULL OR j.mailbox_key = p_mailbox) AND (p_custom_id IS NULL OR j.custom_id = p_custom_id)
       AND (p_state IS NULL OR CASE WHEN j.state = 'scheduled' AND j.run_at <= p_now THEN 'queued' ELSE j.state::text END = p_state)
     ORDER BY j.id LIMIT p_limit;
  END IF;
END $$;

-- The id of the p_visits-th job later than p_after, of those that the caller sees; NULL: there are not so many. jobs_pkey.
CREATE FUNCTION parkd.list_until_v1(p_after bigint, p_visits int) RETURNS bigint LANGUAGE plpgsql STABLE SECURITY INVOKER
SET search_path = pg_catalog, parkd, pg_temp SET jit = off SET max_parallel_workers_per_gather = 0
SET enable_seqscan = off SET enable_bitmapscan = off AS $$
BEGIN
  RETURN (SELECT j.id FROM parkd.jobs j WHERE j.id > p_after ORDER BY j.id OFFSET p_visits - 1 LIMIT 1);
END $$;

CREATE INDEX batches_of_tenant ON parkd.batches (tenant, created_at, id);

-- Batches before p_after ('': from the newest on), of one tenant or of all. batches_of_tenant, batches_newest.
CREATE FUNCTION parkd.list_batches_v1(p_tenant text, p_after text, p_limit int)
RETURNS SETOF parkd.batches LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, parkd, pg_temp SET jit = off SET max_parallel_workers_per_gather = 0
SET enable_seqscan = off SET enable_bitmapscan = off AS $$
DECLARE v_at timestamptz := 'infinity'; v_id text := '';
BEGIN
  IF p_after <> '' THEN
    SELECT b.created_at, b.id INTO v_at, v_id FROM parkd.batches b WHERE b.id = p_after;
    IF NOT FOUND THEN RETURN; END IF;
  END IF;
  IF p_tenant IS NULL THEN
    RETURN QUERY SELECT b.* FROM parkd.batches b WHERE (b.created_at, b.id) < (v_at, v_id)
                  ORDER BY b.created_at DESC, b.id DESC LIMIT p_limit;
  ELSE
    RETURN QUERY SELECT b.* FROM parkd.batches b WHERE b.tenant = p_tenant AND (b.created_at, b.id) < (v_at, v_id)
                  ORDER BY b.created_at DESC, b.id DESC LIMIT p_limit;
  END IF;
END $$;

REVOKE ALL ON FUNCTION parkd.list_v1(bigint, bigint, text, text, text, text, text, text, int, timestamptz), parkd.list_until_v1(bigint, int),
  parkd.list_batches_v1(text, text, int) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION parkd.list_v1(bigint, bigint, text, text, text, text, text, text, int, timestamptz), parkd.list_until_v1(bigint, int)
  TO parkd_submitter, parkd_reader, parkd_daemon, parkd_admin;
GRANT EXECUTE ON FUNCTION parkd.list_batches_v1(text, text, int) TO parkd_daemon;
