#!/usr/bin/env bash
# `cmake --install` puts everything where the unit and README say, for the prefixes /usr/local and /usr:
# the unit's command and documents exist, systemd finds the unit and the user's file, versions agree.
#   install_test.sh SOURCE_DIR BUILD_DIR VERSION
set -euo pipefail
source_dir=$1 build_dir=$2 version=$3
fail() { echo "FAILED: $*" >&2; exit 1; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

for prefix in /usr/local /usr; do
  root=$work$prefix
  # Whatever umask the installer has.
  (umask 077 && DESTDIR=$root cmake --install "$build_dir" --prefix "$prefix") >"$work/said"
  unit=$root$prefix/lib/systemd/system/parkd.service
  [ -f "$unit" ] || fail "there is no $unit"
  [ "$(stat -c %a "$unit")" = 644 ] || fail "the unit has mode $(stat -c %a "$unit")"
  grep -q "$prefix/lib/systemd/system/parkd.service" "$build_dir/install_manifest.txt" ||
    fail "install_manifest.txt does not name the unit"
  read -r command rest < <(sed -n 's/^ExecStart=//p' "$unit")
  [ -x "$root$command" ] || fail "the unit starts $command, which is not installed"
  document=$(sed -n 's/^Documentation=file://p' "$unit")
  [ -f "$root$document" ] || fail "the unit names $document, which is not installed"
  if [ "$prefix" = /usr ] && grep -q /usr/local "$unit"; then fail "the unit for /usr names /usr/local"; fi
  for program in parkd jobctl; do
    said=$("$root$prefix/bin/$program" --version)
    [ "$said" = "$program $version" ] || fail "$program --version says $said, the tree is $version"
  done
  # Whatever README names of an installation is there.
  while read -r path; do
    [ -e "$root$prefix${path#/usr/local}" ] || fail "README names $path, which is not installed"
  done < <(grep -oE '/usr/local/(bin|lib|share)/[A-Za-z0-9._/-]+' "$source_dir/README.md" | sort -u)
  "$root$prefix/bin/parkd" --config "$root$prefix/share/doc/parkd/parkd.yaml" --print-config >/dev/null ||
    fail "the example configuration is not one"
  if command -v systemctl >/dev/null && command -v systemd-sysusers >/dev/null; then
    mkdir -p "$root/etc"
    systemctl --root="$root" enable parkd >/dev/null 2>&1 || fail "systemd does not find the unit in $prefix"
    [ -L "$root/etc/systemd/system/multi-user.target.wants/parkd.service" ] || fail "the unit is not enabled"
    said=$(systemd-sysusers --root="$root" --dry-run 2>&1) || fail "systemd-sysusers: $said"
    grep -q 'parkd batch inference\|user .*parkd' <<<"$said" || fail "systemd-sysusers does not find parkd.conf: $said"
  else
    echo "no systemctl or systemd-sysusers here: whether they find what was installed was not asked"
  fi
done
grep -q "^## $version" "$source_dir/CHANGELOG.md" || fail "CHANGELOG.md says nothing of $version"
echo "ok: cmake --install"
