-- Views, functions and rights hold nothing.
DROP VIEW parkd.past, parkd.costs, parkd.batch_status, parkd.pools, parkd.health, parkd.workers, parkd.depth_by_tenant, parkd.depth, parkd.live, parkd.results;
DROP POLICY submit ON parkd.jobs;
DROP POLICY look ON parkd.jobs;
DROP POLICY every ON parkd.jobs;
DROP POLICY admin ON parkd.jobs;
DROP POLICY look ON parkd.mailbox;
DROP POLICY every ON parkd.mailbox;
DROP POLICY take ON parkd.mailbox;
ALTER TABLE parkd.jobs DISABLE ROW LEVEL SECURITY;
ALTER TABLE parkd.mailbox DISABLE ROW LEVEL SECURITY;
DROP FUNCTION parkd.cancel(bigint), parkd.cancel_jobs(bigint[]), parkd.cancel_all(text, text), parkd.requeue(bigint[], text, text, int, text, text[]),
  parkd.open_batch(json, timestamptz, text, interval, text), parkd.seal_batch(text), parkd.cancel_batch(text),
  parkd.no_such_batch_v1(text),
  parkd.take(text, int, text), parkd.fetch(text, bigint, int, text), parkd.results_payload(text, text), parkd.renew_secret(), parkd.tenant_for_v1(text);
REVOKE ALL ON ALL TABLES IN SCHEMA parkd FROM parkd_submitter, parkd_reader, parkd_daemon, parkd_admin, parkd_monitor;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA parkd FROM parkd_submitter, parkd_reader, parkd_daemon, parkd_admin, parkd_monitor;
REVOKE ALL ON SCHEMA parkd FROM parkd_submitter, parkd_reader, parkd_daemon, parkd_admin, parkd_monitor;
