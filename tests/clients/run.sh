#!/usr/bin/env bash
# The clients that people have, against the programs of a build directory (build/dev):
#   tests/clients/run.sh [BUILD_DIR]
# They come from PyPI into a virtual environment in parkd's cache. Where PyPI cannot be had that is a
# failure under PARKD_CI_STRICT=1, else a loud skip.
set -euo pipefail
cd "$(dirname "$0")/../.."
. tools/setup.sh
build=$(cd "${1:-build/dev}" && pwd)
# Whether it can be had; else it is said.
have() {  # NAME
  "fetch_$1" && return
  [ "${PARKD_CI_STRICT:-0}" = 1 ] && die "$1 cannot be had from PyPI"
  say "SKIPPED: tests/clients: $1 cannot be had from PyPI"
  return 1
}
have clients || exit 0
parkd=$build/daemon/parkd
make_tiny_model=$build/tools/parkd_make_tiny_model
for door in socket tcp; do
  "$CLIENTS_PYTHON" tests/clients/openai_client.py "$parkd" "$make_tiny_model" $door
done
tools/pg_sandbox.sh "$CLIENTS_PYTHON" tests/clients/openai_client.py "$parkd" "$make_tiny_model" postgres
"$CLIENTS_PYTHON" tests/clients/readme_examples.py "$parkd" "$make_tiny_model" "$build/tools/jobctl/jobctl"
if have schemathesis; then
  say "parkd against its own /openapi.json"
  "$CLIENTS_PYTHON" tests/clients/openapi_check.py "$parkd" "$make_tiny_model"
fi
if have litellm; then
  say "LiteLLM's proxy in front"
  "$CLIENTS_PYTHON" tests/clients/litellm_proxy.py "$parkd" "$make_tiny_model" "$(dirname "$LITELLM_PYTHON")/litellm"
fi
say "the quickstart, with the tiny model under the demo's name"
models=$(mktemp -d)
trap 'rm -rf "$models"' EXIT
"$make_tiny_model" "$models/$MODEL_FILE" --type q4_1
PARKD_BUILD_DIR=$build PARKD_MODEL_DIR=$models tools/quickstart.sh --openai
