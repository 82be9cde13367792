#!/usr/bin/env bash
# parkd against llama.cpp: 64 jobs of 128 prompt + 128 output tokens on the same file, 2 threads, the
# two in turn, three times; prints each run and the ratio of the medians.
# llama.cpp's source comes from the PyPI sdist of llama-cpp-python and is built outside the tree (a few
# minutes the first time). Build parkd_bench first: cmake --build --preset release --target parkd_bench
set -euo pipefail
cd "$(dirname "$0")/../.."
. tools/setup.sh
runs=${1:-3}
version=0.3.36
peer=$PARKD_CACHE/llama-cpp-python-$version
bench=$peer/build/bin/llama-batched-bench

if [ ! -x "$bench" ]; then
  say "building llama-batched-bench $version"
  mkdir -p "$peer/sdist"
  [ -d "$peer/venv" ] || python3 -m venv "$peer/venv"
  "$peer/venv/bin/pip" install --quiet scikit-build-core
  "$peer/venv/bin/pip" download --quiet --no-deps --no-binary :all: --no-build-isolation \
    --dest "$peer/sdist" "llama-cpp-python==$version"
  tar -xzf "$peer"/sdist/*.tar.gz -C "$peer" --strip-components=1
  cmake -S "$peer/vendor/llama.cpp" -B "$peer/build" -G Ninja -DCMAKE_BUILD_TYPE=Release \
    -DGGML_NATIVE=ON -DLLAMA_CURL=OFF -DLLAMA_OPENSSL=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_UI=OFF \
    -DLLAMA_USE_PREBUILT_UI=OFF -DLLAMA_BUILD_APP=OFF >/dev/null
  ninja -C "$peer/build" llama-batched-bench >/dev/null
fi
fetch_model || die "no demo model"
model=$PARKD_MODEL_DIR/$MODEL_FILE

theirs=() ours=()
for run in $(seq "$runs"); do
  theirs+=("$("$bench" -m "$model" -t 2 -tb 2 -c 16640 -b 2048 -ub 512 -npp 128 -ntg 128 -npl 64 -fa on \
    2>/dev/null | awk -F'|' '$4 ~ /^ *64 *$/ { print $11 + 0 }')")
  ours+=("$(build/release/tools/bench/parkd_bench engine --model "$model" --runs 1 --threads 2 --json |
    python3 -c 'import json, sys
for line in sys.stdin:
    row = json.loads(line)
    if row["benchmark"] == "engine.batch_64": print(row["total_tokens_per_s"])')")
  echo "run $run: llama.cpp ${theirs[-1]} total tokens/s, parkd ${ours[-1]}"
done
python3 - "${theirs[*]}" "${ours[*]}" <<'PY'
import statistics, sys
theirs, ours = (statistics.median(map(float, text.split())) for text in sys.argv[1:])
print(f"median: llama.cpp {theirs:.0f}, parkd {ours:.0f} total tokens/s, ratio {ours / theirs:.2f}")
PY
