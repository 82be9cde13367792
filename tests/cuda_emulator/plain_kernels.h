// Correct kernels that the emulator's own tests run.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <cstdint>

namespace parkd::testing {

// out[i] = value for the first n.
cudaError_t launch_fill(float* out, float value, int32_t n, cudaStream_t stream);
// out[i] = in[i] + addend[i].
cudaError_t launch_add(const float* in, const float* addend, float* out, int32_t n,
                       cudaStream_t stream);
// out[i] = in[i * stride].
cudaError_t launch_strided_copy(const float* in, float* out, int32_t n, int32_t stride,
                                cudaStream_t stream);
// One block: out[0] = the sum of n floats, through shared memory, shuffles and a barrier.
cudaError_t launch_sum(const float* in, float* out, int32_t n, cudaStream_t stream);
// As a histogram of bytes: counts[value] += 1, with atomics in shared and in device memory.
cudaError_t launch_histogram(const uint8_t* in, int32_t* counts, int32_t n, cudaStream_t stream);

// out (16, 16) = a (16, 16) * b (16, 16)^T by one warp: through nvcuda::wmma, or through the twins
// of ldmatrix and mma.m16n8k16.
cudaError_t launch_tile_product(bool with_wmma, const __nv_bfloat16* a, const __nv_bfloat16* b,
                                float* out, cudaStream_t stream);

}  // namespace parkd::testing
