-- 0011: embedded stores that keep their queue to themselves and deliver what has finished into this
-- database's mailbox (the pair rocksdb + postgres). A delivered message is a message like any other:
-- it has a sequence and a job_id of this database, so nothing collides with its own jobs; origin says
-- which store it came from, origin_sequence and origin_job what it is called there.
-- needs: 10

ALTER TABLE parkd.mailbox
  ADD COLUMN origin          uuid,      -- NULL: a job of this database's own queue
  ADD COLUMN origin_sequence bigint,
  ADD COLUMN origin_job      bigint;
-- What a daemon pages by that reads the messages of its own store.
CREATE INDEX mailbox_origin ON parkd.mailbox (mailbox_key, tenant, origin, origin_sequence) WHERE origin IS NOT NULL;

-- One row per embedded store. A store delivers in the order of its own commits, so one number says
-- all that it has delivered: a batch that comes again is known by it, and stored once.
CREATE TABLE parkd.outboxes (
  store             uuid PRIMARY KEY,
  epoch             bigint NOT NULL,     -- counts the openings of the store; grows
  process           uuid NOT NULL,       -- drawn at each opening
  delivered_through bigint NOT NULL DEFAULT 0,
  host              text NOT NULL,
  opened_at         timestamptz NOT NULL,
  delivered_at      timestamptz
) WITH (fillfactor = 20);                -- a delivery changes no indexed column: HOT

-- A process that has opened the store announces itself; returns how far the store has delivered.
-- PK002: the directory is a copy, or an old backup, of a store that went on elsewhere. Delivering from
-- it would take other messages for those already delivered.
CREATE FUNCTION parkd.open_outbox_v1(p_store uuid, p_epoch bigint, p_process uuid, p_last bigint, p_host text,
                                     p_now timestamptz DEFAULT NULL)
RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, parkd, pg_temp AS $$
DECLARE v_through bigint; v_now timestamptz := coalesce(p_now, clock_timestamp()); o parkd.outboxes;
BEGIN
  INSERT INTO parkd.outboxes AS x (store, epoch, process, host, opened_at)
    VALUES (p_store, p_epoch, p_process, p_host, v_now)
    ON CONFLICT (store) DO UPDATE SET epoch = excluded.epoch, process = excluded.process, host = excluded.host,
      opened_at = excluded.opened_at
    WHERE (x.epoch < excluded.epoch OR x.process = excluded.process) AND x.delivered_through <= p_last
    RETURNING x.delivered_through INTO v_through;
  IF NOT FOUND THEN
    SELECT * INTO o FROM parkd.outboxes x WHERE x.store = p_store;
    RAISE EXCEPTION USING ERRCODE = 'PK002',
      MESSAGE = format('store %s is a copy or an old backup: its opening %s knows messages up to %s, and opening %s on %s has delivered up to %s',
                       p_store, p_epoch, p_last, o.epoch, o.host, o.delivered_through),
      HINT = 'Stop the other one. To go on with this directory all the same: DELETE FROM parkd.outboxes WHERE store = ''' || p_store || '''.';
  END IF;
  RETURN v_through;
END $$;

-- Stores messages of an embedded store, in the order of p_sequences; those that are there already are
-- passed over. Returns how far the store has now delivered. PK002 as above.
CREATE FUNCTION parkd.deliver_v1(
  p_store uuid, p_process uuid, p_sequences bigint[], p_jobs bigint[], p_leases bigint[], p_created_us bigint[],
  p_finished_us bigint[], p_expires_us bigint[], p_queue_us bigint[], p_run_us bigint[], p_units bigint[],
  p_prompt int[], p_completion int[], p_status int[], p_attempts int[], p_outcomes text[], p_tenants text[],
  p_keys text[], p_models text[], p_custom_ids text[], p_batch_ids text[], p_codes text[], p_messages text[],
  p_params text[], p_metadata text[], p_bodies text[], p_now timestamptz DEFAULT NULL)
RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, parkd, pg_temp SET jit = off AS $$
DECLARE v_through bigint; v_last bigint := p_sequences[cardinality(p_sequences)];
BEGIN
  SELECT o.delivered_through INTO v_through FROM parkd.outboxes o
   WHERE o.store = p_store AND o.process = p_process FOR UPDATE;
  IF NOT FOUND THEN
    RAISE EXCEPTION USING ERRCODE = 'PK002', MESSAGE = format('store %s was opened by another process', p_store);
  END IF;
  IF v_through >= v_last THEN RETURN v_through; END IF;
  PERFORM parkd.enter_finish_v1();
  WITH i AS MATERIALIZED (
    SELECT nextval('parkd.message_sequence') AS sequence, nextval('parkd.jobs_id_seq') AS job_id, s.* FROM (
      SELECT u.n, u.job, u.lease, parkd.from_us_v1(u.created_us) AS created_at, parkd.from_us_v1(u.finished_us) AS finished_at,
             parkd.from_us_v1(u.expires_us) AS expires_at, u.queue_us, u.run_us, u.units, u.prompt, u.completion, u.status,
             u.attempts, u.outcome::parkd.outcome AS outcome, u.tenant, u.mailbox_key, u.model, nullif(u.custom_id, '') AS custom_id,
             nullif(u.batch_id, '') AS batch_id, nullif(u.code, '') AS code, nullif(u.message, '') AS message,
             nullif(u.param, '') AS param, nullif(u.metadata, '')::json AS metadata, nullif(u.body, '')::json AS body
        FROM unnest(p_sequences, p_jobs, p_leases, p_created_us, p_finished_us, p_expires_us, p_queue_us, p_run_us, p_units,
                    p_prompt, p_completion, p_status, p_attempts, p_outcomes, p_tenants, p_keys, p_models, p_custom_ids,
                    p_batch_ids, p_codes, p_messages, p_params, p_metadata, p_bodies)
             u(n, job, lease, created_us, finished_us, expires_us, queue_us, run_us, units, prompt, completion, status, attempts,
               outcome, tenant, mailbox_key, model, custom_id, batch_id, code, message, param, metadata, body)
       WHERE u.n > v_through ORDER BY u.n) s),
  message AS (
    INSERT INTO parkd.mailbox (sequence, job_id, run_lease, created_at, finished_at, expires_at, queue_us, run_us, units,
        prompt_tokens, completion_tokens, status_code, attempts, outcome, tenant, mailbox_key, model, custom_id, batch_id,
        error_code, error_message, error_param, metadata, body, origin, origin_sequence, origin_job)
    SELECT i.sequence, i.job_id, i.lease, i.created_at, i.finished_at, i.expires_at, i.queue_us, i.run_us, i.units, i.prompt,
           i.completion, i.status, i.attempts, i.outcome, i.tenant, i.mailbox_key, i.model, i.custom_id, i.batch_id, i.code,
           i.message, i.param, i.metadata, i.body, p_store, i.n, i.job FROM i)
  -- and history, for the accounts: parkd.costs
  INSERT INTO parkd.history (job_id, run_lease, sequence, created_at, finished_at, expires_at, run_us, units, prompt_tokens,
      completion_tokens, outcome, tenant, mailbox_key, model, custom_id, batch_id, error_code)
  SELECT i.job_id, i.lease, i.sequence, i.created_at, i.finished_at, i.expires_at, i.run_us, i.units, i.prompt, i.completion,
         i.outcome, i.tenant, i.mailbox_key, i.model, i.custom_id, i.batch_id, i.code FROM i;
  UPDATE parkd.outboxes o SET delivered_through = v_last, delivered_at = coalesce(p_now, clock_timestamp()) WHERE o.store = p_store;
  IF (SELECT s.notify_results FROM parkd.settings s) THEN
    PERFORM parkd.tell_results_v1(array_agg(u.tenant), array_agg(u.mailbox_key))
       FROM unnest(p_sequences, p_tenants, p_keys) u(n, tenant, mailbox_key) WHERE u.n > v_through;
  END IF;
  RETURN v_last;
END $$;

-- A delivery found no partition: those its rows would go to. The embedded store's clock stamped them,
-- days ago perhaps.
CREATE FUNCTION parkd.ensure_delivery_partitions_v1(p_finished_us bigint[], p_expires_us bigint[], p_now timestamptz DEFAULT NULL)
RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, parkd, pg_temp SET timezone = 'UTC' AS $$
DECLARE d timestamptz; v_now timestamptz := coalesce(p_now, clock_timestamp());
BEGIN
  PERFORM parkd.ensure_partitions_v1(p_now);
  FOR d IN SELECT DISTINCT date_trunc('day', parkd.from_us_v1(u.us)) FROM unnest(p_expires_us) u(us)
            WHERE parkd.from_us_v1(u.us) < v_now + interval '62 days' LOOP
    PERFORM parkd.ensure_partition_v1('mailbox', d, d + interval '1 day', p_now);
  END LOOP;
  FOR d IN SELECT DISTINCT date_trunc('week', parkd.from_us_v1(u.us)) FROM unnest(p_finished_us) u(us)
            WHERE parkd.from_us_v1(u.us) < v_now + interval '2 days' LOOP
    PERFORM parkd.ensure_partition_v1('history', d, d + interval '7 days', p_now);
  END LOOP;
END $$;

-- The messages of one store under a key after p_after (its own sequence), in its order. Its deliveries
-- follow each other, so none appears late. mailbox_origin.
CREATE FUNCTION parkd.fetch_origin_v1(p_store uuid, p_tenant text, p_key text, p_after bigint, p_limit int, p_now timestamptz)
RETURNS SETOF parkd.mailbox LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, parkd, pg_temp SET jit = off SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off SET enable_bitmapscan = off SET max_parallel_workers_per_gather = 0 AS $$
BEGIN
  RETURN QUERY
  SELECT m.* FROM parkd.mailbox m
   WHERE m.mailbox_key = p_key AND m.tenant = p_tenant AND m.origin = p_store AND m.origin_sequence > p_after
     AND m.expires_at > p_now
   ORDER BY m.origin_sequence LIMIT p_limit;
END $$;

-- Removes messages by their names in the store and returns those that were still there. mailbox_origin,
-- one probe each (ORDER BY ... LIMIT 1 leaves the planner no other index, whatever its statistics say);
-- then as every take.
CREATE FUNCTION parkd.take_origin_v1(p_store uuid, p_tenant text, p_key text, p_sequences bigint[], p_now timestamptz)
RETURNS SETOF parkd.mailbox LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, parkd, pg_temp SET jit = off SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off SET enable_bitmapscan = off AS $$
DECLARE v_sequences bigint[];
BEGIN
  v_sequences := ARRAY(
    SELECT f.sequence FROM unnest(p_sequences) s(n) CROSS JOIN LATERAL (
      SELECT m.sequence, m.origin_sequence FROM parkd.mailbox m
       WHERE m.mailbox_key = p_key AND m.tenant = p_tenant AND m.origin = p_store AND m.origin_sequence >= s.n
       ORDER BY m.origin_sequence LIMIT 1) f
     WHERE f.origin_sequence = s.n);
  RETURN QUERY SELECT * FROM parkd.take_v1(p_tenant, p_key, v_sequences, p_now);
END $$;

GRANT SELECT ON parkd.outboxes TO parkd_daemon, parkd_admin, parkd_monitor;
GRANT DELETE ON parkd.outboxes TO parkd_admin;
DO $$
DECLARE f record;
BEGIN
  FOR f IN SELECT p.oid::regprocedure AS signature FROM pg_proc p
            WHERE p.pronamespace = 'parkd'::regnamespace
              AND p.proname IN ('open_outbox_v1', 'deliver_v1', 'ensure_delivery_partitions_v1', 'fetch_origin_v1', 'take_origin_v1') LOOP
    EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', f.signature);
    EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO parkd_daemon', f.signature);
  END LOOP;
END $$;
