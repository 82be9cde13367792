// Machine: the emulated computer's devices, streams and events behind one mutex.
//
// Work that is put on a stream runs only when somebody waits or asks (synchronize, query), on the
// OS thread that does so, and the next stream is drawn by chance: what needs an order has to say
// so. Several OS threads may wait at once; each then runs work of any stream, one piece a stream at
// a time. The mutex is never held while a piece runs.
#pragma once

#include <cuda_runtime_api.h>

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "device_memory.h"
#include "testing.h"

// A piece of work; `run` answers what went wrong, or nothing.
struct CUgraphNode_st {
  const char* kind;
  std::function<std::string()> run;
};

struct CUgraph_st {
  std::vector<CUgraphNode_st> nodes;
};

struct CUgraphExec_st {
  std::vector<CUgraphNode_st> nodes;
};

struct CUstream_st {
  struct Operation {
    std::function<bool()> ready;  // asked under the mutex; empty: always
    std::function<std::string()> run;
  };
  int device = 0;
  std::deque<Operation> queue;
  bool busy = false;  // an operation taken off the queue is running

  std::unique_ptr<CUgraph_st> capture;
  cudaStreamCaptureMode capture_mode = cudaStreamCaptureModeGlobal;
  std::thread::id capture_owner;
  bool capture_is_invalid = false;

  bool idle() const { return queue.empty() && !busy; }
};

struct CUevent_st {
  // Shared with the operations that record it, which may outlive it.
  struct State {
    uint64_t n_recorded = 0;
    uint64_t n_completed = 0;
    int64_t completed_ns = 0;
  };
  std::shared_ptr<State> state = std::make_shared<State>();
  bool timed = false;
};

namespace cuda_emulator {

using Lock = std::unique_lock<std::mutex>;

struct Capability {
  int major = 8;
  int minor = 0;
};

class Machine {
 public:
  static Machine& get();

  // Runs `body(lock)` as one call of the runtime's interface: counted by the name of the function
  // that calls this, failed when a test said so, refused after a device error. The last error of
  // this OS thread is kept.
  template <class Body>
  cudaError_t call(Body body, const char* name = __builtin_FUNCTION()) {
    Lock lock(mutex_);
    const cudaError_t refused = enter(name);
    return leave(refused == cudaSuccess ? body(lock) : refused);
  }
  // The same for calls that free something: `body` runs in any case.
  template <class Body>
  cudaError_t freeing_call(Body body, const char* name = __builtin_FUNCTION()) {
    Lock lock(mutex_);
    const cudaError_t refused = enter(name);
    const cudaError_t answer = body(lock);
    return leave(refused != cudaSuccess ? refused : answer);
  }
  // The same for what is not the runtime (cuBLAS), without a body.
  struct LibraryAnswer {
    cudaError_t error = cudaSuccess;  // of the runtime beneath it
    int status = 0;                   // the library's own, that a test asked for
  };
  LibraryAnswer library_call(const char* name = __builtin_FUNCTION());

  // --- under the mutex
  // nullptr is the device's own stream; nullptr again: it does not exist, or is on another device.
  CUstream_st* find_stream(cudaStream_t stream);
  bool has_event(cudaEvent_t event) const { return events_.count(event) > 0; }
  std::set<CUevent_st*>& events() { return events_; }
  CUstream_st* make_stream();
  cudaError_t destroy_stream(Lock& lock, cudaStream_t stream);
  // Puts the work on the stream, or into the graph it is captured for.
  cudaError_t enqueue(CUstream_st& stream, const char* kind, std::function<std::string()> run);
  void enqueue_when(CUstream_st& stream, std::function<bool()> ready,
                    std::function<std::string()> run);
  // Runs queued work until `done`; ends early with a device error.
  cudaError_t run_until(Lock& lock, const std::function<bool()>& done);
  // Runs one piece if there is one.
  bool run_one(Lock& lock);
  bool all_idle() const;
  // Calls that are not allowed while a stream is captured ("potentially unsafe"): makes the capture
  // invalid and answers cudaErrorStreamCaptureUnsupported.
  cudaError_t refuse_while_capturing();
  // A configuration or shape that is refused without a device error, with why.
  cudaError_t refuse(cudaError_t error, const std::string& why);

  DeviceMemory& memory() { return memory_; }
  int device_count() const { return device_count_; }
  // Devices on which this process has something: a context.
  std::set<int>& contexts() { return contexts_; }
  bool has_memory_pools() const { return has_memory_pools_; }
  Capability capability(int device) const;

  // --- without it
  Schedule next_schedule();
  void complete_event(const std::shared_ptr<CUevent_st::State>& state, uint64_t record);
  // Work queued with enqueue() from outside the runtime (cuBLAS).
  cudaError_t enqueue_unlocked(cudaStream_t stream, const char* kind,
                               std::function<std::string()> run);
  cudaError_t last_error(bool clear);
  std::string last_failure();

  // --- testing.h
  void set_schedule(const Schedule& schedule);
  void inject(std::optional<Fault> fault);
  int64_t n_calls();
  std::map<std::string, int64_t> n_calls_by_name();
  void record_calls();
  std::vector<std::string> recorded_calls();
  void set_device_count(int n);
  void set_capability(int device, Capability capability);
  void set_memory_pools(bool has) { has_memory_pools_ = has; }
  void reset();
  Lock lock() { return Lock(mutex_); }

 private:
  Machine();
  cudaError_t enter(const char* name);
  bool fails(const char* name);
  cudaError_t leave(cudaError_t error);
  void lose_device(cudaError_t error, const std::string& why);
  void drop_queued_work();

  std::mutex mutex_;  // everything below
  std::condition_variable changed_;
  std::vector<std::unique_ptr<CUstream_st>> streams_;
  std::vector<CUstream_st*> default_streams_;  // of each device
  std::set<CUevent_st*> events_;
  DeviceMemory memory_;
  int device_count_ = 1;
  std::set<int> contexts_;
  bool has_memory_pools_ = true;
  std::map<int, Capability> capabilities_;  // that are not the default

  Schedule schedule_;
  uint64_t n_launches_ = 0;
  std::mt19937_64 random_;

  cudaError_t device_error_ = cudaSuccess;
  std::string last_failure_;
  int64_t n_calls_ = 0;
  std::map<std::string, int64_t> n_calls_by_name_;
  std::optional<std::vector<std::string>> recorded_;
  std::optional<Fault> fault_;  // n: how many of its calls are left until it comes
};

// testing.h
int driver_version();

// The calling OS thread's device (cudaSetDevice).
int& current_device();
// Whether the calling OS thread runs a function of cudaLaunchHostFunc, which may not call CUDA.
bool& in_host_function();

}  // namespace cuda_emulator
