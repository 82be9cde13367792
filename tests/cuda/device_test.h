// DeviceTest: what a kernel's test needs of a device, the same under tests/cuda_emulator and on a
// GPU (ON_GPU in tests/cuda builds the same sources with the toolkit). Each test has a stream of
// its own; finish() waits for it and says what went wrong.
#pragma once

#include <cuda_runtime.h>
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <iostream>
#include <random>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace parkd::testing {

// A test ends where this throws; GoogleTest shows the text.
inline void require(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  throw std::runtime_error(std::string(what) + ": " + cudaGetErrorString(error));
}

// n elements of device memory.
template <class T>
class DeviceArray {
 public:
  explicit DeviceArray(size_t n) : n_(n) {
    require(cudaMalloc(reinterpret_cast<void**>(&data_), n * sizeof(T)), "cudaMalloc");
  }
  explicit DeviceArray(const std::vector<T>& values) : DeviceArray(values.size()) { write(values); }
  ~DeviceArray() {
    if (data_ != nullptr) (void)cudaFree(data_);
  }
  DeviceArray(DeviceArray&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), n_(std::exchange(other.n_, 0)) {}
  DeviceArray& operator=(DeviceArray&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(n_, other.n_);
    return *this;
  }

  T* get() const { return data_; }
  size_t size() const { return n_; }

  // On the default stream; both wait.
  void write(const std::vector<T>& values) {
    if (values.size() != n_) throw std::runtime_error("a write of another size");
    copy(data_, values.data(), cudaMemcpyHostToDevice);
  }
  std::vector<T> read() const {
    std::vector<T> values(n_);
    copy(values.data(), data_, cudaMemcpyDeviceToHost);
    return values;
  }

 private:
  void copy(T* to, const T* from, cudaMemcpyKind kind) const {
    if (n_ == 0) return;
    require(cudaMemcpyAsync(to, from, n_ * sizeof(T), kind, nullptr), "cudaMemcpyAsync");
    require(cudaStreamSynchronize(nullptr), "cudaStreamSynchronize");
  }

  T* data_ = nullptr;
  size_t n_ = 0;
};

class DeviceTest : public ::testing::Test {
 protected:
  DeviceTest() {
    require(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "cudaStreamCreate");
  }
  ~DeviceTest() override { (void)cudaStreamDestroy(stream_); }

  cudaStream_t stream() const { return stream_; }

  // Not written: NaN under the emulator, anything on a device.
  template <class T>
  DeviceArray<T> allocate(size_t n) const {
    return DeviceArray<T>(n);
  }
  template <class T>
  DeviceArray<T> upload(const std::vector<T>& values) const {
    DeviceArray<T> array(values.size());
    if (!values.empty()) {
      require(cudaMemcpyAsync(array.get(), values.data(), values.size() * sizeof(T),
                              cudaMemcpyHostToDevice, stream_),
              "cudaMemcpyAsync to the device");
    }
    require(cudaStreamSynchronize(stream_), "cudaStreamSynchronize");
    return array;
  }
  // Waits for the stream's work first.
  template <class T>
  std::vector<T> download(const DeviceArray<T>& array) const {
    std::vector<T> values(array.size());
    if (!values.empty()) {
      require(cudaMemcpyAsync(values.data(), array.get(), values.size() * sizeof(T),
                              cudaMemcpyDeviceToHost, stream_),
              "cudaMemcpyAsync to the host");
    }
    finish();
    return values;
  }
  void finish() const { require(cudaStreamSynchronize(stream_), "the stream's work"); }

 private:
  cudaStream_t stream_ = nullptr;
};

// New each time and printed.
inline uint64_t fresh_device_seed() {
  const uint64_t seed = std::random_device{}();
  std::cout << "seed " << seed << "\n";
  return seed;
}

}  // namespace parkd::testing
