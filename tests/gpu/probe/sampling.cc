#include <random>
#include <string>
#include <vector>

#include "tests/cuda/kernel_data.h"
#include "tests/gpu/probe/probes.h"
#include "tests/gpu/probe/timer.h"

namespace parkd::probe {
namespace {

using testing::DeviceArray;
using testing::require;

struct Way {
  const char* name;
  float temperature;
  float top_p;
  int32_t top_k;
};
constexpr Way kWays[] = {
    {"greedy", 0, 1, 0}, {"sampled", 1, 1, 0}, {"top_p", 1, 0.95F, 0}, {"top_k", 1, 1, 50}};

}  // namespace

void probe_sampling(const Figures& figures, bool tiny) {
  Timer timer;
  std::mt19937_64 random(1);
  std::normal_distribution<float> normal(0, 3);
  const int runs = tiny ? 1 : 21;
  const std::vector<int32_t> vocabularies =
      tiny ? std::vector<int32_t>{300} : std::vector<int32_t>{32768, 131072};
  const std::vector<int32_t> batches =
      tiny ? std::vector<int32_t>{2} : std::vector<int32_t>{1, 64, 256};
  for (const int32_t vocab : vocabularies) {
    for (const int32_t rows : batches) {
      std::vector<float> values(static_cast<size_t>(rows) * static_cast<size_t>(vocab));
      for (float& value : values) value = normal(random);
      const DeviceArray<float> logits(values);
      const DeviceArray<int32_t> n_rows(std::vector<int32_t>{rows});
      const DeviceArray<uint8_t> workspace(
          static_cast<size_t>(cuda::sampling_workspace_bytes(rows, vocab)));
      const DeviceArray<int32_t> tokens(static_cast<size_t>(rows));
      const auto expected = [&](const simulate::DeviceSheet& sheet) {
        return 1e6 * 4.0 * rows * vocab / sheet.bytes_per_s;  // one pass over the logits
      };
      const std::string shape = std::to_string(rows) + "_of_" + std::to_string(vocab);
      for (const Way& way : kWays) {
        cuda::SampleRowParams row = {way.temperature, way.top_p, 0, way.top_k, 7, 0, 0};
        const DeviceArray<cuda::SampleRowParams> of_rows(
            std::vector<cuda::SampleRowParams>(static_cast<size_t>(rows), row));
        const cuda::SamplingParams params = {
            n_rows.get(), rows, vocab, logits.get(), of_rows.get(), workspace.get(), tokens.get()};
        const double seconds = timer.seconds(
            runs, [&] { require(cuda::launch_sampling(params, timer.stream()), "sampling"); });
        figures.print("sampling." + shape + "." + way.name, 1e6 * seconds, "us", expected);
      }
      constexpr int32_t kTop = 5;
      const DeviceArray<float> logprob(static_cast<size_t>(rows));
      const DeviceArray<int32_t> top_tokens(static_cast<size_t>(rows * kTop));
      const DeviceArray<float> top_logprobs(static_cast<size_t>(rows * kTop));
      const cuda::LogprobParams params = {n_rows.get(),      rows,          vocab, logits.get(),
                                          tokens.get(),      logprob.get(), kTop,  top_tokens.get(),
                                          top_logprobs.get()};
      const double seconds = timer.seconds(
          runs, [&] { require(cuda::launch_logprobs(params, timer.stream()), "logprobs"); });
      figures.print("sampling." + shape + ".logprobs", 1e6 * seconds, "us", expected);
    }
  }
}

}  // namespace parkd::probe
