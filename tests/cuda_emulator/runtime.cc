// The runtime's host interface (include/cuda_runtime_api.h), except launches and graphs.
#include <cuda_runtime.h>

#include <cstdio>
#include <cstring>

#include "device_limits.h"
#include "machine.h"

using cuda_emulator::Lock;
using cuda_emulator::Machine;
using Kind = cuda_emulator::DeviceMemory::Kind;
using namespace cuda_emulator::limits;  // NOLINT(google-build-using-namespace)

namespace {

Machine& machine() {
  return Machine::get();
}

std::string nothing() {
  return {};
}

}  // namespace

// --- errors

cudaError_t cudaGetLastError() {
  return machine().last_error(true);
}

cudaError_t cudaPeekAtLastError() {
  return machine().last_error(false);
}

const char* cudaGetErrorName(cudaError_t error) {
  switch (error) {
#define CUDA_EMULATOR_NAME(name) \
  case name:                     \
    return #name;
    CUDA_EMULATOR_NAME(cudaSuccess)
    CUDA_EMULATOR_NAME(cudaErrorInvalidValue)
    CUDA_EMULATOR_NAME(cudaErrorMemoryAllocation)
    CUDA_EMULATOR_NAME(cudaErrorInitializationError)
    CUDA_EMULATOR_NAME(cudaErrorInvalidConfiguration)
    CUDA_EMULATOR_NAME(cudaErrorInvalidDevicePointer)
    CUDA_EMULATOR_NAME(cudaErrorInvalidMemcpyDirection)
    CUDA_EMULATOR_NAME(cudaErrorInsufficientDriver)
    CUDA_EMULATOR_NAME(cudaErrorInvalidDeviceFunction)
    CUDA_EMULATOR_NAME(cudaErrorNoDevice)
    CUDA_EMULATOR_NAME(cudaErrorInvalidDevice)
    CUDA_EMULATOR_NAME(cudaErrorECCUncorrectable)
    CUDA_EMULATOR_NAME(cudaErrorInvalidResourceHandle)
    CUDA_EMULATOR_NAME(cudaErrorNotReady)
    CUDA_EMULATOR_NAME(cudaErrorIllegalAddress)
    CUDA_EMULATOR_NAME(cudaErrorLaunchOutOfResources)
    CUDA_EMULATOR_NAME(cudaErrorAssert)
    CUDA_EMULATOR_NAME(cudaErrorMisalignedAddress)
    CUDA_EMULATOR_NAME(cudaErrorLaunchFailure)
    CUDA_EMULATOR_NAME(cudaErrorNotPermitted)
    CUDA_EMULATOR_NAME(cudaErrorNotSupported)
    CUDA_EMULATOR_NAME(cudaErrorStreamCaptureUnsupported)
    CUDA_EMULATOR_NAME(cudaErrorStreamCaptureInvalidated)
    CUDA_EMULATOR_NAME(cudaErrorStreamCaptureUnmatched)
    CUDA_EMULATOR_NAME(cudaErrorStreamCaptureIsolation)
    CUDA_EMULATOR_NAME(cudaErrorStreamCaptureWrongThread)
    CUDA_EMULATOR_NAME(cudaErrorGraphExecUpdateFailure)
    CUDA_EMULATOR_NAME(cudaErrorNvlinkUncorrectable)
    CUDA_EMULATOR_NAME(cudaErrorContained)
    CUDA_EMULATOR_NAME(cudaErrorLaunchTimeout)
    CUDA_EMULATOR_NAME(cudaErrorHardwareStackError)
    CUDA_EMULATOR_NAME(cudaErrorIllegalInstruction)
    CUDA_EMULATOR_NAME(cudaErrorInvalidAddressSpace)
    CUDA_EMULATOR_NAME(cudaErrorInvalidPc)
    CUDA_EMULATOR_NAME(cudaErrorTensorMemoryLeak)
    CUDA_EMULATOR_NAME(cudaErrorMpsClientTerminated)
    CUDA_EMULATOR_NAME(cudaErrorExternalDevice)
    CUDA_EMULATOR_NAME(cudaErrorUnknown)
#undef CUDA_EMULATOR_NAME
  }
  return "unrecognized error code";
}

const char* cudaGetErrorString(cudaError_t error) {
  static thread_local std::string text;
  text = cudaGetErrorName(error);
  const std::string failure = machine().last_failure();
  const bool is_explained = error == cudaErrorLaunchFailure || error == cudaErrorInvalidValue ||
                            error == cudaErrorInvalidConfiguration ||
                            error == cudaErrorStreamCaptureUnsupported;
  if (is_explained && !failure.empty()) text += ": " + failure;
  return text.c_str();
}

// --- devices

cudaError_t cudaGetDeviceCount(int* count) {
  *count = 0;
  return machine().call([&](Lock&) {
    if (cuda_emulator::driver_version() < CUDART_VERSION) return cudaErrorInsufficientDriver;
    *count = machine().device_count();
    return cudaSuccess;
  });
}

cudaError_t cudaGetDevice(int* device) {
  *device = cuda_emulator::current_device();
  return cudaSuccess;
}

cudaError_t cudaSetDevice(int device) {
  return machine().call([&](Lock&) {
    if (device < 0 || device >= machine().device_count()) return cudaErrorInvalidDevice;
    cuda_emulator::current_device() = device;
    machine().contexts().insert(device);
    return cudaSuccess;
  });
}

cudaError_t cudaDeviceReset() {
  return machine().call([](Lock&) {
    const int device = cuda_emulator::current_device();
    if (machine().memory().used(device) > 0) {
      return machine().refuse(cudaErrorInvalidValue, "cudaDeviceReset of a device with memory");
    }
    machine().memory().trim(device);
    machine().contexts().erase(device);
    return cudaSuccess;
  });
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
  return machine().call([&](Lock&) {
    if (device < 0 || device >= machine().device_count()) return cudaErrorInvalidDevice;
    *properties = {};
    std::snprintf(properties->name, sizeof(properties->name), "Emulated CUDA device");
    properties->totalGlobalMem = machine().memory().limit();
    properties->sharedMemPerBlock = kSharedBytesStatic;
    properties->regsPerBlock = 65536;
    properties->warpSize = warpSize;
    properties->maxThreadsPerBlock = kThreadsBlock;
    properties->major = machine().capability(device).major;
    properties->minor = machine().capability(device).minor;
    properties->multiProcessorCount = kMultiprocessors;
    properties->maxThreadsPerMultiProcessor = kThreadsMultiprocessor;
    properties->sharedMemPerMultiprocessor = kSharedBytesMultiprocessor;
    properties->regsPerMultiprocessor = 65536;
    properties->sharedMemPerBlockOptin = kSharedBytesOptin;
    properties->maxBlocksPerMultiProcessor = kBlocksMultiprocessor;
    properties->memoryPoolsSupported = machine().has_memory_pools() ? 1 : 0;
    return cudaSuccess;
  });
}

cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device) {
  cudaDeviceProp properties;
  const cudaError_t error = cudaGetDeviceProperties(&properties, device);
  if (error != cudaSuccess) return error;
  switch (attribute) {
    case cudaDevAttrMaxThreadsPerBlock:
      *value = properties.maxThreadsPerBlock;
      break;
    case cudaDevAttrMaxSharedMemoryPerBlock:
      *value = static_cast<int>(properties.sharedMemPerBlock);
      break;
    case cudaDevAttrWarpSize:
      *value = properties.warpSize;
      break;
    case cudaDevAttrMultiProcessorCount:
      *value = properties.multiProcessorCount;
      break;
    case cudaDevAttrComputeCapabilityMajor:
      *value = properties.major;
      break;
    case cudaDevAttrComputeCapabilityMinor:
      *value = properties.minor;
      break;
    case cudaDevAttrMaxSharedMemoryPerMultiprocessor:
      *value = static_cast<int>(properties.sharedMemPerMultiprocessor);
      break;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
      *value = static_cast<int>(properties.sharedMemPerBlockOptin);
      break;
    case cudaDevAttrMemoryPoolsSupported:
      *value = properties.memoryPoolsSupported;
      break;
  }
  return cudaSuccess;
}

cudaError_t cudaDeviceSynchronize() {
  return machine().call([](Lock& lock) {
    const cudaError_t error = machine().refuse_while_capturing();
    if (error != cudaSuccess) return error;
    return machine().run_until(lock, [] { return machine().all_idle(); });
  });
}

cudaError_t cudaRuntimeGetVersion(int* version) {
  *version = CUDART_VERSION;
  return cudaSuccess;
}

cudaError_t cudaDriverGetVersion(int* version) {
  *version = cuda_emulator::driver_version();
  return cudaSuccess;
}

cudaError_t cudaMemGetInfo(size_t* free_bytes, size_t* total_bytes) {
  return machine().call([&](Lock&) {
    *total_bytes = machine().memory().limit();
    const int device = cuda_emulator::current_device();
    *free_bytes = *total_bytes - machine().memory().used(device) - machine().memory().kept(device);
    return cudaSuccess;
  });
}

// --- memory

namespace {

cudaError_t allocate(Lock& lock, Kind kind, void** memory, size_t bytes, CUstream_st* stream) {
  auto& device_memory = machine().memory();
  const int device = cuda_emulator::current_device();
  *memory = device_memory.allocate(kind, device, bytes, stream == nullptr);
  if (*memory == nullptr) {  // what is freed in stream order may make room
    const cudaError_t error = machine().run_until(lock, [] { return machine().all_idle(); });
    if (error != cudaSuccess) return error;
    *memory = device_memory.allocate(kind, device, bytes, stream == nullptr);
  }
  if (*memory == nullptr) return cudaErrorMemoryAllocation;
  if (stream == nullptr) return cudaSuccess;
  return machine().enqueue(*stream, "allocation", [address = *memory] {
    const Lock inner = machine().lock();
    machine().memory().set_ready(address);
    return std::string();
  });
}

cudaError_t allocate_now(Kind kind, void** memory, size_t bytes,
                         const char* name = __builtin_FUNCTION()) {
  const auto body = [&](Lock& lock) {
    const cudaError_t error = machine().refuse_while_capturing();
    return error != cudaSuccess ? error : allocate(lock, kind, memory, bytes, nullptr);
  };
  return machine().call(body, name);
}

cudaError_t free_now(Kind kind, void* memory, const char* name = __builtin_FUNCTION()) {
  const auto body = [&](Lock& lock) {
    if (memory == nullptr) return cudaSuccess;
    const cudaError_t error = machine().refuse_while_capturing();
    if (error != cudaSuccess) return error;
    if (kind == Kind::device) {  // cudaFree waits for the device, cudaFreeHost need not
      (void)machine().run_until(lock, [] { return machine().all_idle(); });
    }
    const std::string failure = machine().memory().free(kind, memory);
    return failure.empty() ? cudaSuccess : machine().refuse(cudaErrorInvalidValue, failure);
  };
  return machine().freeing_call(body, name);
}

std::string check_copy(const void* to, const void* from, size_t bytes, cudaMemcpyKind kind) {
  const Lock lock = machine().lock();
  const auto& memory = machine().memory();
  const bool to_device = kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
  const bool from_device = kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;
  if (kind == cudaMemcpyDefault || bytes == 0) return {};
  std::string failure = to_device ? memory.check_device("cudaMemcpy to the device", to, bytes)
                                  : memory.check_host("cudaMemcpy to the host", to);
  if (!failure.empty()) return failure;
  return from_device ? memory.check_device("cudaMemcpy from the device", from, bytes)
                     : memory.check_host("cudaMemcpy from the host", from);
}

cudaError_t copy_on(CUstream_st& stream, void* to, const void* from, size_t bytes,
                    cudaMemcpyKind kind) {
  return machine().enqueue(stream, "copy", [=] {
    std::string failure = check_copy(to, from, bytes, kind);
    if (failure.empty() && bytes > 0) std::memcpy(to, from, bytes);
    return failure;
  });
}

cudaError_t set_on(CUstream_st& stream, void* memory, int value, size_t bytes) {
  return machine().enqueue(stream, "memset", [=] {
    std::string failure;
    {
      const Lock lock = machine().lock();
      failure = machine().memory().check_device("cudaMemset", memory, bytes);
    }
    if (failure.empty()) std::memset(memory, value, bytes);
    return failure;
  });
}

// The stream that a call names, or what is wrong with it.
template <class Body>
cudaError_t call_on(cudaStream_t stream, Body body, const char* name = __builtin_FUNCTION()) {
  const auto on_stream = [&](Lock& lock) {
    CUstream_st* found = machine().find_stream(stream);
    return found == nullptr ? cudaErrorInvalidResourceHandle : body(lock, *found);
  };
  return machine().call(on_stream, name);
}

// A call on the device's own stream that returns when it is done.
template <class Body>
cudaError_t call_and_wait(Body body, const char* name = __builtin_FUNCTION()) {
  const auto waiting = [&](Lock& lock, CUstream_st& stream) {
    cudaError_t error = machine().refuse_while_capturing();
    if (error == cudaSuccess) error = body(stream);
    if (error != cudaSuccess) return error;
    return machine().run_until(lock, [&stream] { return stream.idle(); });
  };
  return call_on(nullptr, waiting, name);
}

}  // namespace

cudaError_t cudaMalloc(void** memory, size_t bytes) {
  return allocate_now(Kind::device, memory, bytes);
}

cudaError_t cudaFree(void* memory) {
  return free_now(Kind::device, memory);
}

cudaError_t cudaMallocHost(void** memory, size_t bytes) {
  return allocate_now(Kind::pinned, memory, bytes);
}

cudaError_t cudaHostAlloc(void** memory, size_t bytes, unsigned /*flags*/) {
  return allocate_now(Kind::pinned, memory, bytes);
}

cudaError_t cudaFreeHost(void* memory) {
  return free_now(Kind::pinned, memory);
}

cudaError_t cudaMallocAsync(void** memory, size_t bytes, cudaStream_t stream) {
  return call_on(stream, [&](Lock& lock, CUstream_st& found) {
    if (found.capture != nullptr || !machine().has_memory_pools()) {
      return cudaErrorNotSupported;  // allocation nodes are not emulated
    }
    return allocate(lock, Kind::device, memory, bytes, &found);
  });
}

cudaError_t cudaFreeAsync(void* memory, cudaStream_t stream) {
  return machine().freeing_call([&](Lock&) {
    if (memory == nullptr) return cudaSuccess;
    CUstream_st* found = machine().find_stream(stream);
    if (found == nullptr || found->capture != nullptr) return cudaErrorInvalidResourceHandle;
    if (!machine().memory().has(Kind::device, memory)) {
      return machine().refuse(cudaErrorInvalidValue, "cudaFreeAsync of what was not allocated");
    }
    // The pool keeps it, as one whose release threshold is without limit does.
    return machine().enqueue(*found, "free", [memory, device = found->device] {
      const Lock inner = machine().lock();
      const size_t bytes = machine().memory().bytes_of(memory);
      std::string failure = machine().memory().free(Kind::device, memory);
      if (failure.empty()) machine().memory().keep(device, bytes);
      return failure;
    });
  });
}

cudaError_t cudaDeviceGetDefaultMemPool(cudaMemPool_t* pool, int device) {
  return machine().call([&](Lock&) {
    if (!machine().has_memory_pools()) return cudaErrorNotSupported;
    if (device < 0 || device >= machine().device_count()) return cudaErrorInvalidDevice;
    *pool = reinterpret_cast<cudaMemPool_t>(static_cast<uintptr_t>(device) + 1);
    return cudaSuccess;
  });
}

cudaError_t cudaMemPoolSetAttribute(cudaMemPool_t pool, cudaMemPoolAttr /*attribute*/,
                                    void* /*value*/) {
  return machine().call(
      [&](Lock&) { return pool == nullptr ? cudaErrorInvalidValue : cudaSuccess; });
}

cudaError_t cudaMemPoolGetAttribute(cudaMemPool_t pool, cudaMemPoolAttr attribute, void* value) {
  return machine().call([&](Lock&) {
    if (pool == nullptr) return cudaErrorInvalidValue;
    const auto device = static_cast<int>(reinterpret_cast<uintptr_t>(pool)) - 1;
    const uint64_t used =
        attribute == cudaMemPoolAttrReleaseThreshold ? 0 : machine().memory().used(device);
    std::memcpy(value, &used, sizeof(used));
    return cudaSuccess;
  });
}

cudaError_t cudaMemPoolTrimTo(cudaMemPool_t pool, size_t bytes_to_keep) {
  return machine().call([&](Lock&) {
    if (pool == nullptr) return cudaErrorInvalidValue;
    if (bytes_to_keep > 0) return cudaErrorNotSupported;  // by the emulator
    machine().memory().trim(static_cast<int>(reinterpret_cast<uintptr_t>(pool)) - 1);
    return cudaSuccess;
  });
}

cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind kind) {
  return call_and_wait([&](CUstream_st& s) { return copy_on(s, to, from, bytes, kind); });
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream) {
  return call_on(stream, [&](Lock&, CUstream_st& s) { return copy_on(s, to, from, bytes, kind); });
}

cudaError_t cudaMemset(void* memory, int value, size_t bytes) {
  return call_and_wait([&](CUstream_st& s) { return set_on(s, memory, value, bytes); });
}

cudaError_t cudaMemsetAsync(void* memory, int value, size_t bytes, cudaStream_t stream) {
  return call_on(stream, [&](Lock&, CUstream_st& s) { return set_on(s, memory, value, bytes); });
}

// --- streams and events

cudaError_t cudaStreamCreate(cudaStream_t* stream) {
  return machine().call([&](Lock&) {
    *stream = machine().make_stream();
    return cudaSuccess;
  });
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned /*flags*/) {
  return cudaStreamCreate(stream);
}

cudaError_t cudaStreamCreateWithPriority(cudaStream_t* stream, unsigned /*flags*/,
                                         int /*priority*/) {
  return cudaStreamCreate(stream);
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  return machine().freeing_call([&](Lock& lock) { return machine().destroy_stream(lock, stream); });
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  return call_on(stream, [](Lock& lock, CUstream_st& found) {
    const cudaError_t error = machine().refuse_while_capturing();
    if (error != cudaSuccess) return error;
    return machine().run_until(lock, [&found] { return found.idle(); });
  });
}

cudaError_t cudaStreamQuery(cudaStream_t stream) {
  return call_on(stream, [](Lock& lock, CUstream_st& found) {
    const cudaError_t error = machine().refuse_while_capturing();
    if (error != cudaSuccess) return error;
    if (!found.idle()) machine().run_one(lock);
    return found.idle() ? cudaSuccess : cudaErrorNotReady;
  });
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned /*flags*/) {
  return call_on(stream, [&](Lock&, CUstream_st& found) {
    if (!machine().has_event(event)) return cudaErrorInvalidResourceHandle;
    if (found.capture != nullptr) return cudaErrorStreamCaptureIsolation;
    const auto state = event->state;
    const uint64_t record = state->n_recorded;
    machine().enqueue_when(
        found, [state, record] { return state->n_completed >= record; }, nothing);
    return cudaSuccess;
  });
}

cudaError_t cudaLaunchHostFunc(cudaStream_t stream, cudaHostFn_t function, void* user_data) {
  return call_on(stream, [&](Lock&, CUstream_st& found) {
    return machine().enqueue(found, "host function", [function, user_data] {
      cuda_emulator::in_host_function() = true;
      function(user_data);
      cuda_emulator::in_host_function() = false;
      return std::string();
    });
  });
}

cudaError_t cudaEventCreate(cudaEvent_t* event) {
  return cudaEventCreateWithFlags(event, cudaEventDefault);
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned flags) {
  return machine().call([&](Lock&) {
    *event = new CUevent_st;
    (*event)->timed = (flags & cudaEventDisableTiming) == 0;
    machine().events().insert(*event);
    return cudaSuccess;
  });
}

cudaError_t cudaEventDestroy(cudaEvent_t event) {
  return machine().freeing_call([&](Lock&) {
    if (machine().events().erase(event) == 0) return cudaErrorInvalidResourceHandle;
    delete event;
    return cudaSuccess;
  });
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  return call_on(stream, [&](Lock&, CUstream_st& found) {
    if (!machine().has_event(event)) return cudaErrorInvalidResourceHandle;
    if (found.capture != nullptr) return cudaErrorStreamCaptureIsolation;  // no forks here
    const auto state = event->state;
    const uint64_t record = ++state->n_recorded;
    return machine().enqueue(found, "event", [state, record] {
      machine().complete_event(state, record);
      return std::string();
    });
  });
}

cudaError_t cudaEventQuery(cudaEvent_t event) {
  return machine().call([&](Lock& lock) {
    if (!machine().has_event(event)) return cudaErrorInvalidResourceHandle;
    const cudaError_t error = machine().refuse_while_capturing();
    if (error != cudaSuccess) return error;
    const auto state = event->state;
    const auto done = [&] { return state->n_completed >= state->n_recorded; };
    if (!done()) machine().run_one(lock);
    return done() ? cudaSuccess : cudaErrorNotReady;
  });
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  return machine().call([&](Lock& lock) {
    if (!machine().has_event(event)) return cudaErrorInvalidResourceHandle;
    const cudaError_t error = machine().refuse_while_capturing();
    if (error != cudaSuccess) return error;
    const auto state = event->state;
    const uint64_t record = state->n_recorded;
    return machine().run_until(lock, [&] { return state->n_completed >= record; });
  });
}

cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t start, cudaEvent_t end) {
  return machine().call([&](Lock&) {
    if (!machine().has_event(start) || !machine().has_event(end) || !start->timed || !end->timed ||
        start->state->n_recorded == 0 || end->state->n_recorded == 0) {
      return cudaErrorInvalidResourceHandle;
    }
    if (start->state->n_completed < start->state->n_recorded ||
        end->state->n_completed < end->state->n_recorded) {
      return cudaErrorNotReady;
    }
    *milliseconds =
        static_cast<float>(end->state->completed_ns - start->state->completed_ns) * 1e-6F;
    return cudaSuccess;
  });
}
