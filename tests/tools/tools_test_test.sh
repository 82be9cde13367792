#!/usr/bin/env bash
# tools/test finds what holds a case and how it is run; tests/slow_cases.txt names cases that there are.
#   tools_test_test.sh SOURCE_DIR BUILD_DIR
set -euo pipefail
cd "$1"
export PARKD_BUILD_DIR=$2
failed=0

# expect NAME CODE PATTERN ARGUMENTS...: exit code of tools/test and a regular expression of its output
expect() {
  local name=$1 want=$2 pattern=$3 code=0 said
  shift 3
  said=$(tools/test "$@" 2>&1) || code=$?
  if [ "$code" != "$want" ] || ! grep -qE "$pattern" <<<"$said"; then
    echo "FAILED: $name: exit $code: $said"
    failed=1
  fi
}

expect "a case of one program" 0 '^build: pool_test$' ResourcePool. --dry-run
expect "a part of the conformance suite, in one of its programs" 0 '^store_memory_test [*]a_claimed' \
  a_claimed_job_brings --in store_memory_test --dry-run
expect "a script" 0 '^unit_file_test' unit_file_test --dry-run
# A configured tree in which nothing is built yet.
unbuilt=$(mktemp -d)
trap 'rm -rf "$unbuilt"' EXIT
(cd "$PARKD_BUILD_DIR" && find . \( -name CTestTestfile.cmake -o -name '*.ninja' \) -exec cp --parents {} "$unbuilt" \;)
grep -rl "$PARKD_BUILD_DIR" "$unbuilt" | xargs sed -i "s|$PARKD_BUILD_DIR|$unbuilt|g"
PARKD_BUILD_DIR=$unbuilt expect "a program that is not built yet" 0 '^build: pool_test$' ResourcePool. --dry-run
expect "a word of no case" 2 'no case of tests/ contains unit_file_tset.*near: unit_file_test' unit_file_tset

known=$(grep -rhPzo '\bTEST(_F|_P)?\(\s*\w+,\s*\w+' tests --include='*.cc' | tr '\0' '\n' |
  tr -d ' \n' | sed -E 's/TEST(_F|_P)?\(/\n/g; s/,/./g')
while read -r name; do
  grep -qx "$name" <<<"$known" || { echo "FAILED: tests/slow_cases.txt: there is no case $name"; failed=1; }
done < <(sed '/^#/d' tests/slow_cases.txt)
[ "$failed" = 0 ] && echo "ok: tools/test"
exit $failed
