-- Functions, a view and rights hold nothing.
REVOKE EXECUTE ON FUNCTION parkd.us_v1(timestamptz), parkd.from_us_v1(bigint) FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION parkd.register_model_v1(text, text, int) FROM parkd_admin;
REVOKE SELECT ON parkd.schema_version FROM parkd_submitter, parkd_reader, parkd_monitor;
REVOKE SELECT ON parkd.models, parkd.settings FROM parkd_submitter, parkd_reader;
DROP VIEW parkd.past;
DROP FUNCTION parkd.take(text, int, text), parkd.fetch(text, bigint, int, text), parkd.tenant_for_v1(text);
