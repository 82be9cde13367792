// cuBLAS for the backend's tests without a GPU: the emulator's functions in the table that
// cublas_dlopen.cc fills from the library.
#include "lib/backend/cuda/cublas.h"

namespace parkd::cuda {

Result<const CublasApi*> load_cublas() {
  static const CublasApi api = [] {
    CublasApi table;
    table.create = &::cublasCreate_v2;
    table.destroy = &::cublasDestroy_v2;
    table.set_stream = &::cublasSetStream_v2;
    table.set_workspace = &::cublasSetWorkspace_v2;
    table.gemm_ex = &::cublasGemmEx;
    return table;
  }();
  return &api;
}

}  // namespace parkd::cuda
