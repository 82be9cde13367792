#!/usr/bin/env bash
# with_pgbouncer.sh COMMAND...: inside tools/pg_sandbox.sh, runs COMMAND with a pgbouncer in transaction mode
# in front of the server; PARKD_TEST_POOLER says where it is. 77 (skipped) where there is no pgbouncer.
set -euo pipefail
bouncer=$(command -v pgbouncer || ls /usr/sbin/pgbouncer 2>/dev/null || true)
if [ -z "$bouncer" ]; then
  echo "SKIPPED: no pgbouncer (apt-get install pgbouncer)" >&2
  [ "${PARKD_CI_STRICT:-0}" = 1 ] && exit 1
  exit 77
fi
dir=$(dirname "$PG_SANDBOX_DATA")/b
mkdir -p "$dir"
cat >"$dir/ini" <<INI
[databases]
* = host=$PGHOST
[pgbouncer]
listen_addr =
listen_port = 6543
unix_socket_dir = $dir
auth_type = trust
auth_file = $dir/users
pool_mode = transaction
default_pool_size = 4
ignore_startup_parameters = extra_float_digits,application_name
logfile = $dir/log
pidfile = $dir/pid
INI
printf '"%s" ""\n' postgres ada ben rea adm eve parkd_worker >"$dir/users"  # and the logins of tests/e2e
run=()
if [ "$(id -u)" = 0 ]; then  # neither does pgbouncer run as root
  chown -R postgres "$dir"
  run=(setpriv --reuid=postgres --regid=postgres --init-groups)
fi
"${run[@]}" "$bouncer" -q -d "$dir/ini"
trap 'kill "$(cat "$dir/pid")" 2>/dev/null || true' EXIT
for _ in $(seq 50); do
  psql -h "$dir" -p 6543 -U postgres -d postgres -Atqc 'SELECT 1' >/dev/null 2>&1 && break
  sleep 0.1
done
PARKD_TEST_POOLER="host=$dir port=6543" "$@"
