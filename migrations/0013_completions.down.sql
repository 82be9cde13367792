DROP TRIGGER jobs_2_any ON parkd.jobs;
CREATE TRIGGER jobs_2_any BEFORE INSERT ON parkd.jobs
  FOR EACH ROW WHEN (NEW.order_key IS NULL) EXECUTE FUNCTION parkd.before_insert_v1();
DROP FUNCTION parkd.before_insert_v2();
CREATE OR REPLACE FUNCTION parkd.endpoints_v1() RETURNS text[] LANGUAGE sql IMMUTABLE   -- inlined
  RETURN ARRAY['/v1/chat/completions'];
