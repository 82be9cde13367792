#!/usr/bin/env bash
# tools/emulator_scope.sh leaves the sanitized emulator out only where git shows that nothing of it
# changed. In repositories of the test's own.
set -euo pipefail
. "$1/tools/emulator_scope.sh"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_SYSTEM=/dev/null GIT_CEILING_DIRECTORIES=$work
export GIT_AUTHOR_NAME=t GIT_AUTHOR_EMAIL=t@t GIT_COMMITTER_NAME=t GIT_COMMITTER_EMAIL=t@t
unset GIT_DIR GIT_WORK_TREE GIT_INDEX_FILE PARKD_CI_BASE
failed=0

# commit HOURS FILE: one commit that changes FILE, HOURS before noon of a fixed day.
commit() {
  mkdir -p "$(dirname "$2")"
  echo "$1" >>"$2"
  git add "$2"
  export GIT_COMMITTER_DATE="$((1700000000 - $1 * 3600)) +0000" GIT_AUTHOR_DATE="2023-11-14T00:00:00Z"
  git commit -qm "$2"
}

# expect NAME ON|OFF WORDS [MODE]
expect() {
  local said
  said=$(emulator_scope "${4:-ci}")
  if [[ "$said" != "$2 "*"$3"* ]]; then
    echo "FAILED: $1: wanted $2 ... $3, got: $said"
    failed=1
  fi
}

# Every source that is not a kernel and is compiled into a sanitized program is one of the inputs.
while read -r source; do
  within=
  for input in $EMULATOR_INPUTS; do
    case $source in "$input" | "$input"/*) within=yes ;; esac
  done
  [ "$within" ] || { echo "FAILED: $source is in a sanitized program and not in EMULATOR_INPUTS"; failed=1; }
done < <(grep -ohE '[$][{]PROJECT_SOURCE_DIR[}]/[A-Za-z0-9_./]+' "$1"/tests/cuda*/CMakeLists.txt |
  sed 's|^[^/]*/||' | grep -v '^tools/' | sort -u)

mkdir "$work/none" && cd "$work/none"
expect "no repository" ON "cannot tell"

git init -q -b main "$work/repo" && cd "$work/repo"
expect "no commit" ON "cannot tell"
commit 60 kernels/cuda/a.cu
expect "one commit" ON "no commit a day older"
commit 50 lib/backend/cuda/a.cc
commit 20 README.md
expect "a day without kernels" OFF "a day before HEAD"
expect "full" ON "full" full
touch kernels/cuda/new.cu
expect "a new file that is not committed" ON "kernels/cuda/new.cu"
rm kernels/cuda/new.cu
echo more >>lib/backend/cuda/a.cc
expect "a change that is not committed" ON "lib/backend/cuda/a.cc"
git checkout -q lib/backend/cuda/a.cc
commit 10 tests/cuda/a_test.cc
commit 0 README.md
expect "a kernel's test ten commits of the day ago" ON "tests/cuda/a_test.cc"

git checkout -q -b work
commit 0 lib/engine/a.cc
expect "a branch is compared with where it left main" OFF "where it left main"
commit 0 cmake/parkd.cmake
expect "a branch that changes flags" ON "cmake/parkd.cmake"
git checkout -q main
commit 0 kernels/cpu/b.cc
git checkout -q work
git reset -q --hard HEAD~1
expect "what main did since is not the branch's" OFF "where it left main"
export PARKD_CI_BASE=main
expect "the commit that CI names" ON "kernels/cpu/b.cc"
export PARKD_CI_BASE=0123456789012345678901234567890123456789
expect "a commit that CI names and is not there" ON "there is no commit 0123"
unset PARKD_CI_BASE

git clone -q --depth 1 -b main "file://$work/repo" "$work/shallow" && cd "$work/shallow"
expect "a shallow clone of main" ON "no commit a day older"
git clone -q --depth 1 -b work --no-single-branch "file://$work/repo" "$work/branch" && cd "$work/branch"
git remote set-head origin main
expect "a shallow clone of a branch" ON "no common commit with origin/HEAD"
[ "$failed" = 0 ] && echo "ok: tools/emulator_scope.sh"
exit $failed
