-- The claim_v1 of 0002.
CREATE OR REPLACE FUNCTION parkd.claim_v1(p_daemon bigint, p_model text, p_max int, p_now timestamptz DEFAULT NULL)
RETURNS TABLE (
  ord bigint, id bigint, run_lease bigint, created_us bigint, order_us bigint, run_at_us bigint,
  deadline_us bigint, claimed_us bigint, seed bigint, retention_us bigint, run_timeout_s bigint,
  prompt_tokens int, max_new_tokens int, n_choices int, attempts int, max_attempts int,
  interruptions int, priority parkd.priority, tokens_are_exact bool, model text, tenant text,
  mailbox_key text, endpoint text, custom_id text, batch_id text, idempotency_key text, metadata json,
  body json, requeued_from bigint)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, parkd, pg_temp SET jit = off SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
  v_now   timestamptz := coalesce(p_now, clock_timestamp());
  v_epoch bigint;
  v_start timestamptz;
  v_ids   bigint[];
  v_first text;
  v_last  text;
BEGIN
  SELECT d.fence_epoch, d.server_start INTO v_epoch, v_start FROM parkd.daemons d
   WHERE d.id = p_daemon AND d.lost_at IS NULL AND d.beat_at + d.ttl > v_now
     AND d.timeline = parkd.timeline_v1();
  IF NOT FOUND THEN
    RAISE EXCEPTION USING ERRCODE = 'PK001',
      MESSAGE = format('daemon %s is no longer registered with this database', p_daemon);
  END IF;
  IF v_start = pg_postmaster_start_time() THEN
    -- A claim that a crash of the server forgets is a job that is claimed again: not worth a sync.
    PERFORM set_config('synchronous_commit', 'off', true);
  ELSE
    -- It has forgotten some: their leases must not be given out a second time.
    v_epoch := parkd.current_epoch_v1();
    UPDATE parkd.daemons d SET fence_epoch = v_epoch, server_start = pg_postmaster_start_time() WHERE d.id = p_daemon;
  END IF;
  IF EXISTS (SELECT FROM parkd.models m WHERE m.name = p_model AND m.paused_at IS NOT NULL) THEN RETURN; END IF;

  IF EXISTS (SELECT FROM parkd.jobs j WHERE j.state = 'scheduled' AND j.run_at <= v_now) THEN
    PERFORM parkd.promote_v1(v_now);
  END IF;
  -- jobs_critical
  v_ids := ARRAY(SELECT j.id FROM parkd.jobs j
     WHERE j.model = p_model AND j.state = 'queued' AND j.priority = 'critical'
       AND (j.deadline IS NULL OR j.deadline > v_now)
     ORDER BY j.order_key, j.id LIMIT p_max FOR UPDATE SKIP LOCKED);
  IF cardinality(v_ids) < p_max THEN
    -- jobs_queue, its two ends: is there more than one tenant?
    SELECT j.tenant INTO v_first FROM parkd.jobs j
     WHERE j.model = p_model AND j.state = 'queued' AND j.priority <> 'critical'
     ORDER BY j.tenant LIMIT 1;
    SELECT j.tenant INTO v_last FROM parkd.jobs j
     WHERE j.model = p_model AND j.state = 'queued' AND j.priority <> 'critical'
     ORDER BY j.tenant DESC LIMIT 1;
    IF v_first = v_last THEN
      -- Alone, a tenant pays nothing: whoever comes next starts level with it.
      UPDATE parkd.shares s SET tags = '{}' WHERE s.model = p_model AND s.tags <> '{}';
      v_ids := v_ids || ARRAY(SELECT j.id FROM parkd.jobs j
         WHERE j.model = p_model AND j.tenant = v_first AND j.state = 'queued' AND j.priority <> 'critical'
           AND (j.deadline IS NULL OR j.deadline > v_now)
         ORDER BY j.order_key, j.id LIMIT p_max - cardinality(v_ids) FOR UPDATE SKIP LOCKED);
    ELSIF v_first IS NOT NULL THEN
      v_ids := v_ids || parkd.fair_choice_v1(p_model, p_max - cardinality(v_ids), v_now);
    END IF;
  END IF;

  IF cardinality(v_ids) < p_max THEN
    IF NOT EXISTS (SELECT FROM parkd.waiters w WHERE w.model = p_model AND w.daemon_id = p_daemon) THEN
      INSERT INTO parkd.waiters VALUES (p_model, p_daemon) ON CONFLICT DO NOTHING;
    END IF;
  ELSE
    DELETE FROM parkd.waiters w WHERE w.model = p_model AND w.daemon_id = p_daemon;
  END IF;
  IF v_ids = '{}' THEN RETURN; END IF;

  RETURN QUERY
  UPDATE parkd.jobs j
     SET state = 'claimed', daemon_id = p_daemon, claimed_at = v_now,
         run_lease = greatest(j.run_lease + 1, (v_epoch << 32) + 1)
    FROM unnest(v_ids) WITH ORDINALITY c(id, ord)
   WHERE j.id = c.id
  RETURNING c.ord, j.id, j.run_lease, parkd.us_v1(j.created_at), parkd.us_v1(j.order_key),
    parkd.us_v1(j.run_at), parkd.us_v1(j.deadline), parkd.us_v1(j.claimed_at), j.seed,
    (date_part('epoch', j.retention) * 1e6)::bigint, date_part('epoch', j.run_timeout)::bigint,
    j.prompt_tokens, j.max_new_tokens, j.n_choices, j.attempts, j.max_attempts, j.interruptions,
    j.priority, j.tokens_are_exact, j.model, j.tenant, j.mailbox_key, j.endpoint, j.custom_id,
    j.batch_id, j.idempotency_key, j.metadata, j.body, j.requeued_from;
END $$;
DROP FUNCTION parkd.fair_choice_v2(text, int, timestamptz, jsonb),
  parkd.mark_v1(text, bigint[], bool, bigint, int), parkd.marks_v1(text);
