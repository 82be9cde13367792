#!/usr/bin/env bash
# The clients that people have, against the programs of a build directory (build/dev):
#   tests/clients/run.sh [BUILD_DIR]
# They come from PyPI into a virtual environment in parkd's cache. Where PyPI cannot be had that is a
# failure under PARKD_CI_STRICT=1, else a loud skip.
set -euo pipefail
cd "$(dirname "$0")/../.."
. tools/setup.sh
build=$(cd "${1:-build/dev}" && pwd)
venv="$PARKD_CACHE/clients"
if [ ! -x "$venv/bin/python3" ]; then
  install_packages python3-venv
  python3 -m venv "$venv"
fi
if ! "$venv/bin/python3" -m pip install --quiet --disable-pip-version-check openai==3.57.0 httpx; then
  [ "${PARKD_CI_STRICT:-0}" = 1 ] && die "the client cannot be had from PyPI"
  say "SKIPPED: tests/clients: the package openai cannot be had from PyPI"
  exit 0
fi
for door in socket tcp; do
  "$venv/bin/python3" tests/clients/openai_client.py "$build/daemon/parkd" "$build/tools/parkd_make_tiny_model" "$door"
done
