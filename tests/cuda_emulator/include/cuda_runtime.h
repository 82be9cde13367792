// Shadow of NVIDIA's header of this name, for g++: kernels become plain functions that
// tests/cuda_emulator runs on the CPU. Put its folder before the toolkit's in the include path.
#pragma once

#define CUDA_EMULATOR 1

#include <cuda_runtime_api.h>

#include <functional>
#include <tuple>
#include <type_traits>
#include <utility>

#include "cuda_emulator/atomics.h"
#include "cuda_emulator/collectives.h"
#include "cuda_emulator/execution.h"
#include "cuda_emulator/math.h"

#define __global__
#define __device__
#define __host__
#define __constant__
#define __grid_constant__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __align__(n) alignas(n)
// Not __noinline__: libstdc++ writes __attribute__((__noinline__)).

namespace cuda_emulator {

// A cudaLaunchConfig_t and the place of the launch, for messages.
struct LaunchSite {
  LaunchSite(const cudaLaunchConfig_t* launch_config,
             const Location& launched_at = Location::current())
      : config(*launch_config), where(launched_at) {}
  cudaLaunchConfig_t config;
  Location where;
};
// Checks the configuration and queues `body`, which every thread of the grid will run.
cudaError_t launch(const LaunchSite& site, const void* kernel, std::function<void()> body);

}  // namespace cuda_emulator

// The arguments are converted and copied now, as the driver does.
template <class... Parameters, class... Arguments>
cudaError_t cudaLaunchKernelEx(const cuda_emulator::LaunchSite& site, void (*kernel)(Parameters...),
                               Arguments&&... arguments) {
  std::tuple<std::remove_cv_t<Parameters>...> copies{
      static_cast<Parameters>(std::forward<Arguments>(arguments))...};
  return cuda_emulator::launch(site, reinterpret_cast<const void*>(kernel),
                               [kernel, copies] { std::apply(kernel, copies); });
}

template <class... Parameters>
cudaError_t cudaFuncSetAttribute(void (*kernel)(Parameters...), cudaFuncAttribute attribute,
                                 int value) {
  return cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel), attribute, value);
}
template <class... Parameters>
cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int* n_blocks,
                                                          void (*kernel)(Parameters...),
                                                          int block_size,
                                                          size_t dynamic_shared_bytes) {
  return cudaOccupancyMaxActiveBlocksPerMultiprocessor(
      n_blocks, reinterpret_cast<const void*>(kernel), block_size, dynamic_shared_bytes);
}
