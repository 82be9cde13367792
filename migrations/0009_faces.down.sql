-- Views, functions and rights hold nothing; the roles stay, for logins may be members of them.
DROP VIEW parkd.past, parkd.costs, parkd.batch_status, parkd.pools, parkd.health, parkd.workers, parkd.depth_by_tenant, parkd.depth, parkd.live, parkd.results;
DROP TABLE parkd.jobs_copy;
DROP TRIGGER jobs_before_insert ON parkd.jobs;
DROP POLICY submit ON parkd.jobs;
DROP POLICY look ON parkd.jobs;
DROP POLICY every ON parkd.jobs;
DROP POLICY admin ON parkd.jobs;
DROP POLICY look ON parkd.mailbox;
DROP POLICY every ON parkd.mailbox;
DROP POLICY take ON parkd.mailbox;
ALTER TABLE parkd.jobs DISABLE ROW LEVEL SECURITY;
ALTER TABLE parkd.mailbox DISABLE ROW LEVEL SECURITY;
DROP FUNCTION parkd.after_copy_v1(), parkd.submit(json), parkd.cancel(bigint), parkd.requeue(bigint[], text, text, int),
  parkd.open_batch(json, timestamptz, text, interval, text), parkd.seal_batch(text), parkd.cancel_batch(text),
  parkd.no_such_batch_v1(text),
  parkd.take(text, int, text), parkd.fetch(text, bigint, int, text), parkd.tenant_for_v1(text),
  parkd.before_insert_v1(), parkd.body_number_v1(jsonb, text, numeric, numeric, text),
  parkd.read_body_v1(json, text), parkd.check_columns_v1(parkd.jobs),
  parkd.priority_v1(text, text), parkd.refuse_v1(text, text, text, text), parkd.my_tenant(),
  parkd.tenant_of_login_v1(text), parkd.acts_for_any();
REVOKE ALL ON ALL TABLES IN SCHEMA parkd FROM parkd_submitter, parkd_reader, parkd_daemon, parkd_admin, parkd_monitor;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA parkd FROM parkd_submitter, parkd_reader, parkd_daemon, parkd_admin, parkd_monitor;
REVOKE ALL ON SCHEMA parkd FROM parkd_submitter, parkd_reader, parkd_daemon, parkd_admin, parkd_monitor;
