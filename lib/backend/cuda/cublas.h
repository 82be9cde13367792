// cuBLAS, opened at run time: its libraries are half a gigabyte, and one binary of parkd serves
// hosts with and without them. CublasApi is the table of what we call, filled once a process;
// Cublas is one lane's handle.
#pragma once

#include <cublas_v2.h>
#include <cuda_runtime.h>

#include <cstdint>
#include <string>

#include "kernels/cuda/kernels.h"
#include "lib/backend/cuda/cuda_handles.h"
#include "lib/base/status.h"

namespace parkd::cuda {

// Typed by cuBLAS's own header, so that a change of a signature is a compile error.
struct CublasApi {
  std::string path;  // of the library
  decltype(&::cublasCreate_v2) create = nullptr;
  decltype(&::cublasDestroy_v2) destroy = nullptr;
  decltype(&::cublasSetStream_v2) set_stream = nullptr;
  decltype(&::cublasSetWorkspace_v2) set_workspace = nullptr;
  decltype(&::cublasSetMathMode) set_math_mode = nullptr;
  cublasStatus_t (*gemm_ex)(cublasHandle_t, cublasOperation_t, cublasOperation_t, int, int, int,
                            const void*, const void*, cudaDataType, int, const void*, cudaDataType,
                            int, const void*, void*, cudaDataType, int, cublasComputeType_t,
                            cublasGemmAlgo_t) = nullptr;
};

// Opens libcublas.so of the toolkit's major version, where cuda_libraries.h says; the same table
// every time. Takes up to a second once. Errors: unavailable, with the names tried and the
// loader's words. Any thread. (cublas_dlopen.cc; the emulator's tests link their own.)
Result<const CublasApi*> load_cublas();

// What set_cuda_libraries() of cuda_backend.h was told.
std::string cuda_libraries();

// NVIDIA's recommendation for Hopper (cuBLAS guide, cublasSetWorkspace); 4 MiB do elsewhere.
inline constexpr int64_t kCublasWorkspaceBytes = int64_t{32} << 20;

// One lane's cuBLAS: its stream and a workspace of its own, so that products may be captured into
// graphs (cublasSetWorkspace; NVIDIA, cuBLAS guide, "CUDA Graphs support").
class Cublas {
 public:
  static Result<Cublas> make(const Stream& stream);
  Cublas() = default;
  ~Cublas();
  Cublas(Cublas&& other) noexcept { swap(other); }
  Cublas& operator=(Cublas&& other) noexcept {
    swap(other);
    return *this;
  }

  // out (n_rows, n_outputs) = or += in (n_rows, k) * weight (n_outputs, k)^T. in and weight of
  // `element`, out and sums float, rows contiguous.
  Status multiply(const void* weight, const void* in, Element element, int64_t n_rows,
                  int64_t n_outputs, int64_t k, bool add, float* out) const;

 private:
  void swap(Cublas& other) {
    std::swap(api_, other.api_);
    std::swap(handle_, other.handle_);
    std::swap(workspace_, other.workspace_);
  }
  const CublasApi* api_ = nullptr;
  cublasHandle_t handle_ = nullptr;
  DeviceBuffer workspace_;
};

}  // namespace parkd::cuda
