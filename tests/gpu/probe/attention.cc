#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include "tests/cuda/kernel_data.h"
#include "tests/gpu/probe/probes.h"
#include "tests/gpu/probe/timer.h"
#include "tools/simulate/step_cost.h"

namespace parkd::probe {
namespace {

using testing::DeviceArray;
using testing::require;
using testing::SequenceCase;
using testing::Step;

constexpr const testing::Heads& kHeads = testing::kMeasuredModels[0].heads;

class Attention {
 public:
  Attention(bool tiny, std::vector<SequenceCase> sequences)
      : runs_(tiny ? 1 : 21), step_(random_, std::move(sequences), kHeads.block_size, 0) {
    int n_multiprocessors = 0;
    int32_t n_blocks = 0;
    require(cudaDeviceGetAttribute(&n_multiprocessors, cudaDevAttrMultiProcessorCount, 0),
            "cudaDeviceGetAttribute");
    require(cuda::attention_resident_blocks(cuda::Element::bf16, kHeads.head_dim, kHeads.group(),
                                            &n_blocks),
            "attention_resident_blocks");
    n_resident_ = n_multiprocessors * n_blocks;
    for (const bool tensor_cores : {false, true}) {
      require(cuda::prefill_resident_blocks(cuda::Element::bf16, kHeads.head_dim, tensor_cores,
                                            &n_blocks),
              "prefill_resident_blocks");
      prefill_resident_[tensor_cores ? 1 : 0] = n_multiprocessors * n_blocks;
    }
  }

  template <class Launch>
  double seconds(int32_t n_splits, bool tensor_cores, Launch launch) {
    const auto rows = static_cast<size_t>(step_.n_rows());
    const auto columns = static_cast<size_t>(kHeads.columns());
    const auto head_dim = static_cast<size_t>(kHeads.head_dim);
    const auto n_kv = static_cast<size_t>(kHeads.n_kv_heads) * head_dim;
    const DeviceArray<float> qkv(std::vector<float>(rows * columns, 0.1F));
    const DeviceArray<uint8_t> kv(
        std::vector<uint8_t>(static_cast<size_t>(step_.n_blocks) * 2 * n_kv *
                             static_cast<size_t>(kHeads.block_size) * 2));
    const DeviceArray<uint8_t> out(rows * static_cast<size_t>(kHeads.n_heads) * head_dim * 2);
    const int32_t prefill_resident = prefill_resident_[tensor_cores ? 1 : 0];
    const DeviceArray<float> workspace(static_cast<size_t>(
        std::max(cuda::attention_workspace_floats(step_.device.decode_max, kHeads.n_heads,
                                                  kHeads.head_dim, n_splits),
                 cuda::prefill_workspace_floats(prefill_resident, kHeads.head_dim, tensor_cores))));
    cuda::AttentionParams params = {};
    params.step = step_.device;
    params.kv = {kv.get(),          cuda::Element::bf16, 1, step_.n_blocks, kHeads.n_kv_heads,
                 kHeads.block_size, kHeads.head_dim};
    params.n_heads = kHeads.n_heads;
    params.scale = 0.1F;
    params.qkv = qkv.get();
    params.out = out.get();
    params.element = cuda::Element::bf16;
    params.n_splits = n_splits;
    params.workspace = workspace.get();
    params.tensor_cores = tensor_cores;
    params.prefill_splits =
        cuda::prefill_splits(params, step_.sequences.front().context, prefill_resident);
    return timer_.seconds(runs_, [&] { require(launch(params, timer_.stream()), "attention"); });
  }
  int32_t splits(int32_t tokens) const {
    return cuda::attention_splits(step_.n_rows(), kHeads.n_heads, kHeads.n_kv_heads, tokens,
                                  n_resident_);
  }

 private:
  const int runs_;
  std::mt19937_64 random_{1};
  const Step step_;
  int32_t n_resident_ = 0;
  int32_t prefill_resident_[2] = {};  // plain, and on tensor cores
  Timer timer_;
};

// A prompt's first chunk, a later one, and the few tokens behind a long cached prefix, whose tiles
// are split.
void probe_prefill(const Figures& figures, bool tiny) {
  const std::vector<SequenceCase> chunks =
      tiny ? std::vector<SequenceCase>{{0, 20}, {32, 20}, {600, 4}}
           : std::vector<SequenceCase>{{0, 512}, {3584, 512}, {32'768, 16}};
  for (const SequenceCase& chunk : chunks) {
    Attention attention(tiny, {chunk});
    const double rows = chunk.rows;
    const double flops =
        4.0 * kHeads.n_heads * kHeads.head_dim * (rows * chunk.context + 0.5 * rows * (rows + 1.0));
    const double kv_bytes =
        (chunk.context + rows) * 2 * kHeads.n_kv_heads * kHeads.head_dim * 2;  // once, in bf16
    const auto print = [&](const char* kernel, bool tensor_cores) {
      const double seconds = attention.seconds(1, tensor_cores, cuda::launch_attention_prefill);
      figures.print("attention.prefill_" + std::to_string(chunk.rows) + "_after_" +
                        std::to_string(chunk.context) + "." + kernel,
                    1e-12 * flops / seconds, "TFLOP/s", [&](const simulate::DeviceSheet& sheet) {
                      const double peak = tensor_cores ? sheet.tensor_flops : sheet.float_flops;
                      return 1e-12 * flops / std::max(flops / peak, kv_bytes / sheet.bytes_per_s);
                    });
    };
    print("plain", false);
    print("tensor_cores", true);
  }
}

void probe_decode(const Figures& figures, bool tiny) {
  const int32_t tokens = tiny ? 40 : 1024;
  const std::vector<int32_t> batches =
      tiny ? std::vector<int32_t>{2} : std::vector<int32_t>{1, 8, 64, 256};
  for (const int32_t n : batches) {
    Attention attention(
        tiny, std::vector<SequenceCase>(static_cast<size_t>(n), SequenceCase{tokens - 1, 1}));
    const double seconds =
        attention.seconds(attention.splits(tokens), false, cuda::launch_attention_decode);
    const double bytes = double{1} * n * tokens * 2 * kHeads.n_kv_heads * kHeads.head_dim * 2;
    const double runs = double{1} * n * tokens * kHeads.n_kv_heads / 8;
    figures.print("attention.decode_" + std::to_string(n) + "_of_" + std::to_string(tokens),
                  1e-9 * bytes / seconds, "GB/s", [&](const simulate::DeviceSheet& sheet) {
                    // Bytes, or every issue slot (step_cost.h), whichever takes longer.
                    const double issue_s =
                        runs * simulate::decode_run_instructions(kHeads.group(), kHeads.head_dim) /
                        (4.0 * sheet.n_multiprocessors * sheet.clock_hz);
                    return 1e-9 * bytes / std::max(bytes / sheet.bytes_per_s, issue_s);
                  });
  }
}

}  // namespace

void probe_attention(const Figures& figures, bool tiny) {
  probe_prefill(figures, tiny);
  probe_decode(figures, tiny);
}

}  // namespace parkd::probe
