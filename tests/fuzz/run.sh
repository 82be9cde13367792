#!/usr/bin/env bash
# Runs every fuzz target for some seconds, starting from its seeds.
#   tests/fuzz/run.sh BUILD_DIRECTORY [SECONDS_EACH]
# What it finds is left beside the build, with the command that replays it in libFuzzer's output.
set -euo pipefail
build=$(cd "$1" && pwd)
seconds=${2:-30}
here=$(cd "$(dirname "$0")" && pwd)
found=0
for target in "$build"/tests/fuzz/*_fuzz; do
  name=$(basename "$target" _fuzz)
  corpus="$build/fuzz-corpus/$name"
  mkdir -p "$corpus"
  echo "== $name: $seconds s"
  "$target" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -max_len=65536 \
    -print_final_stats=1 -verbosity=0 -artifact_prefix="$build/fuzz-corpus/$name-" \
    "$corpus" "$here/corpus/$name" || exit 1
  found=$((found + 1))
done
[ "$found" -gt 0 ] || { echo "no fuzz target in $build/tests/fuzz" >&2; exit 1; }
echo "fuzz: $found targets, nothing found"
