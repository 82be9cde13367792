// One tensor-core instruction on one warp, its registers in device memory, (32 lanes, registers).
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace parkd::cuda {

struct MmaProbe {
  const uint32_t* a;  // (32, 4)
  const uint32_t* b;  // (32, 2)
  float* d;           // (32, 4), added to
  bool is_f16;
};
cudaError_t launch_probe(const MmaProbe& probe);

struct LoadMatricesProbe {
  const uint16_t* rows;  // (32, 8): the row that each lane points to
  uint32_t* to;          // (32, 4)
  bool transposed;
};
cudaError_t launch_probe(const LoadMatricesProbe& probe);

struct Exp2Probe {
  const float* x;  // (32)
  float* y;        // (32)
};
cudaError_t launch_probe(const Exp2Probe& probe);

}  // namespace parkd::cuda
