-- 0006: poison notes: which jobs were in the engine when a process died. The rule is judge_death's in
-- lib/store/rules.h; note_deaths_v1 is that rule in SQL, and the conformance suite holds the two together.
-- A suspect claimed by another daemon carries its notes with it, and is alone there too.
-- needs: 4

ALTER TABLE parkd.jobs
  ADD COLUMN noted_lease   bigint NOT NULL DEFAULT 0,   -- the last run whose death was noted
  ADD COLUMN suspect_group bigint NOT NULL DEFAULT 0,   -- runs in no other company than this group's; 0: none
  ADD COLUMN deaths_alone  int    NOT NULL DEFAULT 0;   -- noted deaths at which nothing else was in the engine

-- A name of a suspect group. Never 0, never used twice.
CREATE SEQUENCE parkd.suspect_groups;

-- claim_v1 with the poison notes. LEFT JOIN: a job that was submitted after this statement's snapshot is
-- claimed but not seen by it, and has none. jobs_pkey, beside what claim_v1 uses.
CREATE FUNCTION parkd.claim_v2(p_daemon bigint, p_model text, p_max int, p_now timestamptz DEFAULT NULL)
RETURNS TABLE (
  ord bigint, id bigint, run_lease bigint, created_us bigint, order_us bigint, run_at_us bigint,
  deadline_us bigint, claimed_us bigint, seed bigint, retention_us bigint, run_timeout_s bigint,
  prompt_tokens int, max_new_tokens int, n_choices int, attempts int, max_attempts int,
  interruptions int, priority parkd.priority, tokens_are_exact bool, model text, tenant text,
  mailbox_key text, endpoint text, custom_id text, batch_id text, idempotency_key text, metadata json,
  body json, requeued_from bigint, deaths_alone int, suspect_group bigint, noted_lease bigint)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, parkd, pg_temp SET jit = off SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
BEGIN
  RETURN QUERY
  SELECT c.*, coalesce(j.deaths_alone, 0), coalesce(j.suspect_group, 0), coalesce(j.noted_lease, 0)
    FROM parkd.claim_v1(p_daemon, p_model, p_max, p_now) c LEFT JOIN parkd.jobs j ON j.id = c.id;
END $$;

-- release_v1, which also clears the notes of a job whose attempt was spent: it ran, and the process lived.
CREATE FUNCTION parkd.release_v2(p_ids bigint[], p_leases bigint[], p_spend bool[], p_run_at_us bigint[],
                                 p_now timestamptz DEFAULT NULL)
RETURNS TABLE (job_id bigint, run_lease bigint, model text, tenant text, mailbox_key text)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, parkd, pg_temp SET jit = off
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
BEGIN
  UPDATE parkd.jobs j SET deaths_alone = 0, suspect_group = 0, interruptions = 0
    FROM unnest(p_ids, p_leases, p_spend) i(id, lease, spend)
   WHERE i.spend AND j.id = i.id AND j.run_lease = i.lease AND j.daemon_id IS NOT NULL
     AND (j.suspect_group <> 0 OR j.interruptions > 0);
  RETURN QUERY SELECT * FROM parkd.release_v1(p_ids, p_leases, p_spend, p_run_at_us, p_now);
END $$;

-- judge_death. One row: suspects, quarantined; and of each job that ended its tenant and mailbox_key.
-- jobs_pkey; finish_v1 for those that end.
CREATE FUNCTION parkd.note_deaths_v1(p_ids bigint[], p_leases bigint[], p_noted bool, p_now timestamptz DEFAULT NULL)
RETURNS TABLE (suspects bigint, quarantined bigint, tenants text[], mailbox_keys text[])
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, parkd, pg_temp SET jit = off SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
  v_now     timestamptz := coalesce(p_now, clock_timestamp());
  v_present bigint := (SELECT count(DISTINCT i.id) FROM unnest(p_ids) i(id));
  v_accused bigint[];
  v_groups  bigint[] := ARRAY[nextval('parkd.suspect_groups'), nextval('parkd.suspect_groups')];
  v_ended   bigint[];
  v_leases  bigint[];
  n         int;
BEGIN
  PERFORM FROM parkd.jobs j WHERE j.id = ANY (p_ids) ORDER BY j.id FOR UPDATE;
  WITH changed AS (
    UPDATE parkd.jobs j SET noted_lease = i.lease, interruptions = j.interruptions + 1
      FROM (SELECT u.id, max(u.lease) AS lease FROM unnest(p_ids, p_leases) u(id, lease) GROUP BY u.id) i
     WHERE j.id = i.id AND i.lease > j.noted_lease
    RETURNING j.id, j.interruptions)
  SELECT array_agg(c.id ORDER BY c.id) INTO v_accused FROM changed c WHERE p_noted OR c.interruptions >= 20;
  v_accused := coalesce(v_accused, '{}');
  n := cardinality(v_accused);
  WITH accused AS (
    UPDATE parkd.jobs j
       SET suspect_group = v_groups[CASE WHEN a.place <= (n + 1) / 2 THEN 1 ELSE 2 END],
           deaths_alone = j.deaths_alone + (v_present = 1)::int
      FROM unnest(v_accused) WITH ORDINALITY a(id, place) WHERE j.id = a.id
    RETURNING j.id, j.deaths_alone)
  SELECT array_agg(a.id ORDER BY a.id) INTO v_ended FROM accused a WHERE a.deaths_alone >= 2;
  v_ended := coalesce(v_ended, '{}');
  suspects := n - cardinality(v_ended);
  quarantined := cardinality(v_ended);
  IF quarantined > 0 THEN
    -- Whoever holds it: a claim by nobody (daemon 0), finished in this transaction.
    UPDATE parkd.jobs j SET state = 'claimed', daemon_id = 0, run_lease = 0 WHERE j.id = ANY (v_ended);
    PERFORM parkd.ensure_partitions_for_v1(v_ended, v_now);
    v_leases := array_fill(0::bigint, ARRAY[quarantined::int]);
    SELECT array_agg(f.tenant), array_agg(f.mailbox_key) INTO tenants, mailbox_keys
      FROM parkd.finish_v1(v_ended, v_leases, array_fill('quarantined'::text, ARRAY[quarantined::int]),
        array_fill('quarantined'::text, ARRAY[quarantined::int]),
        array_fill('the process died twice with only this job in the engine; requeue it to try again'::text,
                   ARRAY[quarantined::int]),
        array_fill(''::text, ARRAY[quarantined::int]), array_fill(500, ARRAY[quarantined::int]),
        array_fill(''::text, ARRAY[quarantined::int]), array_fill(0, ARRAY[quarantined::int]),
        array_fill(0, ARRAY[quarantined::int]), v_leases, v_leases, v_leases, v_now) f
     WHERE f.answer = 0;
  END IF;
  RETURN NEXT;
END $$;

-- As in 0002, but that a rescue is no evidence: who was in the engine, the daemon itself tells when it is
-- back (p_interrupted is what daemons of the schema before pass).
CREATE OR REPLACE FUNCTION parkd.unclaim_v1(p_ids bigint[], p_interrupted bool, p_now timestamptz)
RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, parkd, pg_temp SET jit = off
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE n bigint; v_models text[]; v_cancelled bigint[];
BEGIN
  WITH back AS (
    UPDATE parkd.jobs j SET state = 'queued', daemon_id = NULL, claimed_at = NULL
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

REVOKE ALL ON FUNCTION parkd.claim_v2, parkd.release_v2, parkd.note_deaths_v1 FROM PUBLIC;
GRANT EXECUTE ON FUNCTION parkd.claim_v2, parkd.release_v2, parkd.note_deaths_v1 TO parkd_daemon;
