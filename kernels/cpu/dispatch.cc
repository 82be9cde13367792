#include <cpuid.h>

#include "kernels/cpu/cpu_kernels.h"

namespace parkd::cpu {

extern const CpuKernels scalar_kernels;
extern const CpuKernels avx2_kernels;
extern const CpuKernels avx512_kernels;

namespace {

// clang 14 does not know "f16c" as a name for __builtin_cpu_supports.
bool has_f16c() {
  unsigned eax = 0;
  unsigned ebx = 0;
  unsigned ecx = 0;
  unsigned edx = 0;
  return __get_cpuid(1, &eax, &ebx, &ecx, &edx) != 0 && (ecx & bit_F16C) != 0;
}

}  // namespace

const char* to_string(Isa isa) {
  switch (isa) {
    case Isa::scalar:
      return "scalar";
    case Isa::avx2:
      return "avx2";
    case Isa::avx512:
      return "avx512";
  }
  return "?";
}

bool isa_available(Isa isa) {
  // GCC's runtime asks the operating system too (XGETBV), not only CPUID.
  switch (isa) {
    case Isa::scalar:
      return true;
    case Isa::avx2:
      return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c();
    case Isa::avx512:
      return isa_available(Isa::avx2) && __builtin_cpu_supports("avx512f") &&
             __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
             __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni") &&
             __builtin_cpu_supports("avx512bf16");
  }
  return false;
}

Isa detect_isa() {
  if (isa_available(Isa::avx512)) return Isa::avx512;
  return isa_available(Isa::avx2) ? Isa::avx2 : Isa::scalar;
}

const CpuKernels& kernels_of(Isa isa) {
  switch (isa) {
    case Isa::avx512:
      return avx512_kernels;
    case Isa::avx2:
      return avx2_kernels;
    case Isa::scalar:
      break;
  }
  return scalar_kernels;
}

size_t attention_workspace_bytes(int32_t group, int32_t head_dim) {
  const int64_t most = group > kAttentionRowsMax ? group : kAttentionRowsMax;
  const int64_t rows = ceil_div(most, 16) * 16;
  return static_cast<size_t>(rows * (2 * head_dim + kKvTile + 3)) * sizeof(float);
}

}  // namespace parkd::cpu
