#include <dlfcn.h>

#include <string>

#include "lib/backend/cuda/cublas.h"

namespace parkd::cuda {
namespace {

template <class F>
Status find(void* library, const char* name, F& function) {
  function = reinterpret_cast<F>(::dlsym(library, name));
  if (function != nullptr) return {};
  return unavailable(std::string("cuBLAS has no ") + name);
}

Result<CublasApi> open_cublas() {
  const std::string name = "libcublas.so." + std::to_string(CUBLAS_VER_MAJOR);
  void* library = ::dlopen(name.c_str(), RTLD_LAZY | RTLD_LOCAL);
  if (library == nullptr) {
    const char* why = ::dlerror();
    return unavailable("cannot open " + name + ": " + (why != nullptr ? why : "no reason given"));
  }
  CublasApi api;
  PARKD_RETURN_IF_ERROR(find(library, "cublasCreate_v2", api.create));
  PARKD_RETURN_IF_ERROR(find(library, "cublasDestroy_v2", api.destroy));
  PARKD_RETURN_IF_ERROR(find(library, "cublasSetStream_v2", api.set_stream));
  PARKD_RETURN_IF_ERROR(find(library, "cublasSetWorkspace_v2", api.set_workspace));
  PARKD_RETURN_IF_ERROR(find(library, "cublasGemmEx", api.gemm_ex));
  return api;
}

}  // namespace

Result<const CublasApi*> load_cublas() {
  static const Result<CublasApi> api = open_cublas();
  if (!api.ok()) return api.status();
  return &api.value();
}

}  // namespace parkd::cuda
