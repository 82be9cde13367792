-- 0009: what clients write: INSERT and COPY into the queue, parkd.submit; and the roles.
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

CREATE FUNCTION parkd.no_tenant_v1() RETURNS text LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION USING ERRCODE = 'insufficient_privilege', MESSAGE = 'login default has no tenant of its own',
    DETAIL = 'Tenant default is that of administrators and daemons.',
    HINT = 'Use a login of another name, or let an administrator add a row to parkd.tenant_logins.';
END $$;

-- SET ROLE does not change it. (plpgsql keeps its plans for the session; an SQL function that cannot be
-- inlined is planned at each call.)
CREATE FUNCTION parkd.my_tenant() RETURNS text LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, parkd, pg_temp AS $$
BEGIN
  RETURN coalesce(parkd.tenant_of_login_v1((SELECT l.tenant FROM parkd.tenant_logins l WHERE l.login = session_user)),
                  parkd.no_tenant_v1());
END $$;

-- --- INSERT INTO parkd.jobs ---------------------------------------------------------------------
--
-- Its triggers run for each row of a client, so what they do not do counts. A statement of plpgsql is cheap
-- in the hundredth row of a transaction and dear in the first, where each expression is set up (2,000
-- instructions and more): so there are few, with many conditions in one, and the functions below that are SQL
-- are inlined into them. A query costs as much as twenty of them, a call of a plpgsql function three, its SET
-- four more.

-- Refuses a client's row: what is wrong with which field, the row, and what to do. Returns never; called by
-- assignment, for PERFORM would show its whole text as the error's context.
CREATE FUNCTION parkd.refuse_v1(p_code text, p_custom_id text, p_message text, p_hint text) RETURNS bool
LANGUAGE plpgsql SET search_path = pg_catalog, parkd, pg_temp AS $$
BEGIN
  RAISE EXCEPTION USING ERRCODE = p_code, MESSAGE = p_message, HINT = p_hint,
    DETAIL = coalesce('The job with custom_id ' || quote_literal(left(p_custom_id, 100)) || '.',
                      'The job has no custom_id. Where there are many, one tells which is refused.');
END $$;

-- The whole numbers of a body that the price and the seed are made of, with HTTP's bounds. The rest of the
-- body is the daemon's to read: what is wrong there ends the job as failed.
CREATE FUNCTION parkd.bounds_v1(p_field text) RETURNS numrange LANGUAGE sql IMMUTABLE
  RETURN CASE p_field WHEN 'n' THEN numrange(1, 128, '[]')
                      WHEN 'max_tokens' THEN numrange(1, 2147483647, '[]')
                      WHEN 'max_completion_tokens' THEN numrange(1, 2147483647, '[]')
                      WHEN 'seed' THEN numrange(-9223372036854775808, 18446744073709551615, '[]') END;
CREATE FUNCTION parkd.is_whole_v1(p_value numeric, p_field text) RETURNS bool LANGUAGE sql IMMUTABLE
  RETURN p_value % 1 = 0 AND p_value <@ parkd.bounds_v1(p_field);
CREATE FUNCTION parkd.is_wrong_v1(p_body jsonb, p_field text) RETURNS bool LANGUAGE sql IMMUTABLE
  RETURN CASE jsonb_typeof(p_body -> p_field)
           WHEN 'number' THEN NOT parkd.is_whole_v1((p_body -> p_field)::numeric, p_field)
           WHEN 'null' THEN false ELSE p_body ? p_field END;

-- The rule of refuse_job_v1 that a body breaks, but for its numbers.
CREATE FUNCTION parkd.body_rule_v1(p_body jsonb, p_model text) RETURNS text LANGUAGE sql IMMUTABLE
  RETURN CASE WHEN p_body ->> 'model' <> p_model THEN 'body.model'
              WHEN p_body -> 'stream' = 'true' THEN 'stream'
              WHEN jsonb_typeof(p_body -> 'messages') <> 'array' THEN 'messages' END;

-- Whether some object of a JSON text may give a member twice, of which jsonb (as text: p_value) keeps the last: exact but
-- for \u003a, for no colon can get lost otherwise and none can come in. read_json_v1 looks closer.
CREATE FUNCTION parkd.may_be_doubled_v1(p_text text, p_value text) RETURNS bool LANGUAGE sql IMMUTABLE
  RETURN octet_length(p_text) - octet_length(replace(p_text, ':', ''))
       <> octet_length(p_value) - octet_length(replace(p_value, ':', ''))
    OR strpos(p_text, '\u003') > 0 AND (strpos(p_text, '\u003a') > 0 OR strpos(p_text, '\u003A') > 0);   -- not < and >
-- Whether a body or metadata has an object or array within 32 others: kChatJsonDepthMax.
CREATE FUNCTION parkd.is_deep_v1(p_json jsonb) RETURNS bool LANGUAGE sql IMMUTABLE
  RETURN p_json @? 'strict $.**{32} ? (@.type() == "object" || @.type() == "array")';

-- The first object that gives a member twice, and which: 'body.messages[0]: "role"'. NULL: none does. Each level is read
-- once a level above it, so the depth has been looked at.
CREATE FUNCTION parkd.given_twice_v1(p_json json, p_field text) RETURNS text LANGUAGE sql IMMUTABLE
BEGIN ATOMIC
  WITH RECURSIVE n(path, value) AS (
    SELECT p_field, p_json
    UNION ALL
    SELECT left(n.path || c.step, 200), c.value FROM n CROSS JOIN LATERAL (
      SELECT '.' || left(o.key, 60) AS step, o.value FROM json_each(CASE json_typeof(n.value) WHEN 'object' THEN n.value ELSE '{}' END) o
      UNION ALL
      SELECT format('[%s]', a.i - 1), a.value
        FROM json_array_elements(CASE json_typeof(n.value) WHEN 'array' THEN n.value ELSE '[]' END) WITH ORDINALITY a(value, i)) c
     WHERE json_typeof(c.value) IN ('object', 'array'))
  SELECT format('%s: "%s"', n.path, left(k.name, 60)) FROM n CROSS JOIN LATERAL (
    SELECT name FROM json_object_keys(CASE json_typeof(n.value) WHEN 'object' THEN n.value ELSE '{}' END) name
     GROUP BY name HAVING count(*) > 1 LIMIT 1) k LIMIT 1;
END;

-- A body or metadata as jsonb. What JSON of others has to be is said by every door in the same way (lib/base/json_reader.h),
-- but for numbers beyond a double, which the daemon finds: to look for them would double what this costs.
CREATE FUNCTION parkd.read_json_v1(p_json json, p_field text, p_custom_id text) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
  v_text    text := p_json;
  v_value   jsonb;
  v_again   text;
  v_refused bool;
BEGIN
  v_value := v_text;
  v_again := v_value;
  IF parkd.is_deep_v1(v_value) THEN
    v_refused := parkd.refuse_v1('invalid_parameter_value', p_custom_id, p_field || ' is nested deeper than 32 levels', 'Nest it less.');
  ELSIF parkd.may_be_doubled_v1(v_text, v_again) THEN
    v_text := parkd.given_twice_v1(p_json, p_field);
    IF v_text IS NOT NULL THEN
      v_refused := parkd.refuse_v1('invalid_parameter_value', p_custom_id, v_text || ' is given twice in one object', 'Give it once.');
    END IF;
  END IF;
  RETURN v_value;
EXCEPTION
  WHEN untranslatable_character OR invalid_text_representation THEN
    v_refused := parkd.refuse_v1('invalid_parameter_value', p_custom_id,
      p_field || E' contains \\u0000 or half of a surrogate pair', 'Remove it: neither is text.');
  WHEN numeric_value_out_of_range THEN
    v_refused := parkd.refuse_v1('invalid_parameter_value', p_custom_id, p_field || ' contains a number beyond all bounds',
      'Numbers of a request fit a double.');
  WHEN statement_too_complex THEN
    v_refused := parkd.refuse_v1('invalid_parameter_value', p_custom_id, p_field || ' is nested deeper than 32 levels', 'Nest it less.');
END $$;

-- What is said of a row that breaks the rule of that name of before_insert_v1.
CREATE FUNCTION parkd.refuse_job_v1(j parkd.jobs, p_rule text, p_body jsonb DEFAULT NULL, p_mine text DEFAULT NULL)
RETURNS bool LANGUAGE plpgsql SET search_path = pg_catalog, parkd, pg_temp AS $$
DECLARE
  v_text   text;
  v_number text := (SELECT f FROM unnest(ARRAY['n', 'max_completion_tokens', 'max_tokens', 'seed']) f WHERE parkd.is_wrong_v1(p_body, f) LIMIT 1);
  r        record;
BEGIN
  v_text := (SELECT format('%s has %s bytes', t.field, octet_length(t.value))
               FROM (VALUES ('tenant', j.tenant), ('mailbox_key', j.mailbox_key), ('custom_id', j.custom_id),
                 ('idempotency_key', j.idempotency_key)) t(field, value)
              WHERE octet_length(t.value) > 512 LIMIT 1);
  SELECT * INTO STRICT r FROM (VALUES
    ('text', 'string_data_right_truncation', v_text || ', the limit is 512', 'Give a shorter one.'),
    ('body', 'invalid_parameter_value', 'body is not a JSON object',
     'body holds an OpenAI request, for example {"messages":[{"role":"user","content":"Hi"}]}.'),
    ('bytes', 'program_limit_exceeded', format('body has %s bytes, the limit is 16777216', octet_length(j.body::text)), 'Split the request.'),
    ('endpoint', 'invalid_parameter_value', format('endpoint %s is not supported yet', quote_literal(left(j.endpoint, 512))),
     'Leave it out for ' || (parkd.endpoints_v1())[1] || '.'),
    ('metadata', 'invalid_parameter_value',
     format('metadata is a JSON %s of %s bytes; it must be an object of at most 16 pairs and 9216 bytes',
            json_typeof(j.metadata), octet_length(j.metadata::text)), 'For example metadata = ''{"order": "17"}''.'),
    ('run_at', 'invalid_parameter_value', format('run_at %s is not within the years 1970 to 9999', j.run_at), 'Leave run_at out for none.'),
    ('deadline', 'invalid_parameter_value', format('deadline %s is not within the years 1970 to 9999', j.deadline),
     'Leave deadline out for none.'),
    ('late', 'invalid_parameter_value', format('deadline %s has passed', j.deadline), 'Give a deadline that lies ahead, or none.'),
    ('never', 'invalid_parameter_value', format('run_at %s is not before the deadline, %s: the job would never run', j.run_at, j.deadline),
     'Give an earlier run_at, or a later deadline.'),
    ('retention', 'invalid_parameter_value', format('retention %s is not within 1 minute to 30 days', j.retention),
     'For example retention = ''7 days''.'),
    ('run_timeout', 'invalid_parameter_value',
     format('run_timeout %s is not whole seconds within 1 second to 30 days', j.run_timeout), 'Leave it out for the daemon''s own.'),
    ('max_attempts', 'invalid_parameter_value', format('max_attempts %s is not within 1 to 100', j.max_attempts), 'Leave it out for 3.'),
    ('model', 'invalid_parameter_value', format('model %s is not known here', coalesce(quote_literal(left(j.model, 512)), 'NULL')),
     coalesce('Known models: ' || (SELECT string_agg(m.name, ', ' ORDER BY m.name) FROM parkd.models m) || '.',
              'No daemon has registered a model yet: start one, or run jobctl models add.')),
    ('tenant', 'insufficient_privilege', format('login %s submits for tenant %s, not for %s', session_user, p_mine, j.tenant),
     'Leave tenant out, or let an administrator add a row to parkd.tenant_logins.'),
    ('body.model', 'invalid_parameter_value',
     format('body.model is %s, the column model is %s', left(p_body ->> 'model', 512), j.model), 'Leave one of them out.'),
    ('stream', 'invalid_parameter_value', 'body.stream: nobody can listen to a job from SQL', 'Leave stream out.'),
    ('messages', 'invalid_parameter_value',
     format('body.messages is a JSON %s; it must be an array', jsonb_typeof(p_body -> 'messages')),
     'For example {"messages":[{"role":"user","content":"Hi"}]}.'),
    ('number', 'invalid_parameter_value',
     format('body.%s is %s; it must be a whole number from %s to %s', v_number, left((p_body -> v_number)::text, 60),
            lower(parkd.bounds_v1(v_number)), upper(parkd.bounds_v1(v_number))), format('Leave %s out for the default.', v_number)))
    t(rule, code, message, hint) WHERE t.rule = p_rule;
  RETURN parkd.refuse_v1(r.code, j.custom_id, r.message, r.hint);
END $$;

-- The rules of before_insert_v1 that a plain job can break, and that the memory (plain_job_v1) is of its model and login.
CREATE FUNCTION parkd.is_plain_v1(p_seen text[], p_model text, p_tenant text, p_mailbox_key text, p_custom_id text,
                                  p_priority parkd.priority, p_body jsonb, p_max_tokens numeric, p_text text, p_again text)
RETURNS bool LANGUAGE sql STABLE
  RETURN p_seen[1] = p_model AND p_seen[2] = session_user
    AND coalesce(p_tenant = p_seen[3], true) AND p_mailbox_key IS DISTINCT FROM '' AND p_priority IS DISTINCT FROM 'critical'
    AND coalesce(greatest(octet_length(p_mailbox_key), octet_length(p_custom_id)) <= 512, true)
    AND octet_length(p_model) <= 512 AND octet_length(p_seen[3]) BETWEEN 1 AND 512 AND jsonb_typeof(p_body) = 'object'
    AND NOT p_body ?| '{n,max_completion_tokens,seed}' AND parkd.body_rule_v1(p_body, p_model) IS NULL
    AND coalesce(parkd.is_whole_v1(p_max_tokens, 'max_tokens'), true)
    AND NOT parkd.is_deep_v1(p_body) AND NOT parkd.may_be_doubled_v1(p_text, p_again);

-- A plain job: nothing is given but its body, names, priority and seed, and the session has just seen its model. Completes
-- it if no rule is broken, else leaves it to before_insert_v1. Most jobs are plain and a query costs as much as all of
-- this, so what that function looked up last is believed for a second (parkd.seen). A client can write that
-- setting too: after_insert_v1 looks again, once a statement, whatever door the rows came through.
-- It runs with the client's rights and search_path (to set one for a call costs a tenth of the row), so every name is
-- given with its schema here; the SQL functions are bound to theirs. Roles.a_search_path_of_the_clients_changes_nothing.
-- STABLE spares it a snapshot for each expression.
CREATE FUNCTION parkd.plain_job_v1() RETURNS trigger LANGUAGE plpgsql STABLE AS $$
DECLARE
  v_text pg_catalog.text;
  v_body pg_catalog.jsonb;
  v_again pg_catalog.text;       -- the body's value as text
  v_max_tokens numeric;
  v_seen pg_catalog.text[];      -- model, login, tenant, until (seconds)
BEGIN
  IF NEW.order_key IS NOT NULL THEN      -- a daemon's: nothing is missing
    v_text := parkd.out_of_bounds_v1(NEW);
    IF v_text IS NOT NULL THEN PERFORM parkd.refuse_bounds_v1(NEW.id, v_text); END IF;
  ELSIF pg_catalog.num_nulls(NEW.endpoint, NEW.metadata, NEW.run_at, NEW.deadline, NEW.retention, NEW.run_timeout,
          NEW.max_attempts, NEW.batch_id, NEW.idempotency_key) OPERATOR(pg_catalog.=) 9 THEN
    v_seen := pg_catalog.string_to_array(pg_catalog.current_setting('parkd.seen', true), E'\n');
    v_text := NEW.body;
    IF v_seen[4] IS NULL OR pg_catalog.octet_length(v_text) OPERATOR(pg_catalog.>) 16777216 THEN RETURN NEW; END IF;
    BEGIN
      v_body := v_text;
      v_max_tokens := (v_body OPERATOR(pg_catalog.->) 'max_tokens')::numeric;      -- fails unless a number
      v_again := v_body;
    EXCEPTION WHEN data_exception OR program_limit_exceeded THEN
      RETURN NEW;
    END;
    NEW.created_at := pg_catalog.clock_timestamp();
    IF v_seen[4]::double precision OPERATOR(pg_catalog.>) pg_catalog.date_part('epoch', NEW.created_at)
       AND parkd.is_plain_v1(v_seen, NEW.model, NEW.tenant, NEW.mailbox_key, NEW.custom_id, NEW.priority, v_body,
                             v_max_tokens, v_text, v_again) THEN
      NEW.tenant := v_seen[3];
      NEW.endpoint := (parkd.endpoints_v1())[1];
      NEW.max_attempts := 3;
      NEW.priority := coalesce(NEW.priority, 'normal');
      NEW.prompt_tokens := pg_catalog.octet_length(v_text) OPERATOR(pg_catalog./) 4;
      NEW.max_new_tokens := v_max_tokens;
      NEW.order_key := NEW.created_at OPERATOR(pg_catalog.+) parkd.delay_v1(NEW.priority);
      NEW.retention := '7 days';
      IF NEW.mailbox_key IS NULL THEN NEW.mailbox_key := parkd.new_mailbox_key_v1(); END IF;
      IF NEW.seed IS NULL THEN NEW.seed := parkd.new_seed_v1(); END IF;
    END IF;
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER jobs_1_plain BEFORE INSERT ON parkd.jobs FOR EACH ROW EXECUTE FUNCTION parkd.plain_job_v1();

-- Checks and completes a row a client wrote, unless plain_job_v1 has (then it has an order_key, as a daemon's). The
-- numbers are those of HTTP: lib/job/bounds.h. Extremes.sql_and_http_have_the_same_limits.
CREATE FUNCTION parkd.before_insert_v1() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, parkd, pg_temp AS $$
DECLARE
  v_now   timestamptz := clock_timestamp();
  v_rule  text;          -- the first one that is broken
  v_body  jsonb;
  v_mine  text;
  v_plain bool;
  v_known bool;
  v_seen  text;
  v_batch_deadline  timestamptz;
  v_batch_retention interval;
  v_job   bigint;
  v_other_hash text;
  v_hash  text;
  v_refused bool;
BEGIN
  -- A model, an endpoint or a batch of more than 512 bytes is none that there is.
  v_rule := CASE
    WHEN greatest(octet_length(NEW.tenant), octet_length(NEW.mailbox_key), octet_length(NEW.custom_id),
                  octet_length(NEW.idempotency_key)) > 512 THEN 'text'
    WHEN json_typeof(NEW.body) IS DISTINCT FROM 'object' THEN 'body'
    WHEN octet_length(NEW.body::text) > 16777216 THEN 'bytes' END;
  IF v_rule IS NOT NULL THEN v_refused := parkd.refuse_job_v1(NEW, v_rule); END IF;
  v_plain := num_nonnulls(NEW.endpoint, NEW.metadata, NEW.run_at, NEW.deadline, NEW.retention, NEW.run_timeout,
                          NEW.max_attempts, NEW.batch_id, NEW.idempotency_key) = 0;
  IF NOT v_plain THEN
    v_rule := CASE
      WHEN NEW.endpoint <> ALL (parkd.endpoints_v1()) THEN 'endpoint'
      WHEN json_typeof(NEW.metadata) <> 'object' OR octet_length(NEW.metadata::text) > 9216 THEN 'metadata'
      WHEN NEW.run_at NOT BETWEEN timestamptz '1970-01-01 00:00:00Z' AND timestamptz '9999-12-31 23:59:59Z' THEN 'run_at'
      WHEN NEW.deadline NOT BETWEEN timestamptz '1970-01-01 00:00:00Z' AND timestamptz '9999-12-31 23:59:59Z' THEN 'deadline'
      WHEN date_part('epoch', NEW.retention) NOT BETWEEN 60 AND 2592000 THEN 'retention'
      WHEN date_part('epoch', NEW.run_timeout) NOT BETWEEN 1 AND 2592000
        OR date_part('epoch', NEW.run_timeout) <> round(date_part('epoch', NEW.run_timeout)) THEN 'run_timeout'
      WHEN NEW.max_attempts NOT BETWEEN 1 AND 100 THEN 'max_attempts' END;
    IF v_rule IS NOT NULL THEN v_refused := parkd.refuse_job_v1(NEW, v_rule); END IF;
    IF NEW.metadata IS NOT NULL AND
       (SELECT count(*) FROM jsonb_object_keys(parkd.read_json_v1(NEW.metadata, 'metadata', NEW.custom_id))) > 16 THEN
      v_refused := parkd.refuse_job_v1(NEW, 'metadata');
    END IF;
    -- In seconds: what an interval of years and days adds up to depends on where it starts.
    NEW.retention := make_interval(secs => date_part('epoch', NEW.retention));
    NEW.run_timeout := make_interval(secs => date_part('epoch', NEW.run_timeout));
  END IF;
  v_body := parkd.read_json_v1(NEW.body, 'body', NEW.custom_id);
  IF NEW.model IS NULL THEN NEW.model := v_body ->> 'model'; END IF;
  SELECT true, l.tenant INTO v_known, v_mine     -- models_pkey, tenant_logins_pkey
    FROM parkd.models m LEFT JOIN parkd.tenant_logins l ON l.login = session_user WHERE m.name = NEW.model;
  v_mine := coalesce(parkd.tenant_of_login_v1(v_mine), parkd.no_tenant_v1());
  IF v_plain AND v_known AND strpos(NEW.model || session_user || v_mine, E'\n') = 0 THEN
    v_seen := set_config('parkd.seen', concat_ws(E'\n', NEW.model, session_user, v_mine, date_part('epoch', v_now) + 1), false);
  END IF;
  NEW.tenant := coalesce(nullif(NEW.tenant, ''), v_mine);
  v_rule := CASE
    WHEN v_known IS NULL AND coalesce(NEW.idempotency_key, '') = '' THEN 'model'
    WHEN NEW.tenant <> v_mine AND NOT parkd.acts_for_any() THEN 'tenant'
    ELSE coalesce(parkd.body_rule_v1(v_body, NEW.model),
                  CASE WHEN parkd.is_wrong_v1(v_body, 'max_tokens') THEN 'number' END) END;
  IF v_rule IS NOT NULL THEN v_refused := parkd.refuse_job_v1(NEW, v_rule, v_body, v_mine); END IF;
  -- The price is an estimate until a daemon has tokenised the prompt: four bytes a token (need_tokens_v1).
  NEW.prompt_tokens := octet_length(NEW.body::text) / 4;
  NEW.max_new_tokens := (v_body ->> 'max_tokens')::numeric::int;
  IF v_body ?| '{n,max_completion_tokens,seed}' THEN
    IF parkd.is_wrong_v1(v_body, 'n') OR parkd.is_wrong_v1(v_body, 'max_completion_tokens') OR parkd.is_wrong_v1(v_body, 'seed') THEN
      v_refused := parkd.refuse_job_v1(NEW, 'number', v_body);
    END IF;
    NEW.n_choices := coalesce((v_body ->> 'n')::numeric::int, 1);
    NEW.max_new_tokens := coalesce((v_body ->> 'max_completion_tokens')::numeric::int, NEW.max_new_tokens);
    -- 64 bits with or without a sign, as HTTP stores them
    NEW.seed := coalesce((v_body ->> 'seed')::numeric
      - CASE WHEN (v_body ->> 'seed')::numeric > 9223372036854775807 THEN 18446744073709551616 ELSE 0 END, NEW.seed);
  END IF;
  IF NEW.priority = 'critical' AND NOT parkd.acts_for_any()
     AND NOT EXISTS (SELECT FROM parkd.tenants t WHERE t.name = NEW.tenant AND t.may_be_critical) THEN
    v_refused := parkd.refuse_v1('insufficient_privilege', NEW.custom_id, format('tenant %s may not submit critical jobs', NEW.tenant),
      'Use high, or let an administrator set parkd.tenants.may_be_critical.');
  END IF;
  NEW.batch_id := nullif(NEW.batch_id, '');
  IF NEW.batch_id IS NOT NULL THEN
    SELECT b.deadline, b.retention INTO v_batch_deadline, v_batch_retention
      FROM parkd.batches b WHERE b.id = NEW.batch_id AND b.tenant = NEW.tenant;   -- batches_pkey
    IF NOT FOUND THEN
      v_refused := parkd.refuse_v1('invalid_parameter_value', NEW.custom_id, format('batch_id: there is no batch %s', left(NEW.batch_id, 512)),
        'Open one: SELECT parkd.open_batch();');
    END IF;
    IF NEW.deadline <> v_batch_deadline THEN
      v_refused := parkd.refuse_v1('invalid_parameter_value', NEW.custom_id,
        format('deadline %s differs from that of batch %s, %s', NEW.deadline, NEW.batch_id, v_batch_deadline),
        'Leave deadline out: a member has its batch''s.');
    END IF;
  END IF;
  NEW.endpoint := coalesce(NEW.endpoint, (parkd.endpoints_v1())[1]);
  NEW.max_attempts := coalesce(NEW.max_attempts, 3);
  NEW.priority := coalesce(NEW.priority, CASE WHEN NEW.batch_id IS NULL THEN 'normal' ELSE 'low' END::parkd.priority);
  NEW.created_at := v_now;
  NEW.order_key := greatest(v_now, NEW.run_at) + parkd.delay_v1(NEW.priority);
  IF NEW.run_at > v_now THEN NEW.state := 'scheduled'::parkd.job_state; END IF;
  NEW.idempotency_key := nullif(NEW.idempotency_key, '');
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
  -- What is wrong only now is so of a new job: one that is sent again was found by its key.
  v_rule := CASE WHEN v_known IS NULL THEN 'model' WHEN NEW.deadline <= v_now THEN 'late'
                 WHEN NEW.run_at >= NEW.deadline THEN 'never' END;
  IF v_rule IS NOT NULL THEN v_refused := parkd.refuse_job_v1(NEW, v_rule, v_body, v_mine); END IF;
  IF v_batch_deadline <= v_now THEN
    v_refused := parkd.refuse_v1('object_not_in_prerequisite_state', NEW.custom_id,
      format('the deadline of batch %s, %s, has passed', NEW.batch_id, v_batch_deadline), 'Open a new batch.');
  ELSIF NEW.run_at >= v_batch_deadline THEN
    v_refused := parkd.refuse_v1('invalid_parameter_value', NEW.custom_id,
      format('run_at %s is not before the deadline of batch %s, %s: the job would never run', NEW.run_at, NEW.batch_id, v_batch_deadline),
      'Give an earlier run_at.');
  END IF;
  -- From here on what was left out: not part of the content behind the key.
  IF coalesce(NEW.mailbox_key, '') = '' THEN
    NEW.mailbox_key := parkd.new_mailbox_key_v1();
  END IF;
  NEW.seed := coalesce(NEW.seed, parkd.new_seed_v1());
  NEW.retention := coalesce(NEW.retention, v_batch_retention, interval '7 days');
  NEW.deadline := coalesce(NEW.deadline, v_batch_deadline);
  RETURN NEW;
END $$;
CREATE TRIGGER jobs_2_any BEFORE INSERT ON parkd.jobs
  FOR EACH ROW WHEN (NEW.order_key IS NULL) EXECUTE FUNCTION parkd.before_insert_v1();

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

-- One job as {"model": ..., "body": {...}, ...}, or an array of them; the keys are parkd.jobs' columns. A
-- repeated idempotency_key returns the job it made the first time.
CREATE FUNCTION parkd.submit(p json) RETURNS TABLE (id bigint, mailbox_key text, existed bool)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, parkd, pg_temp AS $$
DECLARE
  v_jobs   json := CASE json_typeof(p) WHEN 'array' THEN p ELSE json_build_array(p) END;
  v_fields jsonb := to_jsonb(json_populate_record(NULL::parkd.jobs_copy, '{}')) - 'transaction';   -- its keys
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
    SELECT e.job, e.at, k.unknown, k.twice INTO r
      FROM json_array_elements(v_jobs) WITH ORDINALITY e(job, at)
     CROSS JOIN LATERAL (SELECT string_agg(x, ', ') FILTER (WHERE NOT v_fields ? x) AS unknown, count(*) > count(DISTINCT x) AS twice
                           FROM json_object_keys(CASE json_typeof(e.job) WHEN 'object' THEN e.job ELSE '{}' END) x) k
     WHERE json_typeof(e.job) <> 'object' OR k.unknown IS NOT NULL OR k.twice LIMIT 1;
    IF NOT FOUND THEN
      SELECT array_agg(c ORDER BY e.at) INTO v_rows
        FROM json_array_elements(v_jobs) WITH ORDINALITY e(job, at) CROSS JOIN LATERAL json_populate_record(NULL::parkd.jobs_copy, e.job) c;
    END IF;
  EXCEPTION WHEN data_exception THEN     -- of which job?
    FOR r IN SELECT e.job, e.at FROM json_array_elements(v_jobs) WITH ORDINALITY e(job, at) LOOP
      BEGIN
        PERFORM count(k), json_populate_record(NULL::parkd.jobs_copy, r.job) FROM json_object_keys(r.job) k;
      EXCEPTION WHEN data_exception THEN
        IF SQLSTATE = '22P05' THEN
          RAISE EXCEPTION USING ERRCODE = 'untranslatable_character', DETAIL = format('Job %s of this call.', r.at),
            MESSAGE = E'a text of the job (body, metadata or a name) contains \\u0000 or half of a surrogate pair', HINT = 'Remove it: neither is text.';
        END IF;
        RAISE EXCEPTION USING ERRCODE = SQLSTATE, MESSAGE = SQLERRM, DETAIL = format('Job %s of this call.', r.at),
          HINT = E'Times are like "2030-01-31 12:00Z", run_timeout and retention like "90 s", seed and max_attempts whole numbers.';
      END;
    END LOOP;
    RAISE;
  END;
  IF v_rows IS NULL AND r.unknown IS NULL AND r.twice THEN
    RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', DETAIL = format('Job %s of this call.', r.at), HINT = 'Give it once.',
      MESSAGE = format('%s is given twice in one object', parkd.given_twice_v1(r.job, 'the job'));
  ELSIF v_rows IS NULL THEN
    RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', DETAIL = format('Job %s of this call.', r.at),
      MESSAGE = coalesce('unknown field: ' || r.unknown, format('a job is %s, not a JSON object', left(r.job::text, 60))),
      HINT = format('A job is {"model": "...", "body": {...}}; its fields: %s.', (SELECT string_agg(f, ', ') FROM jsonb_object_keys(v_fields) f));
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
