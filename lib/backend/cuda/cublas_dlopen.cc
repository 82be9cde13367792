#include <dlfcn.h>

#include <string>
#include <vector>

#include "lib/backend/cuda/cublas.h"

namespace parkd::cuda {
namespace {

template <class F>
Status find(void* library, const char* name, F& function) {
  function = reinterpret_cast<F>(::dlsym(library, name));
  if (function != nullptr) return {};
  return unavailable(std::string("cuBLAS has no ") + name);
}

// Where NVIDIA's installers put the toolkit, which the loader need not know.
constexpr char kToolkitFolder[] = "/usr/local/cuda/lib64/";

Result<void*> open_first(const std::vector<std::string>& names) {
  std::string reasons;
  for (const std::string& name : names) {
    if (void* library = ::dlopen(name.c_str(), RTLD_LAZY | RTLD_LOCAL)) return library;
    const char* why = ::dlerror();
    if (!reasons.empty()) reasons += "; ";
    reasons += "cannot open " + name + ": " + (why != nullptr ? why : "no reason given");
  }
  return unavailable(reasons);
}

Result<CublasApi> open_cublas() {
  const std::string name = "libcublas.so." + std::to_string(CUBLAS_VER_MAJOR);
  PARKD_ASSIGN_OR_RETURN(void* const library, open_first({name, kToolkitFolder + name}));
  CublasApi api;
  PARKD_RETURN_IF_ERROR(find(library, "cublasCreate_v2", api.create));
  PARKD_RETURN_IF_ERROR(find(library, "cublasDestroy_v2", api.destroy));
  PARKD_RETURN_IF_ERROR(find(library, "cublasSetStream_v2", api.set_stream));
  PARKD_RETURN_IF_ERROR(find(library, "cublasSetWorkspace_v2", api.set_workspace));
  PARKD_RETURN_IF_ERROR(find(library, "cublasSetMathMode", api.set_math_mode));
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
