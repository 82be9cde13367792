// The CPU backend: the Backend on our own SIMD kernels (kernels/cpu). See lib/model/backend.h for
// the contract; this adds nothing but how it is made and its sizes.
//
// Dtype f32 is the float path: every weight is dequantised to float, sums are float, KV is float.
// bf16 and f16 are the fast path: quantised weights keep their 32-blocks and meet int8 activations
// quantised per row and block; float weights become bf16; KV is stored in the dtype.
//
// I7 holds bit for bit within one instruction set: see kernels/cpu/cpu_kernels.h.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>

#include "kernels/cpu/cpu_kernels.h"
#include "lib/base/dtype.h"
#include "lib/model/backend.h"

namespace parkd {

// Empty: the best that this machine has.
using CpuIsaChoice = std::optional<cpu::Isa>;

// "auto", "scalar", "avx2", "avx512"; invalid for any other word.
Result<CpuIsaChoice> cpu_isa_from_string(std::string_view word);

struct CpuBackendOptions {
  ModelShape shape;
  Dtype dtype = Dtype::bf16;
  CpuIsaChoice isa;
  int32_t team_size = 1;  // threads of one lane, its own included
};

// Errors: invalid for a shape that the kernels cannot do (head_dim not a multiple of 16 or above
// 256, ...) or an instruction set that this machine lacks.
Result<std::unique_ptr<Backend>> make_cpu_backend(const CpuBackendOptions& options);

}  // namespace parkd
