#!/usr/bin/env bash
# A daemon on an emulated device that has no room for the KV memory that was configured: it serves on the CPU, and
# every door says so.
#   degraded_test.sh BUILD
set -euo pipefail
build=$1
scratch=$(mktemp -d)  # its path is short: the socket lies in it
daemon=
trap '[ -z "$daemon" ] || kill "$daemon" 2>/dev/null || true; rm -rf "$scratch"' EXIT
fail() { echo "FAILED: $*"; cat "$scratch/log" "$scratch/said" 2>/dev/null; exit 1; }
export PARKD_SOCKET=$scratch/parkd.sock
jobctl=$build/tools/jobctl/jobctl

"$build/tools/parkd_make_tiny_model" "$scratch/tiny.gguf" --head-dim 64
cat >"$scratch/parkd.yaml" <<YAML
daemon:
  state_dir: $scratch
  socket: $PARKD_SOCKET
  step_tokens: 64
parking_lot:
  queue:
    backend: rocksdb
models:
  - name: tiny
    local_path: $scratch/tiny.gguf
    params:
      device: auto
      kvcache_mem_gpu: 1000000
      kvcache_mem_cpu: 16
      max_num_seqs: 2
YAML
"$build/tests/gpu/parkd_emulated" --config "$scratch/parkd.yaml" >"$scratch/log" 2>&1 &
daemon=$!
until "$jobctl" models 2>/dev/null >"$scratch/said" && grep -q '^tiny *ready' "$scratch/said"; do
  kill -0 "$daemon" || fail "the daemon has ended"
  sleep 0.1
done
why='cannot be used: .*cudaErrorMemoryAllocation'
grep -q "^tiny is degraded: .*$why" "$scratch/said" || fail "jobctl models does not say it"
curl -fsS --unix-socket "$PARKD_SOCKET" http://parkd/v1/models >"$scratch/said"
grep -q "\"degraded\": *\".*$why" "$scratch/said" || fail "/v1/models does not say it"
curl -fsS --unix-socket "$PARKD_SOCKET" http://parkd/metrics >"$scratch/said"
grep -q '^parkd_model_degraded{model="tiny"} 1$' "$scratch/said" || fail "/metrics does not say it"
grep -q "info model.device .*backend=\"cpu .*$why" "$scratch/log" || fail "the log does not say it"
curl -fsS --unix-socket "$PARKD_SOCKET" http://parkd/v1/chat/completions -H 'content-type: application/json' \
  -d '{"model": "tiny", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 3}' >"$scratch/said" || fail "no answer"
grep -q '"completion_tokens": *[1-3]' "$scratch/said" || fail "no tokens"
kill "$daemon"
wait "$daemon" || fail "exit status $?"
daemon=
echo "passed"
