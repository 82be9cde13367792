// Device time of work on one stream. Throws where the device fails (require of device_test.h).
#pragma once

#include <cuda_runtime.h>

#include <algorithm>
#include <vector>

#include "tests/cuda/device_test.h"

namespace parkd::probe {

class Timer {
 public:
  Timer() {
    testing::require(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking),
                     "cudaStreamCreateWithFlags");
    testing::require(cudaEventCreate(&first_), "cudaEventCreate");
    testing::require(cudaEventCreate(&last_), "cudaEventCreate");
  }
  ~Timer() {
    (void)cudaEventDestroy(first_);
    (void)cudaEventDestroy(last_);
    (void)cudaStreamDestroy(stream_);
  }
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;

  cudaStream_t stream() const { return stream_; }

  // Seconds that `work` takes, which puts it on stream(): the median of `runs`, after one that is
  // not counted.
  template <class Work>
  double seconds(int runs, Work work) {
    std::vector<float> times;
    for (int run = 0; run <= runs; ++run) {
      testing::require(cudaEventRecord(first_, stream_), "cudaEventRecord");
      work();
      testing::require(cudaEventRecord(last_, stream_), "cudaEventRecord");
      testing::require(cudaStreamSynchronize(stream_), "the work");
      float milliseconds = 0;
      testing::require(cudaEventElapsedTime(&milliseconds, first_, last_), "cudaEventElapsedTime");
      if (run > 0) times.push_back(milliseconds);
    }
    const auto middle = times.begin() + static_cast<ptrdiff_t>(times.size() / 2);
    std::nth_element(times.begin(), middle, times.end());
    return std::max(1e-9, double{*middle} * 1e-3);
  }

 private:
  cudaStream_t stream_ = nullptr;
  cudaEvent_t first_ = nullptr;
  cudaEvent_t last_ = nullptr;
};

}  // namespace parkd::probe
