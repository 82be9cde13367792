#!/usr/bin/env bash
# tools/setup.sh waits for another apt, says so once, and gives up on other failures. With an apt-get
# of the test's own: the machine's packages are left alone.
set -euo pipefail
source_dir=$1
[ "$(id -u)" = 0 ] || { echo "SKIPPED: as_root would ask sudo for another PATH"; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cat >"$work/apt-get" <<'SH'
#!/bin/sh
echo "$*" >>"$WORK/calls"
[ "$(wc -l <"$WORK/calls")" -le "$BUSY_CALLS" ] && { echo "E: $FAULT" >&2; exit 100; }
exit 0
SH
chmod +x "$work/apt-get"
failed=0
# expect NAME BUSY_CALLS FAULT: exit code, calls and messages of one installation
expect() {
  local name=$1 want_code=$4 want_calls=$5 want_words=$6
  rm -f "$work/calls"
  local code=0 said
  said=$(WORK=$work BUSY_CALLS=$2 FAULT=$3 PATH=$work:$PATH PARKD_APT_WAIT_S=4 \
    bash -c '. "$0/tools/setup.sh"; sleep() { :; }; install_packages no-such-package-of-parkd' \
    "$source_dir" 2>&1) || code=$?
  local calls
  calls=$(wc -l <"$work/calls")
  if [ "$code" != "$want_code" ] || [ "$calls" != "$want_calls" ] ||
      [ "$(grep -c "$want_words" <<<"$said")" != 1 ]; then
    echo "FAILED: $name: exit $code, $calls calls: $said"
    failed=1
  fi
}
lock='Could not get lock /var/lib/dpkg/lock-frontend. It is held by process 7 (unattended-upgr)'
expect "a lock is waited for" 2 "$lock" 0 4 'another apt or dpkg is at work (E: Could not get lock'
expect "not for ever" 99 "$lock" 1 3 'another apt or dpkg is at work'
expect "what is no lock is no reason to wait" 99 'Unable to locate package x' 1 1 'Unable to locate'
exit $failed
