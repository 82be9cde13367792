-- 0009: what people use: INSERT and COPY, views, parkd.submit, cancel, requeue, batches, roles.
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

-- Inlined where it is used, so it is bound to nobody's search_path.
CREATE FUNCTION parkd.acts_for_any() RETURNS bool LANGUAGE sql STABLE
  RETURN pg_has_role(session_user, 'parkd_admin', 'member') OR pg_has_role(session_user, 'parkd_daemon', 'member');

-- The tenant of this login, given what its row in tenant_logins says (NULL: it has none).
CREATE FUNCTION parkd.tenant_of_login_v1(p_bound text) RETURNS text LANGUAGE plpgsql STABLE AS $$
BEGIN
  IF p_bound IS NOT NULL THEN RETURN p_bound; END IF;
  IF parkd.acts_for_any() THEN RETURN 'default'; END IF;
  IF session_user = 'default' THEN
    RAISE EXCEPTION USING ERRCODE = 'insufficient_privilege', MESSAGE = 'login default has no tenant of its own',
      DETAIL = 'Tenant default is that of administrators and daemons.',
      HINT = 'Use a login of another name, or let an administrator add a row to parkd.tenant_logins.';
  END IF;
  RETURN session_user::text;
END $$;

-- SET ROLE does not change it. (plpgsql keeps its plans for the session; an SQL function that cannot be
-- inlined is planned at each call.)
CREATE FUNCTION parkd.my_tenant() RETURNS text LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, parkd, pg_temp AS $$
BEGIN
  RETURN parkd.tenant_of_login_v1((SELECT l.tenant FROM parkd.tenant_logins l WHERE l.login = session_user));
END $$;

-- --- INSERT INTO parkd.jobs ---------------------------------------------------------------------
--
-- These run for each row of a client, so what they do not do counts: one lookup (model and tenant), and the
-- functions below have no SET of their own (a microsecond or three at each call): only the trigger calls
-- them, under its search_path.

-- Refuses a client's row: what is wrong with which field, the row, and what to do. Returns never; called by
-- assignment, for PERFORM would show its whole text as the error's context.
CREATE FUNCTION parkd.refuse_v1(p_code text, p_custom_id text, p_message text, p_hint text) RETURNS bool
LANGUAGE plpgsql SET search_path = pg_catalog, parkd, pg_temp AS $$
BEGIN
  RAISE EXCEPTION USING ERRCODE = p_code, MESSAGE = p_message, HINT = p_hint,
    DETAIL = coalesce('The job with custom_id ' || quote_literal(left(p_custom_id, 100)) || '.',
                      'The job has no custom_id. Where there are many, one tells which is refused.');
END $$;

-- What a client may write into the columns of a job, but for its model, tenant, batch and key. The numbers
-- are those of HTTP: lib/job/job.h (512 bytes, metadata, run_timeout, max_attempts), lib/store/rules.h and
-- .cc (retention, times), lib/job/chat_request.h (body, n). Extremes.sql_and_http_have_the_same_limits.
CREATE FUNCTION parkd.check_columns_v1(j parkd.jobs) RETURNS bool LANGUAGE plpgsql AS $$
DECLARE
  c_first CONSTANT timestamptz := '1970-01-01 00:00:00Z';
  c_last  CONSTANT timestamptz := '9999-12-31 23:59:59Z';
  r record;
  v_seconds float8;
  v_pairs   bigint;
  v_refused bool := false;
BEGIN
  IF greatest(octet_length(j.model), octet_length(j.tenant), octet_length(j.mailbox_key), octet_length(j.endpoint),
              octet_length(j.custom_id), octet_length(j.batch_id), octet_length(j.idempotency_key)) > 512 THEN
    SELECT * INTO r FROM (VALUES ('model', j.model), ('tenant', j.tenant), ('mailbox_key', j.mailbox_key),
        ('endpoint', j.endpoint), ('custom_id', j.custom_id), ('batch_id', j.batch_id),
        ('idempotency_key', j.idempotency_key)) t(field, value)
     WHERE octet_length(t.value) > 512 LIMIT 1;
    v_refused := parkd.refuse_v1('string_data_right_truncation', j.custom_id,
      format('%s has %s bytes, the limit is 512', r.field, octet_length(r.value)), 'Give a shorter one.');
  END IF;
  IF j.body IS NULL OR json_typeof(j.body) <> 'object' THEN
    v_refused := parkd.refuse_v1('invalid_parameter_value', j.custom_id, 'body is not a JSON object',
      'body holds an OpenAI request, for example {"messages":[{"role":"user","content":"Hi"}]}.');
  END IF;
  IF octet_length(j.body::text) > 16777216 THEN
    v_refused := parkd.refuse_v1('program_limit_exceeded', j.custom_id,
      format('body has %s bytes, the limit is 16777216', octet_length(j.body::text)), 'Split the request.');
  END IF;
  IF j.endpoint <> '/v1/chat/completions' THEN
    v_refused := parkd.refuse_v1('invalid_parameter_value', j.custom_id, format('endpoint %s is not supported yet', quote_literal(j.endpoint)),
      'Leave it out for /v1/chat/completions.');
  END IF;
  IF j.metadata IS NOT NULL THEN
    BEGIN
      v_pairs := CASE json_typeof(j.metadata) WHEN 'object' THEN (SELECT count(*) FROM json_object_keys(j.metadata)) END;
    EXCEPTION WHEN untranslatable_character OR invalid_text_representation THEN
      v_refused := parkd.refuse_v1('invalid_parameter_value', j.custom_id,
        'metadata contains \u0000 or half of a surrogate pair', 'Remove it: neither is text.');
    END;
    IF v_pairs > 16 OR json_typeof(j.metadata) <> 'object' OR octet_length(j.metadata::text) > 9216 THEN
      v_refused := parkd.refuse_v1('invalid_parameter_value', j.custom_id,
        format('metadata is a JSON %s of %s bytes; it must be an object of at most 16 pairs and 9216 bytes',
               json_typeof(j.metadata), octet_length(j.metadata::text)), 'For example metadata = ''{"order": "17"}''.');
    END IF;
  END IF;
  IF j.run_at NOT BETWEEN c_first AND c_last OR j.deadline NOT BETWEEN c_first AND c_last THEN
    SELECT * INTO r FROM (VALUES ('run_at', j.run_at), ('deadline', j.deadline)) t(field, value)
     WHERE t.value NOT BETWEEN c_first AND c_last LIMIT 1;
    v_refused := parkd.refuse_v1('invalid_parameter_value', j.custom_id,
      format('%s %s is not within the years 1970 to 9999', r.field, r.value), format('Leave %s out for none.', r.field));
  END IF;
  IF j.deadline <= clock_timestamp() THEN
    v_refused := parkd.refuse_v1('invalid_parameter_value', j.custom_id, format('deadline %s has passed', j.deadline),
      'Give a deadline that lies ahead, or none.');
  END IF;
  IF date_part('epoch', j.retention) NOT BETWEEN 60 AND 2592000 THEN
    v_refused := parkd.refuse_v1('invalid_parameter_value', j.custom_id,
      format('retention %s is not within 1 minute to 30 days', j.retention), 'For example retention = ''7 days''.');
  END IF;
  v_seconds := date_part('epoch', j.run_timeout);
  IF v_seconds NOT BETWEEN 1 AND 2592000 OR v_seconds <> round(v_seconds) THEN
    v_refused := parkd.refuse_v1('invalid_parameter_value', j.custom_id,
      format('run_timeout %s is not whole seconds within 1 second to 30 days', j.run_timeout), 'Leave it out for the daemon''s own.');
  END IF;
  IF j.max_attempts NOT BETWEEN 1 AND 100 THEN
    v_refused := parkd.refuse_v1('invalid_parameter_value', j.custom_id,
      format('max_attempts %s is not within 1 to 100', j.max_attempts), 'Leave it out for 3.');
  END IF;
  RETURN v_refused;
END $$;

-- The body as jsonb, which it must be possible to make of it.
CREATE FUNCTION parkd.read_body_v1(p_body json, p_custom_id text) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE v_refused bool;
BEGIN
  RETURN p_body::jsonb;
EXCEPTION
  WHEN untranslatable_character OR invalid_text_representation THEN
    v_refused := parkd.refuse_v1('invalid_parameter_value', p_custom_id,
      'body contains \u0000 or half of a surrogate pair', 'Remove it: neither is text.');
  WHEN numeric_value_out_of_range THEN
    v_refused := parkd.refuse_v1('invalid_parameter_value', p_custom_id, 'body contains a number beyond all bounds',
      'Numbers of a request fit a double.');
END $$;

-- A whole number of the body, NULL where there is none: those that the price and the seed are made of, with
-- HTTP's bounds. The rest of the body is the daemon's to read: what is wrong there ends the job as failed.
CREATE FUNCTION parkd.body_number_v1(p_body jsonb, p_field text, p_low numeric, p_high numeric, p_custom_id text)
RETURNS numeric LANGUAGE plpgsql AS $$
DECLARE v_value jsonb := p_body -> p_field; v_number numeric; v_refused bool;
BEGIN
  IF jsonb_typeof(v_value) = 'number' THEN
    v_number := v_value::numeric;
    IF v_number BETWEEN p_low AND p_high AND v_number = trunc(v_number) THEN RETURN v_number; END IF;
  ELSIF jsonb_typeof(v_value) = 'null' THEN
    RETURN NULL;
  END IF;
  v_refused := parkd.refuse_v1('invalid_parameter_value', p_custom_id,
    format('body.%s is %s; it must be a whole number from %s to %s', p_field, left(v_value::text, 60), p_low, p_high),
    format('Leave %s out for the default.', p_field));
END $$;

-- Checks and completes a row a client wrote. The daemon's own rows have an order_key already: nothing is
-- missing there. Every refusal says what to do.
CREATE FUNCTION parkd.before_insert_v1() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, parkd, pg_temp AS $$
DECLARE
  v_now   timestamptz := clock_timestamp();
  v_body  jsonb;
  v_mine  text;
  v_context int;
  v_limit int;
  v_batch_deadline  timestamptz;
  v_batch_retention interval;
  v_job   bigint;
  v_other_hash text;
  v_hash  text;
  v_seed  numeric;
  v_refused bool;
BEGIN
  IF NEW.order_key IS NOT NULL THEN
    v_refused := parkd.check_bounds_v1(NEW);
    RETURN NEW;
  END IF;
  v_refused := parkd.check_columns_v1(NEW);
  v_body := parkd.read_body_v1(NEW.body, NEW.custom_id);
  IF NEW.model IS NULL THEN NEW.model := v_body ->> 'model'; END IF;
  SELECT (SELECT m.context_tokens FROM parkd.models m WHERE m.name = NEW.model),
         (SELECT l.tenant FROM parkd.tenant_logins l WHERE l.login = session_user) INTO v_context, v_mine;
  v_mine := parkd.tenant_of_login_v1(v_mine);
  NEW.tenant := coalesce(nullif(NEW.tenant, ''), v_mine);
  IF NEW.tenant <> v_mine AND NOT parkd.acts_for_any() THEN
    v_refused := parkd.refuse_v1('insufficient_privilege', NEW.custom_id,
      format('login %s submits for tenant %s, not for %s', session_user, v_mine, NEW.tenant),
      'Leave tenant out, or let an administrator add a row to parkd.tenant_logins.');
  END IF;
  IF v_context IS NULL THEN
    v_refused := parkd.refuse_v1('invalid_parameter_value', NEW.custom_id,
      format('model %s is not known here', coalesce(quote_literal(left(NEW.model, 512)), 'NULL')),
      coalesce('Known models: ' || (SELECT string_agg(m.name, ', ' ORDER BY m.name) FROM parkd.models m) || '.',
               'No daemon has registered a model yet: start one, or run jobctl models add.'));
  END IF;
  IF v_body ->> 'model' <> NEW.model THEN
    v_refused := parkd.refuse_v1('invalid_parameter_value', NEW.custom_id,
      format('body.model is %s, the column model is %s', left(v_body ->> 'model', 512), NEW.model), 'Leave one of them out.');
  END IF;
  IF v_body -> 'stream' = 'true' THEN
    v_refused := parkd.refuse_v1('invalid_parameter_value', NEW.custom_id, 'body.stream: nobody can listen to a job from SQL',
      'Leave stream out.');
  END IF;
  IF jsonb_typeof(v_body -> 'messages') <> 'array' THEN
    v_refused := parkd.refuse_v1('invalid_parameter_value', NEW.custom_id,
      format('body.messages is a JSON %s; it must be an array', jsonb_typeof(v_body -> 'messages')),
      'For example {"messages":[{"role":"user","content":"Hi"}]}.');
  END IF;
  -- The price is an estimate until a daemon has tokenised the prompt: four bytes a token.
  NEW.prompt_tokens := least(octet_length(NEW.body::text) / 4, v_context);
  IF v_body ? 'n' THEN NEW.n_choices := coalesce(parkd.body_number_v1(v_body, 'n', 1, 128, NEW.custom_id), 1); END IF;
  IF v_body ? 'max_completion_tokens' THEN
    v_limit := parkd.body_number_v1(v_body, 'max_completion_tokens', 1, 2147483647, NEW.custom_id);
  END IF;
  IF v_body ? 'max_tokens' THEN
    v_limit := coalesce(v_limit, parkd.body_number_v1(v_body, 'max_tokens', 1, 2147483647, NEW.custom_id));
  END IF;
  NEW.max_new_tokens := least(coalesce(v_limit, least(greatest(v_context / 5, 128), 16384)), v_context);
  IF v_body ? 'seed' THEN     -- 64 bits with or without a sign, as HTTP stores them
    v_seed := parkd.body_number_v1(v_body, 'seed', -9223372036854775808, 18446744073709551615, NEW.custom_id);
    NEW.seed := coalesce(v_seed - CASE WHEN v_seed > 9223372036854775807 THEN 18446744073709551616 ELSE 0 END, NEW.seed);
  END IF;
  -- In seconds: what an interval of years and days adds up to depends on where it starts.
  IF NEW.retention IS NOT NULL THEN NEW.retention := make_interval(secs => date_part('epoch', NEW.retention)); END IF;
  IF NEW.run_timeout IS NOT NULL THEN NEW.run_timeout := make_interval(secs => date_part('epoch', NEW.run_timeout)); END IF;
  IF NEW.priority = 'critical' AND NOT parkd.acts_for_any()
     AND NOT EXISTS (SELECT FROM parkd.tenants t WHERE t.name = NEW.tenant AND t.may_be_critical) THEN
    v_refused := parkd.refuse_v1('insufficient_privilege', NEW.custom_id, format('tenant %s may not submit critical jobs', NEW.tenant),
      'Use high, or let an administrator set parkd.tenants.may_be_critical.');
  END IF;
  IF NEW.batch_id = '' THEN NEW.batch_id := NULL; END IF;
  IF NEW.batch_id IS NOT NULL THEN
    SELECT b.deadline, b.retention INTO v_batch_deadline, v_batch_retention
      FROM parkd.batches b WHERE b.id = NEW.batch_id AND b.tenant = NEW.tenant;   -- batches_pkey
    IF NOT FOUND THEN
      v_refused := parkd.refuse_v1('invalid_parameter_value', NEW.custom_id, format('batch_id: there is no batch %s', NEW.batch_id),
        'Open one: SELECT parkd.open_batch();');
    END IF;
    IF v_batch_deadline <= v_now THEN
      v_refused := parkd.refuse_v1('object_not_in_prerequisite_state', NEW.custom_id,
        format('the deadline of batch %s, %s, has passed', NEW.batch_id, v_batch_deadline), 'Open a new batch.');
    END IF;
    IF NEW.deadline <> v_batch_deadline THEN
      v_refused := parkd.refuse_v1('invalid_parameter_value', NEW.custom_id,
        format('deadline %s differs from that of batch %s, %s', NEW.deadline, NEW.batch_id, v_batch_deadline),
        'Leave deadline out: a member has its batch''s.');
    END IF;
  END IF;
  IF NEW.endpoint IS NULL THEN NEW.endpoint := '/v1/chat/completions'; END IF;
  IF NEW.max_attempts IS NULL THEN NEW.max_attempts := 3; END IF;
  IF NEW.priority IS NULL THEN NEW.priority := CASE WHEN NEW.batch_id IS NULL THEN 'normal' ELSE 'low' END::parkd.priority; END IF;
  NEW.created_at := v_now;
  NEW.order_key := greatest(v_now, NEW.run_at) + parkd.delay_v1(NEW.priority);
  IF NEW.run_at > v_now THEN NEW.state := 'scheduled'::parkd.job_state; END IF;
  IF NEW.idempotency_key = '' THEN NEW.idempotency_key := NULL; END IF;
  IF NEW.idempotency_key IS NOT NULL THEN
    v_hash := parkd.content_hash_v1(NEW.endpoint, NEW.model, NEW.mailbox_key, NEW.custom_id, NEW.batch_id, NEW.metadata,
      NEW.body, NEW.priority, NEW.seed, NEW.run_at, NEW.deadline, NEW.run_timeout, NEW.retention, NEW.max_attempts);
    -- idempotency_pkey. A key that does not conflict any more was deleted in between: again.
    LOOP
      INSERT INTO parkd.idempotency AS k (tenant, key, job_id, check_at, content_hash)
        VALUES (NEW.tenant, NEW.idempotency_key, NEW.id, v_now + interval '24 hours', v_hash)
        ON CONFLICT (tenant, key) DO UPDATE SET job_id = excluded.job_id, check_at = excluded.check_at,
          content_hash = excluded.content_hash
          WHERE NOT (SELECT a.holds FROM parkd.accepted_v1(k.job_id, v_now) a);
      EXIT WHEN FOUND;
      SELECT k.job_id, k.content_hash INTO v_job, v_other_hash FROM parkd.idempotency k WHERE k.tenant = NEW.tenant AND k.key = NEW.idempotency_key;
      CONTINUE WHEN NOT FOUND;
      IF v_other_hash = v_hash THEN RETURN NULL; END IF;   -- the job is there already: the row is passed over
      v_refused := parkd.refuse_v1('unique_violation', NEW.custom_id,
        format('idempotency_key %s belongs to job %s, whose content differs', quote_literal(NEW.idempotency_key), v_job),
        'Use another key, or submit the very same job again.');
    END LOOP;
  END IF;
  -- From here on what was left out: not part of the content behind the key.
  IF coalesce(NEW.mailbox_key, '') = '' THEN
    NEW.mailbox_key := 'mb-' || left(replace(gen_random_uuid()::text, '-', ''), 24);
  END IF;
  IF NEW.seed IS NULL THEN NEW.seed := (random() * 9007199254740991)::bigint; END IF;
  IF NEW.retention IS NULL THEN NEW.retention := coalesce(v_batch_retention, interval '7 days'); END IF;
  IF NEW.deadline IS NULL THEN NEW.deadline := v_batch_deadline; END IF;
  RETURN NEW;
END $$;
-- No WHEN: every statement would read and plan it anew.
CREATE TRIGGER jobs_before_insert BEFORE INSERT ON parkd.jobs
  FOR EACH ROW EXECUTE FUNCTION parkd.before_insert_v1();

-- The priority of that word. A word that is none cannot be refused with these four where the column is an
-- enum (INSERT INTO parkd.jobs): the server does that before any trigger.
CREATE FUNCTION parkd.priority_v1(p_word text, p_custom_id text) RETURNS parkd.priority LANGUAGE plpgsql STABLE AS $$
DECLARE v_refused bool;
BEGIN
  IF p_word NOT IN ('critical', 'high', 'normal', 'low') THEN
    v_refused := parkd.refuse_v1('invalid_parameter_value', p_custom_id, format('priority is %s', quote_literal(left(p_word, 60))),
      'It must be critical, high, normal or low; leave it out for normal (in a batch: low).');
  END IF;
  RETURN p_word::parkd.priority;
END $$;

-- COPY parkd.jobs_copy (model, body, ...) FROM STDIN: row-level security forbids COPY into the queue. The rows
-- move in the same transaction and nothing stays here but dead rows, which the next COPY does not look at:
-- it finds its own by index. (A row trigger would store nothing, but move row by row: a batch's counter would
-- be updated for each, and each version of it read by the next.)
CREATE UNLOGGED TABLE parkd.jobs_copy (
  model text, body json, custom_id text, endpoint text, tenant text, priority text, mailbox_key text,
  metadata json, idempotency_key text, batch_id text, run_at timestamptz, deadline timestamptz,
  retention interval, run_timeout interval, seed bigint, max_attempts int,
  transaction xid8 NOT NULL DEFAULT pg_current_xact_id()   -- no client may write it
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10000, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX jobs_copy_transaction ON parkd.jobs_copy (transaction);
CREATE FUNCTION parkd.after_copy_v1() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, parkd, pg_temp SET jit = off SET enable_seqscan = off SET enable_bitmapscan = off AS $$
BEGIN
  INSERT INTO parkd.jobs (model, body, custom_id, endpoint, tenant, priority, mailbox_key, metadata, idempotency_key,
                          batch_id, run_at, deadline, retention, run_timeout, seed, max_attempts)
  SELECT c.model, c.body, c.custom_id, c.endpoint, c.tenant,
         CASE WHEN c.priority IS NOT NULL THEN parkd.priority_v1(c.priority, c.custom_id) END, c.mailbox_key, c.metadata, c.idempotency_key,
         c.batch_id, c.run_at, c.deadline, c.retention, c.run_timeout, c.seed, c.max_attempts FROM new_rows c;
  DELETE FROM parkd.jobs_copy c WHERE c.transaction = pg_current_xact_id();   -- jobs_copy_transaction
  RETURN NULL;
END $$;
CREATE TRIGGER jobs_copy_after_insert AFTER INSERT ON parkd.jobs_copy REFERENCING NEW TABLE AS new_rows
  FOR EACH STATEMENT EXECUTE FUNCTION parkd.after_copy_v1();

-- --- functions for people -----------------------------------------------------------------------

-- One job as {"model": ..., "body": {...}, ...}, or an array of them; the keys are parkd.jobs' columns. A
-- repeated idempotency_key returns the job it made the first time.
CREATE FUNCTION parkd.submit(p json) RETURNS TABLE (id bigint, mailbox_key text, existed bool)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, parkd, pg_temp AS $$
DECLARE
  v_jobs   json := CASE json_typeof(p) WHEN 'array' THEN p ELSE json_build_array(p) END;
  v_fields text[] := (SELECT array_agg(attname::text ORDER BY attnum) FROM pg_attribute
                       WHERE attrelid = 'parkd.jobs_copy'::regclass AND attnum > 0 AND attname <> 'transaction');
  v_rows   parkd.jobs_copy[];
  v_ids    bigint[];     -- per job; NULL where the trigger passed it over: its key and content are a job's already
  v_boxes  text[];
  r        record;
BEGIN
  IF p IS NULL OR json_typeof(p) NOT IN ('object', 'array') OR json_array_length(v_jobs) = 0 THEN
    RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
      MESSAGE = format('parkd.submit takes a JSON object or an array of at least one, not %s', coalesce(left(p::text, 60), 'NULL')),
      HINT = 'SELECT * FROM parkd.submit(''{"model": "...", "body": {"messages": [...]}}'');';
  END IF;
  BEGIN
    SELECT e.job, e.at, k.unknown INTO r
      FROM json_array_elements(v_jobs) WITH ORDINALITY e(job, at)
     CROSS JOIN LATERAL (SELECT string_agg(x, ', ') AS unknown FROM json_object_keys(CASE json_typeof(e.job) WHEN 'object' THEN e.job ELSE '{}' END) x
                          WHERE x <> ALL (v_fields)) k
     WHERE json_typeof(e.job) <> 'object' OR k.unknown IS NOT NULL LIMIT 1;
    IF NOT FOUND THEN
      SELECT array_agg(c ORDER BY e.at) INTO v_rows
        FROM json_array_elements(v_jobs) WITH ORDINALITY e(job, at) CROSS JOIN LATERAL json_populate_record(NULL::parkd.jobs_copy, e.job) c;
    END IF;
  EXCEPTION WHEN data_exception THEN     -- of which job?
    FOR r IN SELECT e.job, e.at FROM json_array_elements(v_jobs) WITH ORDINALITY e(job, at) LOOP
      BEGIN
        PERFORM count(k), json_populate_record(NULL::parkd.jobs_copy, r.job) FROM json_object_keys(r.job) k;
      EXCEPTION WHEN data_exception THEN
        RAISE EXCEPTION USING ERRCODE = SQLSTATE, MESSAGE = SQLERRM, DETAIL = format('Job %s of this call.', r.at),
          HINT = 'Times are like "2030-01-31 12:00Z", run_timeout and retention like "90 s", seed and max_attempts whole numbers; no text holds \u0000.';
      END;
    END LOOP;
    RAISE;
  END;
  IF v_rows IS NULL THEN
    RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', DETAIL = format('Job %s of this call.', r.at),
      MESSAGE = coalesce('unknown field: ' || r.unknown, format('a job is %s, not a JSON object', left(r.job::text, 60))),
      HINT = format('A job is {"model": "...", "body": {...}}; its fields: %s.', array_to_string(v_fields, ', '));
  END IF;
  WITH asked AS MATERIALIZED (
    SELECT u.*, nextval('parkd.jobs_id_seq') AS id FROM unnest(v_rows) WITH ORDINALITY u),
  made AS (
    INSERT INTO parkd.jobs (id, model, body, custom_id, endpoint, tenant, priority, mailbox_key, metadata, idempotency_key,
                            batch_id, run_at, deadline, retention, run_timeout, seed, max_attempts)
    OVERRIDING SYSTEM VALUE
    SELECT a.id, a.model, a.body, a.custom_id, a.endpoint, a.tenant,
           CASE WHEN a.priority IS NOT NULL THEN parkd.priority_v1(a.priority, a.custom_id) END, a.mailbox_key, a.metadata,
           a.idempotency_key, a.batch_id, a.run_at, a.deadline, a.retention, a.run_timeout, a.seed, a.max_attempts
      FROM asked a ORDER BY a.ordinality
    RETURNING jobs.id, jobs.mailbox_key)
  SELECT array_agg(m.id ORDER BY a.ordinality), array_agg(m.mailbox_key ORDER BY a.ordinality) INTO v_ids, v_boxes
    FROM asked a LEFT JOIN made m USING (id);
  FOR i IN 1 .. cardinality(v_ids) LOOP
    id := v_ids[i]; mailbox_key := v_boxes[i]; existed := id IS NULL;
    IF existed THEN
      SELECT k.job_id, a.mailbox_key INTO STRICT id, mailbox_key
        FROM parkd.idempotency k CROSS JOIN LATERAL parkd.accepted_v1(k.job_id, clock_timestamp()) a
       WHERE k.tenant = coalesce(nullif(v_rows[i].tenant, ''), parkd.my_tenant()) AND k.key = v_rows[i].idempotency_key;
    END IF;
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
RETURNS TABLE (requeued_from bigint, id bigint, mailbox_key text, existed bool) LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, parkd, pg_temp AS $$
BEGIN
  IF coalesce(cardinality(p_ids), 0) = 0 AND coalesce(p_error_code, '') = '' THEN
    RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = 'requeue what?',
      HINT = 'parkd.requeue(ARRAY[17, 18]) or parkd.requeue(p_error_code => ''run_timeout'').';
  END IF;
  RETURN QUERY SELECT r.requeued_from, r.id, r.mailbox_key, r.existed
    FROM parkd.requeue_v1(CASE WHEN parkd.acts_for_any() THEN '' ELSE parkd.my_tenant() END, p_ids, coalesce(p_error_code, ''),
                          coalesce(p_model, ''), p_limit) r;
END $$;

-- The id of a new batch, or, with an idempotency_key that was used before, of the same one.
CREATE FUNCTION parkd.open_batch(p_metadata json DEFAULT NULL, p_deadline timestamptz DEFAULT NULL, p_name text DEFAULT NULL,
                                 p_retention interval DEFAULT NULL, p_idempotency_key text DEFAULT NULL)
RETURNS text LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, parkd, pg_temp AS $$
DECLARE
  r record;
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
  IF greatest(octet_length(p_name), octet_length(p_idempotency_key)) > 512 THEN
    RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
      MESSAGE = format('name has %s bytes and idempotency_key %s, the limit is 512', coalesce(octet_length(p_name), 0),
                       coalesce(octet_length(p_idempotency_key), 0)), HINT = 'Give a shorter one.';
  END IF;
  SELECT o.conflict, (o.batch).id AS id INTO r FROM parkd.open_batch_v1(parkd.my_tenant(), p_name, p_metadata,
    p_idempotency_key, p_deadline, make_interval(secs => date_part('epoch', p_retention)), interval '7 days', v_bad_deadline) o;
  IF NOT FOUND THEN
    RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
      MESSAGE = format('deadline %s is not within the next 30 days', p_deadline), HINT = 'Leave it out for 24 hours.';
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
-- Ends what waits and asks for the end of what runs. Returns how many live members there were.
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

-- Units of each daemon's pools, as of its last heartbeat; only of daemons that are not gone.
CREATE VIEW parkd.pools AS
SELECT d.id AS daemon_id, d.host, p.model, p.capacity_units, p.in_use_units, p.running, p.parked, d.beat_at
  FROM parkd.daemons d
 CROSS JOIN LATERAL json_to_recordset(CASE json_typeof(d.status -> 'pools') WHEN 'array' THEN d.status -> 'pools' ELSE '[]' END)
       p(model text, capacity_units bigint, in_use_units bigint, running bigint, parked bigint)
 WHERE d.lost_at IS NULL;

-- The states of lib/store/batch.h. Members that have not ended stand in parkd.live.
CREATE VIEW parkd.batch_status WITH (security_barrier) AS
SELECT b.id, b.tenant, b.name, b.total, b.completed, b.failed, b.cancelled, b.deadline_missed, b.quarantined, b.truncated,
       b.total - b.completed - b.failed - b.cancelled - b.deadline_missed - b.quarantined AS unfinished,
       CASE WHEN b.finished_at IS NOT NULL THEN 'finished' WHEN b.cancel_at IS NOT NULL THEN 'cancelling'
            WHEN b.sealed_at IS NOT NULL THEN 'in_progress' ELSE 'open' END AS status,
       b.created_at, b.sealed_at, b.cancel_at, b.finished_at, b.deadline, b.retention, b.metadata
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
GRANT INSERT (model, body, custom_id, endpoint, tenant, priority, mailbox_key, metadata, idempotency_key, batch_id,
              run_at, deadline, retention, run_timeout, seed, max_attempts) ON parkd.jobs_copy TO parkd_submitter, parkd_admin;
GRANT SELECT ON parkd.jobs, parkd.mailbox TO parkd_submitter, parkd_reader, parkd_daemon, parkd_admin;
GRANT SELECT ON parkd.results, parkd.past, parkd.live, parkd.batch_status, parkd.costs, parkd.depth, parkd.depth_by_tenant
  TO parkd_submitter, parkd_reader, parkd_daemon, parkd_admin;
GRANT SELECT ON parkd.depth, parkd.depth_by_tenant, parkd.workers, parkd.pools, parkd.health TO parkd_monitor;
GRANT SELECT ON parkd.workers, parkd.pools, parkd.health TO parkd_daemon, parkd_admin;
GRANT SELECT ON parkd.history, parkd.models, parkd.settings, parkd.limits, parkd.tenants, parkd.tenant_logins,
  parkd.batches, parkd.depth_samples, parkd.daemons, parkd.schema_version TO parkd_daemon, parkd_admin;
GRANT SELECT ON parkd.models, parkd.settings TO parkd_submitter, parkd_reader;
GRANT SELECT ON parkd.schema_version TO parkd_submitter, parkd_reader, parkd_monitor;
GRANT DELETE ON parkd.mailbox TO parkd_daemon;
GRANT INSERT, UPDATE, DELETE ON parkd.models, parkd.limits, parkd.tenants, parkd.tenant_logins, parkd.settings TO parkd_admin;

DO $$
DECLARE f record;
BEGIN
  FOR f IN SELECT p.oid::regprocedure AS signature, p.proname AS name FROM pg_proc p
            WHERE p.pronamespace = 'parkd'::regnamespace LOOP
    EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', f.signature);
    IF f.name IN ('acts_for_any', 'my_tenant', 'us_v1', 'from_us_v1') THEN   -- the last two: plain arithmetic
      EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO PUBLIC', f.signature);
    ELSIF f.name = 'health_v1' THEN     -- a function in a view runs with the caller's rights
      EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO parkd_daemon, parkd_admin, parkd_monitor', f.signature);
    ELSIF f.name = 'fetch' THEN
      EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO parkd_submitter, parkd_reader, parkd_admin', f.signature);
    ELSIF f.name IN ('submit', 'cancel', 'take', 'requeue', 'open_batch', 'seal_batch', 'cancel_batch') THEN
      EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO parkd_submitter, parkd_admin', f.signature);
    ELSIF f.name = 'register_model_v1' THEN
      EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO parkd_daemon, parkd_admin', f.signature);
    ELSIF f.name IN ('register_v1', 'heartbeat_v1', 'unregister_v1', 'return_unknown_claims_v1', 'submit_v1', 'claim_v1',
                     'finish_v1', 'release_v1', 'cancel_v1', 'sample_depth_v1', 'horizon_v1',
                     'ensure_partitions_v1', 'ensure_partitions_for_v1', 'fetch_v1', 'take_v1', 'message_of_v1',
                     'count_messages_v1', 'waiting_singles_v1', 'note_deaths_v1', 'now_v1', 'timeline_v1',
                     'requeue_v1', 'open_batch_v1', 'seal_batch_v1', 'cancel_batch_v1', 'rescue_v1', 'promote_v1', 'end_overdue_v1',
                     'tidy_v1', 'drop_past_partition_v1', 'dead_rows_v1') THEN
      EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO parkd_daemon', f.signature);
    END IF;
  END LOOP;
END $$;
