# Sourced by check.sh: whether this run builds and runs the CUDA emulator's sanitized programs (ASan and
# the race detector; CMake's PARKD_EMULATOR_SANITIZED), which cost CI minutes.

# What those programs are made of whose faults the sanitizers are there to find: the kernels, what
# drives them, what chooses and loads a model on them, and the tests with what they share. Left out on
# purpose: lib/base, lib/engine, lib/text, lib/weights and third-party headers, which have sanitized tests
# of their own (presets asan and tsan, in `full`).
EMULATOR_INPUTS="kernels lib/backend lib/model daemon/models tests/cuda tests/cuda_backend tests/cuda_emulator
  tests/ops tests/support tools/kernels cmake/parkd.cmake"

# emulator_scope MODE: prints "ON why" or "OFF why". `full` is always ON. Else it is OFF only where git
# shows that none of EMULATOR_INPUTS differs from a commit whose sanitized run is somebody else's
# business; files that are changed or new and not committed count as differing. That commit is
#   $PARKD_CI_BASE where a CI names the commit that it tested last;
#   else where HEAD left the main branch (origin/HEAD, origin/main or main, the first that there is);
#   else, on the main branch itself, where that branch stood 24 hours before HEAD.
# Where git cannot tell (no repository, a shallow clone, a history younger than that): ON.
emulator_scope() {
  local base="" what="" main head name changed
  [ "$1" = full ] && { echo "ON full runs everything"; return; }
  head=$(git rev-parse --verify --quiet HEAD 2>/dev/null) || { echo "ON git cannot tell: no commit here"; return; }
  if [ -n "${PARKD_CI_BASE:-}" ]; then
    base=$(git rev-parse --verify --quiet "$PARKD_CI_BASE^{commit}") ||
      { echo "ON git cannot tell: there is no commit $PARKD_CI_BASE (PARKD_CI_BASE)"; return; }
    what="PARKD_CI_BASE"
  else
    for name in origin/HEAD origin/main main; do
      main=$(git rev-parse --verify --quiet "$name^{commit}") && break
    done
    if [ -n "$main" ] && [ "$main" != "$head" ]; then
      base=$(git merge-base "$main" HEAD) ||
        { echo "ON git cannot tell: no common commit with $name in this clone"; return; }
      what="where it left $name"
    fi
    if [ -z "$base" ] || [ "$base" = "$head" ]; then
      base=$(git rev-list -1 --first-parent --before="$(($(git log -1 --format=%ct HEAD) - 86400))" HEAD)
      [ -n "$base" ] || { echo "ON git cannot tell: this clone has no commit a day older than HEAD"; return; }
      what="a day before HEAD"
    fi
  fi
  changed=$({ git diff --name-only "$base" -- $EMULATOR_INPUTS &&
    git ls-files --others --exclude-standard -- $EMULATOR_INPUTS; } 2>&1) ||
    { echo "ON git cannot tell: $changed"; return; }
  if [ -n "$changed" ]; then
    echo "ON $(wc -l <<<"$changed") files differ from ${base:0:12} ($what), $(head -n 1 <<<"$changed") first"
  else
    echo "OFF nothing differs from ${base:0:12} ($what) in "$EMULATOR_INPUTS
  fi
}
