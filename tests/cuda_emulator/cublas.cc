// cuBLAS's products by the textbook: sums in float, in another order than any GPU's. Bounds are
// checked as cuBLAS does (leading dimensions) and against the device's allocations.
#include "gemm.h"

#include <cublas_v2.h>

struct cublasContext {
  cudaStream_t stream = nullptr;
};

namespace {

cublasStatus_t status_of(cudaError_t error) {
  switch (error) {
    case cudaSuccess:
      return CUBLAS_STATUS_SUCCESS;
    case cudaErrorNoDevice:
      return CUBLAS_STATUS_NOT_INITIALIZED;
    case cudaErrorMemoryAllocation:
      return CUBLAS_STATUS_ALLOC_FAILED;
    default:
      return CUBLAS_STATUS_EXECUTION_FAILED;
  }
}

cublasStatus_t enter(const char* name = __builtin_FUNCTION()) {
  const auto answer = cuda_emulator::Machine::get().library_call(name);
  return answer.status != 0 ? static_cast<cublasStatus_t>(answer.status) : status_of(answer.error);
}

}  // namespace

cublasStatus_t cublasCreate_v2(cublasHandle_t* handle) {
  const cublasStatus_t status = enter();
  if (status == CUBLAS_STATUS_SUCCESS) *handle = new cublasContext;
  return status;
}

cublasStatus_t cublasDestroy_v2(cublasHandle_t handle) {
  delete handle;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasSetStream_v2(cublasHandle_t handle, cudaStream_t stream) {
  const cublasStatus_t status = enter();
  if (status == CUBLAS_STATUS_SUCCESS) handle->stream = stream;
  return status;
}

cublasStatus_t cublasSetWorkspace_v2(cublasHandle_t handle, void* workspace, size_t bytes) {
  if (handle == nullptr) return CUBLAS_STATUS_NOT_INITIALIZED;
  // cuBLAS asks for 256-byte alignment.
  const bool is_aligned = reinterpret_cast<uintptr_t>(workspace) % 256 == 0;
  return is_aligned || bytes == 0 ? enter() : CUBLAS_STATUS_INVALID_VALUE;
}

cublasStatus_t cublasSetMathMode(cublasHandle_t handle, cublasMath_t /*mode*/) {
  return handle == nullptr ? CUBLAS_STATUS_NOT_INITIALIZED : enter();
}

const char* cublasGetStatusString(cublasStatus_t status) {
  return status == CUBLAS_STATUS_SUCCESS ? "success" : "error of the emulated cuBLAS";
}

cublasStatus_t cublasGemmEx(cublasHandle_t handle, cublasOperation_t transpose_a,
                            cublasOperation_t transpose_b, int m, int n, int k, const void* alpha,
                            const void* a, cudaDataType type_a, int lda, const void* b,
                            cudaDataType type_b, int ldb, const void* beta, void* c,
                            cudaDataType type_c, int ldc, cublasComputeType_t compute_type,
                            cublasGemmAlgo_t /*algorithm*/) {
  if (handle == nullptr) return CUBLAS_STATUS_NOT_INITIALIZED;
  if (compute_type == CUBLAS_COMPUTE_16F) return CUBLAS_STATUS_NOT_SUPPORTED;
  const cublasStatus_t status = enter();
  if (status != CUBLAS_STATUS_SUCCESS) return status;
  cuda_emulator::Gemm gemm;
  gemm.m = m;
  gemm.n = n;
  gemm.k = k;
  gemm.alpha = *static_cast<const float*>(alpha);  // host pointer mode: read now
  gemm.beta = *static_cast<const float*>(beta);
  gemm.a = {const_cast<void*>(a), type_a, lda, transpose_a != CUBLAS_OP_N};
  gemm.b = {const_cast<void*>(b), type_b, ldb, transpose_b != CUBLAS_OP_N};
  gemm.c = {c, type_c, ldc, false};
  gemm.d = gemm.c;
  return cuda_emulator::enqueue_gemm(handle->stream, gemm);
}
