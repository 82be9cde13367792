-- The view of 0010 and the list of 0013 again.
CREATE OR REPLACE VIEW parkd.results WITH (security_barrier) AS
SELECT m.job_id AS id, m.mailbox_key, m.custom_id, m.outcome,
       coalesce(m.body #>> '{choices,0,message,content}', m.body #>> '{choices,0,text}') AS text,
       m.body #>> '{choices,0,finish_reason}' AS finish_reason, m.error_code, m.error_message,
       m.prompt_tokens, m.completion_tokens, m.status_code, m.model, m.tenant, m.batch_id, m.metadata, m.body,
       m.sequence, m.attempts, m.created_at, m.finished_at, m.expires_at
  FROM parkd.mailbox m
 WHERE m.expires_at > clock_timestamp() AND (m.tenant = (SELECT parkd.my_tenant()) OR (SELECT parkd.acts_for_any()));
DROP TRIGGER jobs_3_responses ON parkd.jobs;
DROP FUNCTION parkd.price_response_v1();
CREATE OR REPLACE FUNCTION parkd.endpoints_v1() RETURNS text[] LANGUAGE sql IMMUTABLE   -- inlined
  RETURN ARRAY['/v1/chat/completions', '/v1/completions'];
