#!/usr/bin/env bash
# systemd/parkd.service passes `systemd-analyze verify` without a word, and its numbers agree with the
# configuration's defaults. Exit 77 = skipped (no systemd-analyze); PARKD_CI_STRICT=1 makes that 1.
set -euo pipefail
unit=$1/systemd/parkd.service
fail() { echo "FAILED: $*" >&2; exit 1; }

# value KEY: of the last such line of the unit.
value() { sed -n "s/^$1=//p" "$unit" | tail -n 1; }

[ "$(value Type)" = notify ] || fail "Type is not notify"
[ "$(value Restart)" = always ] || fail "Restart is not always"
[ "$(value StartLimitIntervalSec)" = 0 ] || fail "there is a start limit"
[ "$(value KillMode)" = mixed ] || fail "KillMode is not mixed"
[ -n "$(value WatchdogSec)" ] || fail "no watchdog"
[ "$(value UMask)" = 0077 ] || fail "UMask is not 0077: prompts would be readable to others"
[ "$(value StateDirectoryMode)" = 0711 ] || fail "StateDirectoryMode is not 0711"
group=$(sed -n 's/^ *socket_group: *//p' "$1/config/parkd.yaml")
[ "$(value SupplementaryGroups)" = "$group" ] || fail "parkd is not in its socket_group $group"
grep -q "^g $group -" "$1/systemd/parkd.sysusers.conf" || fail "nobody makes the group $group"
[ "$(value LimitCORE)" = 1 ] || fail "a core would be written: it holds prompts"
[[ "$(value ExecStart)" = *" --strict" ]] || fail "ExecStart is not --strict"
drain=$(sed -n 's/^ *#\{0,1\}drain_timeout_s: *//p' "$1/config/parkd.yaml")
stop=$(value TimeoutStopSec)
[ "${stop%s}" -gt "$drain" ] || fail "TimeoutStopSec $stop is not above drain_timeout_s $drain"

if ! command -v systemd-analyze >/dev/null; then
  echo "SKIPPED: no systemd-analyze, so systemd/parkd.service is not verified" >&2
  [ "${PARKD_CI_STRICT:-0}" = 1 ] && fail "PARKD_CI_STRICT is set"
  exit 77
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# verify wants the command to be there; every other line is checked as it is.
sed 's|^ExecStart=/usr/local/bin/parkd |ExecStart=/bin/true |' "$unit" >"$work/parkd.service"
cmp -s "$unit" "$work/parkd.service" && fail "ExecStart is not /usr/local/bin/parkd"
said=$(systemd-analyze verify --man=no "$work/parkd.service" 2>&1) || fail "verify: $said"
# Complaints about other units of this machine are not ours.
ours=$(grep -F parkd.service <<<"$said" || true)
[ -z "$ours" ] || fail "verify: $ours"

# And with the drop-ins that open TCP and let webhooks out.
mkdir "$work/parkd.service.d"
for drop_in in tcp.conf webhook.conf; do
  cp "$1/systemd/$drop_in" "$work/parkd.service.d/"
  said=$(systemd-analyze verify --man=no "$work/parkd.service" 2>&1) || fail "verify with $drop_in: $said"
  ours=$(grep -E "parkd.service|$drop_in" <<<"$said" || true)
  [ -z "$ours" ] || fail "verify with $drop_in: $ours"
done

# The check itself must be able to fail.
sed 's/^KillMode=mixed/KillMod=mixed/' "$work/parkd.service" >"$work/parkd-wrong.service"
said=$(systemd-analyze verify --man=no "$work/parkd-wrong.service" 2>&1) || true
grep -q KillMod <<<"$said" || fail "verify does not notice an unknown key"
echo "ok: systemd/parkd.service"
