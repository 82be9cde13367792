#!/usr/bin/env bash
# parkd's PostgreSQL verbs against other queues in the same database server: no-op jobs, results stored.
#
#   tools/bench/postgres/compare.sh
#   JOBS=200000 BACKLOG=400000 PGMQ_SQL=/path/to/pgmq.sql tools/bench/postgres/compare.sh
#
# Starts its own throwaway cluster with fsync and synchronous_commit on. The parkd of the tree is applied
# from migrations/. pgmq takes part where its SQL is given (https://github.com/pgmq/pgmq,
# pgmq-extension/sql/pgmq.sql). Consuming takes 64 at a time from a backlog: parkd claims and finishes
# with a result (message, history row, fence), pgmq reads and archives.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$here/../../..
JOBS=${JOBS:-64000}
BACKLOG=${BACKLOG:-200000}
export JOBS BACKLOG

if [ -z "${PG_SANDBOX_DATA:-}" ]; then exec "$root/tools/pg_sandbox.sh" "$0" "$@"; fi

sql() { psql -qXAt -v ON_ERROR_STOP=1 "$@"; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cat >"$work/parkd_enqueue.sql" <<'SQL'
INSERT INTO parkd.jobs (model, body, mailbox_key) VALUES ('m', '{"messages":[{"role":"user","content":"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"}],"max_tokens":48}', 'box');
SQL
cat >"$work/parkd_consume.sql" <<'SQL'
\set d :client_id + 1
SELECT array_agg(id) AS ids, array_agg(run_lease) AS leases, count(*) AS n FROM parkd.claim_v1(:d, 'm', 64) \gset
SELECT count(*) FROM parkd.finish_v1(':ids', ':leases', array_fill('completed'::text, ARRAY[:n]), array_fill(''::text, ARRAY[:n]), array_fill(''::text, ARRAY[:n]), array_fill(''::text, ARRAY[:n]), array_fill(200, ARRAY[:n]), array_fill('{"id":"x","choices":[{"message":{"role":"assistant","content":"one two three four five six seven eight nine ten"}}],"usage":{"prompt_tokens":1}}'::text, ARRAY[:n]), array_fill(10, ARRAY[:n]), array_fill(10, ARRAY[:n]), array_fill(10::bigint, ARRAY[:n]), array_fill(10::bigint, ARRAY[:n]), array_fill(10::bigint, ARRAY[:n]));
SQL
cat >"$work/pgmq_enqueue.sql" <<'SQL'
SELECT pgmq.send('q', '{"messages":[{"role":"user","content":"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"}],"max_tokens":48}');
SQL
cat >"$work/pgmq_consume.sql" <<'SQL'
SELECT array_agg(msg_id) AS ids FROM pgmq.read('q', 600, 64) \gset
SELECT count(*) FROM pgmq.archive('q', ':ids'::bigint[]);
SQL

setup_parkd() {
  sql -c 'CREATE SCHEMA parkd; CREATE TABLE parkd.schema_version (version int PRIMARY KEY)' >/dev/null
  for up in "$root"/migrations/*.up.sql; do sql -1 -f "$up" >/dev/null; done
  sql -c "SELECT parkd.register_model_v1('m', '', 8192)" >/dev/null
  sql -c "SELECT parkd.register_v1('h', 1, 'v', '1 day') FROM generate_series(1, 8)" >/dev/null
}
fill_parkd() {
  sql -c "INSERT INTO parkd.jobs (model, tenant, priority, body, order_key) SELECT 'm', 'default', 'normal',
    ('{\"messages\":[{\"role\":\"user\",\"content\":\"' || repeat('x', 110) || '\"}],\"max_tokens\":48}')::json, clock_timestamp()
    FROM generate_series(1, $1)"
}
setup_pgmq() {
  sql -f "$PGMQ_SQL" >/dev/null 2>&1
  sql -c "SELECT pgmq.create('q')" >/dev/null
}
fill_pgmq() {
  sql -c "SELECT count(*) FROM pgmq.send_batch('q', ARRAY(SELECT ('{\"messages\":[{\"role\":\"user\",\"content\":\"' || repeat('x', 110) ||
    '\"}],\"max_tokens\":48}')::jsonb FROM generate_series(1, $1)))" >/dev/null
}

# CPU of the backends that have ended, in clock ticks: what a busy machine cannot blur.
backend_ticks() { awk '{ print $16 + $17 }' "/proc/$(head -1 "$PG_SANDBOX_DATA/postmaster.pid")/stat"; }

# bench NAME SCRIPT CLIENTS TRANSACTIONS JOBS_A_TRANSACTION
bench() {
  local lsn tps ticks
  ticks=$(backend_ticks)
  lsn=$(sql -c 'SELECT pg_current_wal_lsn()')
  pgbench -n -l --log-prefix="$work/log" -f "$work/$2" -c "$3" -j "$3" -t "$(($4 / $3))" >"$work/out" 2>&1 ||
    { cat "$work/out" >&2; exit 1; }
  tps=$(sed -n 's/^tps = \([0-9.]*\).*/\1/p' "$work/out")
  sort -n -k3,3 "$work"/log.* | awk -v name="$1" -v tps="$tps" -v per="$5" -v clients="$3" -v jobs="$(($4 * $5))" \
    -v cpu_us="$((($(backend_ticks) - ticks) * 1000000 / $(getconf CLK_TCK)))" \
    -v wal="$(sql -c "SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '$lsn')")" \
    '{ t[NR] = $3 / 1000 } END { printf "%-34s %d client(s) %9.0f jobs/s   p50 %7.2f ms   p99 %7.2f ms   %5.0f WAL bytes and %4.0f us CPU a job\n",
       name, clients, tps * per, t[int(NR * 0.5) + 1], t[int(NR * 0.99) + 1], wal / jobs, cpu_us / jobs }'
  rm -f "$work"/log.*
}

sql -c "SELECT version()"
systems=parkd
[ -n "${PGMQ_SQL:-}" ] && systems="parkd pgmq"
for system in $systems; do
  "setup_$system"
  bench "$system: enqueue one by one" "${system}_enqueue.sql" 4 8000 1
  "fill_$system" "$BACKLOG"
  sql -c 'VACUUM ANALYZE' -c 'CHECKPOINT'
  for clients in 1 4; do
    bench "$system: consume 64 of a backlog" "${system}_consume.sql" "$clients" "$((JOBS / 64))" 64
  done
  # With a snapshot held open nothing dead can be cleaned away.
  psql -qX -c 'BEGIN ISOLATION LEVEL REPEATABLE READ' -c 'SELECT 1' -c 'SELECT pg_sleep(3600)' >/dev/null 2>&1 &
  holder=$!
  bench "$system: the same, xmin pinned" "${system}_consume.sql" 4 "$((JOBS / 64))" 64
  kill "$holder"
  sql -c "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(3600)%' AND pid <> pg_backend_pid()" >/dev/null
done
