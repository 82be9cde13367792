#!/usr/bin/env bash
# The kit for a first GPU (tools/gpu_pack.sh, tools/gpu_check.sh), rehearsed on the emulator: the same scripts from a
# packed kit, tiny shapes. Shown too: that a round goes on where it was cut off, and that a step that fails or
# hangs is a failure in the report.
#   gpu_kit_test.sh SOURCE BUILD
set -euo pipefail
source=$1 build=$2
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
fail() { echo "FAILED: $*"; cat "$scratch/said" 2>/dev/null; exit 1; }
# The daemon's own place to look for cuBLAS, models and sockets is the kit's, not this machine's.
unset PARKD_TEST_MODEL PARKD_SOCKET LD_LIBRARY_PATH

kit=$scratch/kit
"$source/tools/gpu_pack.sh" --emulator "$build" --dir "$kit" 2>"$scratch/said" || fail "the kit cannot be packed"
# It is whole: nothing of it is found in the build.
LD_LIBRARY_PATH=$kit/lib ldd "$kit/bin/parkd" | grep -q "$kit/lib/librocksdb" || fail "its libraries are not in the kit"

check() { "$kit/gpu_check.sh" --state "$scratch/state" "$@" >"$scratch/said" 2>&1; }
expect() {  # STATUS COMMAND...
  local wanted=$1 status=0
  shift
  "$@" || status=$?
  [ "$status" = "$wanted" ] || fail "$*: exit status $status, not $wanted"
}
results() { cat "$scratch/state/$1.result" 2>/dev/null; }

# A budget that has time for no more than the first step.
expect 2 check --budget 100
[ "$(ls "$scratch"/state/*.result)" = "$scratch/state/machine.result" ] || fail "more than the budget has time for was run"
grep -q 'no time for: probe' "$scratch/said" || fail "it does not say what is left"

# The rest, all of which passes or says why it cannot be done here.
expect 0 check
for step in machine probe kernels_rows kernels_attention kernels_sampling kernels_ptx ops backend timing daemon model \
  speed_1 speed_1_plain speed_2 speed_2_plain; do
  results "$step" | grep -q '^passed' || fail "$step: $(results "$step")"
done
for step in golden two_devices profile memcheck racecheck synccheck initcheck; do
  results "$step" | grep -q '^skipped: ' || fail "$step: $(results "$step")"
done
report=$scratch/state/report.md
for figure in copy.device_memory launch.kernel_of_a_graph product.gate_and_up.8_rows attention.decode_2_of_40 \
  attention.prefill_4_after_600.tensor_cores \
  sampling.2_of_300.top_p engine.3_sequences.1_lanes engine.3_sequences.2_lanes.plain; do
  grep -q "^| $figure | [0-9]" "$report" || fail "the report has no figure $figure"
done
grep -q 'A rehearsal on the emulator' "$report" || fail "the report does not say what it is of"
# Tests ran, as many as they say.
grep -q '\[  PASSED  \] [1-9]' "$scratch/state/backend.log" || fail "no test of the backend ran"

# Nothing is done twice.
touch "$scratch/mark"
expect 0 check
[ -z "$(find "$scratch/state" -name '*.log' -newer "$scratch/mark")" ] || fail "a step was done again"

# What fails, hangs or sees no device is a failure.
program=$kit/bin/cuda_ptx_test
printf '#!/bin/sh\necho "ptx.cc:1: Failure"\nexit 1\n' >"$program"
expect 1 check --only kernels_ptx
results kernels_ptx | grep -q 'FAILED\*\* (exit status 1)' || fail "kernels_ptx: $(results kernels_ptx)"
grep -q 'FAILED' "$report" || fail "the report hides a failure"
expect 1 check  # the failure stays one
printf '#!/bin/sh\necho "SKIPPED: no CUDA device (x)"\nexit 77\n' >"$program"
expect 1 check --only kernels_ptx
printf '#!/bin/sh\nsleep 600\n' >"$program"
PARKD_KIT_LIMIT_S=2 expect 1 check --only kernels_ptx
results kernels_ptx | grep -q 'not done after 2 s' || fail "kernels_ptx: $(results kernels_ptx)"

# Where there is no device at all.
printf '#!/bin/sh\necho "SKIPPED: no CUDA device (none)"\nexit 77\n' >"$kit/bin/gpu_probe"
expect 77 "$kit/gpu_check.sh" --state "$scratch/other" >"$scratch/said" 2>&1
echo "passed"
