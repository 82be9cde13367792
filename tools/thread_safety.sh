#!/usr/bin/env bash
# Whether classes touch what a mutex of theirs guards without it (lib/base/thread_safety.h): clang's
# analysis, with libc++, whose std::mutex it understands. Nothing is linked. Guarded members are private, so
# what is looked at is each .cc that has some, or whose header has.
#   tools/thread_safety.sh [FILE.cc ...]
set -euo pipefail
cd "$(dirname "$0")/.."
export CHECK="clang++-14 -std=c++20 -stdlib=libc++ -D_LIBCPP_ENABLE_THREAD_SAFETY_ANNOTATIONS -fsyntax-only
  -Wthread-safety -Werror=thread-safety -DPARKD_VERSION=\"\" -DPARKD_HAVE_POSTGRES -I."

# The check itself must be able to fail.
planted='#include <mutex>
#include "lib/base/thread_safety.h"
struct Planted {
  int read() { return value; }
  std::mutex mutex;
  int value PARKD_GUARDED_BY(mutex) = 0;
};'
if said=$($CHECK -x c++ - <<<"$planted" 2>&1) || ! grep -q thread-safety <<<"$said"; then
  echo "thread_safety: a planted fault was not found: $said" >&2
  exit 1
fi

if [ $# = 0 ]; then
  set -- $(git grep -l PARKD_GUARDED_BY -- 'lib/*.h' 'lib/*.cc' 'daemon/*.h' 'daemon/*.cc' \
    ':!lib/base/thread_safety.h' | sed 's/[.]h$/.cc/' | sort -u)
fi
printf '%s\n' "$@" |
  xargs -P "${PARKD_JOBS:-$(nproc)}" -n 1 sh -c '$CHECK "$0"'
