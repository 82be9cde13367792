-- 0005: every way a job ends, and requeueing what did not complete.

-- Whether a run that ends now is too late: settled_ending, lib/store/rules.cc.
CREATE FUNCTION parkd.is_late_v1(p_outcome text, p_deadline timestamptz, p_now timestamptz) RETURNS bool LANGUAGE sql IMMUTABLE
  RETURN p_outcome IN ('completed', 'failed') AND coalesce(p_deadline < p_now, false);

-- The rows of lib/job/ending_codes.h that SQL needs: whether a run that failed so is tried again, and the HTTP status of
-- an ending that is no run's.
CREATE FUNCTION parkd.is_retryable_v1(p_code text) RETURNS bool LANGUAGE sql IMMUTABLE   -- inlined
  RETURN p_code IN ('internal', 'device_lost', 'out_of_resources');
CREATE FUNCTION parkd.status_code_v1(p_outcome parkd.outcome) RETURNS int LANGUAGE sql IMMUTABLE   -- inlined
  RETURN CASE p_outcome WHEN 'cancelled' THEN 499 WHEN 'deadline_missed' THEN 408 WHEN 'quarantined' THEN 500 END;

-- --- what is announced ---------------------------------------------------------------------------
-- Every login of a database hears every NOTIFY of it, so a payload names nobody: it is HMAC-SHA256 (RFC 2104) of the
-- mailbox key, cut to 128 bits, under a secret of the tenant's, which is that of its name under the database's.

-- The key, or its hash where it is longer, as a block of 64 bytes, each exclusive-or a byte (in hexadecimal). bit_send puts
-- the number of bits in front.
CREATE FUNCTION parkd.hmac_block_v1(p_key bytea, p_byte text) RETURNS bytea LANGUAGE sql IMMUTABLE
  RETURN substr(bit_send(('x' || rpad(encode(CASE WHEN length(p_key) > 64 THEN sha256(p_key) ELSE p_key END, 'hex'), 128, '0'))::bit(512)
                         # ('x' || repeat(p_byte, 64))::bit(512)), 5);
CREATE FUNCTION parkd.hmac_v1(p_key bytea, p_text bytea) RETURNS bytea LANGUAGE sql IMMUTABLE
  RETURN sha256(parkd.hmac_block_v1(p_key, '5c') || sha256(parkd.hmac_block_v1(p_key, '36') || p_text));
CREATE FUNCTION parkd.results_payload_v1(p_tenant text, p_key text) RETURNS text LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, parkd, pg_temp AS $$
BEGIN
  RETURN left(encode(parkd.hmac_v1(parkd.hmac_v1((SELECT s.key FROM parkd_private.secrets s), convert_to(p_tenant, 'UTF8')),
                                   convert_to(p_key, 'UTF8')), 'hex'), 32);
END $$;
-- The same for many; what hangs on the tenant alone once a tenant. No SET: its callers have theirs.
CREATE FUNCTION parkd.tell_results_v1(p_tenants text[], p_keys text[]) RETURNS void LANGUAGE plpgsql VOLATILE AS $$
BEGIN
  PERFORM pg_notify('parkd_results', left(encode(sha256(t.outside || sha256(t.inside || convert_to(k.key, 'UTF8'))), 'hex'), 32))
     FROM (SELECT n.keys, parkd.hmac_block_v1(n.secret, '5c') AS outside, parkd.hmac_block_v1(n.secret, '36') AS inside
             FROM (SELECT array_agg(DISTINCT u.key) AS keys,
                          parkd.hmac_v1((SELECT s.key FROM parkd_private.secrets s), convert_to(u.tenant, 'UTF8')) AS secret
                     FROM unnest(p_tenants, p_keys) u(tenant, key) GROUP BY u.tenant OFFSET 0) n OFFSET 0) t,
          unnest(t.keys) k(key);
END $$;

-- Ends claimed jobs: job out, message and history in, batch counters moved, one statement, fenced.
-- answer: 0 finished_now, 1 already_by_this_lease, 2 lease_lost, 3 held; -1 and 4 are 0 and 1 of a run that was
-- written as deadline_missed, for it was late. An item that was finished may also be listed as 1 or 4: the smaller
-- answer counts. p_truncated: a choice ended at its token limit; NULL: of none. With p_skip it waits for no row: an item whose job or batch
-- somebody else has locked is held and left as it is.
CREATE FUNCTION parkd.finish_v1(
  p_ids bigint[], p_leases bigint[], p_outcomes text[], p_codes text[], p_messages text[],
  p_params text[], p_status int[], p_bodies text[], p_prompt int[], p_completion int[],
  p_units bigint[], p_queue_us bigint[], p_run_us bigint[], p_now timestamptz DEFAULT NULL, p_skip bool DEFAULT false,
  p_truncated bool[] DEFAULT NULL)
RETURNS TABLE (job_id bigint, run_lease bigint, answer int, tenant text, mailbox_key text)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, parkd, pg_temp SET jit = off SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE v_now timestamptz := coalesce(p_now, clock_timestamp()); v_told bool := parkd.enter_finish_v1(); v_n int; v_held bigint[] := '{}';
BEGIN
  IF p_skip THEN v_held := parkd.held_v1(p_ids, false); END IF;
  -- What is read from the arguments once or twice goes by subscript past the stored rows of gone.
  RETURN QUERY
  WITH gone AS (
    DELETE FROM parkd.jobs j USING generate_series(1, cardinality(p_ids)) i
     -- daemon_id IS NOT NULL is state = 'claimed' (a CHECK says so), in words that keep the planner
     -- from walking jobs_claimed when its statistics believe that few are claimed
     WHERE j.id = ANY (ARRAY[p_ids[i]]) AND j.run_lease = p_leases[i] AND j.daemon_id IS NOT NULL AND j.id <> ALL (v_held)
    RETURNING i, j.id, j.run_lease, nextval('parkd.message_sequence') AS sequence, j.created_at,
      CASE WHEN j.batch_id IS NULL OR j.deadline IS NULL THEN v_now + j.retention
           -- done early, a member stays until the reader of the whole batch can have come
           ELSE least(greatest(v_now, j.deadline) + j.retention, v_now + interval '60 days')
      END AS expires_at,
      j.attempts + (p_outcomes[i] = 'failed' AND parkd.is_retryable_v1(p_codes[i])
                    AND NOT parkd.is_late_v1(p_outcomes[i], j.deadline, v_now))::int AS attempts,
      parkd.is_late_v1(p_outcomes[i], j.deadline, v_now) AS late,
      CASE WHEN parkd.is_late_v1(p_outcomes[i], j.deadline, v_now) THEN 'deadline_missed' ELSE p_outcomes[i] END::parkd.outcome AS outcome,
      j.tenant, j.mailbox_key, j.model, j.custom_id, j.batch_id,
      CASE WHEN parkd.is_late_v1(p_outcomes[i], j.deadline, v_now) THEN 'deadline_missed' ELSE nullif(p_codes[i], '') END AS code,
      CASE WHEN j.idempotency_key IS NOT NULL THEN v_now + greatest(j.retention, interval '24 hours')
      END AS key_until,
      j.metadata, nullif(p_bodies[i], '')::json AS body,
      CASE WHEN p_outcomes[i] <> 'completed' OR j.deadline < v_now THEN json_build_object(
        'endpoint', j.endpoint, 'priority', j.priority, 'seed', j.seed, 'run_timeout', j.run_timeout,
        'retention', j.retention, 'max_attempts', j.max_attempts, 'n_choices', j.n_choices,
        'prompt_tokens', j.prompt_tokens, 'max_new_tokens', j.max_new_tokens,
        'tokens_are_exact', j.tokens_are_exact, 'body', j.body) END AS request),
  message AS (
    INSERT INTO parkd.mailbox (sequence, job_id, run_lease, created_at, finished_at, expires_at, queue_us,
        run_us, units, prompt_tokens, completion_tokens, status_code, attempts, outcome, tenant,
        mailbox_key, model, custom_id, batch_id, error_code, error_message, error_param, metadata, body, request)
    SELECT g.sequence, g.id, g.run_lease, g.created_at, v_now, g.expires_at, p_queue_us[g.i], p_run_us[g.i], p_units[g.i],
           p_prompt[g.i], p_completion[g.i], CASE WHEN g.late THEN parkd.status_code_v1('deadline_missed') ELSE p_status[g.i] END,
           g.attempts, g.outcome, g.tenant, g.mailbox_key, g.model, g.custom_id, g.batch_id, g.code,
           CASE WHEN g.late THEN 'the job''s deadline passed before it was done' ELSE nullif(p_messages[g.i], '') END,
           CASE WHEN NOT g.late THEN nullif(p_params[g.i], '') END, g.metadata, g.body,
           g.request FROM gone g),
  past AS (
    INSERT INTO parkd.history (job_id, run_lease, sequence, created_at, finished_at, expires_at, key_until,
        run_us, units, prompt_tokens, completion_tokens, outcome, tenant, mailbox_key, model, custom_id,
        batch_id, error_code)
    SELECT g.id, g.run_lease, g.sequence, g.created_at, v_now, g.expires_at, g.key_until, p_run_us[g.i], p_units[g.i],
           p_prompt[g.i], p_completion[g.i], g.outcome, g.tenant, g.mailbox_key, g.model, g.custom_id, g.batch_id, g.code
      FROM gone g)
  SELECT g.id, g.run_lease, CASE WHEN g.late THEN -1 ELSE 0 END, g.tenant, g.mailbox_key FROM gone g
  UNION ALL
  -- No row. The members are counted by a function, for a plan of that in here would be made ready by every finish.
  SELECT NULL, NULL, NULL, NULL, NULL FROM gone g WHERE g.batch_id IS NOT NULL
  HAVING count(*) > 0 AND parkd.count_members_v1(array_agg(g.batch_id), array_agg(g.tenant), array_agg(g.outcome),
    array_agg(g.outcome = 'completed' AND p_truncated[g.i]), v_now);
  GET DIAGNOSTICS v_n = ROW_COUNT;
  IF v_n < cardinality(p_ids) THEN
    RETURN QUERY
    SELECT i.id, i.lease, CASE WHEN i.lease <> 0 AND EXISTS (
               SELECT FROM parkd.history h WHERE h.job_id = i.id AND h.run_lease = i.lease) THEN
               CASE WHEN i.outcome <> 'deadline_missed' AND EXISTS (
                 SELECT FROM parkd.history h WHERE h.job_id = i.id AND h.run_lease = i.lease AND h.outcome = 'deadline_missed')
               THEN 4 ELSE 1 END
             WHEN i.id = ANY (v_held) THEN 3 ELSE 2 END,
           NULL::text, NULL::text
      FROM unnest(p_ids, p_leases, p_outcomes) i(id, lease, outcome);
  END IF;
  IF v_n > 0 AND v_told THEN
    PERFORM parkd.tell_results_v1(array_agg(h.tenant), array_agg(h.mailbox_key))
       FROM unnest(p_ids) i(id) JOIN parkd.history h ON h.job_id = i.id;
  END IF;
END $$;

-- Counts members that have ended; one of each array is one member. Returns false. batches_pkey.
CREATE FUNCTION parkd.count_members_v1(p_batches text[], p_tenants text[], p_outcomes parkd.outcome[], p_truncated bool[],
                                       p_now timestamptz) RETURNS bool LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, parkd, pg_temp SET jit = off SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
BEGIN
  -- Locked in the order of ids, so that two finishes cannot wait for each other.
  UPDATE parkd.batches b
     SET completed = b.completed + c.completed, failed = b.failed + c.failed, cancelled = b.cancelled + c.cancelled,
         deadline_missed = b.deadline_missed + c.deadline_missed, quarantined = b.quarantined + c.quarantined,
         truncated = b.truncated + c.truncated,
         finished_at = CASE WHEN b.sealed_at IS NOT NULL
             AND b.completed + b.failed + b.cancelled + b.deadline_missed + b.quarantined + c.n >= b.total THEN p_now END
    FROM (SELECT x.id, n.* FROM parkd.batches x JOIN (
            SELECT m.batch_id, m.tenant, count(*) AS n,
                   count(*) FILTER (WHERE m.outcome = 'completed') AS completed,
                   count(*) FILTER (WHERE m.outcome = 'failed') AS failed,
                   count(*) FILTER (WHERE m.outcome = 'cancelled') AS cancelled,
                   count(*) FILTER (WHERE m.outcome = 'deadline_missed') AS deadline_missed,
                   count(*) FILTER (WHERE m.outcome = 'quarantined') AS quarantined,
                   count(*) FILTER (WHERE m.truncated) AS truncated
              FROM unnest(p_batches, p_tenants, p_outcomes, p_truncated) m(batch_id, tenant, outcome, truncated)
             GROUP BY m.batch_id, m.tenant) n
            ON x.id = n.batch_id AND x.tenant = n.tenant ORDER BY x.id FOR UPDATE OF x) c
   WHERE b.id = c.id;
  RETURN false;
END $$;

-- Of these live jobs those that somebody else holds: the row, or the row of its batch (p_cancelled: that
-- one only where a cancel was asked for), is locked. The others, and their batches, are locked when this
-- returns; it waits for nobody. A session that idles in a transaction holds up what it touched, nothing else.
-- jobs_pkey, batches_pkey.
CREATE FUNCTION parkd.held_v1(p_ids bigint[], p_cancelled bool) RETURNS bigint[] LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, parkd, pg_temp SET jit = off SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE v_free bigint[]; v_batches text[];
BEGIN
  v_free := ARRAY(SELECT j.id FROM parkd.jobs j WHERE j.id = ANY (p_ids) FOR UPDATE SKIP LOCKED);
  v_batches := ARRAY(
    SELECT b.id FROM parkd.batches b
     WHERE b.id IN (SELECT j.batch_id FROM parkd.jobs j
                     WHERE j.id = ANY (v_free) AND (NOT p_cancelled OR j.cancel_at IS NOT NULL)) FOR UPDATE SKIP LOCKED);
  RETURN ARRAY(
    SELECT j.id FROM parkd.jobs j
     WHERE j.id = ANY (p_ids) AND (j.id <> ALL (v_free) OR (
       (NOT p_cancelled OR j.cancel_at IS NOT NULL) AND j.batch_id <> ALL (v_batches)
       AND EXISTS (SELECT FROM parkd.batches b WHERE b.id = j.batch_id AND b.tenant = j.tenant))));
END $$;

-- Announces, once a transaction, that it is about to draw message sequences above the present one, and looks at the
-- fence. Returns settings.notify_results, for it costs nothing here. No SET: its callers have theirs.
CREATE FUNCTION parkd.enter_finish_v1() RETURNS bool LANGUAGE plpgsql VOLATILE AS $$
DECLARE v_same bool; v_told bool; v_first text := current_setting('parkd.finishing', true);
BEGIN
  IF v_first IS NULL OR v_first = '' THEN
    SELECT set_config('parkd.finishing', setval(s.began, q.last_value + q.is_called::int)::text, true) INTO v_first
      FROM (SELECT f.began FROM parkd_private.finishing f LIMIT 1 FOR UPDATE SKIP LOCKED) s, parkd.message_sequence q;
    IF NOT FOUND THEN      -- all are in use: behind one of them
      SELECT set_config('parkd.finishing', setval(s.began, q.last_value + q.is_called::int)::text, true) INTO v_first
        FROM (SELECT f.began FROM parkd_private.finishing f WHERE f.slot = pg_backend_pid() % 64 FOR UPDATE) s,
             parkd.message_sequence q;
    END IF;
  END IF;
  SELECT (SELECT f.server_start = pg_postmaster_start_time() AND f.timeline = parkd.timeline_v1() FROM parkd.fence f),
         (SELECT s.notify_results FROM parkd.settings s)
    INTO v_same, v_told;
  IF v_same IS NOT TRUE THEN PERFORM parkd.current_epoch_v1(); END IF;
  RETURN v_told;
END $$;

-- Ends jobs that are not claimed, as cancelled or deadline_missed (the endings of lib/store/rules.cc).
-- Returns (tenant, mailbox_key) of each.
CREATE FUNCTION parkd.end_waiting_v1(p_ids bigint[], p_outcome parkd.outcome, p_now timestamptz)
RETURNS TABLE (tenant text, mailbox_key text) LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, parkd, pg_temp SET jit = off SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE v_ids bigint[]; v_leases bigint[]; n int;
BEGIN
  -- Through the same door as every ending: a claim by nobody (daemon 0), finished in this transaction.
  WITH mine AS (
    UPDATE parkd.jobs j SET state = 'claimed', daemon_id = 0, run_lease = 0
     WHERE j.id = ANY (p_ids) AND j.daemon_id IS NULL RETURNING j.id)
  SELECT coalesce(array_agg(u.id ORDER BY u.n), '{}'), count(*) INTO v_ids, n    -- in the order given
    FROM unnest(p_ids) WITH ORDINALITY u(id, n) WHERE u.id IN (SELECT m.id FROM mine m);
  IF n = 0 THEN RETURN; END IF;
  PERFORM parkd.ensure_partitions_for_v1(v_ids, p_now);
  RETURN QUERY
  SELECT f.tenant, f.mailbox_key FROM parkd.finish_v1(
    v_ids, array_fill(0::bigint, ARRAY[n]), array_fill(p_outcome::text, ARRAY[n]),
    array_fill(p_outcome::text, ARRAY[n]),
    array_fill(CASE p_outcome WHEN 'cancelled' THEN 'the job was cancelled before it ran'
                              ELSE 'the deadline passed before the job ran' END, ARRAY[n]),
    array_fill(''::text, ARRAY[n]),
    array_fill(parkd.status_code_v1(p_outcome), ARRAY[n]),
    array_fill(''::text, ARRAY[n]), array_fill(0, ARRAY[n]),
    array_fill(0, ARRAY[n]), array_fill(0::bigint, ARRAY[n]), array_fill(0::bigint, ARRAY[n]),
    array_fill(0::bigint, ARRAY[n]), p_now) f WHERE f.answer = 0;
END $$;

-- Asks for the end of live jobs: those that wait are cancelling from here on, daemons are told of those that are
-- claimed, and of the others by a 0. It writes no message, so a client whose transaction stays open holds up its own
-- jobs and nobody's results. Locks the rows by id, as a finish does, whoever holds them. One row of each that is live.
-- jobs_pkey.
CREATE FUNCTION parkd.ask_to_cancel_v1(p_ids bigint[], p_now timestamptz)
RETURNS TABLE (job_id bigint, run_lease bigint, daemon bigint) LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, parkd, pg_temp SET jit = off SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
BEGIN
  PERFORM FROM parkd.jobs j WHERE j.id = ANY (p_ids) ORDER BY j.id FOR UPDATE;
  UPDATE parkd.jobs j
     SET cancel_at = p_now, state = CASE WHEN j.daemon_id IS NULL THEN 'cancelling' ELSE 'claimed' END::parkd.job_state
   WHERE j.id = ANY (p_ids) AND j.cancel_at IS NULL;
  RETURN QUERY SELECT j.id, j.run_lease, j.daemon_id FROM parkd.jobs j WHERE j.id = ANY (p_ids);
  PERFORM pg_notify('parkd_cancel', d.id::text)
     FROM (SELECT DISTINCT coalesce(j.daemon_id, 0) AS id FROM parkd.jobs j WHERE j.id = ANY (p_ids)) d;
END $$;

-- For clients: what becomes of each job of the tenant's ('': of any): cancelling | cancel_requested | already_finished |
-- not_found. jobs_pkey, history_job.
CREATE FUNCTION parkd.ask_each_to_cancel_v1(p_ids bigint[], p_tenant text, p_history interval DEFAULT '30 days')
RETURNS TABLE (id bigint, answer text) LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, parkd, pg_temp SET jit = off SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_mergejoin = off AS $$
DECLARE v_now timestamptz := clock_timestamp(); v_waited bigint[]; v_claimed bigint[];
BEGIN
  SELECT coalesce(array_agg(a.job_id) FILTER (WHERE a.daemon IS NULL), '{}'),
         coalesce(array_agg(a.job_id) FILTER (WHERE a.daemon IS NOT NULL), '{}') INTO v_waited, v_claimed
    FROM parkd.ask_to_cancel_v1(ARRAY(SELECT j.id FROM parkd.jobs j
                                       WHERE j.id = ANY (p_ids) AND (p_tenant = '' OR j.tenant = p_tenant)), v_now) a;
  RETURN QUERY
  SELECT u.id, 'cancelling' FROM unnest(v_waited) u(id) UNION ALL SELECT u.id, 'cancel_requested' FROM unnest(v_claimed) u(id);
  RETURN QUERY
  SELECT u.id, CASE WHEN EXISTS (SELECT FROM parkd.history h
                                  WHERE h.job_id = u.id AND (p_tenant = '' OR h.tenant = p_tenant)
                                    AND h.expires_at + p_history > v_now) THEN 'already_finished' ELSE 'not_found' END
    FROM (SELECT i.id FROM unnest(p_ids) i(id) EXCEPT SELECT w.id FROM unnest(v_waited || v_claimed) w(id)) u;
END $$;

-- Ends jobs that are cancelling, up to 500 later than p_after, by id; of one batch alone if it is named. What somebody
-- holds, or its batch, is passed over, so that daemons share the work and nobody waits. Where fewer came there are no
-- more. jobs_cancelled; jobs_batch.
CREATE FUNCTION parkd.end_cancelled_v1(p_after bigint, p_batch text DEFAULT NULL, p_now timestamptz DEFAULT NULL)
RETURNS TABLE (job_id bigint, tenant text, mailbox_key text) LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, parkd, pg_temp SET jit = off SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
  v_mine bigint[] := '{}';
  v_held text[] := '{}';      -- batches that somebody has locked
  v_look bigint[];
  v_busy bigint[];
BEGIN
  LOOP
    IF p_batch IS NULL THEN
      v_look := ARRAY(SELECT j.id FROM parkd.jobs j
                       WHERE j.daemon_id IS NULL AND j.cancel_at IS NOT NULL AND j.id > p_after AND j.id <> ALL (v_mine)
                         AND coalesce(j.batch_id <> ALL (v_held), true)
                       ORDER BY j.id LIMIT 500 - cardinality(v_mine) FOR UPDATE SKIP LOCKED);
    ELSE
      v_look := ARRAY(SELECT j.id FROM parkd.jobs j
                       WHERE j.batch_id = p_batch AND j.state = 'cancelling' AND j.id <> ALL (v_mine) AND p_batch <> ALL (v_held)
                       LIMIT 500 - cardinality(v_mine) FOR UPDATE SKIP LOCKED);
    END IF;
    EXIT WHEN v_look = '{}';
    v_busy := parkd.held_v1(v_look, true);
    v_mine := v_mine || ARRAY(SELECT l.id FROM unnest(v_look) l(id) WHERE l.id <> ALL (v_busy));
    EXIT WHEN v_busy = '{}';
    v_held := v_held || ARRAY(SELECT DISTINCT j.batch_id FROM parkd.jobs j WHERE j.id = ANY (v_busy) AND j.batch_id IS NOT NULL);
  END LOOP;
  RETURN QUERY SELECT coalesce((SELECT max(m.id) FROM unnest(v_mine) m(id)), p_after), e.tenant, e.mailbox_key
                 FROM parkd.end_waiting_v1(v_mine, 'cancelled', coalesce(p_now, clock_timestamp())) e;
END $$;

CREATE FUNCTION parkd.cancel_v1(p_id bigint, p_tenant text, p_history interval DEFAULT '30 days',
    p_now timestamptz DEFAULT NULL, OUT answer text, OUT run_lease bigint, OUT mine bigint,
    OUT tenant text, OUT mailbox_key text) LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, parkd, pg_temp SET jit = off
SET enable_seqscan = off SET enable_bitmapscan = off AS $$
DECLARE v_now timestamptz := coalesce(p_now, clock_timestamp()); r record;
BEGIN
  SELECT j.state, j.daemon_id, j.run_lease INTO r FROM parkd.jobs j
   WHERE j.id = p_id AND (p_tenant = '' OR j.tenant = p_tenant) FOR UPDATE;
  IF NOT FOUND THEN
    answer := CASE WHEN EXISTS (
        SELECT FROM parkd.history h WHERE h.job_id = p_id AND (p_tenant = '' OR h.tenant = p_tenant)
           AND h.expires_at + p_history > v_now) THEN 'already_finished' ELSE 'not_found' END;
  ELSIF r.state = 'claimed' THEN
    PERFORM FROM parkd.ask_to_cancel_v1(ARRAY[p_id], v_now);
    answer := 'cancel_requested'; run_lease := r.run_lease; mine := r.daemon_id;
  ELSE
    answer := 'cancelled';
    SELECT e.tenant, e.mailbox_key INTO tenant, mailbox_key
      FROM parkd.end_waiting_v1(ARRAY[p_id], 'cancelled', v_now) e;
  END IF;
END $$;

-- A finish found no partition: makes those that messages of these jobs would go to.
CREATE FUNCTION parkd.ensure_partitions_for_v1(p_ids bigint[], p_now timestamptz DEFAULT NULL)
RETURNS void LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, parkd, pg_temp SET timezone = 'UTC' SET enable_seqscan = off AS $$
DECLARE v_now timestamptz := coalesce(p_now, clock_timestamp()); d timestamptz;
BEGIN
  PERFORM parkd.ensure_partitions_v1(p_now);
  FOR d IN SELECT DISTINCT date_trunc('day', least(greatest(v_now, j.deadline) + j.retention, v_now + interval '60 days'))
             FROM parkd.jobs j WHERE j.id = ANY (p_ids) AND j.batch_id IS NOT NULL AND j.deadline IS NOT NULL LOOP
    -- and the next day, for the clock goes on until the finish is tried again
    PERFORM parkd.ensure_partition_v1('mailbox', d, d + interval '1 day', p_now);
    PERFORM parkd.ensure_partition_v1('mailbox', d + interval '1 day', d + interval '2 days', p_now);
  END LOOP;
END $$;

-- --- requeue -----------------------------------------------------------------------------------

-- Makes a new job of each finished one that did not complete and whose message is still there: those of
-- p_ids, or all with one of some error codes ('{}': any), or the members of a batch ('': any); of what is given, all
-- must hold. The history row remembers what a job became, so a repeated call by ids answers the same (and else,
-- nothing). p_tenant '' is any tenant.
-- By ids: history_job, mailbox_key; of a batch: mailbox_batch; by code: mailbox_failed, mailbox_failed_of_tenant.
CREATE FUNCTION parkd.requeue_v1(p_tenant text, p_ids bigint[], p_error_codes text[], p_model text, p_batch text, p_limit int,
                                 p_now timestamptz DEFAULT NULL)
RETURNS TABLE (requeued_from bigint, id bigint, mailbox_key text, model text, existed bool)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, parkd, pg_temp SET jit = off SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE v_now timestamptz := coalesce(p_now, clock_timestamp()); v_jobs bigint[]; v_made bigint[];
BEGIN
  -- The limits of the queue hold here, too; a daemon does not wait for room.
  IF pg_has_role(session_user, 'parkd_daemon', 'member') THEN PERFORM set_config('parkd.on_full', 'refuse', true); END IF;
  IF coalesce(cardinality(p_ids), 0) > 0 THEN
    v_jobs := ARRAY(
      SELECT h.job_id FROM (SELECT DISTINCT u.id FROM unnest(p_ids) u(id)) i JOIN parkd.history h ON h.job_id = i.id
       WHERE (p_tenant = '' OR h.tenant = p_tenant) AND h.outcome <> 'completed' AND h.expires_at > v_now
         AND (cardinality(p_error_codes) = 0 OR h.error_code = ANY (p_error_codes)) AND (p_model = '' OR h.model = p_model)
         AND (h.requeued_as IS NOT NULL OR EXISTS (
           SELECT FROM parkd.mailbox m WHERE m.expires_at = h.expires_at AND m.mailbox_key = h.mailbox_key AND m.tenant = h.tenant
              AND m.sequence = h.sequence AND m.request IS NOT NULL))
       ORDER BY h.sequence LIMIT p_limit);
  ELSIF p_batch <> '' THEN
    v_jobs := ARRAY(
      SELECT m.job_id FROM parkd.mailbox m
       WHERE m.batch_id = p_batch AND (p_tenant = '' OR m.tenant = p_tenant) AND m.request IS NOT NULL AND m.expires_at > v_now
         AND (cardinality(p_error_codes) = 0 OR m.error_code = ANY (p_error_codes)) AND (p_model = '' OR m.model = p_model)
       ORDER BY m.batch_id, m.sequence LIMIT p_limit FOR UPDATE SKIP LOCKED);
  ELSIF p_tenant = '' THEN
    v_jobs := ARRAY(
      SELECT c.job_id FROM (SELECT DISTINCT x FROM unnest(p_error_codes) x) u(code), LATERAL (
        SELECT m.job_id, m.sequence FROM parkd.mailbox m
         WHERE m.error_code = u.code AND m.request IS NOT NULL AND m.expires_at > v_now AND (p_model = '' OR m.model = p_model)
         ORDER BY m.sequence LIMIT p_limit FOR UPDATE SKIP LOCKED) c
       ORDER BY c.sequence LIMIT p_limit);
  ELSE
    v_jobs := ARRAY(
      SELECT c.job_id FROM (SELECT DISTINCT x FROM unnest(p_error_codes) x) u(code), LATERAL (
        SELECT m.job_id, m.sequence FROM parkd.mailbox m
         WHERE m.tenant = p_tenant AND m.error_code = u.code AND m.request IS NOT NULL AND m.expires_at > v_now
           AND (p_model = '' OR m.model = p_model)
         ORDER BY m.sequence LIMIT p_limit FOR UPDATE SKIP LOCKED) c
       ORDER BY c.sequence LIMIT p_limit);
  END IF;
  -- In portions: whatever the planner believes, none costs more than 500 times 500. A concurrent call for the same job waits here, and finds the
  -- request gone.
  FOR i IN 1..cardinality(v_jobs) BY 500 LOOP
  WITH old AS MATERIALIZED (
    SELECT m.expires_at, m.sequence, m.finished_at, m.job_id, m.tenant, m.mailbox_key, m.model, m.custom_id, m.metadata, m.request
      FROM unnest(v_jobs[i : i + 499]) u(job_id) JOIN parkd.history h ON h.job_id = u.job_id
      JOIN parkd.mailbox m ON m.expires_at = h.expires_at AND m.mailbox_key = h.mailbox_key AND m.tenant = h.tenant AND m.sequence = h.sequence
     WHERE m.request IS NOT NULL ORDER BY m.sequence FOR UPDATE OF m),
  fresh AS MATERIALIZED (SELECT o.*, nextval('parkd.jobs_id_seq') AS new_id FROM old o ORDER BY o.sequence),
  used AS (
    UPDATE parkd.mailbox m SET request = NULL FROM fresh f
     WHERE m.expires_at = f.expires_at AND m.mailbox_key = f.mailbox_key AND m.tenant = f.tenant AND m.sequence = f.sequence),
  remembered AS (
    UPDATE parkd.history h SET requeued_as = f.new_id FROM fresh f WHERE h.finished_at = f.finished_at AND h.job_id = f.job_id),
  made AS (
    INSERT INTO parkd.jobs (id, requeued_from, created_at, order_key, model, tenant, mailbox_key, custom_id, metadata, endpoint,
        priority, seed, run_timeout, retention, max_attempts, n_choices, prompt_tokens, max_new_tokens, tokens_are_exact, body)
    OVERRIDING SYSTEM VALUE
    SELECT f.new_id, f.job_id, v_now, v_now + parkd.delay_v1((f.request ->> 'priority')::parkd.priority), f.model, f.tenant,
           f.mailbox_key, f.custom_id, f.metadata, f.request ->> 'endpoint', (f.request ->> 'priority')::parkd.priority,
           (f.request ->> 'seed')::bigint, (f.request ->> 'run_timeout')::interval, (f.request ->> 'retention')::interval,
           (f.request ->> 'max_attempts')::int, (f.request ->> 'n_choices')::int, (f.request ->> 'prompt_tokens')::int,
           (f.request ->> 'max_new_tokens')::int, (f.request ->> 'tokens_are_exact')::bool, f.request -> 'body'
      FROM fresh f)
  SELECT array_agg(f.new_id) INTO v_made FROM fresh f;
  RETURN QUERY
  SELECT h.job_id, h.requeued_as, h.mailbox_key, h.model, h.requeued_as NOT IN (SELECT x FROM unnest(v_made) x)
    FROM unnest(v_jobs[i : i + 499]) u(job_id) JOIN parkd.history h ON h.job_id = u.job_id
   WHERE h.requeued_as IS NOT NULL ORDER BY h.sequence;
  END LOOP;
END $$;
