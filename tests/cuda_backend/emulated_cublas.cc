// cuBLAS for the backend's tests without a GPU: the emulator's functions in the table that
// cublas_dlopen.cc fills from the library.
#include "tests/cuda_backend/emulated_cublas.h"

#include <atomic>

#include "lib/backend/cuda/cublas.h"

namespace parkd {
namespace {

std::atomic<testing::Cublas> the_cublas = testing::Cublas::right;

cublasStatus_t too_large(cublasHandle_t handle, cublasOperation_t transpose_a,
                         cublasOperation_t transpose_b, int m, int n, int k, const void* alpha,
                         const void* a, cudaDataType type_a, int lda, const void* b,
                         cudaDataType type_b, int ldb, const void* beta, void* c,
                         cudaDataType type_c, int ldc, cublasComputeType_t compute_type,
                         cublasGemmAlgo_t algorithm) {
  const float larger = 1.2F * *static_cast<const float*>(alpha);
  return ::cublasGemmEx(handle, transpose_a, transpose_b, m, n, k, &larger, a, type_a, lda, b,
                        type_b, ldb, beta, c, type_c, ldc, compute_type, algorithm);
}

}  // namespace

void testing::set_cublas(Cublas cublas) {
  the_cublas = cublas;
}

Result<const cuda::CublasApi*> cuda::load_cublas() {
  static const CublasApi right = [] {
    CublasApi table;
    table.create = &::cublasCreate_v2;
    table.destroy = &::cublasDestroy_v2;
    table.set_stream = &::cublasSetStream_v2;
    table.set_workspace = &::cublasSetWorkspace_v2;
    table.gemm_ex = &::cublasGemmEx;
    return table;
  }();
  static const CublasApi wrong = [] {
    CublasApi table = right;
    table.gemm_ex = &too_large;
    return table;
  }();
  switch (the_cublas.load()) {
    case testing::Cublas::right:
      return &right;
    case testing::Cublas::wrong:
      return &wrong;
    case testing::Cublas::missing:
      return unavailable("cannot open the emulated cuBLAS");
  }
  return &right;
}

}  // namespace parkd
