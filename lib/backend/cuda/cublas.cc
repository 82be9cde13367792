#include "lib/backend/cuda/cublas.h"

#include "lib/backend/cuda/cuda_errors.h"

namespace parkd::cuda {
namespace {

constexpr auto kWorkspaceBytes = static_cast<size_t>(kCublasWorkspaceBytes);

Status to_status(cublasStatus_t status, const char* what) {
  return status == CUBLAS_STATUS_SUCCESS ? Status() : cublas_failure(status, what);
}

cudaDataType data_type(Element element) {
  switch (element) {
    case Element::f32:
      return CUDA_R_32F;
    case Element::f16:
      return CUDA_R_16F;
    case Element::bf16:
      return CUDA_R_16BF;
  }
  return CUDA_R_32F;
}

}  // namespace

Result<Cublas> Cublas::make(const Stream& stream) {
  Cublas cublas;
  PARKD_ASSIGN_OR_RETURN(cublas.api_, load_cublas());
  PARKD_RETURN_IF_ERROR(to_status(cublas.api_->create(&cublas.handle_), "cublasCreate"));
  PARKD_ASSIGN_OR_RETURN(cublas.workspace_, DeviceBuffer::make(kWorkspaceBytes, stream));
  PARKD_RETURN_IF_ERROR(
      to_status(cublas.api_->set_stream(cublas.handle_, stream.get()), "cublasSetStream"));
  // After the stream: setting a stream gives the handle its own workspace back.
  PARKD_RETURN_IF_ERROR(to_status(
      cublas.api_->set_workspace(cublas.handle_, cublas.workspace_.as<void>(), kWorkspaceBytes),
      "cublasSetWorkspace"));
  // Sums of f16 and bf16 products are float throughout, those of partial results included.
  PARKD_RETURN_IF_ERROR(to_status(
      cublas.api_->set_math_mode(cublas.handle_, CUBLAS_MATH_DISALLOW_REDUCED_PRECISION_REDUCTION),
      "cublasSetMathMode"));
  return cublas;
}

Cublas::~Cublas() {
  if (handle_ != nullptr) (void)api_->destroy(handle_);
}

// cuBLAS counts columns first, so its matrices are our transposes: out^T = weight * in^T, where
// our weight (n_outputs, k) is its (k, n_outputs), to be transposed.
Status Cublas::multiply(const void* weight, const void* in, Element element, int64_t n_rows,
                        int64_t n_outputs, int64_t k, bool add, float* out) const {
  const float alpha = 1;
  const float beta = add ? 1.0F : 0.0F;
  const cudaDataType type = data_type(element);
  const auto m = static_cast<int>(n_outputs);
  const auto n = static_cast<int>(n_rows);
  const auto inner = static_cast<int>(k);
  return to_status(api_->gemm_ex(handle_, CUBLAS_OP_T, CUBLAS_OP_N, m, n, inner, &alpha, weight,
                                 type, inner, in, type, inner, &beta, out, CUDA_R_32F, m,
                                 CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT),
                   "cublasGemmEx");
}

}  // namespace parkd::cuda
