#!/usr/bin/env bash
# The migrations that were released, by checksum: a database has applied them, so they are never
# edited again.
#   migrations/released.sh          checks them against released.txt
#   migrations/released.sh write    makes released.txt anew: for a release, when it adds numbers
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
case "${1:-check}" in
write) sha256sum -- *.up.sql >released.txt ;;
check)
  if ! sha256sum --check --quiet --strict released.txt; then
    echo "A released migration was changed or is gone. Databases that applied it refuse this program." >&2
    echo "Put it back, and make the change in a migration of the next number; a function that changes" >&2
    echo "there gets a new name (claim_v1 stays, claim_v2 comes)." >&2
    exit 1
  fi
  ;;
*)
  echo "usage: migrations/released.sh [write]" >&2
  exit 2
  ;;
esac
