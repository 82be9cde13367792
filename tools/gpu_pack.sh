#!/usr/bin/env bash
# Builds, without a GPU, all that a machine with a GPU and NVIDIA's driver needs to try parkd on it, as one
# archive: parkd, jobctl, the benchmark, the tests that need a device, gpu_probe, a generator of models with
# random weights, their shared libraries (glibc, the driver and cuBLAS are the machine's), and gpu_check.sh.
#   tools/gpu_pack.sh [--arch 90] [ARCHIVE]    default: build/gpu-kit.tar.xz
#   tools/gpu_pack.sh --dir DIRECTORY          the same, not packed
#   --arch N        machine code for compute capability N/10, and PTX, which newer devices translate (default 90)
#   --build BUILD   the programs of a build that is there, as they are; nothing is built
#   --emulator BUILD  those of a build whose device is tests/cuda_emulator: for rehearsals without a GPU
# There:  tar xf gpu-kit.tar.xz && gpu-kit/gpu_check.sh
set -euo pipefail
cd "$(dirname "$0")/.."
. tools/setup.sh

arch=90 build= kind=gpu directory= archive=build/gpu-kit.tar.xz
while [ $# -gt 0 ]; do
  case $1 in
    --arch | --build | --emulator | --dir)
      [ $# -ge 2 ] || die "$1 needs a value"
      case $1 in
        --arch) arch=$2 ;;
        --build) build=$2 ;;
        --emulator) build=$2 kind=emulator ;;
        --dir) directory=$2 ;;
      esac
      shift 2
      ;;
    -*) die "$1: unknown; see the first lines of $0" ;;
    *) archive=$1 && shift ;;
  esac
done
[[ "$arch" =~ ^(8[0-9]|9[0-9]|1[0-9][0-9])$ ]] || die "--arch $arch: a compute capability without its point, 80 or more"
limit_mb=60  # what can be carried to a lent machine

# NAME SOURCE, of the build; emulated programs stand under the names of those for a GPU.
programs() {
  if [ "$kind" = emulator ]; then
    echo "parkd tests/gpu/parkd_emulated
      parkd_bench tests/gpu/parkd_bench_emulated
      gpu_probe tests/gpu/gpu_probe_emulated
      cuda_rows_test tests/cuda/cuda_rows_test_plain
      cuda_attention_test tests/cuda/cuda_attention_test_plain
      cuda_sampling_test tests/cuda/cuda_sampling_test_plain
      cuda_ptx_test tests/cuda/cuda_ptx_test_plain
      cuda_ops_test tests/ops/cuda_ops_test_plain
      cuda_backend_test tests/cuda_backend/cuda_backend_test_plain"
  else
    echo "parkd daemon/parkd
      parkd_bench tools/bench/parkd_bench
      gpu_probe tests/gpu/gpu_probe
      cuda_rows_test tests/cuda/cuda_rows_test_gpu
      cuda_attention_test tests/cuda/cuda_attention_test_gpu
      cuda_sampling_test tests/cuda/cuda_sampling_test_gpu
      cuda_ptx_test tests/cuda/cuda_ptx_test_gpu
      cuda_ops_test tests/ops/cuda_ops_test_gpu
      cuda_backend_test tests/cuda_backend/cuda_backend_test_gpu
      golden_gpu_test tests/gpu/golden_gpu_test"
  fi
  echo "jobctl tools/jobctl/jobctl
    parkd_make_random_model tools/parkd_make_random_model"
}

if [ -z "$build" ]; then
  install_packages $BUILD_PACKAGES libgtest-dev
  command -v nvcc >/dev/null || [ -x /usr/local/cuda/bin/nvcc ] ||
    die "no nvcc: install the CUDA toolkit (no GPU is needed to pack)"
  export PATH=$PATH:/usr/local/cuda/bin CCACHE_BASEDIR=$PARKD_ROOT CCACHE_NOHASHDIR=1
  build=build/gpu-kit
  say "building for compute capability $arch"
  cmake -S . -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DCMAKE_CXX_FLAGS_RELEASE="-O3 -DNDEBUG" \
    -DPARKD_CUDA=ON -DPARKD_CUDA_ARCHITECTURES="$arch" -DPARKD_EMULATOR_SANITIZED=OFF >/dev/null
  cmake --build "$build" -j "${PARKD_JOBS:-$(nproc)}" --target $(programs | awk '{sub(".*/", "", $2); print $2}')
fi

kit=$directory
if [ -z "$kit" ]; then
  scratch=$(mktemp -d)
  trap 'rm -rf "$scratch"' EXIT
  kit=$scratch/gpu-kit
fi
mkdir -p "$kit/bin" "$kit/lib" "$kit/golden"
while read -r name path; do
  [ -x "$build/$path" ] || die "$build/$path is not there: build it first"
  strip -o "$kit/bin/$name" "$build/$path"
done < <(programs)

# What they are linked to, but the C library and its loader: those have to fit the machine's driver.
for program in "$kit"/bin/*; do ldd "$program"; done | awk '$2 == "=>" && $3 ~ "^/" {print $3}' | sort -u |
  while read -r library; do
    case $(basename "$library") in
      libc.so.* | libm.so.* | libdl.so.* | libpthread.so.* | librt.so.* | libresolv.so.* | ld-linux*) ;;
      *) cp -L "$library" "$kit/lib/" ;;
    esac
  done
strip --strip-unneeded "$kit"/lib/* 2>/dev/null || true
glibc=$(for file in "$kit"/bin/* "$kit"/lib/*; do objdump -T "$file" 2>/dev/null; done |
  grep -o 'GLIBC_[0-9.]*' | sort -V -u | tail -1)

cp tools/gpu_check.sh tools/quickstart/prompts.jsonl "$kit/"
cp -r tests/golden/smollm2-135m "$kit/golden/"
cat >"$kit/kit.txt" <<KIT
kind=$kind
commit=$(git describe --always --dirty 2>/dev/null || echo unknown)
arch=$arch
glibc=${glibc#GLIBC_}
KIT
if [ -n "$directory" ]; then
  say "$kit: $(du -sh "$kit" | cut -f1)"
  exit 0
fi
mkdir -p "$(dirname "$archive")"
tar -C "$scratch" -c gpu-kit | xz -T0 >"$archive"
size_mb=$((($(stat -c %s "$archive") + 999999) / 1000000))
say "$archive: $size_mb MB"
[ "$size_mb" -le "$limit_mb" ] || die "$archive has $size_mb MB; $limit_mb can be carried"
