#include <cublasLt.h>

#include <cstring>

#include "gemm.h"

struct cublasLtContext {};

struct cublasLtMatmulDescOpaque_t {
  cublasOperation_t transpose_a = CUBLAS_OP_N;
  cublasOperation_t transpose_b = CUBLAS_OP_N;
};

struct cublasLtMatrixLayoutOpaque_t {
  cudaDataType type;
  int64_t rows;
  int64_t columns;
  int64_t ld;
};

struct cublasLtMatmulPreferenceOpaque_t {};

namespace {

struct Product {
  const cublasLtMatmulDescOpaque_t& description;
  const cublasLtMatrixLayoutOpaque_t& a;
  const cublasLtMatrixLayoutOpaque_t& b;
  const cublasLtMatrixLayoutOpaque_t& c;
  const cublasLtMatrixLayoutOpaque_t& d;
};

// The shapes as a Gemm, without memory; m < 0 where they do not fit together.
cuda_emulator::Gemm shape_of(const Product& product) {
  const bool transpose_a = product.description.transpose_a != CUBLAS_OP_N;
  const bool transpose_b = product.description.transpose_b != CUBLAS_OP_N;
  const auto& a = product.a;
  const auto& b = product.b;
  cuda_emulator::Gemm gemm;
  gemm.m = product.d.rows;
  gemm.n = product.d.columns;
  gemm.k = transpose_a ? a.rows : a.columns;
  gemm.a = {nullptr, a.type, a.ld, transpose_a};
  gemm.b = {nullptr, b.type, b.ld, transpose_b};
  gemm.c = {nullptr, product.c.type, product.c.ld, false};
  gemm.d = {nullptr, product.d.type, product.d.ld, false};
  const bool fits = (transpose_a ? a.columns : a.rows) == gemm.m &&
                    (transpose_b ? b.columns : b.rows) == gemm.k &&
                    (transpose_b ? b.rows : b.columns) == gemm.n && product.c.rows == gemm.m &&
                    product.c.columns == gemm.n;
  if (!fits) gemm.m = -1;
  return gemm;
}

}  // namespace

cublasStatus_t cublasLtCreate(cublasLtHandle_t* handle) {
  if (cuda_emulator::Machine::get().library_call().error != cudaSuccess) {
    return CUBLAS_STATUS_NOT_INITIALIZED;
  }
  *handle = new cublasLtContext;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle) {
  delete handle;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t* description,
                                        cublasComputeType_t compute_type, cudaDataType scale_type) {
  if (compute_type == CUBLAS_COMPUTE_16F || scale_type != CUDA_R_32F) {
    return CUBLAS_STATUS_NOT_SUPPORTED;
  }
  *description = new cublasLtMatmulDescOpaque_t;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t description) {
  delete description;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t description,
                                              cublasLtMatmulDescAttributes_t attribute,
                                              const void* value, size_t bytes) {
  if (bytes != sizeof(cublasOperation_t)) return CUBLAS_STATUS_INVALID_VALUE;
  auto& operation = attribute == CUBLASLT_MATMUL_DESC_TRANSA ? description->transpose_a
                                                             : description->transpose_b;
  std::memcpy(&operation, value, bytes);
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t* layout, cudaDataType type,
                                          uint64_t rows, uint64_t columns, int64_t ld) {
  *layout = new cublasLtMatrixLayoutOpaque_t{type, static_cast<int64_t>(rows),
                                             static_cast<int64_t>(columns), ld};
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t layout) {
  delete layout;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t* preference) {
  *preference = new cublasLtMatmulPreferenceOpaque_t;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t preference) {
  delete preference;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceSetAttribute(
    cublasLtMatmulPreference_t /*preference*/, cublasLtMatmulPreferenceAttributes_t /*attribute*/,
    const void* /*value*/, size_t bytes) {
  return bytes == sizeof(uint64_t) ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_INVALID_VALUE;
}

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(
    cublasLtHandle_t handle, cublasLtMatmulDesc_t description, cublasLtMatrixLayout_t a,
    cublasLtMatrixLayout_t b, cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
    cublasLtMatmulPreference_t /*preference*/, int n_wanted,
    cublasLtMatmulHeuristicResult_t* results, int* n_results) {
  *n_results = 0;
  if (handle == nullptr) return CUBLAS_STATUS_NOT_INITIALIZED;
  if (n_wanted < 1 || shape_of({*description, *a, *b, *c, *d}).m < 0) {
    return CUBLAS_STATUS_INVALID_VALUE;
  }
  results[0] = {};
  results[0].wavesCount = 1;
  *n_results = 1;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t handle, cublasLtMatmulDesc_t description,
                              const void* alpha, const void* a, cublasLtMatrixLayout_t layout_a,
                              const void* b, cublasLtMatrixLayout_t layout_b, const void* beta,
                              const void* c, cublasLtMatrixLayout_t layout_c, void* d,
                              cublasLtMatrixLayout_t layout_d,
                              const cublasLtMatmulAlgo_t* /*algorithm*/, void* /*workspace*/,
                              size_t /*workspace_bytes*/, cudaStream_t stream) {
  if (handle == nullptr) return CUBLAS_STATUS_NOT_INITIALIZED;
  const auto answer = cuda_emulator::Machine::get().library_call();
  if (answer.status != 0) return static_cast<cublasStatus_t>(answer.status);
  if (answer.error != cudaSuccess) return CUBLAS_STATUS_EXECUTION_FAILED;
  cuda_emulator::Gemm gemm = shape_of({*description, *layout_a, *layout_b, *layout_c, *layout_d});
  gemm.alpha = *static_cast<const float*>(alpha);  // host pointer mode: read now
  gemm.beta = *static_cast<const float*>(beta);
  gemm.a.data = const_cast<void*>(a);
  gemm.b.data = const_cast<void*>(b);
  gemm.c.data = const_cast<void*>(c);
  gemm.d.data = d;
  return cuda_emulator::enqueue_gemm(stream, gemm);
}
