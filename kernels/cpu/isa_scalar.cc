// The kernels compiled for scalar. Everything but the table has internal linkage, so that no
// function of this file's instruction set can be picked by the linker for another file.
#include "kernels/cpu/cpu_kernels.h"
#include "kernels/cpu/simd_scalar.h"

// Written on the vectors above.
#include "kernels/cpu/vector_math.h"

// Written on both.
#include "kernels/cpu/attention_kernels.h"
#include "kernels/cpu/matmul_kernels.h"
#include "kernels/cpu/row_kernels.h"

namespace parkd::cpu {

extern const CpuKernels scalar_kernels;
const CpuKernels scalar_kernels = {Isa::scalar,  matmul,       quantise_row, to_bf16,
                                   rms_norm,     rms_norm_add, gate_mul,     rope,
                                   clear_values, store_kv,     attention,    run_dots};

}  // namespace parkd::cpu
