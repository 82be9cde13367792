// cuBLAS for the backend's tests without a GPU: the emulator's functions in the table that
// cublas_dlopen.cc fills from the library.
#include "tests/cuda_backend/emulated_cublas.h"

#include <atomic>
#include <map>
#include <mutex>
#include <set>
#include <tuple>

#include "lib/backend/cuda/cublas.h"

namespace parkd {
namespace {

std::atomic<testing::Cublas> the_cublas = testing::Cublas::right;

// Which products each handle has seen.
class Products {
 public:
  static Products& get() {
    static auto* products = new Products;
    return *products;
  }

  void set_stream(cublasHandle_t handle, cudaStream_t stream) {
    const std::lock_guard lock(mutex_);
    handles_[handle] = {stream, {}};
  }
  void forget(cublasHandle_t handle) {
    const std::lock_guard lock(mutex_);
    handles_.erase(handle);
  }
  // Whether it is captured.
  bool add(cublasHandle_t handle, int m, int n, int k) {
    const std::lock_guard lock(mutex_);
    Handle& seen = handles_[handle];
    const Shape shape{m, n, k};
    cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
    (void)cudaStreamIsCapturing(seen.stream, &status);
    if (status == cudaStreamCaptureStatusNone) {
      seen.ran.insert(shape);
      return false;
    }
    captured_.insert(shape);
    if (seen.ran.count(shape) == 0) ++n_captured_cold_;
    return true;
  }
  int64_t n_captured_cold() {
    const std::lock_guard lock(mutex_);
    return n_captured_cold_;
  }
  int64_t n_captured() {
    const std::lock_guard lock(mutex_);
    return static_cast<int64_t>(captured_.size());
  }

 private:
  using Shape = std::tuple<int, int, int>;
  struct Handle {
    cudaStream_t stream = nullptr;
    std::set<Shape> ran;
  };
  std::mutex mutex_;  // all below
  std::map<cublasHandle_t, Handle> handles_;
  std::set<Shape> captured_;
  int64_t n_captured_cold_ = 0;
};

cublasStatus_t set_stream(cublasHandle_t handle, cudaStream_t stream) {
  Products::get().set_stream(handle, stream);
  return ::cublasSetStream_v2(handle, stream);
}

cublasStatus_t destroy(cublasHandle_t handle) {
  Products::get().forget(handle);
  return ::cublasDestroy_v2(handle);
}

cublasStatus_t gemm_ex(cublasHandle_t handle, cublasOperation_t transpose_a,
                       cublasOperation_t transpose_b, int m, int n, int k, const void* alpha,
                       const void* a, cudaDataType type_a, int lda, const void* b,
                       cudaDataType type_b, int ldb, const void* beta, void* c, cudaDataType type_c,
                       int ldc, cublasComputeType_t compute_type, cublasGemmAlgo_t algorithm) {
  const bool captured = Products::get().add(handle, m, n, k);
  const float larger = 1.2F * *static_cast<const float*>(alpha);
  const bool wrong = captured && the_cublas == testing::Cublas::wrong_in_graphs;
  return ::cublasGemmEx(handle, transpose_a, transpose_b, m, n, k, wrong ? &larger : alpha, a,
                        type_a, lda, b, type_b, ldb, beta, c, type_c, ldc, compute_type, algorithm);
}

cublasStatus_t too_large(cublasHandle_t handle, cublasOperation_t transpose_a,
                         cublasOperation_t transpose_b, int m, int n, int k, const void* alpha,
                         const void* a, cudaDataType type_a, int lda, const void* b,
                         cudaDataType type_b, int ldb, const void* beta, void* c,
                         cudaDataType type_c, int ldc, cublasComputeType_t compute_type,
                         cublasGemmAlgo_t algorithm) {
  const float larger = 1.2F * *static_cast<const float*>(alpha);
  return gemm_ex(handle, transpose_a, transpose_b, m, n, k, &larger, a, type_a, lda, b, type_b, ldb,
                 beta, c, type_c, ldc, compute_type, algorithm);
}

}  // namespace

namespace testing {

void set_cublas(Cublas cublas) {
  the_cublas = cublas;
}
int64_t n_products_captured_cold() {
  return Products::get().n_captured_cold();
}
int64_t n_products_captured() {
  return Products::get().n_captured();
}

}  // namespace testing

namespace cuda {

Result<const CublasApi*> load_cublas() {
  static const CublasApi right = [] {
    CublasApi table;
    table.path = "the emulator";
    table.create = &::cublasCreate_v2;
    table.destroy = &destroy;
    table.set_stream = &set_stream;
    table.set_workspace = &::cublasSetWorkspace_v2;
    table.set_math_mode = &::cublasSetMathMode;
    table.gemm_ex = &gemm_ex;
    return table;
  }();
  static const CublasApi wrong = [] {
    CublasApi table = right;
    table.gemm_ex = &too_large;
    return table;
  }();
  switch (the_cublas.load()) {
    case testing::Cublas::right:
    case testing::Cublas::wrong_in_graphs:
      return &right;
    case testing::Cublas::wrong:
      return &wrong;
    case testing::Cublas::missing:
      break;
  }
  return unavailable("cannot open the emulated cuBLAS");
}

}  // namespace cuda
}  // namespace parkd
