-- 0007: the daemon's verbs on batches (lib/store/batch_rules.h); members come and end in 0003 and 0005.

-- conflict: the key belongs to a batch of another content. With p_find_only nothing is opened, and no row
-- says that there is no batch of that key. Without a batch: the tenant has n_open that are not finished, and more than
-- max_open (of p_max_open and the settings the smaller) it may not have. batches_key, batches_unfinished.
CREATE FUNCTION parkd.open_batch_v1(p_tenant text, p_name text, p_metadata json, p_key text, p_deadline timestamptz,
                                    p_retention interval, p_retention_default interval, p_find_only bool DEFAULT false,
                                    p_now timestamptz DEFAULT NULL, p_max_open bigint DEFAULT NULL)
RETURNS TABLE (existed bool, conflict bool, batch parkd.batches, n_open bigint, max_open bigint) LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, parkd, pg_temp SET jit = off
SET enable_seqscan = off SET enable_bitmapscan = off AS $$
DECLARE
  v_now  timestamptz := coalesce(p_now, clock_timestamp());
  v_hash text := encode(sha256(convert_to(parkd.value_text_v1(jsonb_build_array(coalesce(p_name, ''), p_metadata::jsonb,
                   parkd.us_v1(p_deadline), (date_part('epoch', p_retention) * 1e6)::bigint)), 'UTF8')), 'hex');
BEGIN
  existed := false; conflict := false;
  IF NOT p_find_only THEN
    max_open := least(p_max_open, (SELECT s.max_open_batches FROM parkd.settings s));
    n_open := (SELECT count(*) FROM (SELECT FROM parkd.batches b WHERE b.tenant = p_tenant AND b.finished_at IS NULL LIMIT max_open) x);
  END IF;
  IF n_open < max_open THEN
    INSERT INTO parkd.batches AS b (tenant, name, metadata, idempotency_key, content_hash, created_at, deadline, retention)
      VALUES (p_tenant, nullif(p_name, ''), p_metadata, nullif(p_key, ''), CASE WHEN p_key <> '' THEN v_hash END, v_now,
              coalesce(p_deadline, v_now + interval '24 hours'), coalesce(p_retention, p_retention_default))
      ON CONFLICT (tenant, idempotency_key) WHERE idempotency_key IS NOT NULL DO NOTHING
      RETURNING b.* INTO batch;
    IF FOUND THEN RETURN NEXT; RETURN; END IF;
  END IF;
  SELECT b.* INTO batch FROM parkd.batches b WHERE b.tenant = p_tenant AND b.idempotency_key = p_key;
  IF NOT FOUND THEN
    IF n_open >= max_open THEN batch := NULL; RETURN NEXT; END IF;
    RETURN;
  END IF;
  existed := true;
  conflict := (batch).content_hash <> v_hash;
  RETURN NEXT;
END $$;

-- No more members; the batch is finished when all of them have ended. Answers the batch, if there is one
-- (p_tenant '': any tenant's). batches_pkey.
CREATE FUNCTION parkd.seal_batch_v1(p_id text, p_tenant text, p_now timestamptz DEFAULT NULL)
RETURNS SETOF parkd.batches LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, parkd, pg_temp SET jit = off
SET enable_seqscan = off SET enable_bitmapscan = off AS $$
DECLARE v_now timestamptz := coalesce(p_now, clock_timestamp());
BEGIN
  UPDATE parkd.batches b
     SET sealed_at = v_now,
         finished_at = CASE WHEN b.completed + b.failed + b.cancelled + b.deadline_missed + b.quarantined >= b.total THEN v_now END
   WHERE b.id = p_id AND (p_tenant = '' OR b.tenant = p_tenant)
     AND coalesce(b.sealed_at, 'infinity') = 'infinity';   -- in words that batches_open does not know: it has all open ones
  RETURN QUERY SELECT b.* FROM parkd.batches b WHERE b.id = p_id AND (p_tenant = '' OR b.tenant = p_tenant);
END $$;

-- Seals the batch and asks for the end of its members, as ask_to_cancel_v1 does: one row of each that is live, daemon NULL
-- where it is cancelling. No row of a batch that has finished. jobs_batch, batches_pkey.
CREATE FUNCTION parkd.cancel_batch_v1(p_id text, p_tenant text, p_now timestamptz DEFAULT NULL)
RETURNS TABLE (job_id bigint, run_lease bigint, daemon bigint) LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, parkd, pg_temp SET jit = off
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE v_now timestamptz := coalesce(p_now, clock_timestamp()); v_owner text;
BEGIN
  SELECT b.tenant INTO v_owner FROM parkd.batches b
   WHERE b.id = p_id AND (p_tenant = '' OR b.tenant = p_tenant) AND b.finished_at IS NULL;
  IF NOT FOUND THEN RETURN; END IF;
  -- Members before the batch, as a finish locks them; then, in ask_to_cancel_v1, those that came in between.
  PERFORM FROM (SELECT FROM parkd.jobs j WHERE j.batch_id = p_id AND j.tenant = v_owner ORDER BY j.id FOR UPDATE) x;
  UPDATE parkd.batches b SET cancel_at = coalesce(b.cancel_at, v_now) WHERE b.id = p_id;
  PERFORM parkd.seal_batch_v1(p_id, v_owner, v_now);
  RETURN QUERY SELECT a.job_id, a.run_lease, a.daemon FROM parkd.ask_to_cancel_v1(
    ARRAY(SELECT j.id FROM parkd.jobs j WHERE j.batch_id = p_id AND j.tenant = v_owner), v_now) a;
END $$;
