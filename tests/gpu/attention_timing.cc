// How long attention takes on this device, at Mistral-7B's heads and bf16: prefill by the plain and
// by the tensor-core kernel, and decode as a share of what its KV's bytes would let through at
// once. Prints, asserts nothing. Used by tools/gpu_check.sh.
#include <gtest/gtest.h>

#include <algorithm>
#include <iostream>
#include <vector>

#include "tests/cuda/kernel_data.h"

namespace parkd::cuda {
namespace {

using testing::DeviceArray;
using testing::require;
using testing::SequenceCase;
using testing::Step;

constexpr const testing::Heads& kModelHeads = testing::kMeasuredModels[0].heads;
constexpr int32_t kHeads = kModelHeads.n_heads;
constexpr int32_t kKvHeads = kModelHeads.n_kv_heads;
constexpr int32_t kHeadDim = kModelHeads.head_dim;
constexpr int32_t kBlockSize = kModelHeads.block_size;
constexpr int kRuns = 21;

class AttentionTiming : public testing::DeviceTest {
 protected:
  AttentionTiming() {
    require(cudaEventCreate(&first_), "cudaEventCreate");
    require(cudaEventCreate(&last_), "cudaEventCreate");
    require(cudaDeviceGetAttribute(&n_multiprocessors_, cudaDevAttrMultiProcessorCount, 0),
            "cudaDeviceGetAttribute");
  }
  ~AttentionTiming() override {
    (void)cudaEventDestroy(first_);
    (void)cudaEventDestroy(last_);
  }

  // The median, after one run that is not counted.
  template <class Launch>
  float milliseconds(const Step& step, int32_t n_splits, bool tensor_cores, Launch launched) {
    const DeviceArray<float> qkv(std::vector<float>(
        static_cast<size_t>(step.n_rows() * (kHeads + 2 * kKvHeads) * kHeadDim), 0.1F));
    const DeviceArray<uint8_t> kv(std::vector<uint8_t>(static_cast<size_t>(step.n_blocks) * 2 *
                                                       kKvHeads * kBlockSize * kHeadDim * 2));
    const DeviceArray<uint8_t> out(static_cast<size_t>(step.n_rows() * kHeads * kHeadDim * 2));
    const DeviceArray<float> workspace(static_cast<size_t>(
        attention_workspace_floats(step.device.decode_max, kHeads, kHeadDim, n_splits)));
    AttentionParams params = {};
    params.step = step.device;
    params.kv = {kv.get(), Element::bf16, 1, step.n_blocks, kKvHeads, kBlockSize, kHeadDim};
    params.n_heads = kHeads;
    params.scale = 0.1F;
    params.qkv = qkv.get();
    params.out = out.get();
    params.element = Element::bf16;
    params.n_splits = n_splits;
    params.workspace = workspace.get();
    params.tensor_cores = tensor_cores;
    std::vector<float> times;
    for (int i = 0; i <= kRuns; ++i) {
      require(cudaEventRecord(first_, stream()), "cudaEventRecord");
      require(launched(params, stream()), "the launch");
      require(cudaEventRecord(last_, stream()), "cudaEventRecord");
      finish();
      float time = 0;
      require(cudaEventElapsedTime(&time, first_, last_), "cudaEventElapsedTime");
      if (i > 0) times.push_back(time);
    }
    std::nth_element(times.begin(), times.begin() + kRuns / 2, times.end());
    return times[kRuns / 2];
  }

  std::mt19937_64 random_{1};
  int n_multiprocessors_ = 0;

 private:
  cudaEvent_t first_ = nullptr;
  cudaEvent_t last_ = nullptr;
};

TEST_F(AttentionTiming, prefill_plain_and_on_tensor_cores) {
  for (const int32_t context : {0, 3584}) {
    const Step step(random_, {{context, 512}}, kBlockSize, 0);
    const float plain = milliseconds(step, 1, false, launch_attention_prefill);
    const float mma = milliseconds(step, 1, true, launch_attention_prefill);
    std::cout << "prefill of 512 tokens after " << context << ": plain " << plain
              << " ms, tensor cores " << mma << " ms (" << plain / mma << " times faster)\n";
  }
}

TEST_F(AttentionTiming, decode_of_1024_tokens) {
  for (const size_t n : {1, 8, 64}) {
    const Step step(random_, std::vector<SequenceCase>(n, {1023, 1}), kBlockSize, 0);
    const int32_t n_splits =
        attention_splits(step.n_rows(), kKvHeads, 1024, static_cast<int32_t>(n_multiprocessors_));
    const float time = milliseconds(step, n_splits, false, launch_attention_decode);
    const double bytes = static_cast<double>(n) * 1024 * 2 * kKvHeads * kHeadDim * 2;
    std::cout << "decode of " << n << " sequences: " << time << " ms, " << bytes / 1e6 / time
              << " GB/s of KV\n";
  }
}

}  // namespace
}  // namespace parkd::cuda
