-- 0019: jobs for /v1/responses. A program that knows 0018 alone would end them as invalid, so it has no business here.

-- A list that grows; what it means is unchanged, so it stays endpoints_v1.
CREATE OR REPLACE FUNCTION parkd.endpoints_v1() RETURNS text[] LANGUAGE sql IMMUTABLE   -- inlined
  RETURN ARRAY['/v1/chat/completions', '/v1/completions', '/v1/responses'];

-- The limit on generated tokens has another name there; for the rest of such a row before_insert_v2 has done all that it does
-- for a chat's. A daemon's row has its tokens.
CREATE FUNCTION parkd.price_response_v1() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, parkd, pg_temp AS $$
DECLARE v_limit jsonb := NEW.body::jsonb -> 'max_output_tokens'; v_refused bool;
BEGIN
  IF parkd.is_wrong_v1(jsonb_build_object('max_tokens', v_limit), 'max_tokens') THEN
    v_refused := parkd.refuse_v1('invalid_parameter_value', NEW.custom_id,
      format('body.max_output_tokens is %s; it must be a whole number from %s to %s', left(v_limit::text, 60),
             lower(parkd.bounds_v1('max_tokens')), upper(parkd.bounds_v1('max_tokens'))),
      'Leave max_output_tokens out for the default.');
  END IF;
  NEW.max_new_tokens := (v_limit #>> '{}')::numeric::int;
  RETURN NEW;
END $$;
REVOKE ALL ON FUNCTION parkd.price_response_v1() FROM PUBLIC;
-- Behind jobs_2_any: triggers fire by name.
CREATE TRIGGER jobs_3_responses BEFORE INSERT ON parkd.jobs FOR EACH ROW
  WHEN (NEW.max_new_tokens IS NULL AND NEW.endpoint = (parkd.endpoints_v1())[3]) EXECUTE FUNCTION parkd.price_response_v1();

-- As in 0010, and of a response the text of its message.
CREATE OR REPLACE VIEW parkd.results WITH (security_barrier) AS
SELECT m.job_id AS id, m.mailbox_key, m.custom_id, m.outcome,
       coalesce(m.body #>> '{choices,0,message,content}', m.body #>> '{choices,0,text}',
                m.body #>> '{output,-1,content,0,text}') AS text,
       coalesce(m.body #>> '{choices,0,finish_reason}',
                CASE m.body ->> 'status' WHEN 'completed' THEN 'stop' WHEN 'incomplete' THEN 'length' ELSE m.body ->> 'status' END)
         AS finish_reason, m.error_code, m.error_message,
       m.prompt_tokens, m.completion_tokens, m.status_code, m.model, m.tenant, m.batch_id, m.metadata, m.body,
       m.sequence, m.attempts, m.created_at, m.finished_at, m.expires_at
  FROM parkd.mailbox m
 WHERE m.expires_at > clock_timestamp() AND (m.tenant = (SELECT parkd.my_tenant()) OR (SELECT parkd.acts_for_any()));
