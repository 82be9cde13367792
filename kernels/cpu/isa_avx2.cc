// The kernels compiled for avx2. Everything but the table has internal linkage, so that no function
// of this file's instruction set can be picked by the linker for another file.
#include "kernels/cpu/cpu_kernels.h"
#include "kernels/cpu/simd_avx2.h"

// Written on the vectors above.
#include "kernels/cpu/vector_math.h"

// Written on both.
#include "kernels/cpu/attention_kernels.h"
#include "kernels/cpu/matmul_kernels.h"
#include "kernels/cpu/row_kernels.h"

namespace parkd::cpu {

extern const CpuKernels avx2_kernels;
const CpuKernels avx2_kernels = {Isa::avx2, matmul, quantise_row, to_bf16,  rms_norm,  rms_norm_add,
                                 gate_mul,  rope,   clear_values, store_kv, attention, run_dots};

}  // namespace parkd::cpu
