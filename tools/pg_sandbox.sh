#!/usr/bin/env bash
# A throwaway PostgreSQL cluster: fresh initdb in a temporary directory, Unix socket only, removed
# when the command it runs has ended. Nothing is installed, no port is opened, no password exists.
#
#   tools/pg_sandbox.sh COMMAND [ARG...]     runs COMMAND with PGHOST, PGUSER and PGDATABASE set
#
# Environment:
#   PG_SANDBOX_FSYNC=off    for tests that do not look at durability (default on)
#   PG_SANDBOX_CONF=FILE    appended to postgresql.conf
#   PG_SANDBOX_DISK=SIZE    a file system of that size (tmpfs, in a mount namespace of its own) that a
#                           test can fill; the command sees it as PG_SANDBOX_DISK_DIR. 77 (skipped)
#                           where mounting is forbidden
# The command also sees PG_SANDBOX_DATA (the data directory), PG_SANDBOX_CTL (a pg_ctl that runs as
# the cluster's user), for tests that stop and start the server, and PG_SANDBOX_AS (runs a command of
# PostgreSQL's as that user), for tests that make a second server below PG_SANDBOX_ROOT.
# PostgreSQL does not run as root: then the cluster belongs to the user postgres.
set -euo pipefail

die() { printf 'pg_sandbox: %s\n' "$*" >&2; exit 1; }
[ $# -gt 0 ] || die "usage: tools/pg_sandbox.sh COMMAND [ARG...]"

bin=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -1 || true)
[ -x "${bin:-}/initdb" ] || bin=$(dirname "$(command -v initdb || true)")
if [ ! -x "$bin/initdb" ]; then
  echo "pg_sandbox: SKIPPED, no PostgreSQL server (apt-get install postgresql)" >&2
  # What ctest counts as skipped; where CI says that everything must be there, a failure.
  [ "${PARKD_CI_STRICT:-0}" = 1 ] && exit 1
  exit 77
fi

if [ -n "${PG_SANDBOX_DISK:-}" ] && [ -z "${PG_SANDBOX_OWN_MOUNTS:-}" ]; then
  if ! unshare --mount true 2>/dev/null; then
    echo "pg_sandbox: SKIPPED, no mount namespace for a disk that can be filled (not root?)" >&2
    exit 77
  fi
  PG_SANDBOX_OWN_MOUNTS=1 exec unshare --mount --propagation private "$0" "$@"
fi

# The socket path must fit into sockaddr_un, so the directory's name is short.
root=$(mktemp -d /tmp/pgs.XXXXXX)
owner=$(id -un)
if [ "$(id -u)" = 0 ]; then
  owner=postgres
  chown "$owner" "$root"
fi
chmod 755 "$root"

as_owner() {
  if [ "$(id -un)" = "$owner" ]; then "$@"; else
    setpriv --reuid="$owner" --regid="$(id -gn "$owner")" --init-groups env HOME="$root" "$@"
  fi
}

cleanup() {
  local pid_file
  for pid_file in "$root"/*/postmaster.pid; do
    [ -e "$pid_file" ] || continue
    as_owner "$bin/pg_ctl" -D "$(dirname "$pid_file")" -m immediate -w stop >/dev/null 2>&1 || true
  done
  [ -z "${PG_SANDBOX_DISK:-}" ] || umount "$root/disk" 2>/dev/null || true
  rm -rf "$root"
}
trap cleanup EXIT
trap 'exit 130' INT TERM HUP

cd "$root"
if [ -n "${PG_SANDBOX_DISK:-}" ]; then
  mkdir disk
  mount -t tmpfs -o "size=$PG_SANDBOX_DISK,mode=0777" parkd-test "$root/disk"
  export PG_SANDBOX_DISK_DIR=$root/disk
fi
as_owner "$bin/initdb" -D "$root/data" -U postgres --auth=trust --encoding=UTF8 --locale=C.UTF-8 \
  --no-sync >"$root/initdb.log" 2>&1 || { cat "$root/initdb.log" >&2; die "initdb failed"; }
cat >>"$root/data/postgresql.conf" <<CONF
listen_addresses = ''
unix_socket_directories = '$root'
fsync = ${PG_SANDBOX_FSYNC:-on}
shared_buffers = 256MB
max_wal_size = 4GB
max_connections = 100
timezone = 'Europe/Berlin'
log_timezone = 'UTC'
logging_collector = off
recovery_init_sync_method = syncfs
CONF
[ -z "${PG_SANDBOX_CONF:-}" ] || cat "$PG_SANDBOX_CONF" >>"$root/data/postgresql.conf"
cat >"$root/as" <<AS
#!/usr/bin/env bash
# A command of PostgreSQL's as this sandbox's user.
cd "$root"
export PATH="$bin:\$PATH" HOME="$root"
[ "\$(id -un)" = "$owner" ] && exec "\$@"
exec setpriv --reuid="$owner" --regid="$(id -gn "$owner")" --init-groups "\$@"
AS
cat >"$root/ctl" <<CTL
#!/usr/bin/env bash
# pg_ctl of this sandbox: ctl stop -m immediate, ctl start, ctl restart ...
exec "$root/as" pg_ctl -D "$root/data" -l "$root/log" -w "\$@"
CTL
chmod 755 "$root/as" "$root/ctl"
"$root/ctl" start >/dev/null || { cat "$root/log" >&2; die "the server did not start"; }

export PGHOST=$root PGUSER=postgres PGDATABASE=postgres
export PG_SANDBOX_ROOT=$root PG_SANDBOX_DATA=$root/data PG_SANDBOX_LOG=$root/log
export PG_SANDBOX_CTL=$root/ctl PG_SANDBOX_AS=$root/as
unset PGPORT PGPASSWORD PGSERVICE PGPASSFILE 2>/dev/null || true
cd "$OLDPWD"
status=0
"$@" || status=$?
exit "$status"
