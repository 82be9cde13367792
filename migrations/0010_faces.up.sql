-- 0010: what people call and look at: functions, views, rights. Who they are is in 0009.

-- cancelling (it waited: it never runs, and a daemon ends it) | cancel_requested (its daemon is asked to end it) |
-- already_finished | not_found.
CREATE FUNCTION parkd.cancel(p_id bigint) RETURNS text LANGUAGE sql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, parkd, pg_temp AS $$
  SELECT c.answer FROM parkd.ask_each_to_cancel_v1(ARRAY[p_id], CASE WHEN parkd.acts_for_any() THEN '' ELSE parkd.my_tenant() END) c;
$$;
-- The same of many, a row each. Not another cancel: a driver that gives its parameters no type could then call neither.
CREATE FUNCTION parkd.cancel_jobs(p_ids bigint[]) RETURNS TABLE (id bigint, answer text) LANGUAGE sql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, parkd, pg_temp AS $$
  SELECT c.id, c.answer FROM parkd.ask_each_to_cancel_v1(p_ids, CASE WHEN parkd.acts_for_any() THEN '' ELSE parkd.my_tenant() END) c;
$$;
-- Of everything that the tenant has waiting or claimed, of one model if it is named. Returns how many jobs that is.
-- jobs_queue, jobs_critical, jobs_scheduled (it walks past the other tenants' scheduled jobs), jobs_claimed.
CREATE FUNCTION parkd.cancel_all(p_model text DEFAULT NULL, p_tenant text DEFAULT NULL)
RETURNS bigint LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, parkd, pg_temp SET jit = off SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE v_tenant text := parkd.tenant_for_v1(p_tenant); v_model text := ''; v_ids bigint[]; n bigint;
BEGIN
  v_ids := ARRAY(SELECT j.id FROM parkd.jobs j
                  WHERE j.state = 'claimed' AND j.daemon_id IS NOT NULL AND j.tenant = v_tenant AND (p_model IS NULL OR j.model = p_model));
  LOOP
    SELECT min(m.name) INTO v_model FROM (
      SELECT (SELECT j.model FROM parkd.jobs j WHERE j.model > v_model AND j.state = 'queued' AND j.priority <> 'critical'
               ORDER BY j.model LIMIT 1) UNION ALL
      SELECT (SELECT j.model FROM parkd.jobs j WHERE j.model > v_model AND j.state = 'queued' AND j.priority = 'critical'
               ORDER BY j.model LIMIT 1) UNION ALL
      SELECT (SELECT j.model FROM parkd.jobs j WHERE j.model > v_model AND j.state = 'scheduled' ORDER BY j.model LIMIT 1)) m(name);
    EXIT WHEN v_model IS NULL;
    CONTINUE WHEN v_model <> p_model;
    v_ids := v_ids
      || ARRAY(SELECT j.id FROM parkd.jobs j
                WHERE j.model = v_model AND j.tenant = v_tenant AND j.state = 'queued' AND j.priority <> 'critical')
      || ARRAY(SELECT j.id FROM parkd.jobs j
                WHERE j.model = v_model AND j.tenant = v_tenant AND j.state = 'queued' AND j.priority = 'critical')
      || ARRAY(SELECT j.id FROM parkd.jobs j WHERE j.model = v_model AND j.tenant = v_tenant AND j.state = 'scheduled');
  END LOOP;
  SELECT count(*) INTO n FROM parkd.ask_to_cancel_v1(v_ids, clock_timestamp());
  RETURN n;
END $$;

-- Makes a NEW job of each finished one that did not complete and whose message is still there; the old
-- message stays. By ids, by failure codes (and model) of everything of the tenant, or of a batch (and by codes).
CREATE FUNCTION parkd.requeue(p_ids bigint[] DEFAULT NULL, p_error_code text DEFAULT NULL, p_model text DEFAULT NULL,
                              p_limit int DEFAULT 10000, p_batch text DEFAULT NULL, p_error_codes text[] DEFAULT NULL)
RETURNS TABLE (requeued_from bigint, id bigint, mailbox_key text, existed bool) LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, parkd, pg_temp AS $$
DECLARE v_codes text[] := coalesce(p_error_codes, '{}');
BEGIN
  IF nullif(p_error_code, '') IS NOT NULL THEN v_codes := v_codes || p_error_code; END IF;
  IF coalesce(cardinality(p_ids), 0) = 0 AND cardinality(v_codes) = 0 AND coalesce(p_batch, '') = '' THEN
    RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = 'requeue what?',
      HINT = 'parkd.requeue(ARRAY[17, 18]), parkd.requeue(p_error_code => ''run_timeout'') or parkd.requeue(p_batch => ''batch_1f...'').';
  ELSIF coalesce(cardinality(p_ids), 0) > 0 AND coalesce(p_batch, '') <> '' THEN
    RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = 'p_ids and p_batch are not given together',
      HINT = 'Ids need no batch: leave p_batch out.';
  ELSIF cardinality(v_codes) > 16 THEN
    RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
      MESSAGE = format('requeue takes 16 error codes at most, not %s', cardinality(v_codes)), HINT = 'Call it for some at a time.';
  END IF;
  RETURN QUERY SELECT r.requeued_from, r.id, r.mailbox_key, r.existed
    FROM parkd.requeue_v1(CASE WHEN parkd.acts_for_any() THEN '' ELSE parkd.my_tenant() END, p_ids, v_codes,
                          coalesce(p_model, ''), coalesce(p_batch, ''), p_limit) r;
END $$;

-- The id of a new batch, or, with an idempotency_key that was used before, of the same one.
CREATE FUNCTION parkd.open_batch(p_metadata json DEFAULT NULL, p_deadline timestamptz DEFAULT NULL, p_name text DEFAULT NULL,
                                 p_retention interval DEFAULT NULL, p_idempotency_key text DEFAULT NULL)
RETURNS text LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, parkd, pg_temp AS $$
DECLARE
  r      record;
  v_why  text;
  v_hint text;
  -- The batch a repeated key names is found all the same: its deadline may have passed meanwhile.
  v_bad_deadline bool := coalesce(p_deadline <= clock_timestamp() OR p_deadline > clock_timestamp() + interval '30 days', false);
BEGIN
  IF date_part('epoch', p_retention) NOT BETWEEN 60 AND 2592000 THEN
    RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
      MESSAGE = format('retention %s is not within 1 minute to 30 days', p_retention), HINT = 'Leave it out for 7 days.';
  END IF;
  IF json_typeof(p_metadata) <> 'object' OR octet_length(p_metadata::text) > 65536 THEN
    RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
      MESSAGE = format('metadata is not a JSON object of at most 65536 bytes: a JSON %s of %s', json_typeof(p_metadata),
                       octet_length(p_metadata::text)), HINT = 'For example p_metadata => ''{"order": "17"}''.';
  END IF;
  BEGIN
    PERFORM parkd.read_json_v1(p_metadata, 'metadata', NULL);
  EXCEPTION WHEN invalid_parameter_value THEN      -- it speaks of a job
    GET STACKED DIAGNOSTICS v_why = MESSAGE_TEXT, v_hint = PG_EXCEPTION_HINT;
    RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = v_why, HINT = v_hint;
  END;
  IF greatest(octet_length(p_name), octet_length(p_idempotency_key)) > 512 THEN
    RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
      MESSAGE = format('name has %s bytes and idempotency_key %s, the limit is 512', coalesce(octet_length(p_name), 0),
                       coalesce(octet_length(p_idempotency_key), 0)), HINT = 'Give a shorter one.';
  END IF;
  SELECT o.conflict, (o.batch).id AS id, o.n_open, o.max_open INTO r FROM parkd.open_batch_v1(parkd.my_tenant(), p_name, p_metadata,
    p_idempotency_key, p_deadline, make_interval(secs => date_part('epoch', p_retention)), interval '7 days', v_bad_deadline) o;
  IF NOT FOUND THEN
    RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
      MESSAGE = format('deadline %s is not within the next 30 days', p_deadline), HINT = 'Leave it out for 24 hours.';
  END IF;
  IF r.id IS NULL THEN
    RAISE EXCEPTION USING ERRCODE = 'configuration_limit_exceeded',
      MESSAGE = format('tenant %s has %s batches that are not finished, the limit is %s', parkd.my_tenant(), r.n_open, r.max_open),
      HINT = 'Seal or cancel some. An administrator sets parkd.settings.max_open_batches.';
  END IF;
  IF r.conflict THEN
    RAISE EXCEPTION USING ERRCODE = 'unique_violation',
      MESSAGE = format('idempotency_key %s belongs to batch %s, whose content differs', quote_literal(p_idempotency_key), r.id),
      HINT = 'Use another key.';
  END IF;
  RETURN r.id;
END $$;
CREATE FUNCTION parkd.no_such_batch_v1(p_batch text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = format('there is no batch %s', p_batch),
    HINT = 'SELECT id, name, status FROM parkd.batch_status shows yours.';
END $$;
-- No more members; the batch is finished when all of them are. Returns how many there are.
CREATE FUNCTION parkd.seal_batch(p_batch text) RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, parkd, pg_temp AS $$
DECLARE v_total bigint;
BEGIN
  SELECT b.total INTO v_total
    FROM parkd.seal_batch_v1(p_batch, CASE WHEN parkd.acts_for_any() THEN '' ELSE parkd.my_tenant() END) b;
  IF NOT FOUND THEN PERFORM parkd.no_such_batch_v1(p_batch); END IF;
  RETURN v_total;
END $$;
-- Its members as parkd.cancel, and no more come. Returns how many live ones there were.
CREATE FUNCTION parkd.cancel_batch(p_batch text) RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, parkd, pg_temp AS $$
DECLARE n bigint; v_tenant text := CASE WHEN parkd.acts_for_any() THEN '' ELSE parkd.my_tenant() END;
BEGIN
  IF NOT EXISTS (SELECT FROM parkd.batches b WHERE b.id = p_batch AND (v_tenant = '' OR b.tenant = v_tenant)) THEN
    PERFORM parkd.no_such_batch_v1(p_batch);
  END IF;
  SELECT count(*) INTO n FROM parkd.cancel_batch_v1(p_batch, v_tenant);
  RETURN n;
END $$;


-- --- views ---------------------------------------------------------------------------------------
-- They run as the owner; what a login may see is in their WHERE, behind a barrier.

-- The mailbox for clients without a daemon (jobctl --dsn, or any program): always the login's own tenant;
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

-- What NOTIFY parkd_results says when a message of the key has come (where parkd.settings.notify_results is on): the
-- same for as long as the database lives, and of no use to whoever has not asked.
CREATE FUNCTION parkd.results_payload(p_key text, p_tenant text DEFAULT NULL) RETURNS text LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, parkd, pg_temp AS $$
  SELECT parkd.results_payload_v1(parkd.tenant_for_v1(p_tenant), p_key);
$$;
-- For a database that was restored or copied to where others administer it: a dump holds the secret. Its owner's alone.
CREATE FUNCTION parkd.renew_secret() RETURNS void LANGUAGE sql VOLATILE SET search_path = pg_catalog, parkd, pg_temp AS $$
  UPDATE parkd_private.secrets s
     SET key = (SELECT sha256(string_agg(uuid_send(gen_random_uuid()), '')) FROM generate_series(1, 4));
$$;

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

CREATE VIEW parkd.results WITH (security_barrier) AS
SELECT m.job_id AS id, m.mailbox_key, m.custom_id, m.outcome,
       coalesce(m.body #>> '{choices,0,message,content}', m.body #>> '{choices,0,text}') AS text,
       m.body #>> '{choices,0,finish_reason}' AS finish_reason, m.error_code, m.error_message,
       m.prompt_tokens, m.completion_tokens, m.status_code, m.model, m.tenant, m.batch_id, m.metadata, m.body,
       m.sequence, m.attempts, m.created_at, m.finished_at, m.expires_at
  FROM parkd.mailbox m
 WHERE m.expires_at > clock_timestamp() AND (m.tenant = (SELECT parkd.my_tenant()) OR (SELECT parkd.acts_for_any()));

-- Units of each daemon's pools, as of its last heartbeat; only of daemons that are not gone.
CREATE VIEW parkd.pools AS
SELECT d.id AS daemon_id, d.host, p.model, p.capacity_units, p.in_use_units, p.running, p.parked, d.beat_at
  FROM parkd.daemons d
 CROSS JOIN LATERAL json_to_recordset(CASE json_typeof(d.status -> 'pools') WHEN 'array' THEN d.status -> 'pools' ELSE '[]' END)
       p(model text, capacity_units bigint, in_use_units bigint, running bigint, parked bigint)
 WHERE d.lost_at IS NULL;

-- Live jobs; parked or running, with units and reason, as the claiming daemon last said.
CREATE VIEW parkd.live WITH (security_barrier) AS
SELECT j.id, j.model, j.tenant, coalesce(s.state, j.state::text) AS state, s.units,
       coalesce(s.reason, CASE WHEN j.state = 'queued' AND j.model <> ALL (ARRAY(SELECT p.model FROM parkd.pools p))
                               THEN 'no daemon has the model ' || j.model END) AS reason, j.priority, j.custom_id,
       j.batch_id, j.mailbox_key, j.prompt_tokens, j.max_new_tokens, j.tokens_are_exact, j.attempts, j.max_attempts,
       j.created_at, j.run_at, j.deadline, j.claimed_at, j.cancel_at, j.daemon_id, d.host
  FROM parkd.jobs j
  LEFT JOIN parkd.daemons d ON d.id = j.daemon_id
  LEFT JOIN LATERAL (SELECT x.state, x.units, x.reason
                       FROM json_to_recordset(d.status -> 'jobs') x(id bigint, state text, units bigint, reason text)
                      WHERE x.id = j.id LIMIT 1) s ON true
 WHERE j.tenant = (SELECT parkd.my_tenant()) OR (SELECT parkd.acts_for_any());

CREATE VIEW parkd.depth AS
SELECT d.model, d.scheduled, d.queued, d.claimed, d.waiting, d.oldest_created_at, d.sampled_at,
       (SELECT count(*) FROM parkd.pools p WHERE p.model = d.model) AS daemons
  FROM parkd.depth_samples d;

-- Counted now, not sampled: for people, not for every second.
CREATE VIEW parkd.depth_by_tenant WITH (security_barrier) AS
SELECT j.model, j.tenant, j.state, count(*) AS jobs, sum(parkd.need_tokens_v1(j.n_choices, j.prompt_tokens, j.max_new_tokens, m.context_tokens)) AS need_tokens,
       min(j.created_at) AS oldest_created_at
  FROM parkd.jobs j LEFT JOIN parkd.models m ON m.name = j.model
 WHERE j.tenant = (SELECT parkd.my_tenant()) OR (SELECT parkd.acts_for_any())
    OR pg_has_role(session_user, 'parkd_monitor', 'member')
 GROUP BY j.model, j.tenant, j.state;

CREATE VIEW parkd.workers AS
SELECT d.id, d.host, d.pid, d.version, d.started_at, d.beat_at, d.draining,
       CASE WHEN d.lost_at IS NOT NULL THEN 'gone' WHEN d.beat_at + d.ttl < clock_timestamp() THEN 'silent'
            WHEN d.draining THEN 'draining' ELSE 'alive' END AS state, d.status -> 'pools' AS pools
  FROM parkd.daemons d;

-- The states of lib/job/batch.h. Members that have not ended stand in parkd.live.
CREATE VIEW parkd.batch_status WITH (security_barrier) AS
SELECT b.id, b.tenant, b.name, b.total, b.completed, b.failed, b.cancelled, b.deadline_missed, b.quarantined, b.truncated,
       b.total - b.completed - b.failed - b.cancelled - b.deadline_missed - b.quarantined AS unfinished,
       CASE WHEN b.finished_at IS NOT NULL THEN 'finished' WHEN b.cancel_at IS NOT NULL THEN 'cancelling'
            WHEN b.sealed_at IS NOT NULL THEN 'in_progress' ELSE 'open' END AS status,
       b.created_at, b.sealed_at, b.cancel_at, b.finished_at, b.deadline, b.retention, b.metadata, b.deleted
  FROM parkd.batches b WHERE b.tenant = (SELECT parkd.my_tenant()) OR (SELECT parkd.acts_for_any());

-- Dead rows, who cleaned up when, and what stands in the way of it.
CREATE VIEW parkd.health AS
SELECT h.name, h.live, h.dead, h.vacuumed_at, h.needs_vacuum, h.vacuum_helps, h.held_since, h.held_by FROM parkd.health_v1() h;

CREATE VIEW parkd.costs WITH (security_barrier) AS
SELECT h.tenant, h.model, (h.finished_at AT TIME ZONE 'UTC')::date AS day, h.outcome, count(*) AS jobs,
       sum(h.prompt_tokens::bigint) AS prompt_tokens, sum(h.completion_tokens::bigint) AS completion_tokens,
       sum(h.units * (h.run_us / 1e6)) AS unit_seconds
  FROM parkd.history h
 WHERE h.tenant = (SELECT parkd.my_tenant()) OR (SELECT parkd.acts_for_any())
 GROUP BY h.tenant, h.model, (h.finished_at AT TIME ZONE 'UTC')::date, h.outcome;

-- What stays of a finished job for 30 days: "done and gone" differs from "never existed". history_job.
CREATE VIEW parkd.past WITH (security_barrier) AS
SELECT h.job_id AS id, h.mailbox_key, h.custom_id, h.outcome, h.error_code, h.prompt_tokens, h.completion_tokens,
       h.model, h.tenant, h.batch_id, h.sequence, h.units, h.created_at, h.finished_at, h.expires_at
  FROM parkd.history h
 WHERE h.tenant = (SELECT parkd.my_tenant()) OR (SELECT parkd.acts_for_any());

-- --- rights ----------------------------------------------------------------------------------------

ALTER TABLE parkd.jobs ENABLE ROW LEVEL SECURITY;
ALTER TABLE parkd.mailbox ENABLE ROW LEVEL SECURITY;
-- Whose tenant it is after_insert_v1 says, which nobody gets past: a policy does not bind an owner's view or function.
CREATE POLICY submit ON parkd.jobs FOR INSERT TO parkd_submitter WITH CHECK (true);
CREATE POLICY look ON parkd.jobs FOR SELECT TO parkd_submitter, parkd_reader USING (tenant = (SELECT parkd.my_tenant()));
CREATE POLICY every ON parkd.jobs FOR SELECT TO parkd_daemon USING (true);
CREATE POLICY admin ON parkd.jobs FOR ALL TO parkd_admin USING (true) WITH CHECK (true);
CREATE POLICY look ON parkd.mailbox FOR SELECT TO parkd_submitter, parkd_reader
  USING (tenant = (SELECT parkd.my_tenant()) AND expires_at > clock_timestamp());
CREATE POLICY every ON parkd.mailbox FOR SELECT TO parkd_daemon, parkd_admin USING (true);
CREATE POLICY take ON parkd.mailbox FOR DELETE TO parkd_daemon USING (true);

GRANT USAGE ON SCHEMA parkd TO parkd_submitter, parkd_reader, parkd_daemon, parkd_admin, parkd_monitor;
GRANT INSERT (model, body, custom_id, endpoint, tenant, priority, mailbox_key, metadata, idempotency_key, batch_id,
              run_at, deadline, retention, run_timeout, seed, max_attempts) ON parkd.jobs TO parkd_submitter, parkd_admin;
GRANT INSERT (model, body, custom_id, endpoint, tenant, priority, mailbox_key, metadata, idempotency_key, batch_id,
              run_at, deadline, retention, run_timeout, seed, max_attempts) ON parkd.jobs_copy TO parkd_submitter, parkd_admin;
GRANT SELECT ON parkd.jobs, parkd.mailbox TO parkd_submitter, parkd_reader, parkd_daemon, parkd_admin;
GRANT SELECT ON parkd.results, parkd.past, parkd.live, parkd.batch_status, parkd.costs, parkd.depth, parkd.depth_by_tenant
  TO parkd_submitter, parkd_reader, parkd_daemon, parkd_admin;
GRANT SELECT ON parkd.depth, parkd.depth_by_tenant, parkd.workers, parkd.pools, parkd.health TO parkd_monitor;
GRANT SELECT ON parkd.workers, parkd.pools, parkd.health TO parkd_daemon, parkd_admin;
GRANT SELECT ON parkd.history, parkd.models, parkd.settings, parkd.limits, parkd.tenants, parkd.tenant_logins,
  parkd.batches, parkd.depth_samples, parkd.tenant_samples, parkd.daemons, parkd.schema_version, parkd.mishaps TO parkd_daemon, parkd_admin;
GRANT SELECT ON parkd.mishaps TO parkd_monitor;
GRANT SELECT ON parkd.models, parkd.settings TO parkd_submitter, parkd_reader;
GRANT SELECT ON parkd.schema_version TO parkd_submitter, parkd_reader, parkd_monitor;
GRANT DELETE ON parkd.mailbox TO parkd_daemon;
GRANT INSERT, UPDATE, DELETE ON parkd.models, parkd.limits, parkd.tenants, parkd.tenant_logins TO parkd_admin;
GRANT UPDATE ON parkd.settings TO parkd_admin;     -- its one row stays

DO $$
DECLARE f record;
BEGIN
  FOR f IN SELECT p.oid::regprocedure AS signature, p.proname AS name FROM pg_proc p
            WHERE p.pronamespace = 'parkd'::regnamespace LOOP
    EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', f.signature);
    -- The others than the first two are arithmetic: of views, and of plain_job_v1, which is not the owner's.
    IF f.name IN ('acts_for_any', 'my_tenant', 'us_v1', 'from_us_v1', 'need_tokens_v1', 'delay_v1', 'endpoints_v1', 'new_mailbox_key_v1',
                  'new_seed_v1', 'is_plain_v1', 'body_rule_v1', 'is_wrong_v1', 'is_whole_v1', 'bounds_v1',
                  'is_deep_v1', 'may_be_doubled_v1') THEN
      EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO PUBLIC', f.signature);
    ELSIF f.name IN ('health_v1', 'finishing_now_v1') THEN     -- a function in a view runs with the caller's rights
      EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO parkd_daemon, parkd_admin, parkd_monitor', f.signature);
    ELSIF f.name IN ('fetch', 'results_payload') THEN
      EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO parkd_submitter, parkd_reader, parkd_admin', f.signature);
    ELSIF f.name IN ('submit', 'cancel', 'cancel_jobs', 'cancel_all', 'take', 'requeue', 'open_batch', 'seal_batch', 'cancel_batch') THEN
      EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO parkd_submitter, parkd_admin', f.signature);
    ELSIF f.name = 'register_model_v1' THEN
      EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO parkd_daemon, parkd_admin', f.signature);
    ELSIF f.name IN ('register_v1', 'keep_models_v1', 'results_payload_v1', 'heartbeat_v1', 'unregister_v1', 'return_unknown_claims_v1', 'submit_v1', 'claim_v1',
                     'finish_v1', 'release_v1', 'cancel_v1', 'end_cancelled_v1', 'sample_depth_v1', 'horizon_v1',
                     'ensure_partitions_v1', 'ensure_partitions_for_v1', 'fetch_v1', 'take_v1', 'message_of_v1',
                     'count_messages_v1', 'waiting_v1', 'known_keys_v1', 'note_deaths_v1', 'now_v1', 'timeline_v1',
                     'requeue_v1', 'open_batch_v1', 'seal_batch_v1', 'cancel_batch_v1', 'rescue_v1', 'promote_v1', 'end_overdue_v1',
                     'tidy_v1', 'drop_past_partition_v1', 'dead_rows_v1') THEN
      EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO parkd_daemon', f.signature);
    END IF;
  END LOOP;
END $$;
