-- 0013: jobs for /v1/completions. A program that knows 0012 alone would end them as invalid, so it has no business here.

-- A list that grows; what it means is unchanged, so it stays endpoints_v1.
CREATE OR REPLACE FUNCTION parkd.endpoints_v1() RETURNS text[] LANGUAGE sql IMMUTABLE   -- inlined
  RETURN ARRAY['/v1/chat/completions', '/v1/completions'];

-- As before_insert_v1, in whose place it is; and its estimate of a price knows of prompts.
CREATE FUNCTION parkd.before_insert_v2() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
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
  v_prompts int;
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
  IF v_body ?| '{n,max_completion_tokens,seed,prompt}' THEN
    IF parkd.is_wrong_v1(v_body, 'n') OR parkd.is_wrong_v1(v_body, 'max_completion_tokens') OR parkd.is_wrong_v1(v_body, 'seed') THEN
      v_refused := parkd.refuse_job_v1(NEW, 'number', v_body);
    END IF;
    -- Of a list of prompts each has n choices, and a part of the body; more than 2048 are the daemon's to refuse.
    v_prompts := CASE WHEN jsonb_typeof(v_body -> 'prompt') = 'array' AND jsonb_typeof(v_body #> '{prompt,0}') IN ('string', 'array')
                      THEN least(jsonb_array_length(v_body -> 'prompt'), 2048) ELSE 1 END;
    NEW.n_choices := coalesce((v_body ->> 'n')::numeric::int, 1) * v_prompts;
    NEW.prompt_tokens := NEW.prompt_tokens / v_prompts;
    NEW.max_new_tokens := coalesce((v_body ->> 'max_completion_tokens')::numeric::int, NEW.max_new_tokens,
      CASE WHEN NEW.endpoint = (parkd.endpoints_v1())[2] THEN 16 END);   -- kCompletionTokensDefault
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
REVOKE ALL ON FUNCTION parkd.before_insert_v2() FROM PUBLIC;
DROP TRIGGER jobs_2_any ON parkd.jobs;
CREATE TRIGGER jobs_2_any BEFORE INSERT ON parkd.jobs
  FOR EACH ROW WHEN (NEW.order_key IS NULL) EXECUTE FUNCTION parkd.before_insert_v2();
