// Host side of every launcher: starting a kernel, and choosing its instance by element type.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>

#include "kernels/cuda/kernels.h"

namespace parkd::cuda {

struct LaunchShape {
  dim3 grid;
  int32_t threads;
  size_t dynamic_shared_bytes = 0;  // at most 48 KB
  cudaStream_t stream;
};

// Starts `kernel`, or nothing at all where a side of the grid is 0.
template <class Params>
cudaError_t launch(const LaunchShape& shape, void (*kernel)(Params), const Params& params) {
  if (shape.grid.x == 0 || shape.grid.y == 0 || shape.grid.z == 0) return cudaSuccess;
  cudaLaunchConfig_t config = {};
  config.gridDim = shape.grid;
  config.blockDim = dim3(static_cast<unsigned>(shape.threads));
  config.dynamicSmemBytes = shape.dynamic_shared_bytes;
  config.stream = shape.stream;
  return cudaLaunchKernelEx(&config, kernel, params);
}

// with(T{}) for the element's type; cudaErrorInvalidValue for another.
template <class With>
cudaError_t with_element(Element element, With with) {
  switch (element) {
    case Element::f32:
      return with(float{});
    case Element::f16:
      return with(__half{});
    case Element::bf16:
      return with(__nv_bfloat16{});
  }
  return cudaErrorInvalidValue;
}

inline bool is_aligned(const void* pointer) {
  return reinterpret_cast<uintptr_t>(pointer) % 16 == 0;
}

inline unsigned blocks_for(int64_t n, int64_t per_block) {
  return static_cast<unsigned>((n + per_block - 1) / per_block);
}

}  // namespace parkd::cuda
