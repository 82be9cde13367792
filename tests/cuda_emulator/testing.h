// What a test can ask of the emulator. Everything here may be called from any thread; changes count
// for launches and calls that come after them.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
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

// Makes the n-th runtime or cuBLAS call from now, counted over all threads, answer `error`; n = 1
// is the next one. A device error (cudaErrorLaunchFailure, cudaErrorECCUncorrectable ...) sticks,
// and what the streams still hold is dropped.
void inject_error(int64_t n, cudaError_t error);
// Calls since the process started: how many there are to fail.
int64_t n_calls();

// 0: every call answers cudaErrorNoDevice, as on a machine without a GPU. Default 1.
void set_device_count(int n);
// Default 8.0.
void set_compute_capability(int device, int major, int minor);
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
