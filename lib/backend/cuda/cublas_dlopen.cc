#include <dlfcn.h>

#include <string>

#include "lib/backend/cuda/cublas.h"
#include "lib/backend/cuda/cuda_libraries.h"

namespace parkd::cuda {
namespace {

template <class F>
Status find(void* library, const char* name, F& function) {
  function = reinterpret_cast<F>(::dlsym(library, name));
  if (function != nullptr) return {};
  return unavailable(std::string("cuBLAS has no ") + name);
}

struct Opened {
  void* library = nullptr;
  std::string path;
};

// cuBLAS wants its lt library, which may lie where the loader does not look: what is open already
// is taken by its name.
Result<Opened> open_cublas_library(const std::string& configured) {
  const std::string version = std::to_string(CUBLAS_VER_MAJOR);
  const std::string name = "libcublas.so." + version;
  std::string reasons;
  for (const std::string& folder : library_folders(configured, python_places())) {
    if (!folder.empty()) {
      (void)::dlopen((folder + "libcublasLt.so." + version).c_str(), RTLD_LAZY | RTLD_LOCAL);
    }
    if (void* library = ::dlopen((folder + name).c_str(), RTLD_LAZY | RTLD_LOCAL)) {
      return Opened{library, folder + name};
    }
    const char* why = ::dlerror();
    if (!reasons.empty()) reasons += "; ";
    reasons += "cannot open " + folder + name + ": " + (why != nullptr ? why : "no reason given");
  }
  return unavailable("cuBLAS " + version + " was not found: install the CUDA " + version +
                     " toolkit or `pip install nvidia-cublas`, or say its folder in "
                     "daemon.cuda_libraries (" +
                     reasons + ")");
}

Result<CublasApi> open_cublas() {
  PARKD_ASSIGN_OR_RETURN(const Opened opened, open_cublas_library(cuda_libraries()));
  void* const library = opened.library;
  CublasApi api;
  api.path = opened.path;
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
