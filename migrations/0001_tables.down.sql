-- Only an empty queue may go: no job and no result is lost. What an administrator set up is (tenants, models,
-- limits, settings), and the accounts of batches.
DO $$
BEGIN
  IF EXISTS (SELECT FROM parkd.jobs) OR EXISTS (SELECT FROM parkd.mailbox)
     OR EXISTS (SELECT FROM parkd.history) THEN
    RAISE EXCEPTION 'parkd.jobs, parkd.mailbox or parkd.history hold rows: going down would lose them'
      USING HINT = 'To remove parkd with its data: DROP SCHEMA parkd, parkd_private CASCADE.';
  END IF;
END $$;
DROP FUNCTION parkd.out_of_bounds_v1(parkd.jobs), parkd.refuse_bounds_v1(bigint, text);
DROP TABLE parkd.tenant_samples, parkd.depth_samples, parkd.history, parkd.mailbox, parkd.idempotency, parkd.jobs,
  parkd.batches, parkd.shares, parkd.waiters, parkd.daemons, parkd.limits, parkd.models,
  parkd.tenant_logins, parkd.tenants, parkd.settings, parkd.fence;
DROP SEQUENCE parkd.message_sequence, parkd.suspect_groups;
DROP SCHEMA parkd_private CASCADE;
DROP FUNCTION parkd.ensure_partitions_v1(timestamptz);
DROP FUNCTION parkd.ensure_partition_v1(text, timestamptz, timestamptz, timestamptz);
DROP FUNCTION parkd.note_mishap_v1(text, text, timestamptz);
DROP TABLE parkd.mishaps;
DROP FUNCTION parkd.after_update_v1();
DROP FUNCTION parkd.has_partition_v1(text, timestamptz);
DROP TYPE parkd.outcome, parkd.job_state, parkd.priority;
