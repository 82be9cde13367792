#!/usr/bin/env bash
# parkd's PostgreSQL verbs against other queues on the same server: no-op jobs, one table of figures.
#
#   tools/bench/postgres/compare.sh --all       parkd, procrastinate, pgqueuer; and pgmq, see below
#   tools/bench/postgres/compare.sh             parkd alone (and pgmq)
#   ROUNDS=1 JOBS=8000 BACKLOG=100000 tools/bench/postgres/compare.sh --all      a small run
#
# Starts its own throwaway cluster with fsync and synchronous_commit on. The parkd of the tree is applied
# from migrations/. procrastinate and pgqueuer come from PyPI into a virtual environment outside the tree
# (COMPARE_VENV keeps it). pgmq takes part where its SQL is given: PGMQ_SQL=/path/to/pgmq.sql, from
# https://github.com/pgmq/pgmq, pgmq-extension/sql/pgmq.sql. What each does is in compare_systems.py.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../../.." && pwd)
if [ -z "${PG_SANDBOX_DATA:-}" ]; then
  echo "command: ROUNDS=${ROUNDS:-3} JOBS=${JOBS:-64000} BACKLOG=${BACKLOG:-1000000} PGMQ_SQL=${PGMQ_SQL:-} $0 $*"
  exec "$root/tools/pg_sandbox.sh" "$0" "$@"
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export COMPARE_LOG=$work/log
systems=parkd
[ -z "${PGMQ_SQL:-}" ] || systems=$systems,pgmq,pgmq+results
packages="asyncpg==0.32.0 uvloop"
if [ "${1:-}" = --all ]; then
  systems=$systems,procrastinate,pgqueuer
  packages="$packages procrastinate==3.10.0 psycopg[binary,pool]==3.3.9 pgqueuer==1.6.0"
fi
venv=${COMPARE_VENV:-$work/venv}
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
# shellcheck disable=SC2086
"$venv/bin/pip" install -q --disable-pip-version-check $packages

psql -qXAt -c 'SELECT version()'
echo "parkd $(git -C "$root" describe --always --dirty 2>/dev/null || echo unknown)"
"$venv/bin/pip" list --disable-pip-version-check --format=freeze 2>/dev/null |
  grep -iE '^(procrastinate|pgqueuer|asyncpg|psycopg|uvloop)=' || true
[ -z "${PGMQ_SQL:-}" ] || echo "pgmq: $PGMQ_SQL, $(md5sum <"$PGMQ_SQL" | cut -c1-8)"
echo "machine: $(nproc) CPUs,$(sed -n 's/^model name.*:/ /p' /proc/cpuinfo | head -1), load $(cut -d' ' -f1-3 /proc/loadavg)"
"$venv/bin/python" "$here/compare.py" --root "$root" --systems "$systems" --jobs "${JOBS:-64000}" \
  --backlog "${BACKLOG:-1000000}" --rounds "${ROUNDS:-3}" || { tail -20 "$COMPARE_LOG" >&2; exit 1; }
echo "load at the end: $(cut -d' ' -f1-3 /proc/loadavg)"
