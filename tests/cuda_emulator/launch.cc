// Kernel launches: what a device would refuse, and the work that is queued.
#include <cuda_runtime.h>

#include <algorithm>
#include <cstdio>
#include <map>

#include "block.h"
#include "device_limits.h"
#include "machine.h"

using cuda_emulator::Lock;
using cuda_emulator::Machine;
using namespace cuda_emulator::limits;  // NOLINT(google-build-using-namespace)

namespace {

static_assert(uint64_t{kThreadsBlock} == cuda_emulator::kMaxThreads);

Machine& machine() {
  return Machine::get();
}

// cudaFuncSetAttribute's values; guarded by the machine's mutex.
std::map<const void*, size_t>& dynamic_shared_limits() {
  static std::map<const void*, size_t> limits;
  return limits;
}

}  // namespace

cudaError_t cudaFuncSetAttribute(const void* kernel, cudaFuncAttribute /*attribute*/, int value) {
  return machine().call([&](Lock&) {
    if (value < 0 || static_cast<size_t>(value) > kSharedBytesOptin) return cudaErrorInvalidValue;
    dynamic_shared_limits()[kernel] = static_cast<size_t>(value);
    return cudaSuccess;
  });
}

cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int* n_blocks, const void* /*kernel*/,
                                                          int block_size,
                                                          size_t dynamic_shared_bytes) {
  return machine().call([&](Lock&) {
    if (block_size <= 0) return cudaErrorInvalidValue;
    const size_t shared = dynamic_shared_bytes + 1024;  // what the driver reserves for a block
    *n_blocks = std::min({kBlocksMultiprocessor, kThreadsMultiprocessor / block_size,
                          static_cast<int>(kSharedBytesMultiprocessor / shared)});
    return cudaSuccess;
  });
}

namespace cuda_emulator {
namespace {

std::string describe(const char* what, const dim3& size) {
  char text[96];
  std::snprintf(text, sizeof(text), "%s (%u,%u,%u)", what, size.x, size.y, size.z);
  return text;
}

// Limits of the CUDA C++ Programming Guide, "Compute capabilities", that hold from 8.0 on.
cudaError_t check_launch(const void* kernel, const cudaLaunchConfig_t& config) {
  const dim3& grid = config.gridDim;
  const dim3& block = config.blockDim;
  const uint64_t n_threads = uint64_t{block.x} * block.y * block.z;
  if (grid.x == 0 || grid.y == 0 || grid.z == 0 || grid.x > 0x7FFFFFFFU || grid.y > 65535 ||
      grid.z > 65535) {
    return Machine::get().refuse(cudaErrorInvalidConfiguration, describe("grid", grid));
  }
  if (n_threads == 0 || n_threads > uint64_t{kThreadsBlock} || block.z > 64) {
    return Machine::get().refuse(cudaErrorInvalidConfiguration, describe("block", block));
  }
  const auto found = dynamic_shared_limits().find(kernel);
  const size_t limit = found == dynamic_shared_limits().end() ? kSharedBytesStatic : found->second;
  if (config.dynamicSmemBytes > limit) {
    return Machine::get().refuse(cudaErrorInvalidValue,
                                 std::to_string(config.dynamicSmemBytes) +
                                     " bytes of dynamic shared memory, allowed are " +
                                     std::to_string(limit) + " (cudaFuncSetAttribute)");
  }
  return cudaSuccess;
}

}  // namespace

cudaError_t launch(const LaunchSite& site, const void* kernel, std::function<void()> body) {
  const auto body_of_call = [&](Lock&) {
    const cudaError_t error = check_launch(kernel, site.config);
    if (error != cudaSuccess) return error;
    CUstream_st* stream = Machine::get().find_stream(site.config.stream);
    if (stream == nullptr || stream->device != current_device()) {
      return Machine::get().refuse(cudaErrorInvalidResourceHandle,
                                   "launch on a stream of another device");
    }
    const Grid grid = {site.config.gridDim, site.config.blockDim, site.config.dynamicSmemBytes,
                       site.where};
    return Machine::get().enqueue(*stream, "kernel", [grid, body = std::move(body)] {
      return BlockRunner::current().run(grid, body, Machine::get().next_schedule());
    });
  };
  return Machine::get().call(body_of_call, "cudaLaunchKernelEx");
}

}  // namespace cuda_emulator
