-- 0001: the tables. Live jobs alone stand in parkd.jobs; what has finished is a row of parkd.mailbox
-- (until taken or expired) and of parkd.history (30 days). All ranges are in UTC.

-- Enumerators in the order of lib/job/job.h.
CREATE TYPE parkd.priority  AS ENUM ('critical', 'high', 'normal', 'low');
CREATE TYPE parkd.job_state AS ENUM ('scheduled', 'queued', 'claimed', 'cancelling');
CREATE TYPE parkd.outcome   AS ENUM ('completed', 'failed', 'cancelled', 'deadline_missed', 'quarantined');

-- Which database this is. A promoted standby has another timeline, a restored one another timeline or
-- system, and a server that crashed has forgotten the last claims (they are not synced): the first daemon
-- that notices raises the epoch, and every later run_lease is larger than any that the lost part of
-- history gave out. An operator who restores bumps it by hand too.
CREATE TABLE parkd.fence (
  one               bool PRIMARY KEY DEFAULT true CHECK (one),
  epoch             bigint NOT NULL DEFAULT 1 CHECK (epoch BETWEEN 1 AND 2147483647),
  system_identifier bigint NOT NULL,
  timeline          text NOT NULL,
  server_start      timestamptz NOT NULL DEFAULT pg_postmaster_start_time(),
  changed_at        timestamptz NOT NULL DEFAULT clock_timestamp()
);
INSERT INTO parkd.fence (system_identifier, timeline)
  SELECT system_identifier, left(pg_walfile_name(pg_current_wal_lsn()), 8) FROM pg_control_system();

CREATE TABLE parkd.settings (
  one            bool PRIMARY KEY DEFAULT true CHECK (one),
  notify_work    bool NOT NULL DEFAULT true,    -- wake idle daemons by NOTIFY; else they poll
  notify_results bool NOT NULL DEFAULT false,   -- NOTIFY parkd_results, parkd.results_payload(mailbox_key)
  max_batch_jobs bigint NOT NULL DEFAULT 50000 CHECK (max_batch_jobs > 0),  -- members of one batch
  -- Of each tenant: its batches that are not finished; in each model its jobs that were submitted for a later time,
  -- until they run.
  max_open_batches         bigint NOT NULL DEFAULT 1000 CHECK (max_open_batches > 0),
  max_scheduled_per_tenant bigint NOT NULL DEFAULT 10000 CHECK (max_scheduled_per_tenant > 0)
);
INSERT INTO parkd.settings DEFAULT VALUES;

CREATE TABLE parkd.tenants (
  name            text PRIMARY KEY,
  weight          real NOT NULL DEFAULT 1 CHECK (weight BETWEEN 0.001 AND 1000),   -- of its share
  may_be_critical bool NOT NULL DEFAULT false
);

-- A login that submits acts for exactly one tenant. One without a row acts for the tenant of its own
-- name; members of parkd_admin and parkd_daemon may name any tenant.
CREATE TABLE parkd.tenant_logins (
  login  text PRIMARY KEY,
  tenant text NOT NULL
);

CREATE TABLE parkd.models (
  name           text PRIMARY KEY CHECK (octet_length(name) <= 512),
  content_hash   text,                 -- of weights, tokenizer, template and dtype; set by the first
  context_tokens int NOT NULL DEFAULT 8192 CHECK (context_tokens > 0),
  paused_at      timestamptz,
  registered_at  timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- model '' speaks for every model without a row of its own. Off when there is no row.
CREATE TABLE parkd.limits (
  model           text PRIMARY KEY,
  max_queue_depth bigint NOT NULL CHECK (max_queue_depth > 0),
  on_full         text NOT NULL DEFAULT 'refuse' CHECK (on_full IN ('refuse', 'wait')),
  max_queued_per_tenant bigint CHECK (max_queued_per_tenant > 0)   -- NULL: half of max_queue_depth, rounded up
);

CREATE TABLE parkd.daemons (            -- one row per process START, never used again
  id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  beat_at     timestamptz NOT NULL,
  ttl         interval NOT NULL DEFAULT '30 seconds',
  started_at  timestamptz NOT NULL,
  fence_epoch  bigint NOT NULL,
  server_start timestamptz NOT NULL,    -- of the server that fence_epoch was read from
  timeline    text NOT NULL,
  pid         int NOT NULL,
  draining    bool NOT NULL DEFAULT false,
  lost_at     timestamptz,              -- left, or declared gone: its claims are anybody's
  host        text NOT NULL,
  version     text NOT NULL,
  status      json                      -- what it parks and runs, for parkd.live and parkd.workers
) WITH (fillfactor = 20);               -- a beat changes no indexed column: HOT, page by page

-- Daemons with nothing to do on a model: the gate of NOTIFY parkd_work. Losing it costs a poll.
CREATE UNLOGGED TABLE parkd.waiters (
  model     text NOT NULL,
  daemon_id bigint NOT NULL,
  PRIMARY KEY (model, daemon_id)
);

-- Start-time fair queueing between the tenants of a model. tags: tenant -> finish tag, only those
-- ahead of virtual_time (a tag at or behind it says the same as none).
CREATE TABLE parkd.shares (
  model        text PRIMARY KEY,
  virtual_time double precision NOT NULL DEFAULT 0,
  largest_cost double precision NOT NULL DEFAULT 0,   -- of the jobs that were charged
  tags         jsonb NOT NULL DEFAULT '{}',
  after_tenant text NOT NULL DEFAULT ''  -- where the next look at the tenants starts: a ring
) WITH (fillfactor = 20);

-- A set of jobs with its own account (lib/job/batch.h). The counters always equal the members' rows:
-- total moves with the INSERT of members, the others with their finish, each in its transaction.
CREATE TABLE parkd.batches (
  id               text PRIMARY KEY DEFAULT 'batch_' || replace(gen_random_uuid()::text, '-', ''),
  tenant           text NOT NULL,
  name             text,
  idempotency_key  text,                -- holds as long as this row
  content_hash     text,                -- of what was given with that key
  retention        interval NOT NULL,   -- of members that bring none of their own
  total            bigint NOT NULL DEFAULT 0,
  completed        bigint NOT NULL DEFAULT 0,
  failed           bigint NOT NULL DEFAULT 0,
  cancelled        bigint NOT NULL DEFAULT 0,
  deadline_missed  bigint NOT NULL DEFAULT 0,
  quarantined      bigint NOT NULL DEFAULT 0,
  truncated        bigint NOT NULL DEFAULT 0,   -- of the completed: a choice ended at its token limit
  deleted          bigint NOT NULL DEFAULT 0,   -- members whose rows somebody deleted: they end never, total is without them
  created_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
  deadline         timestamptz NOT NULL,        -- its members' too
  sealed_at        timestamptz,
  cancel_at        timestamptz,
  finished_at      timestamptz,
  metadata         json,
  CHECK (date_part('epoch', retention) > 0 AND date_part('epoch', retention) <= 2592000),
  CHECK (isfinite(deadline)),
  CHECK (greatest(octet_length(tenant), octet_length(name), octet_length(idempotency_key)) <= 512),
  CHECK (completed + failed + cancelled + deadline_missed + quarantined <= total)
) WITH (fillfactor = 50);               -- counters change and no index holds them: HOT
CREATE UNIQUE INDEX batches_key ON parkd.batches (tenant, idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE INDEX batches_newest   ON parkd.batches (created_at, id);
CREATE INDEX batches_open     ON parkd.batches (deadline)    WHERE sealed_at IS NULL;
CREATE INDEX batches_running  ON parkd.batches (id)          WHERE sealed_at IS NOT NULL AND finished_at IS NULL;   -- reconcile_batches_v1
-- From when on, but for the history kept beside it, a finished batch is not wanted (tidy_v1). In UTC: only so is the sum immutable.
CREATE INDEX batches_finished ON parkd.batches ((greatest(finished_at, deadline) AT TIME ZONE 'UTC' + retention))
  WHERE finished_at IS NOT NULL;
CREATE INDEX batches_unfinished ON parkd.batches (tenant) WHERE finished_at IS NULL;

-- What a client may leave out has no DEFAULT here but is filled in by before_insert_v1 (0009), which
-- must know what was given: that is the content behind an idempotency key.
-- The columns stand by what it costs to find them in a row: of fixed width and never NULL, then those of a claim, then
-- texts, last what most jobs do not have. Behind a NULL or a text a column is looked for from the left each time.
CREATE TABLE parkd.jobs (
  id               bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  run_lease        bigint NOT NULL DEFAULT 0,   -- the fence: epoch << 32 | n; grows at each claim
  order_key        timestamptz NOT NULL,        -- set by the trigger: created_at (or run_at) + delay
  created_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
  retention        interval NOT NULL,
  seed             bigint NOT NULL,
  noted_lease      bigint NOT NULL DEFAULT 0,   -- the last run whose death was noted
  suspect_group    bigint NOT NULL DEFAULT 0,   -- runs in no other company than this group's; 0: none
  state            parkd.job_state NOT NULL DEFAULT 'queued',
  priority         parkd.priority NOT NULL,     -- left out by a client: normal, in a batch low
  prompt_tokens    int NOT NULL DEFAULT 0,
  n_choices        int NOT NULL DEFAULT 1,
  attempts         int NOT NULL DEFAULT 0,
  max_attempts     int NOT NULL,
  interruptions    int NOT NULL DEFAULT 0,   -- deaths of a process in a row that it was in the engine at
  deaths_alone     int NOT NULL DEFAULT 0,   -- noted deaths at which nothing else was in the engine
  tokens_are_exact bool NOT NULL DEFAULT false,
  max_new_tokens   int,                         -- NULL: left out, the daemon's to choose (need_tokens_v1)
  daemon_id        bigint,
  claimed_at       timestamptz,
  model            text NOT NULL,
  tenant           text NOT NULL,
  mailbox_key      text NOT NULL,
  endpoint         text NOT NULL,
  body             json NOT NULL,
  run_at           timestamptz,
  deadline         timestamptz,
  cancel_at        timestamptz,                 -- cancel asked for: of a claimed job, or it is cancelling
  requeued_from    bigint,
  run_timeout      interval,
  custom_id        text,
  batch_id         text,
  idempotency_key  text,
  metadata         json,
  CHECK ((state = 'claimed') = (daemon_id IS NOT NULL))
) WITH (fillfactor = 85, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 2000,
        autovacuum_vacuum_insert_scale_factor = 0.2, autovacuum_vacuum_cost_delay = 0,
        autovacuum_analyze_scale_factor = 0.1, autovacuum_analyze_threshold = 5000);
ALTER TABLE parkd.jobs ALTER COLUMN body SET COMPRESSION lz4;
-- A job leaves two dead versions and as many dead index entries, and claims walk the head of an index
-- where they gather: vacuum at 1 % (and 2000), without pauses, and analyze seldom, for no hot statement
-- depends on statistics. The other tables that are updated (daemons, shares, batches, depth_samples) are
-- small, with room on their pages (fillfactor) and no index on what changes, so they prune themselves. The
-- mailbox and the history are hardly deleted from: whole partitions go. parkd.health shows all of it.

-- Whatever door a job came through: what lies outside could not be claimed, finished or read. The numbers
-- are those of lib/job/bounds.h; clients hear of them from before_insert_v1 (0009). Not
-- CHECKs: every statement that writes to a table reads and plans all of its CHECKs anew, claims included, and
-- these were a third of the work of an INSERT of one job.
CREATE FUNCTION parkd.out_of_bounds_v1(j parkd.jobs) RETURNS text LANGUAGE sql STABLE   -- inlined
  RETURN CASE
    -- An interval counts in seconds: '-100 years 36030 days' compares as 30 days and goes back 495.
    WHEN NOT (date_part('epoch', j.retention) > 0 AND date_part('epoch', j.retention) <= 2592000) THEN 'retention'
    WHEN date_part('epoch', j.run_timeout) NOT BETWEEN 1 AND 2592000 THEN 'run_timeout'
    WHEN j.run_at NOT BETWEEN timestamptz '1970-01-01 00:00:00Z' AND timestamptz '9999-12-31 23:59:59Z' THEN 'run_at'
    WHEN j.deadline NOT BETWEEN timestamptz '1970-01-01 00:00:00Z' AND timestamptz '9999-12-31 23:59:59Z' THEN 'deadline'
    WHEN NOT isfinite(j.created_at) THEN 'created_at'
    WHEN NOT isfinite(j.order_key) THEN 'order_key'
    WHEN j.max_attempts NOT BETWEEN 1 AND 100 THEN 'max_attempts'
    WHEN greatest(octet_length(j.model), octet_length(j.tenant), octet_length(j.mailbox_key),
                  octet_length(j.endpoint), octet_length(j.custom_id), octet_length(j.batch_id),
                  octet_length(j.idempotency_key)) > 512 THEN 'a text of more than 512 bytes'
    WHEN json_typeof(j.metadata) <> 'object' OR octet_length(j.metadata::text) > 9216 THEN 'metadata' END;
CREATE FUNCTION parkd.refuse_bounds_v1(p_id bigint, p_field text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION USING ERRCODE = 'check_violation', MESSAGE = format('job %s is out of bounds: %s', p_id, p_field);
END $$;
CREATE FUNCTION parkd.after_update_v1() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE v_field text := parkd.out_of_bounds_v1(NEW);
BEGIN
  IF v_field IS NOT NULL THEN PERFORM parkd.refuse_bounds_v1(NEW.id, v_field); END IF;
  RETURN NULL;
END $$;
-- AFTER: for a BEFORE trigger every row is fetched and locked once more, also by updates of other columns.
CREATE TRIGGER jobs_after_update AFTER UPDATE OF retention, run_timeout, run_at, deadline, created_at, order_key,
    max_attempts, model, tenant, mailbox_key, endpoint, custom_id, batch_id, idempotency_key, metadata ON parkd.jobs
  FOR EACH ROW EXECUTE FUNCTION parkd.after_update_v1();

-- Every change of state writes one entry into the primary key and one into the index of the new
-- state, so there are no full indexes but the key.
CREATE INDEX jobs_queue     ON parkd.jobs (model, tenant, order_key, id)
  WHERE state = 'queued' AND priority <> 'critical';
CREATE INDEX jobs_critical  ON parkd.jobs (model, tenant, order_key, id)
  WHERE state = 'queued' AND priority = 'critical';
CREATE INDEX jobs_scheduled ON parkd.jobs (model, run_at) WHERE state = 'scheduled';
CREATE INDEX jobs_claimed   ON parkd.jobs (daemon_id) WHERE state = 'claimed';
-- Hardly ever a row. Of a daemon: heartbeat_v1; of none, cancelling: end_cancelled_v1.
CREATE INDEX jobs_cancelled ON parkd.jobs (daemon_id, id) WHERE cancel_at IS NOT NULL;
CREATE INDEX jobs_batch     ON parkd.jobs (batch_id)  WHERE batch_id IS NOT NULL;
CREATE INDEX jobs_deadline  ON parkd.jobs (deadline)  WHERE deadline IS NOT NULL AND state IN ('scheduled', 'queued');

-- A name of a suspect group. Never 0, never used twice.
CREATE SEQUENCE parkd.suspect_groups;

-- An idempotency key holds as long as its job lives, and after that until history.key_until (finish +
-- max(retention, 24 h)), so finishing touches nothing here.
CREATE TABLE parkd.idempotency (
  tenant       text NOT NULL,
  key          text NOT NULL,
  job_id       bigint NOT NULL,
  check_at     timestamptz NOT NULL,   -- housekeeping looks again then
  content_hash text NOT NULL,
  PRIMARY KEY (tenant, key)
) WITH (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 2000);   -- all of it is deleted in a day
CREATE INDEX idempotency_check ON parkd.idempotency (check_at);

CREATE SEQUENCE parkd.message_sequence;   -- of messages; parkd.horizon_v1 makes it safe to page by

-- What results and housekeeping trust: only functions of the owner's reach it. A schema of its own, for whoever may use
-- a schema can lock its tables by a PREPARE that is never executed.
DROP SCHEMA IF EXISTS parkd_private CASCADE;   -- left where somebody dropped the schema parkd alone
CREATE SCHEMA parkd_private;
-- What the payloads of notifications hang on, which any login hears: new in each database. A dump holds it.
CREATE TABLE parkd_private.secrets (one bool PRIMARY KEY DEFAULT true CHECK (one), key bytea NOT NULL);
INSERT INTO parkd_private.secrets (key)
  SELECT sha256(string_agg(uuid_send(gen_random_uuid()), '')) FROM generate_series(1, 4);
-- Whose turn it is, of those that one transaction does for all: the row is locked for it.
CREATE TABLE parkd_private.turns (what text PRIMARY KEY, reached text);   -- reached: where the next turn goes on
INSERT INTO parkd_private.turns VALUES ('partitions'), ('housekeeping'), ('depth'), ('batches');
-- A transaction that draws message sequences has one of these rows locked, and the row's sequence says where it began: a
-- note that others see before the commit.
CREATE TABLE parkd_private.finishing (slot int NOT NULL, began regclass NOT NULL);
DO $$
BEGIN
  FOR i IN 0..63 LOOP
    EXECUTE format('CREATE SEQUENCE parkd_private.began_%s', i);
    INSERT INTO parkd_private.finishing VALUES (i, format('parkd_private.began_%s', i)::regclass);
  END LOOP;
END $$;

CREATE TABLE parkd.mailbox (
  sequence          bigint NOT NULL,
  job_id            bigint NOT NULL,
  run_lease         bigint NOT NULL,
  created_at        timestamptz NOT NULL,
  finished_at       timestamptz NOT NULL,
  expires_at        timestamptz NOT NULL,
  queue_us          bigint NOT NULL,
  run_us            bigint NOT NULL,
  units             bigint NOT NULL,
  prompt_tokens     int NOT NULL,
  completion_tokens int NOT NULL,
  status_code       int NOT NULL,
  attempts          int NOT NULL,
  outcome           parkd.outcome NOT NULL,
  tenant            text NOT NULL,
  mailbox_key       text NOT NULL,
  model             text NOT NULL,
  custom_id         text,
  batch_id          text,
  error_code        text,
  error_message     text,
  error_param       text,
  metadata          json,
  body              json,
  request           json     -- what the job was when it did not complete, until it is requeued
) PARTITION BY RANGE (expires_at);
-- Key first: the view for admins, who see every tenant, is served by it too.
CREATE INDEX mailbox_key   ON parkd.mailbox (mailbox_key, tenant, sequence);
CREATE INDEX mailbox_batch ON parkd.mailbox (batch_id, sequence) WHERE batch_id IS NOT NULL;
-- What requeue by failure code looks at, of any tenant and of one; completed messages are in neither.
CREATE INDEX mailbox_failed ON parkd.mailbox (error_code, sequence) WHERE request IS NOT NULL;
CREATE INDEX mailbox_failed_of_tenant ON parkd.mailbox (tenant, error_code, sequence) WHERE request IS NOT NULL;

-- Also the index of messages by job: it says in which partition and under which key the message is.
CREATE TABLE parkd.history (
  job_id            bigint NOT NULL,
  run_lease         bigint NOT NULL,
  sequence          bigint NOT NULL,
  created_at        timestamptz NOT NULL,
  finished_at       timestamptz NOT NULL,
  expires_at        timestamptz NOT NULL,   -- of the message; this row lives longer
  key_until         timestamptz,            -- its idempotency key holds until then
  run_us            bigint NOT NULL,
  units             bigint NOT NULL,
  requeued_as       bigint,                 -- the job it became
  prompt_tokens     int NOT NULL,
  completion_tokens int NOT NULL,
  outcome           parkd.outcome NOT NULL,
  tenant            text NOT NULL,
  mailbox_key       text NOT NULL,
  model             text NOT NULL,
  custom_id         text,
  batch_id          text,
  error_code        text
) PARTITION BY RANGE (finished_at);
CREATE INDEX history_job ON parkd.history (job_id);

-- Sampled by housekeeping, never counted by a submitter.
CREATE TABLE parkd.depth_samples (
  model             text PRIMARY KEY,
  scheduled         bigint NOT NULL,
  queued            bigint NOT NULL,
  claimed           bigint NOT NULL,
  waiting           bigint NOT NULL,    -- what max_queue_depth speaks of: waiting_v1
  oldest_created_at timestamptz,
  sampled_at        timestamptz NOT NULL,
  took              interval NOT NULL DEFAULT '0'   -- to count; bounds how often it is done
) WITH (fillfactor = 20);
-- Of the same sample: what waits of each tenant, by account (lib/store/depth.h).
CREATE TABLE parkd.tenant_samples (
  model     text NOT NULL,
  tenant    text NOT NULL,
  waiting   bigint NOT NULL,
  scheduled bigint NOT NULL,
  PRIMARY KEY (model, tenant)
) WITH (fillfactor = 50);

-- The partitions that were made and not dropped by drop_past_partition_v1: one that is missing all the same was dropped
-- or detached by somebody.
CREATE TABLE parkd_private.partitions (name text PRIMARY KEY, ends_at timestamptz NOT NULL);

-- What somebody's hand took away and was mended, for an hour in the log and the notices of every daemon.
CREATE TABLE parkd.mishaps (
  at   timestamptz NOT NULL,
  code text NOT NULL,
  text text NOT NULL
);
CREATE INDEX mishaps_at ON parkd.mishaps (at);
CREATE FUNCTION parkd.note_mishap_v1(p_code text, p_text text, p_now timestamptz) RETURNS void LANGUAGE sql VOLATILE
BEGIN ATOMIC
  INSERT INTO parkd.mishaps VALUES (p_now, p_code, p_text);
END;

-- Whether there is the partition that ensure_partition_v1 makes, in UTC. Of the catalog as it is now, whatever
-- snapshot the caller has; a table that only has the name is none.
CREATE FUNCTION parkd.has_partition_v1(p_table text, p_from timestamptz) RETURNS bool LANGUAGE sql STABLE AS $$
  SELECT coalesce(pg_partition_root(to_regclass(format('parkd.%s_%s', p_table, to_char(p_from, 'YYYYMMDD'))))
                  = ('parkd.' || p_table)::regclass, false)
      OR coalesce(pg_partition_root(to_regclass(format('parkd.%s_from_%s', p_table, to_char(p_from, 'YYYYMMDD'))))
                  = ('parkd.' || p_table)::regclass, false)
$$;

-- Creates a partition beside the table and attaches it: that waits for nobody, while CREATE TABLE ...
-- PARTITION OF would lock the whole mailbox. Returns whether there was something to do.
CREATE FUNCTION parkd.ensure_partition_v1(p_table text, p_from timestamptz, p_to timestamptz, p_now timestamptz DEFAULT NULL)
RETURNS bool LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, parkd, pg_temp SET timezone = 'UTC' AS $$
DECLARE v_key CONSTANT text := p_table || '_' || to_char(p_from, 'YYYYMMDD'); v_name text := v_key;
BEGIN
  IF parkd.has_partition_v1(p_table, p_from) THEN RETURN false; END IF;
  PERFORM FROM parkd_private.turns t WHERE t.what = 'partitions' FOR UPDATE;
  IF parkd.has_partition_v1(p_table, p_from) THEN RETURN false; END IF;
  IF to_regclass('parkd.' || v_name) IS NOT NULL THEN
    v_name := p_table || '_from_' || to_char(p_from, 'YYYYMMDD');
    IF to_regclass('parkd.' || v_name) IS NOT NULL THEN      -- detached in its turn: its data stays, under a name of its own
      EXECUTE format('ALTER TABLE parkd.%I RENAME TO %I', v_name, v_name || '_detached_' || ('parkd.' || v_name)::regclass::oid);
    END IF;
  END IF;
  BEGIN
    EXECUTE format('CREATE TABLE parkd.%I (LIKE parkd.%I INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING STORAGE INCLUDING COMPRESSION)',
                   v_name, p_table);
  EXCEPTION WHEN duplicate_table THEN      -- of whose turn it was before us: to wait for a row brings no news of the catalog
    IF parkd.has_partition_v1(p_table, p_from) THEN RETURN false; END IF;
    RAISE;
  END;
  EXECUTE format('ALTER TABLE parkd.%I ATTACH PARTITION parkd.%I FOR VALUES FROM (%L) TO (%L)',
                 p_table, v_name, p_from, p_to);
  INSERT INTO parkd_private.partitions VALUES (v_key, p_to) ON CONFLICT DO NOTHING;
  IF NOT FOUND THEN
    PERFORM parkd.note_mishap_v1('partition_dropped', format('somebody dropped or detached %s; it was made anew, and %s', v_key,
      CASE p_table WHEN 'mailbox' THEN format('results that would have expired before %s and had not been read are lost', p_to)
                   ELSE format('jobs that ended in the week before %s are forgotten, with their idempotency keys', p_to) END),
      coalesce(p_now, clock_timestamp()));
  END IF;
  RETURN true;
END $$;

-- The mailbox by days up to the longest retention, the history by weeks (from Mondays), both a little
-- ahead of the clock. One daemon at a time. A member of a batch with a late deadline may outlive these
-- days (60 at most): its partition is made when it is needed.
CREATE FUNCTION parkd.ensure_partitions_v1(p_now timestamptz DEFAULT NULL)
RETURNS int LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, parkd, pg_temp SET timezone = 'UTC' AS $$
DECLARE
  v_now  timestamptz := coalesce(p_now, clock_timestamp());
  v_day  timestamptz := date_trunc('day', v_now);
  v_week timestamptz := date_trunc('week', v_now);
  n      int := 0;
BEGIN
  -- Each is looked for: that the last one is there says nothing of those before it (a late batch's, or of a clock
  -- that went back). It is 0.1 ms when all are there, half of what 36 calls of ensure_partition_v1 take.
  FOR i IN 0..32 LOOP
    IF NOT parkd.has_partition_v1('mailbox', v_day + i * interval '1 day') THEN
      n := n + parkd.ensure_partition_v1('mailbox', v_day + i * interval '1 day', v_day + (i + 1) * interval '1 day', p_now)::int;
    END IF;
  END LOOP;
  FOR i IN 0..2 LOOP
    IF NOT parkd.has_partition_v1('history', v_week + i * interval '7 days') THEN
      n := n + parkd.ensure_partition_v1('history', v_week + i * interval '7 days', v_week + (i + 1) * interval '7 days', p_now)::int;
    END IF;
  END LOOP;
  RETURN n;
END $$;
SELECT parkd.ensure_partitions_v1();
