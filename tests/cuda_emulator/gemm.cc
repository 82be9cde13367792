#include "gemm.h"

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <vector>

namespace cuda_emulator {
namespace {

size_t element_bytes(cudaDataType type) {
  return type == CUDA_R_32F ? 4 : 2;
}

bool is_supported(cudaDataType type) {
  return type == CUDA_R_32F || type == CUDA_R_16F || type == CUDA_R_16BF;
}

float load(const GemmMatrix& matrix, int64_t at) {
  switch (matrix.type) {
    case CUDA_R_16F:
      return __half2float(static_cast<const __half*>(matrix.data)[at]);
    case CUDA_R_16BF:
      return __bfloat162float(static_cast<const __nv_bfloat16*>(matrix.data)[at]);
    default:
      return static_cast<const float*>(matrix.data)[at];
  }
}

void store(const GemmMatrix& matrix, int64_t at, float value) {
  switch (matrix.type) {
    case CUDA_R_16F:
      static_cast<__half*>(matrix.data)[at] = __float2half_rn(value);
      return;
    case CUDA_R_16BF:
      static_cast<__nv_bfloat16*>(matrix.data)[at] = __float2bfloat16_rn(value);
      return;
    default:
      static_cast<float*>(matrix.data)[at] = value;
  }
}

// As floats (n_vectors, k), k contiguous. `vector_is_contiguous`: k runs along the leading
// dimension's columns.
std::vector<float> widen(const GemmMatrix& matrix, int64_t n_vectors, int64_t k,
                         bool vector_is_contiguous) {
  std::vector<float> wide(static_cast<size_t>(n_vectors * k));
  for (int64_t i = 0; i < n_vectors; ++i) {
    for (int64_t p = 0; p < k; ++p) {
      const int64_t at = vector_is_contiguous ? p + i * matrix.ld : i + p * matrix.ld;
      wide[static_cast<size_t>(i * k + p)] = load(matrix, at);
    }
  }
  return wide;
}

float dot(const float* x, const float* y, int64_t k) {
  constexpr int64_t kParts = 16;
  float parts[kParts] = {};
  int64_t p = 0;
  for (; p + kParts <= k; p += kParts) {
    for (int64_t i = 0; i < kParts; ++i) parts[i] += x[p + i] * y[p + i];
  }
  float sum = 0;
  for (; p < k; ++p) sum += x[p] * y[p];
  for (const float part : parts) sum += part;
  return sum;
}

void multiply(const Gemm& gemm) {
  const std::vector<float> a = widen(gemm.a, gemm.m, gemm.k, gemm.a.transposed);
  const std::vector<float> b = widen(gemm.b, gemm.n, gemm.k, !gemm.b.transposed);
  for (int64_t j = 0; j < gemm.n; ++j) {
    for (int64_t i = 0; i < gemm.m; ++i) {
      float value = gemm.alpha * dot(a.data() + i * gemm.k, b.data() + j * gemm.k, gemm.k);
      // With beta 0 the old value is not read: it may be NaN.
      if (gemm.beta != 0) value += gemm.beta * load(gemm.c, i + j * gemm.c.ld);
      store(gemm.d, i + j * gemm.d.ld, value);
    }
  }
}

// Bytes from the first to the last element of a stored (rows, columns) matrix.
size_t extent(const GemmMatrix& matrix, int64_t rows, int64_t columns) {
  return static_cast<size_t>((columns - 1) * matrix.ld + rows) * element_bytes(matrix.type);
}

std::string check_memory(const Gemm& gemm) {
  const auto& a = gemm.a;
  const auto& b = gemm.b;
  const int64_t a_rows = a.transposed ? gemm.k : gemm.m;
  const int64_t b_rows = b.transposed ? gemm.n : gemm.k;
  const Lock lock = Machine::get().lock();
  const auto& memory = Machine::get().memory();
  std::string failure =
      memory.check_device("GEMM's a", a.data, extent(a, a_rows, gemm.m + gemm.k - a_rows));
  if (failure.empty()) {
    failure = memory.check_device("GEMM's b", b.data, extent(b, b_rows, gemm.n + gemm.k - b_rows));
  }
  if (failure.empty()) {
    failure = memory.check_device("GEMM's d", gemm.d.data, extent(gemm.d, gemm.m, gemm.n));
  }
  return failure;
}

}  // namespace

cublasStatus_t enqueue_gemm(cudaStream_t stream, const Gemm& gemm) {
  const auto& a = gemm.a;
  const auto& b = gemm.b;
  if (gemm.m < 0 || gemm.n < 0 || gemm.k < 0 || a.ld < (a.transposed ? gemm.k : gemm.m) ||
      b.ld < (b.transposed ? gemm.n : gemm.k) || gemm.c.ld < gemm.m || gemm.d.ld < gemm.m) {
    return CUBLAS_STATUS_INVALID_VALUE;
  }
  const bool output_is_known = gemm.d.type == CUDA_R_32F || gemm.d.type == a.type;
  if (!is_supported(a.type) || a.type != b.type || !output_is_known || gemm.c.type != gemm.d.type) {
    return CUBLAS_STATUS_NOT_SUPPORTED;
  }
  if (gemm.m == 0 || gemm.n == 0 || gemm.k == 0) return CUBLAS_STATUS_SUCCESS;
  const cudaError_t error = Machine::get().enqueue_unlocked(stream, "gemm", [gemm] {
    std::string failure = check_memory(gemm);
    if (failure.empty()) multiply(gemm);
    return failure;
  });
  return error == cudaSuccess ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_EXECUTION_FAILED;
}

}  // namespace cuda_emulator
