// One matrix product, as cuBLAS and cuBLASLt hand it to the emulator.
#pragma once

#include <cublas_v2.h>

#include <cstdint>

#include "machine.h"

namespace cuda_emulator {

// Columns contiguous: element (i, j) lies at i + j * ld, or at j + i * ld when transposed.
struct GemmMatrix {
  void* data = nullptr;
  cudaDataType type = CUDA_R_32F;
  int64_t ld = 0;
  bool transposed = false;
};

// d (m, n) = alpha * a (m, k) * b (k, n) + beta * c (m, n).
struct Gemm {
  int64_t m = 0;
  int64_t n = 0;
  int64_t k = 0;
  float alpha = 1;
  float beta = 0;
  GemmMatrix a;
  GemmMatrix b;
  GemmMatrix c;
  GemmMatrix d;
};

// Checks what cuBLAS checks and puts the product on the stream.
cublasStatus_t enqueue_gemm(cudaStream_t stream, const Gemm& gemm);

}  // namespace cuda_emulator
