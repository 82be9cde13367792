// What a parkd that was built without the CUDA toolkit says of it.
#include "lib/backend/cuda/cuda_backend.h"

namespace parkd {
namespace {

Status built_without() {
  return unavailable("this parkd was built without CUDA");
}

}  // namespace

Result<std::vector<CudaDevice>> find_cuda_devices(const std::vector<int32_t>&) {
  return built_without();
}

bool has_cuda_device(const std::vector<int32_t>&) {
  return false;
}

void leave_cuda_device(int32_t) {}

void set_cuda_libraries(std::string) {}

Result<std::string> find_cublas() {
  return built_without();
}

Result<std::unique_ptr<Backend>> make_cuda_backend(const CudaBackendOptions&) {
  return built_without();
}

int64_t cuda_kv_bytes(const CudaDevice&, const CudaFootprint&) {
  return 0;
}

}  // namespace parkd
