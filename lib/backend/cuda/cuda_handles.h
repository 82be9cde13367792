// RAII for what the CUDA runtime hands out: streams, events, device and pinned memory, graphs.
//
// Each is owned by one thread at a time and is movable; making one may fail and answers a Status,
// destroying one never does. Device memory comes from the stream-ordered allocator
// (cudaMallocAsync), whose pool keeps what is freed; on a device without one, as some virtual GPUs
// are, from cudaMalloc.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <utility>

#include "lib/base/status.h"

namespace parkd::cuda {

// ok, or what the table of cuda_errors.h says: exhausted for a lack of memory, internal where the
// device can go on, unavailable where it is lost.
Status to_status(cudaError_t error, std::string_view what);

class Stream {
 public:
  static Result<Stream> make();
  Stream() = default;
  ~Stream();
  Stream(Stream&& other) noexcept : stream_(std::exchange(other.stream_, nullptr)) {}
  Stream& operator=(Stream&& other) noexcept {
    std::swap(stream_, other.stream_);
    return *this;
  }

  cudaStream_t get() const { return stream_; }
  Status synchronize() const;

 private:
  cudaStream_t stream_ = nullptr;
};

class Event {
 public:
  static Result<Event> make();
  Event() = default;
  ~Event();
  Event(Event&& other) noexcept : event_(std::exchange(other.event_, nullptr)) {}
  Event& operator=(Event&& other) noexcept {
    std::swap(event_, other.event_);
    return *this;
  }

  Status record(const Stream& stream) const;
  Status synchronize() const;

 private:
  cudaEvent_t event_ = nullptr;
};

// Whether the current device has the stream-ordered allocator.
Result<bool> has_memory_pool();

class DeviceBuffer {
 public:
  // The memory is there for work on `stream` from now on, for other streams after a synchronize().
  // It is freed in the order of `stream`, which must outlive it.
  static Result<DeviceBuffer> make(size_t bytes, const Stream& stream);
  DeviceBuffer() = default;
  ~DeviceBuffer();
  DeviceBuffer(DeviceBuffer&& other) noexcept { swap(other); }
  DeviceBuffer& operator=(DeviceBuffer&& other) noexcept {
    swap(other);
    return *this;
  }

  template <class T>
  T* as() const {
    return static_cast<T*>(data_);
  }
  size_t bytes() const { return bytes_; }

 private:
  void swap(DeviceBuffer& other) {
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
    std::swap(stream_, other.stream_);
    std::swap(is_pooled_, other.is_pooled_);
  }
  void* data_ = nullptr;
  size_t bytes_ = 0;
  cudaStream_t stream_ = nullptr;
  bool is_pooled_ = true;
};

// Host memory that the device copies from and to while the host goes on.
class PinnedBuffer {
 public:
  static Result<PinnedBuffer> make(size_t bytes);
  PinnedBuffer() = default;
  ~PinnedBuffer();
  PinnedBuffer(PinnedBuffer&& other) noexcept { swap(other); }
  PinnedBuffer& operator=(PinnedBuffer&& other) noexcept {
    swap(other);
    return *this;
  }

  template <class T>
  T* as() const {
    return static_cast<T*>(data_);
  }
  uint8_t* data() const { return static_cast<uint8_t*>(data_); }
  size_t bytes() const { return bytes_; }

 private:
  void swap(PinnedBuffer& other) {
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
  }
  void* data_ = nullptr;
  size_t bytes_ = 0;
};

// What a stream was given between begin() and end(), to be launched again as one.
class Graph {
 public:
  static Status begin(const Stream& stream);
  static Result<Graph> end(const Stream& stream);
  // Ends a capture if one is open, whatever came of it.
  static void abandon(const Stream& stream);
  Graph() = default;
  ~Graph();
  Graph(Graph&& other) noexcept : exec_(std::exchange(other.exec_, nullptr)) {}
  Graph& operator=(Graph&& other) noexcept {
    std::swap(exec_, other.exec_);
    return *this;
  }

  Status launch(const Stream& stream) const;

 private:
  cudaGraphExec_t exec_ = nullptr;
};

}  // namespace parkd::cuda
