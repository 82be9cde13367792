#!/usr/bin/env bash
# The round for a machine with a GPU: builds, runs every test that needs one, looks for memory errors
# and races with compute-sanitizer where it is installed, runs the daemon on the device (on two of them
# where there are two), and measures. One report file, as Markdown.
#   tools/gpu_check.sh [REPORT]     default: gpu_report.md
# PARKD_GPU_BUILD names the build directory (default build/gpu), PARKD_TEST_MODEL a GGUF file for the golden
# prompts and the benchmark. Exit status: 0 all passed, 1 something failed, 77 there is no GPU.
set -uo pipefail
cd "$(dirname "$0")/.."
. tools/setup.sh

report=$(realpath -m "${1:-gpu_report.md}")
build=${PARKD_GPU_BUILD:-build/gpu}
jobs=${PARKD_JOBS:-$(nproc)}
failed=0

if ! command -v nvidia-smi >/dev/null || ! nvidia-smi -L 2>/dev/null | grep -q '^GPU'; then
  say "SKIPPED: no GPU on this machine (nvidia-smi lists none)"
  exit 77
fi
export PATH=$PATH:/usr/local/cuda/bin
# cuBLAS is opened when it is needed: let the loader find the toolkit's.
export LD_LIBRARY_PATH=${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}/usr/local/cuda/lib64
command -v nvcc >/dev/null || die "there is a GPU, but no nvcc: install the CUDA toolkit"

# Everything goes to the report too.
exec > >(tee "$report") 2>&1

# step TITLE COMMAND...: a section with the command's output; a failure is counted.
step() {
  local title=$1 status
  shift
  printf '\n## %s\n\n```\n$ %s\n' "$title" "$*"
  "$@"
  status=$?
  printf '```\n'
  if [ $status = 0 ]; then
    echo "passed"
  else
    echo "**FAILED** (exit status $status)"
    failed=$((failed + 1))
  fi
}

skip() { printf '\n## %s\n\nskipped: %s\n' "$1" "$2"; }

architecture() {
  nvidia-smi --query-gpu=compute_cap --format=csv,noheader | head -1 | tr -d '.'
}

echo "# parkd on a GPU"
echo
echo "commit $(git rev-parse --short HEAD 2>/dev/null || echo unknown), $(date -u +%Y-%m-%dT%H:%MZ)"
step "Machine" nvidia-smi
step "Compiler" nvcc --version

step "Configure" cmake -S . -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release \
  -DCMAKE_CXX_FLAGS_RELEASE="-O3 -g1 -DNDEBUG" -DPARKD_CUDA=ON \
  -DPARKD_CUDA_ARCHITECTURES="$(architecture)-real"
step "Build" cmake --build "$build" -j "$jobs"
[ $failed = 0 ] || { echo; echo "**nothing was run**"; exit 1; }

if [ -z "${PARKD_TEST_MODEL:-}" ] && fetch_model; then
  export PARKD_TEST_MODEL="$PARKD_MODEL_DIR/$MODEL_FILE"
fi
if [ -n "${PARKD_TEST_MODEL:-}" ]; then
  export PARKD_CI_STRICT=1
else
  skip "Golden prompts" "no model; set PARKD_TEST_MODEL"
fi

# A device that ctest cannot reach would skip every test: that is a failure here.
gpu_tests() {
  local log
  log=$(mktemp)
  ctest --test-dir "$build" -L gpu --output-on-failure --no-tests=error | tee "$log"
  local status=${PIPESTATUS[0]}
  if grep -q 'Skipped' "$log"; then
    echo "tests were skipped although there is a GPU"
    status=1
  fi
  rm -f "$log"
  return "$status"
}
step "Tests on the device" gpu_tests

step "Errors against float64, kernel by kernel" tools/kernels/kernel_errors.py --gpu "$build"

# The kernels' own programs, and of the backend's one way through lanes and graphs: the rest would take
# hours. cuBLAS's own kernels are in that one, so it is not asked about races and unwritten memory.
if command -v compute-sanitizer >/dev/null; then
  for tool in memcheck racecheck synccheck initcheck; do
    for program in "$build"/tests/cuda/*_gpu; do
      [ -x "$program" ] || continue
      step "compute-sanitizer $tool: $(basename "$program")" \
        compute-sanitizer --tool "$tool" --error-exitcode 1 "$program"
    done
  done
  for tool in memcheck synccheck; do
    step "compute-sanitizer $tool: lane and graphs" \
      compute-sanitizer --tool "$tool" --error-exitcode 1 "$build/tests/cuda_backend/cuda_backend_test_gpu" \
      --gtest_filter='*gives_the_tokens_of_the_cpu_on_the_float_path/whole'
  done
else
  skip "compute-sanitizer" "it is not installed"
fi

# daemon_answers IDS: parkd with device: cuda on these devices answers the quickstart's prompts.
daemon_answers() (
  set -e
  work=$(mktemp -d)
  daemon=
  trap '[ -z "$daemon" ] || kill "$daemon" 2>/dev/null || true; rm -rf "$work"' EXIT
  export PARKD_SOCKET=$work/parkd.sock
  cat >"$work/parkd.yaml" <<YAML
daemon:
  state_dir: $work
parking_lot:
  queue:
    backend: rocksdb
models:
  - name: smollm2-135m
    local_path: $PARKD_TEST_MODEL
    params:
      device: cuda
      device_ids: [$1]
YAML
  "$build/daemon/parkd" --config "$work/parkd.yaml" &
  daemon=$!
  for _ in $(seq 600); do
    "$build/tools/jobctl/jobctl" pool >/dev/null 2>&1 && break
    kill -0 "$daemon"  # it has ended: so does this
    sleep 0.1
  done
  prompts=tools/quickstart/prompts.jsonl
  "$build/tools/jobctl/jobctl" batch run "$prompts" -o "$work/answers.jsonl"
  cat "$work/answers.jsonl"
  [ "$(grep -c '"status_code": *200' "$work/answers.jsonl")" = "$(grep -c . "$prompts")" ]
  kill "$daemon"
  wait "$daemon"
)

if [ -n "${PARKD_TEST_MODEL:-}" ]; then
  step "parkd on a device" daemon_answers 0
  if [ "$(nvidia-smi -L | grep -c '^GPU')" -gt 1 ]; then
    step "parkd on two devices" daemon_answers 0,1
  else
    skip "parkd on two devices" "there is one GPU; that path has run on the emulator alone"
  fi
fi

step "Attention: tensor cores against the plain kernel, decode against its bytes" \
  "$build/tests/gpu/attention_timing"

if [ -n "${PARKD_TEST_MODEL:-}" ]; then
  for workers in 1 2 3; do
    step "Engine, $workers workers" "$build/tools/bench/parkd_bench" engine --device cuda \
      --model "$PARKD_TEST_MODEL" --threads "$workers"
  done
  step "Engine on the CPU, for comparison" "$build/tools/bench/parkd_bench" engine \
    --model "$PARKD_TEST_MODEL"
fi

printf '\n# Result\n\n'
if [ $failed = 0 ]; then echo "all passed"; else echo "$failed steps FAILED"; fi
echo "The ceilings to hold the figures against: kernels/cuda/README.md"
[ $failed = 0 ]
