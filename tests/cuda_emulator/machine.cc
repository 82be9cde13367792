#include "machine.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <iostream>
#include <utility>

namespace cuda_emulator {
namespace {

// After these the context is lost (CUDA Runtime API, "Error handling").
bool is_device_error(cudaError_t error) {
  switch (error) {
    case cudaErrorECCUncorrectable:
    case cudaErrorNvlinkUncorrectable:
    case cudaErrorContained:
    case cudaErrorIllegalAddress:
    case cudaErrorLaunchTimeout:
    case cudaErrorAssert:
    case cudaErrorHardwareStackError:
    case cudaErrorIllegalInstruction:
    case cudaErrorMisalignedAddress:
    case cudaErrorInvalidAddressSpace:
    case cudaErrorInvalidPc:
    case cudaErrorLaunchFailure:
    case cudaErrorTensorMemoryLeak:
    case cudaErrorMpsClientTerminated:
    case cudaErrorExternalDevice:
      return true;
    default:
      return false;
  }
}

thread_local cudaError_t thread_error = cudaSuccess;

std::atomic<float> the_tensor_core_factor = 1;
std::atomic<int> the_driver_version = CUDART_VERSION;

uint64_t mixed(uint64_t x) {  // splitmix64
  x += 0x9E3779B97F4A7C15ULL;
  x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9ULL;
  x = (x ^ x >> 27) * 0x94D049BB133111EBULL;
  return x ^ x >> 31;
}

Schedule schedule_of_environment() {
  Schedule schedule;
  const char* order = std::getenv("PARKD_CUDA_ORDER");
  const std::string name = order != nullptr ? order : "forward";
  if (name == "forward") {
    schedule.order = Order::forward;
  } else if (name == "reverse") {
    schedule.order = Order::reverse;
  } else if (name == "random") {
    schedule.order = Order::random;
  } else {
    std::cerr << "PARKD_CUDA_ORDER is " << name << ", but must be forward, reverse or random\n";
    std::exit(2);
  }
  const char* seed = std::getenv("PARKD_CUDA_SEED");
  schedule.seed = seed != nullptr ? std::strtoull(seed, nullptr, 10) : std::random_device{}();
  std::cout << "emulated CUDA: PARKD_CUDA_ORDER=" << name << " PARKD_CUDA_SEED=" << schedule.seed
            << std::endl;
  return schedule;
}

}  // namespace

int driver_version() {
  return the_driver_version.load(std::memory_order_relaxed);
}
void set_driver_version(int version) {
  the_driver_version = version;
}

float tensor_core_factor() {
  return the_tensor_core_factor.load(std::memory_order_relaxed);
}
void set_tensor_core_factor(float factor) {
  the_tensor_core_factor = factor;
}

int& current_device() {
  static thread_local int device = 0;
  return device;
}

bool& in_host_function() {
  static thread_local bool inside = false;
  return inside;
}

Machine& Machine::get() {
  static auto* machine = new Machine;  // never destroyed: threads may end after main()
  return *machine;
}

Machine::Machine() {
  set_schedule(schedule_of_environment());
}

// --- calls

cudaError_t Machine::enter(const char* name) {
  ++n_calls_;
  ++n_calls_by_name_[name];
  if (recorded_) recorded_->emplace_back(name);
  if (in_host_function()) return cudaErrorNotPermitted;
  if (device_count_ == 0) return cudaErrorNoDevice;
  if (device_error_ != cudaSuccess) return device_error_;
  if (!fails(name)) return cudaSuccess;
  last_failure_ = "injected";
  const auto error = static_cast<cudaError_t>(fault_->code);
  if (is_device_error(error)) lose_device(error, "injected");
  const bool of_capture =
      error == cudaErrorStreamCaptureUnsupported || error == cudaErrorStreamCaptureInvalidated;
  if (of_capture) (void)refuse_while_capturing();
  return error;
}

// Whether the fault that a test asked for comes now.
bool Machine::fails(const char* name) {
  if (!fault_ || fault_->times == 0) return false;
  if (!fault_->call.empty() && fault_->call != name) return false;
  if (--fault_->n > 0) return false;
  --fault_->times;
  return true;
}

cudaError_t Machine::leave(cudaError_t error) {
  if (error != cudaSuccess && error != cudaErrorNotReady) thread_error = error;
  return error;
}

Machine::LibraryAnswer Machine::library_call(const char* name) {
  Lock lock(mutex_);
  const int64_t n_faults = fault_ ? fault_->times : 0;
  const cudaError_t error = enter(name);
  const bool own = fault_ && fault_->call == name && !fault_->beneath && fault_->times != n_faults;
  return own ? LibraryAnswer{cudaSuccess, fault_->code} : LibraryAnswer{error, 0};
}

void Machine::lose_device(cudaError_t error, const std::string& why) {
  if (device_error_ == cudaSuccess) {
    device_error_ = error;
    last_failure_ = why;
  }
  for (const auto& stream : streams_) {
    if (stream->capture != nullptr) stream->capture_is_invalid = true;
  }
  drop_queued_work();
}

void Machine::drop_queued_work() {
  for (const auto& stream : streams_) stream->queue.clear();
  for (CUevent_st* event : events_) event->state->n_completed = event->state->n_recorded;
  changed_.notify_all();
}

cudaError_t Machine::refuse(cudaError_t error, const std::string& why) {
  last_failure_ = why;
  return error;
}

cudaError_t Machine::last_error(bool clear) {
  Lock lock(mutex_);
  const cudaError_t error = device_error_ != cudaSuccess ? device_error_ : thread_error;
  if (clear) thread_error = cudaSuccess;
  return error;
}

std::string Machine::last_failure() {
  Lock lock(mutex_);
  return last_failure_;
}

// --- streams

CUstream_st* Machine::make_stream() {
  streams_.push_back(std::make_unique<CUstream_st>());
  streams_.back()->device = current_device();
  return streams_.back().get();
}

CUstream_st* Machine::find_stream(cudaStream_t stream) {
  if (stream == nullptr) {
    const auto device = static_cast<size_t>(current_device());
    if (default_streams_.size() <= device) default_streams_.resize(device + 1);
    if (default_streams_[device] == nullptr) default_streams_[device] = make_stream();
    return default_streams_[device];
  }
  for (const auto& known : streams_) {
    if (known.get() == stream) return stream;
  }
  return nullptr;
}

cudaError_t Machine::destroy_stream(Lock& lock, cudaStream_t stream) {
  if (stream == nullptr || find_stream(stream) == nullptr) return cudaErrorInvalidResourceHandle;
  const cudaError_t error = run_until(lock, [stream] { return stream->idle(); });
  changed_.wait(lock, [stream] { return !stream->busy; });
  std::erase_if(streams_, [stream](const auto& known) { return known.get() == stream; });
  return error;
}

cudaError_t Machine::enqueue(CUstream_st& stream, const char* kind,
                             std::function<std::string()> run) {
  if (stream.capture == nullptr) {
    stream.queue.push_back({nullptr, std::move(run)});
    return cudaSuccess;
  }
  if (stream.capture_is_invalid) return cudaErrorStreamCaptureInvalidated;
  stream.capture->nodes.push_back({kind, std::move(run)});
  return cudaSuccess;
}

void Machine::enqueue_when(CUstream_st& stream, std::function<bool()> ready,
                           std::function<std::string()> run) {
  stream.queue.push_back({std::move(ready), std::move(run)});
}

cudaError_t Machine::enqueue_unlocked(cudaStream_t stream, const char* kind,
                                      std::function<std::string()> run) {
  Lock lock(mutex_);
  CUstream_st* found = find_stream(stream);
  if (found == nullptr) return cudaErrorInvalidResourceHandle;
  return enqueue(*found, kind, std::move(run));
}

bool Machine::all_idle() const {
  return std::all_of(streams_.begin(), streams_.end(), [](const auto& s) { return s->idle(); });
}

bool Machine::run_one(Lock& lock) {
  std::vector<CUstream_st*> candidates;
  for (const auto& stream : streams_) {
    if (stream->busy || stream->queue.empty()) continue;
    const auto& ready = stream->queue.front().ready;
    if (!ready || ready()) candidates.push_back(stream.get());
  }
  if (candidates.empty()) return false;
  CUstream_st& stream = *candidates[random_() % candidates.size()];
  CUstream_st::Operation operation = std::move(stream.queue.front());
  stream.queue.pop_front();
  stream.busy = true;
  lock.unlock();
  const std::string failure = operation.run();
  operation = {};
  lock.lock();
  stream.busy = false;
  if (!failure.empty()) lose_device(cudaErrorLaunchFailure, failure);
  changed_.notify_all();
  return true;
}

cudaError_t Machine::run_until(Lock& lock, const std::function<bool()>& done) {
  while (device_error_ == cudaSuccess && !done()) {
    // An operation waits only for work that was queued before it, so if none can run, another
    // thread is running one.
    if (!run_one(lock)) changed_.wait(lock);
  }
  return device_error_;
}

cudaError_t Machine::refuse_while_capturing() {
  cudaError_t answer = cudaSuccess;
  for (const auto& stream : streams_) {
    if (stream->capture == nullptr) continue;
    const bool concerns_us = stream->capture_mode == cudaStreamCaptureModeGlobal ||
                             (stream->capture_mode == cudaStreamCaptureModeThreadLocal &&
                              stream->capture_owner == std::this_thread::get_id());
    if (!concerns_us) continue;
    stream->capture_is_invalid = true;
    answer = refuse(cudaErrorStreamCaptureUnsupported,
                    "a call that allocates, frees or waits while a stream is captured");
  }
  return answer;
}

void Machine::complete_event(const std::shared_ptr<CUevent_st::State>& state, uint64_t record) {
  Lock lock(mutex_);
  state->n_completed = std::max(state->n_completed, record);
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  state->completed_ns = std::chrono::duration_cast<std::chrono::nanoseconds>(now).count();
}

// --- testing

Schedule Machine::next_schedule() {
  Lock lock(mutex_);
  return {schedule_.order, mixed(schedule_.seed + ++n_launches_)};
}

void Machine::set_schedule(const Schedule& schedule) {
  Lock lock(mutex_);
  schedule_ = schedule;
  n_launches_ = 0;
  random_.seed(schedule.seed);
}

void Machine::inject(std::optional<Fault> fault) {
  Lock lock(mutex_);
  fault_ = std::move(fault);
}

int64_t Machine::n_calls() {
  Lock lock(mutex_);
  return n_calls_;
}

std::map<std::string, int64_t> Machine::n_calls_by_name() {
  Lock lock(mutex_);
  return n_calls_by_name_;
}

void Machine::record_calls() {
  const Lock lock(mutex_);
  recorded_.emplace();
}

std::vector<std::string> Machine::recorded_calls() {
  const Lock lock(mutex_);
  return std::exchange(recorded_, std::nullopt).value_or(std::vector<std::string>());
}

void Machine::set_device_count(int n) {
  Lock lock(mutex_);
  device_count_ = n;
}

void Machine::set_capability(int device, Capability capability) {
  Lock lock(mutex_);
  capabilities_[device] = capability;
}

Capability Machine::capability(int device) const {
  const auto found = capabilities_.find(device);
  return found != capabilities_.end() ? found->second : Capability{};
}

void Machine::reset() {
  Lock lock(mutex_);
  drop_queued_work();
  for (const auto& stream : streams_) {
    stream->capture.reset();
    stream->capture_is_invalid = false;
  }
  memory_.free_all();
  contexts_.clear();
  device_error_ = cudaSuccess;
  thread_error = cudaSuccess;
  last_failure_.clear();
  fault_.reset();
  current_device() = 0;
}

void set_schedule(const Schedule& schedule) {
  Machine::get().set_schedule(schedule);
}
void inject(const Fault& fault) {
  Machine::get().inject(fault);
}
void inject_nothing() {
  Machine::get().inject(std::nullopt);
}
void inject_error(int64_t n, cudaError_t error) {
  inject({"", n, error});
}
int64_t n_calls() {
  return Machine::get().n_calls();
}
std::map<std::string, int64_t> n_calls_by_name() {
  return Machine::get().n_calls_by_name();
}
void record_calls() {
  Machine::get().record_calls();
}
std::vector<std::string> recorded_calls() {
  return Machine::get().recorded_calls();
}
void set_device_count(int n) {
  Machine::get().set_device_count(n);
}
void set_compute_capability(int device, int major, int minor) {
  Machine::get().set_capability(device, {major, minor});
}
void set_memory_pools(bool has) {
  const Lock lock = Machine::get().lock();
  Machine::get().set_memory_pools(has);
}
std::set<int> devices_with_context() {
  const Lock lock = Machine::get().lock();
  return Machine::get().contexts();
}
void set_device_memory(size_t bytes) {
  const Lock lock = Machine::get().lock();
  Machine::get().memory().set_limit(bytes);
}
size_t device_memory_used() {
  const Lock lock = Machine::get().lock();
  return Machine::get().memory().used(current_device());
}
bool is_idle() {
  const Lock lock = Machine::get().lock();
  return Machine::get().all_idle();
}
std::string last_failure() {
  return Machine::get().last_failure();
}
void reset() {
  Machine::get().reset();
}

}  // namespace cuda_emulator
