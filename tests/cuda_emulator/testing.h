// What a test can ask of the emulator. Everything here may be called from any thread; changes count
// for launches and calls that come after them.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

namespace cuda_emulator {

// In which order the blocks of a grid and the threads of a block run.
enum class Order { forward, reverse, random };
struct Schedule {
  Order order = Order::forward;
  uint64_t seed = 1;
};
// From PARKD_CUDA_ORDER (forward, reverse, random; default forward) and PARKD_CUDA_SEED (default: a
// fresh one), printed once. The seed also decides which stream goes on when somebody waits.
void set_schedule(const Schedule& schedule);

// Calls that fail: the n-th of those named `call` from now on, counted over all threads, and the
// `times` - 1 that follow it; n = 1 is the next one. They do nothing but free what they are to
// free. A device error (cudaErrorLaunchFailure, cudaErrorECCUncorrectable ...) sticks, and what the
// streams still hold is dropped; a capture error makes the thread's captures invalid.
struct Fault {
  std::string call;  // "cudaGraphLaunch", "cublasGemmEx"; empty: any
  int64_t n = 1;
  int code = 0;  // of a named cuBLAS call a cublasStatus_t, else a cudaError_t
  int64_t times = 1;
  bool beneath = false;  // of a named cuBLAS call: it is the runtime that fails, with `code`
};
void inject(const Fault& fault);  // in the place of the one before
void inject_nothing();
// A fault of any call.
void inject_error(int64_t n, cudaError_t error);
// Calls since the process started, in all and by name: what there is to fail.
int64_t n_calls();
std::map<std::string, int64_t> n_calls_by_name();

// Names of the calls from here on, in their order; recorded_calls() ends it.
void record_calls();
std::vector<std::string> recorded_calls();

// 0: every call answers cudaErrorNoDevice, as on a machine without a GPU. Default 1.
void set_device_count(int n);
// What a product of the tensor cores is too large by, for a device on which they compute wrongly.
// Default 1.
void set_tensor_core_factor(float factor);
// 12040: a driver for CUDA 12.4; 0: none. One that is older than the runtime is refused by
// cudaGetDeviceCount. Default: the runtime's version.
void set_driver_version(int version);
// Default 8.0.
void set_compute_capability(int device, int major, int minor);
// Whether devices have cudaMallocAsync. Default true.
void set_memory_pools(bool has);
// Those that cudaSetDevice() chose since, without cudaDeviceReset().
std::set<int> devices_with_context();
// Of each device. Default 8 GiB.
void set_device_memory(size_t bytes);
size_t device_memory_used();
// Whether no stream has work that waits or runs.
bool is_idle();

// What a launch asked of device memory. `bytes` and `sectors` (of 32 bytes) are those of each
// warp-wide access, where lanes that want the same share it: what the multiprocessors load and
// store, from caches or not. `memory_bytes` are the sectors that the launch touched at all, those
// read and those written: what a memory behind a perfect cache moves.
struct Traffic {
  uint64_t bytes_read = 0;
  uint64_t bytes_written = 0;
  uint64_t sectors = 0;
  uint64_t memory_bytes = 0;
};
// Counts the kernels that this OS thread runs until stop_traffic(), which answers one entry a
// launch; meanwhile shared memory is not watched. The race build only; elsewhere it stays empty.
void start_traffic();
std::vector<Traffic> stop_traffic();

// What the last failed launch or copy did wrong; empty if there was none.
std::string last_failure();
// A fresh process: sticky error, queued work, injected error and device memory are gone. Streams,
// events and graphs made before stay valid. No other thread may be in a call.
void reset();

}  // namespace cuda_emulator
