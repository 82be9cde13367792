-- 0003: what people use: INSERT and COPY, views, parkd.submit, cancel, requeue, batches, roles.
--
-- Roles (no login of their own; GRANT parkd_submitter TO alice): submitter and reader see one tenant,
-- the one bound to their login; monitor sees numbers, no bodies; daemon and admin see all.

DO $$
DECLARE r text;
BEGIN
  FOREACH r IN ARRAY ARRAY['parkd_submitter', 'parkd_reader', 'parkd_daemon', 'parkd_admin', 'parkd_monitor'] LOOP
    BEGIN
      IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = r) THEN
        EXECUTE format('CREATE ROLE %I NOLOGIN', r);
      END IF;
    EXCEPTION
      WHEN duplicate_object OR unique_violation THEN NULL;   -- another database of this cluster was faster
      WHEN insufficient_privilege THEN
        RAISE EXCEPTION 'the role % is missing and this login may not create roles', r
          USING HINT = 'Migrate as a login with CREATEROLE, or let an administrator CREATE ROLE '
                       'parkd_submitter, parkd_reader, parkd_daemon, parkd_admin, parkd_monitor.';
    END;
  END LOOP;
END $$;

-- plpgsql keeps its plans for the session; SQL functions that cannot be inlined are planned at each call.
CREATE FUNCTION parkd.acts_for_any() RETURNS bool LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, parkd, pg_temp AS $$
BEGIN
  RETURN pg_has_role(session_user, 'parkd_admin', 'member') OR pg_has_role(session_user, 'parkd_daemon', 'member');
END $$;

-- The tenant of this login. SET ROLE does not change it.
CREATE FUNCTION parkd.my_tenant() RETURNS text LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, parkd, pg_temp AS $$
DECLARE v_tenant text;
BEGIN
  SELECT l.tenant INTO v_tenant FROM parkd.tenant_logins l WHERE l.login = session_user;
  IF FOUND THEN RETURN v_tenant; END IF;
  RETURN CASE WHEN parkd.acts_for_any() THEN 'default' ELSE session_user::text END;
END $$;

-- --- INSERT INTO parkd.jobs ---------------------------------------------------------------------

-- Checks and completes a row a client wrote. The daemon's own rows have an order_key already and do
-- not come here. Every refusal says what to do.
CREATE FUNCTION parkd.before_insert_v1() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, parkd, pg_temp AS $$
DECLARE
  v_now   timestamptz := clock_timestamp();
  v_body  jsonb;
  v_model parkd.models;
  v_new   numeric;
  v_n     numeric;
  v_mine  text := parkd.my_tenant();
BEGIN
  NEW.tenant := coalesce(nullif(NEW.tenant, ''), v_mine);
  IF NEW.tenant <> v_mine AND NOT parkd.acts_for_any() THEN
    RAISE EXCEPTION USING ERRCODE = 'insufficient_privilege',
      MESSAGE = format('login %s submits for tenant %s, not for %s', session_user, v_mine, NEW.tenant),
      HINT = 'Leave tenant out, or let an administrator add a row to parkd.tenant_logins.';
  END IF;
  IF NEW.body IS NULL OR json_typeof(NEW.body) <> 'object' THEN
    RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = 'body is not a JSON object',
      HINT = 'body holds an OpenAI request, for example {"messages":[{"role":"user","content":"Hi"}]}.';
  END IF;
  IF octet_length(NEW.body::text) > 16777216 THEN
    RAISE EXCEPTION USING ERRCODE = 'program_limit_exceeded',
      MESSAGE = format('body has %s bytes, the limit is 16777216', octet_length(NEW.body::text)), HINT = 'Split the request.';
  END IF;
  BEGIN
    v_body := NEW.body::jsonb;
  EXCEPTION WHEN untranslatable_character OR invalid_text_representation THEN
    RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
      MESSAGE = 'body contains \u0000 or half of a surrogate pair', HINT = 'Remove it: neither is text.';
  END;
  NEW.model := coalesce(NEW.model, v_body ->> 'model');
  SELECT * INTO v_model FROM parkd.models m WHERE m.name = NEW.model;
  IF NOT FOUND THEN
    RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
      MESSAGE = format('model %s is not known here', coalesce(quote_literal(NEW.model), 'NULL')),
      HINT = coalesce('Known models: ' || (SELECT string_agg(m.name, ', ' ORDER BY m.name) FROM parkd.models m) || '.',
                      'No daemon has registered a model yet: start one, or run jobctl models add.');
  END IF;
  IF v_body ? 'model' AND v_body ->> 'model' <> NEW.model THEN
    RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
      MESSAGE = format('body.model is %s, the column model is %s', v_body ->> 'model', NEW.model), HINT = 'Leave one of them out.';
  END IF;
  IF v_body -> 'stream' = 'true' THEN
    RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = 'body.stream: nobody can listen to a job from SQL',
      HINT = 'Leave stream out.';
  END IF;
  IF NEW.deadline <= v_now THEN
    RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = format('deadline %s has passed', NEW.deadline),
      HINT = 'Give a deadline that lies ahead, or none.';
  END IF;
  NEW.retention := coalesce(NEW.retention, interval '7 days');
  IF NEW.retention NOT BETWEEN interval '1 minute' AND interval '30 days' THEN
    RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
      MESSAGE = format('retention %s is not within 1 minute to 30 days', NEW.retention), HINT = 'For example retention = ''7 days''.';
  END IF;
  IF NEW.run_timeout <= interval '0' OR NEW.max_attempts < 1 THEN
    RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = 'run_timeout and max_attempts are above 0',
      HINT = 'Leave them out for the defaults.';
  END IF;
  IF NEW.priority = 'critical' AND NOT parkd.acts_for_any()
     AND NOT EXISTS (SELECT FROM parkd.tenants t WHERE t.name = NEW.tenant AND t.may_be_critical) THEN
    RAISE EXCEPTION USING ERRCODE = 'insufficient_privilege', MESSAGE = format('tenant %s may not submit critical jobs', NEW.tenant),
      HINT = 'Use high, or let an administrator set parkd.tenants.may_be_critical.';
  END IF;
  IF NEW.batch_id IS NOT NULL AND NOT EXISTS (
       SELECT FROM parkd.batches b WHERE b.id = NEW.batch_id AND b.tenant = NEW.tenant) THEN
    RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = format('there is no batch %s', NEW.batch_id),
      HINT = 'Open one: SELECT parkd.open_batch();';
  END IF;
  -- The price is an estimate until a daemon has tokenised the prompt: four bytes a token.
  BEGIN
    v_n := coalesce((v_body ->> 'n')::numeric, 1);
    v_new := coalesce((v_body ->> 'max_completion_tokens')::numeric, (v_body ->> 'max_tokens')::numeric,
                      least(greatest(v_model.context_tokens / 5, 128), 16384));
  EXCEPTION WHEN invalid_text_representation THEN
    RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = 'body.n and body.max_tokens are numbers';
  END;
  IF v_n NOT BETWEEN 1 AND 128 OR v_new < 1 THEN
    RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = 'body.n is 1 to 128, body.max_tokens above 0';
  END IF;
  NEW.n_choices := v_n;
  NEW.max_new_tokens := least(v_new, v_model.context_tokens);
  NEW.prompt_tokens := least(octet_length(NEW.body::text) / 4, v_model.context_tokens);
  NEW.tokens_are_exact := false;
  IF v_body ? 'seed' AND jsonb_typeof(v_body -> 'seed') = 'number' THEN NEW.seed := (v_body ->> 'seed')::numeric::bigint; END IF;
  NEW.mailbox_key := coalesce(nullif(NEW.mailbox_key, ''), replace(gen_random_uuid()::text, '-', ''));
  NEW.priority := coalesce(NEW.priority, CASE WHEN NEW.batch_id IS NULL THEN 'normal' ELSE 'low' END::parkd.priority);
  NEW.created_at := v_now;
  NEW.order_key := greatest(v_now, NEW.run_at) + CASE NEW.priority WHEN 'critical' THEN interval '0'
    WHEN 'high' THEN interval '10 minutes' WHEN 'normal' THEN interval '1 hour' ELSE interval '6 hours' END;
  NEW.state := CASE WHEN NEW.run_at > v_now THEN 'scheduled' ELSE 'queued' END;
  NEW.run_lease := 0; NEW.daemon_id := NULL; NEW.claimed_at := NULL; NEW.cancel_at := NULL;
  NEW.attempts := 0; NEW.interruptions := 0;
  IF NEW.idempotency_key IS NOT NULL THEN
    INSERT INTO parkd.idempotency AS k (tenant, key, job_id, check_at, content_hash)
      VALUES (NEW.tenant, NEW.idempotency_key, NEW.id, v_now + interval '24 hours', parkd.content_hash_v1(NEW))
      ON CONFLICT (tenant, key) DO UPDATE SET job_id = excluded.job_id, check_at = excluded.check_at,
        content_hash = excluded.content_hash
        WHERE NOT (SELECT a.holds FROM parkd.accepted_v1(k.job_id, v_now) a);
    IF NOT FOUND THEN
      RAISE EXCEPTION USING ERRCODE = 'unique_violation',
        MESSAGE = format('idempotency_key %s belongs to job %s already', quote_literal(NEW.idempotency_key),
          (SELECT k.job_id FROM parkd.idempotency k WHERE k.tenant = NEW.tenant AND k.key = NEW.idempotency_key)),
        HINT = 'SELECT * FROM parkd.submit(...) returns the job of a repeated key instead.';
    END IF;
  END IF;
  RETURN NEW;
END $$;
CREATE FUNCTION parkd.content_hash_v1(j parkd.jobs) RETURNS text LANGUAGE sql IMMUTABLE AS $$
  SELECT 'sql:' || md5(concat_ws(E'\x01', j.model, j.endpoint, j.custom_id, j.batch_id, j.metadata::text, j.body::text));
$$;
CREATE TRIGGER jobs_before_insert BEFORE INSERT ON parkd.jobs
  FOR EACH ROW WHEN (NEW.order_key IS NULL) EXECUTE FUNCTION parkd.before_insert_v1();

-- COPY parkd.jobs_copy FROM STDIN: row-level security forbids COPY into the queue. The rows move in the
-- same transaction and nothing stays here.
CREATE UNLOGGED TABLE parkd.jobs_copy (
  model text, body json, custom_id text, endpoint text, tenant text, priority parkd.priority, mailbox_key text,
  metadata json, idempotency_key text, batch_id text, run_at timestamptz, deadline timestamptz,
  retention interval, run_timeout interval, seed bigint, max_attempts int
);
CREATE FUNCTION parkd.after_copy_v1() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, parkd, pg_temp AS $$
BEGIN
  INSERT INTO parkd.jobs (model, body, custom_id, endpoint, tenant, priority, mailbox_key, metadata, idempotency_key,
                          batch_id, run_at, deadline, retention, run_timeout, seed, max_attempts)
  SELECT c.model, c.body, c.custom_id, coalesce(c.endpoint, '/v1/chat/completions'), c.tenant, c.priority, c.mailbox_key,
         c.metadata, c.idempotency_key, c.batch_id, c.run_at, c.deadline, c.retention, c.run_timeout,
         coalesce(c.seed, (random() * 9007199254740991)::bigint), coalesce(c.max_attempts, 3) FROM new_rows c;
  DELETE FROM parkd.jobs_copy;   -- sees only this transaction's own: nobody else's were ever committed
  RETURN NULL;
END $$;
CREATE TRIGGER jobs_copy_after_insert AFTER INSERT ON parkd.jobs_copy REFERENCING NEW TABLE AS new_rows
  FOR EACH STATEMENT EXECUTE FUNCTION parkd.after_copy_v1();

-- --- functions for people -----------------------------------------------------------------------

-- One job as {"model": ..., "body": {...}, ...}, or an array of them; the keys are parkd.jobs' columns. A
-- repeated idempotency_key returns the job it made the first time.
CREATE FUNCTION parkd.submit(p json) RETURNS TABLE (id bigint, mailbox_key text, existed bool)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, parkd, pg_temp AS $$
DECLARE e json; c parkd.jobs_copy; k parkd.idempotency; a record; v_tenant text; v_bad text;
BEGIN
  FOR e IN SELECT x FROM json_array_elements(CASE json_typeof(p) WHEN 'array' THEN p ELSE json_build_array(p) END) x LOOP
    SELECT string_agg(o, ', ') INTO v_bad FROM json_object_keys(e) o
     WHERE o NOT IN (SELECT attname FROM pg_attribute WHERE attrelid = 'parkd.jobs_copy'::regclass AND attnum > 0);
    IF v_bad IS NOT NULL THEN
      RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = 'unknown field: ' || v_bad,
        HINT = 'Fields: ' || (SELECT string_agg(attname, ', ' ORDER BY attnum) FROM pg_attribute
                               WHERE attrelid = 'parkd.jobs_copy'::regclass AND attnum > 0) || '.';
    END IF;
    c := json_populate_record(NULL::parkd.jobs_copy, e);
    v_tenant := coalesce(c.tenant, parkd.my_tenant());
    IF c.idempotency_key IS NOT NULL AND (v_tenant = parkd.my_tenant() OR parkd.acts_for_any()) THEN
      SELECT * INTO k FROM parkd.idempotency x WHERE x.tenant = v_tenant AND x.key = c.idempotency_key;
      IF FOUND THEN
        SELECT * INTO a FROM parkd.accepted_v1(k.job_id, clock_timestamp());
        IF a.holds THEN
          IF k.content_hash LIKE 'sql:%' AND k.content_hash <> 'sql:' || md5(concat_ws(E'\x01',
               coalesce(c.model, c.body ->> 'model'), coalesce(c.endpoint, '/v1/chat/completions'), c.custom_id, c.batch_id,
               c.metadata::text, c.body::text)) THEN
            RAISE EXCEPTION USING ERRCODE = 'unique_violation',
              MESSAGE = format('idempotency_key %s belongs to job %s, whose content differs', c.idempotency_key, k.job_id),
              HINT = 'Use another key.';
          END IF;
          id := k.job_id; mailbox_key := a.mailbox_key; existed := true;
          RETURN NEXT;
          CONTINUE;
        END IF;
      END IF;
    END IF;
    INSERT INTO parkd.jobs AS j (model, body, custom_id, endpoint, tenant, priority, mailbox_key, metadata, idempotency_key,
                            batch_id, run_at, deadline, retention, run_timeout, seed, max_attempts)
    VALUES (c.model, c.body, c.custom_id, coalesce(c.endpoint, '/v1/chat/completions'), c.tenant, c.priority, c.mailbox_key,
            c.metadata, c.idempotency_key, c.batch_id, c.run_at, c.deadline, c.retention, c.run_timeout,
            coalesce(c.seed, (random() * 9007199254740991)::bigint), coalesce(c.max_attempts, 3))
    RETURNING j.id, j.mailbox_key, false INTO id, mailbox_key, existed;
    RETURN NEXT;
  END LOOP;
END $$;

-- cancelled | cancel_requested | already_finished | not_found
CREATE FUNCTION parkd.cancel(p_id bigint) RETURNS text LANGUAGE sql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, parkd, pg_temp AS $$
  SELECT c.answer FROM parkd.cancel_v1(p_id, CASE WHEN parkd.acts_for_any() THEN '' ELSE parkd.my_tenant() END) c;
$$;

-- Makes a NEW job of each finished one that did not complete and whose message is still there; the old
-- message stays. By ids, or by failure code (and model) of everything of the tenant.
CREATE FUNCTION parkd.requeue(p_ids bigint[] DEFAULT NULL, p_error_code text DEFAULT NULL, p_model text DEFAULT NULL,
                              p_limit int DEFAULT 10000)
RETURNS TABLE (requeued_from bigint, id bigint) LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, parkd, pg_temp AS $$
BEGIN
  IF p_ids IS NULL AND p_error_code IS NULL THEN
    RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = 'requeue what?',
      HINT = 'parkd.requeue(ARRAY[17, 18]) or parkd.requeue(p_error_code => ''run_timeout'').';
  END IF;
  RETURN QUERY
  WITH old AS MATERIALIZED (
    SELECT m.*, nextval('parkd.jobs_id_seq') AS new_id FROM parkd.mailbox m
     WHERE m.request IS NOT NULL AND m.expires_at > clock_timestamp()
       AND (p_ids IS NULL OR m.job_id = ANY (p_ids)) AND (p_error_code IS NULL OR m.error_code = p_error_code)
       AND (p_model IS NULL OR m.model = p_model)
       AND (m.tenant = (SELECT parkd.my_tenant()) OR (SELECT parkd.acts_for_any()))
       AND NOT EXISTS (SELECT FROM parkd.jobs j WHERE j.requeued_from = m.job_id AND j.id = ANY (p_ids))
     LIMIT p_limit),
  made AS (
    INSERT INTO parkd.jobs (id, requeued_from, order_key, model, tenant, mailbox_key, custom_id, metadata, endpoint, priority,
        seed, run_timeout, retention, max_attempts, n_choices, prompt_tokens, max_new_tokens, tokens_are_exact, body)
    OVERRIDING SYSTEM VALUE
    SELECT o.new_id, o.job_id, clock_timestamp() + CASE o.request ->> 'priority' WHEN 'critical' THEN interval '0'
             WHEN 'high' THEN interval '10 minutes' WHEN 'normal' THEN interval '1 hour' ELSE interval '6 hours' END,
           o.model, o.tenant, o.mailbox_key, o.custom_id, o.metadata, o.request ->> 'endpoint',
           (o.request ->> 'priority')::parkd.priority, (o.request ->> 'seed')::bigint,
           (o.request ->> 'run_timeout')::interval, (o.request ->> 'retention')::interval,
           (o.request ->> 'max_attempts')::int, (o.request ->> 'n_choices')::int, (o.request ->> 'prompt_tokens')::int,
           (o.request ->> 'max_new_tokens')::int, (o.request ->> 'tokens_are_exact')::bool, o.request -> 'body'
      FROM old o)
  SELECT o.job_id, o.new_id FROM old o;
END $$;

CREATE FUNCTION parkd.open_batch(p_metadata json DEFAULT NULL, p_deadline timestamptz DEFAULT NULL)
RETURNS text LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, parkd, pg_temp AS $$
  INSERT INTO parkd.batches (tenant, metadata, deadline)
    VALUES (parkd.my_tenant(), p_metadata, coalesce(p_deadline, clock_timestamp() + interval '24 hours')) RETURNING id;
$$;
-- No more members; the batch is finished when all of them are. Returns how many there are.
CREATE FUNCTION parkd.seal_batch(p_batch text) RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, parkd, pg_temp AS $$
DECLARE v_total bigint;
BEGIN
  UPDATE parkd.batches b
     SET sealed_at = coalesce(b.sealed_at, clock_timestamp()),
         finished_at = CASE WHEN b.completed + b.failed + b.cancelled >= b.total
                            THEN coalesce(b.finished_at, clock_timestamp()) END
   WHERE b.id = p_batch AND (b.tenant = parkd.my_tenant() OR parkd.acts_for_any()) RETURNING b.total INTO v_total;
  IF NOT FOUND THEN RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = format('there is no batch %s', p_batch); END IF;
  RETURN v_total;
END $$;
-- Ends what waits and asks for the end of what runs. Returns how many live members there were.
CREATE FUNCTION parkd.cancel_batch(p_batch text) RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, parkd, pg_temp AS $$
DECLARE n bigint;
BEGIN
  UPDATE parkd.batches b SET cancel_at = coalesce(b.cancel_at, clock_timestamp()), sealed_at = coalesce(b.sealed_at, clock_timestamp())
   WHERE b.id = p_batch AND (b.tenant = parkd.my_tenant() OR parkd.acts_for_any());
  IF NOT FOUND THEN RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = format('there is no batch %s', p_batch); END IF;
  SELECT count(c.answer) INTO n FROM (SELECT j.id FROM parkd.jobs j WHERE j.batch_id = p_batch ORDER BY j.id) j
    CROSS JOIN LATERAL parkd.cancel_v1(j.id, '') c WHERE c.answer IN ('cancelled', 'cancel_requested');
  PERFORM parkd.seal_batch(p_batch);
  RETURN n;
END $$;

-- A daemon names a model it serves. A second daemon whose files differ is told so and does not claim.
CREATE FUNCTION parkd.register_model_v1(p_name text, p_content_hash text, p_context_tokens int)
RETURNS bool LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, parkd, pg_temp AS $$
BEGIN
  INSERT INTO parkd.models AS m (name, content_hash, context_tokens) VALUES (p_name, nullif(p_content_hash, ''), p_context_tokens)
    ON CONFLICT (name) DO UPDATE SET content_hash = excluded.content_hash, context_tokens = excluded.context_tokens
    WHERE m.content_hash IS NULL;
  RETURN (SELECT m.content_hash IS NOT DISTINCT FROM nullif(p_content_hash, '') FROM parkd.models m WHERE m.name = p_name);
END $$;

-- --- views ---------------------------------------------------------------------------------------
-- They run as the owner; what a login may see is in their WHERE, behind a barrier.

CREATE VIEW parkd.results WITH (security_barrier) AS
SELECT m.job_id AS id, m.mailbox_key, m.custom_id, m.outcome,
       coalesce(m.body #>> '{choices,0,message,content}', m.body #>> '{choices,0,text}') AS text,
       m.body #>> '{choices,0,finish_reason}' AS finish_reason, m.error_code, m.error_message,
       m.prompt_tokens, m.completion_tokens, m.status_code, m.model, m.tenant, m.batch_id, m.metadata, m.body,
       m.sequence, m.attempts, m.created_at, m.finished_at, m.expires_at
  FROM parkd.mailbox m
 WHERE m.expires_at > clock_timestamp() AND (m.tenant = (SELECT parkd.my_tenant()) OR (SELECT parkd.acts_for_any()));

-- Live jobs; parked or running, with units and reason, as the claiming daemon last said.
CREATE VIEW parkd.live WITH (security_barrier) AS
SELECT j.id, j.model, j.tenant, coalesce(s.state, j.state::text) AS state, s.units, s.reason, j.priority, j.custom_id,
       j.batch_id, j.mailbox_key, j.prompt_tokens, j.max_new_tokens, j.tokens_are_exact, j.attempts, j.max_attempts,
       j.created_at, j.run_at, j.deadline, j.claimed_at, j.cancel_at, j.daemon_id, d.host
  FROM parkd.jobs j
  LEFT JOIN parkd.daemons d ON d.id = j.daemon_id
  LEFT JOIN LATERAL (SELECT x.state, x.units, x.reason
                       FROM json_to_recordset(d.status -> 'jobs') x(id bigint, state text, units bigint, reason text)
                      WHERE x.id = j.id LIMIT 1) s ON true
 WHERE j.tenant = (SELECT parkd.my_tenant()) OR (SELECT parkd.acts_for_any());

CREATE VIEW parkd.depth AS
SELECT d.model, d.scheduled, d.queued, d.claimed, d.waiting_singles, d.oldest_created_at, d.sampled_at FROM parkd.depth_samples d;

-- Counted now, not sampled: for people, not for every second.
CREATE VIEW parkd.depth_by_tenant WITH (security_barrier) AS
SELECT j.model, j.tenant, j.state, count(*) AS jobs, sum(j.n_choices::bigint * (j.prompt_tokens + j.max_new_tokens)) AS need_tokens,
       min(j.created_at) AS oldest_created_at
  FROM parkd.jobs j
 WHERE j.tenant = (SELECT parkd.my_tenant()) OR (SELECT parkd.acts_for_any())
    OR pg_has_role(session_user, 'parkd_monitor', 'member')
 GROUP BY j.model, j.tenant, j.state;

CREATE VIEW parkd.workers AS
SELECT d.id, d.host, d.pid, d.version, d.started_at, d.beat_at, d.draining,
       CASE WHEN d.lost_at IS NOT NULL THEN 'gone' WHEN d.beat_at + d.ttl < clock_timestamp() THEN 'silent'
            WHEN d.draining THEN 'draining' ELSE 'alive' END AS state, d.status -> 'pools' AS pools
  FROM parkd.daemons d;

CREATE VIEW parkd.batch_status WITH (security_barrier) AS
SELECT b.id, b.tenant, b.total, b.completed, b.failed, b.cancelled, b.truncated,
       b.total - b.completed - b.failed - b.cancelled AS unfinished,
       CASE WHEN b.finished_at IS NOT NULL THEN 'finished' WHEN b.cancel_at IS NOT NULL THEN 'cancelling'
            WHEN b.sealed_at IS NOT NULL THEN 'in_progress' ELSE 'open' END AS status,
       b.created_at, b.sealed_at, b.finished_at, b.deadline, b.metadata
  FROM parkd.batches b WHERE b.tenant = (SELECT parkd.my_tenant()) OR (SELECT parkd.acts_for_any());

CREATE VIEW parkd.costs WITH (security_barrier) AS
SELECT h.tenant, h.model, (h.finished_at AT TIME ZONE 'UTC')::date AS day, h.outcome, count(*) AS jobs,
       sum(h.prompt_tokens::bigint) AS prompt_tokens, sum(h.completion_tokens::bigint) AS completion_tokens,
       sum(h.units * (h.run_us / 1e6)) AS unit_seconds
  FROM parkd.history h
 WHERE h.tenant = (SELECT parkd.my_tenant()) OR (SELECT parkd.acts_for_any())
 GROUP BY h.tenant, h.model, (h.finished_at AT TIME ZONE 'UTC')::date, h.outcome;

-- --- rights ----------------------------------------------------------------------------------------

ALTER TABLE parkd.jobs ENABLE ROW LEVEL SECURITY;
ALTER TABLE parkd.mailbox ENABLE ROW LEVEL SECURITY;
CREATE POLICY submit ON parkd.jobs FOR INSERT TO parkd_submitter WITH CHECK (tenant = (SELECT parkd.my_tenant()));
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
GRANT INSERT ON parkd.jobs_copy TO parkd_submitter, parkd_admin;
GRANT SELECT ON parkd.jobs, parkd.mailbox TO parkd_submitter, parkd_reader, parkd_daemon, parkd_admin;
GRANT SELECT ON parkd.results, parkd.live, parkd.batch_status, parkd.costs, parkd.depth, parkd.depth_by_tenant
  TO parkd_submitter, parkd_reader, parkd_daemon, parkd_admin;
GRANT SELECT ON parkd.depth, parkd.depth_by_tenant, parkd.workers TO parkd_monitor;
GRANT SELECT ON parkd.workers TO parkd_daemon, parkd_admin;
GRANT SELECT ON parkd.history, parkd.models, parkd.settings, parkd.limits, parkd.tenants, parkd.tenant_logins,
  parkd.batches, parkd.depth_samples, parkd.daemons, parkd.schema_version TO parkd_daemon, parkd_admin;
GRANT DELETE ON parkd.mailbox TO parkd_daemon;
GRANT INSERT, UPDATE, DELETE ON parkd.models, parkd.limits, parkd.tenants, parkd.tenant_logins, parkd.settings TO parkd_admin;

DO $$
DECLARE f record;
BEGIN
  FOR f IN SELECT p.oid::regprocedure AS signature, p.proname AS name FROM pg_proc p
            WHERE p.pronamespace = 'parkd'::regnamespace LOOP
    EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', f.signature);
    IF f.name IN ('acts_for_any', 'my_tenant') THEN
      EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO PUBLIC', f.signature);
    ELSIF f.name IN ('submit', 'cancel', 'requeue', 'open_batch', 'seal_batch', 'cancel_batch') THEN
      EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO parkd_submitter, parkd_admin', f.signature);
    ELSIF f.name IN ('register_v1', 'heartbeat_v1', 'unregister_v1', 'return_unknown_claims_v1', 'submit_v1', 'claim_v1',
                     'finish_v1', 'release_v1', 'cancel_v1', 'maintain_v1', 'sample_depth_v1', 'horizon_v1',
                     'ensure_partitions_v1', 'ensure_partitions_for_v1', 'fetch_v1', 'take_v1', 'message_of_v1',
                     'count_messages_v1', 'waiting_singles_v1', 'us_v1', 'from_us_v1', 'timeline_v1',
                     'register_model_v1') THEN
      EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO parkd_daemon', f.signature);
    END IF;
  END LOOP;
END $$;
