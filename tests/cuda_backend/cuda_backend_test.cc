// The whole CUDA backend, under the emulator, against the CPU backend: the same model, the same
// requests, the same tokens; and what only a device has: graphs, streams, a step ahead, its loss.
#include "lib/backend/cuda/cuda_backend.h"

#include <cuda_runtime.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <iostream>
#include <random>
#include <string>
#include <vector>

#include "lib/backend/cpu/cpu_backend.h"
#include "lib/backend/self_check.h"
#include "lib/base/text.h"
#include "lib/engine/model.h"
#include "lib/engine/model_card.h"
#include "tests/support/engine_runner.h"
#include "tests/support/plain_penalties.h"
#include "tests/support/tiny_model.h"
#ifdef CUDA_EMULATOR
#include "testing.h"
#endif

namespace parkd {
namespace {

using testing::EngineRunner;

constexpr int32_t kBlockSize = 32;

std::shared_ptr<const ModelCard> tiny_card(TensorType type) {
  testing::TinyModelOptions options;
  options.type = type;
  options.hidden = 64;
  options.n_heads = 2;
  options.n_kv_heads = 1;
  options.head_dim = 64;
  return testing::tiny_model_card(options);
}

struct Way {
  const char* name;
  int32_t n_workers = 1;
  int32_t prefill_chunk_tokens = 0;
  int32_t step_tokens = 128;
  bool graphs = true;
  friend std::ostream& operator<<(std::ostream& out, const Way& way) { return out << way.name; }
};

EngineOptions engine_options(const Way& way) {
  EngineOptions options;
  options.block_size = kBlockSize;
  options.n_workers = way.n_workers;
  options.max_sequences = 8;
  options.step_tokens = way.step_tokens;
  options.prefill_chunk_tokens = way.prefill_chunk_tokens;
  return options;
}

std::unique_ptr<EngineRunner> on_cuda(const std::shared_ptr<const ModelCard>& card, Dtype dtype,
                                      const Way& way) {
  CudaBackendOptions options;
  options.shape = card->shape;
  options.dtype = dtype;
  options.graphs = way.graphs;
  return std::make_unique<EngineRunner>(card, make_cuda_backend(options).value(), Blocks{64},
                                        engine_options(way));
}

std::unique_ptr<EngineRunner> on_cpu(const std::shared_ptr<const ModelCard>& card, Dtype dtype) {
  CpuBackendOptions options;
  options.shape = card->shape;
  options.dtype = dtype;
  return std::make_unique<EngineRunner>(card, make_cpu_backend(options).value(), Blocks{64},
                                        engine_options({"cpu"}));
}

// Prompts of lengths around blocks and chunks, greedy and sampled in every way, some with
// log-probabilities, one with two choices, penalties and biases on some.
std::vector<GenerationRequest> requests_for(const ModelCard& card, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<GenerationRequest> requests;
  for (const int32_t n_prompt : {1, 2, 31, 32, 33, 40, 64, 70}) {
    const auto i = static_cast<int32_t>(requests.size());
    GenerationRequest request;
    request.id = static_cast<RequestId>(i + 1);
    for (int32_t t = 0; t < n_prompt; ++t) {
      request.prompt.push_back(
          static_cast<TokenId>(random() % static_cast<uint64_t>(card.shape.vocab)));
    }
    request.max_new_tokens = 5 + i % 4;
    request.n_choices = i == 3 ? 2 : 1;
    request.sampling.temperature = i % 2 == 0 ? 0.0F : 0.9F;
    request.sampling.top_k = i % 4 == 1 ? 20 : 0;
    request.sampling.top_p = i % 4 == 3 ? 0.8F : 1.0F;
    request.sampling.min_p = i == 7 ? 0.05F : 0.0F;
    if (i % 3 == 1) request.sampling.frequency_penalty = 1.5F;
    if (i % 4 == 3) request.sampling.presence_penalty = 0.75F;
    if (i % 5 == 3) request.sampling.repetition_penalty = 1.3F;
    if (i % 4 == 2)
      request.sampling.logit_bias = {{request.prompt[0], 4.0F},
                                     {(request.prompt[0] + 1) % card.shape.vocab, -100.0F}};
    request.sampling.seed = random();
    request.sampling.logprobs = i % 3 == 0;
    request.sampling.top_logprobs = i % 3 == 0 ? i : 0;
    requests.push_back(std::move(request));
  }
  return requests;
}

std::vector<std::vector<TokenId>> tokens_of(const std::vector<GenerationResult>& results) {
  std::vector<std::vector<TokenId>> tokens;
  for (const GenerationResult& result : results) {
    EXPECT_TRUE(result.status.ok()) << result.status.to_string();
    for (const GeneratedChoice& choice : result.choices) tokens.push_back(choice.tokens);
  }
  return tokens;
}

uint64_t printed_seed() {
  const uint64_t seed = random_u64();
  std::cout << "seed " << seed << "\n";
  return seed;
}

class CudaBackend : public ::testing::TestWithParam<Way> {};

TEST_P(CudaBackend, gives_the_tokens_of_the_cpu_on_the_float_path) {
  const auto card = tiny_card(TensorType::q4_1);
  const auto requests = requests_for(*card, printed_seed());
  const auto expected = on_cpu(card, Dtype::f32)->run(requests);
  const auto results = on_cuda(card, Dtype::f32, GetParam())->run(requests);
  EXPECT_EQ(tokens_of(results), tokens_of(expected));
  for (size_t i = 0; i < results.size(); ++i) {
    const auto& mine = results[i].choices[0].logprobs;
    const auto& other = expected[i].choices[0].logprobs;
    ASSERT_EQ(mine.size(), other.size());
    for (size_t t = 0; t < mine.size(); ++t) {
      EXPECT_NEAR(mine[t].logprob, other[t].logprob, 1e-3);
      ASSERT_EQ(mine[t].top.size(), other[t].top.size());
      for (size_t k = 0; k < mine[t].top.size(); ++k) {
        EXPECT_NEAR(mine[t].top[k].logprob, other[t].top[k].logprob, 1e-3);
      }
    }
  }
}

// Greedy texts that run in circles unless each token is counted, the one included that the host has
// not seen when the next step begins.
TEST_P(CudaBackend, counts_the_token_that_the_host_has_not_seen) {
  const auto card = tiny_card(TensorType::f32);
  std::vector<GenerationRequest> requests = requests_for(*card, printed_seed());
  for (size_t i = 0; i < requests.size(); ++i) {
    GenerationRequest& request = requests[i];
    request.max_new_tokens = 24;
    request.sampling = {};
    request.sampling.temperature = 0;
    if (i % 3 == 0) request.sampling.frequency_penalty = 0.4F;
    if (i % 3 == 1) request.sampling.presence_penalty = 0.6F;
    if (i % 3 == 2) request.sampling.repetition_penalty = 1.5F;
    // Two tokens that take turns by their counts alone: each is often unseen and counted already.
    if (i % 3 == 0) request.sampling.logit_bias = {{9, 37.0F}, {5, 40.0F}};
    request.sampling.logprobs = i == 4;
  }
  const auto texts = tokens_of(on_cuda(card, Dtype::f32, GetParam())->run(requests));
  ASSERT_EQ(texts.size(), requests.size() + 1) << "one has two choices";
  requests.insert(requests.begin() + 3, requests[3]);
  CpuBackendOptions options;
  options.shape = card->shape;
  options.dtype = Dtype::f32;
  testing::TeacherForcing forcing(*card, make_cpu_backend(options).value(), 100, 32);
  testing::PlainAgreement agreement;
  // The devices' logits differ by some 1e-4 (CudaSelfCheck), a count that is missed shows as 0.4:
  // tokens nearly level may be either.
  agreement.rounding = 0.01;
  for (size_t i = 0; i < texts.size(); ++i) {
    testing::compare_with_plain(requests[i], texts[i], forcing, agreement);
  }
  EXPECT_EQ(agreement.n_worse, 0) << "of " << agreement.n_tokens;
}

INSTANTIATE_TEST_SUITE_P(Ways, CudaBackend,
                         ::testing::Values(Way{"whole"}, Way{"no_graphs", 1, 0, 128, false},
                                           Way{"three_workers", 3}, Way{"chunks_of_7", 1, 7, 64},
                                           Way{"small_steps", 2, 0, 9}),
                         [](const auto& way) { return way.param.name; });

// Two layers of SmolLM2's shape, and what each type rounds. A block size that is not the least, and
// what products read from matrices that are not quantised.
TEST(CudaSelfCheck, smollm2s_shape_passes_with_every_type) {
  testing::TinyModelOptions options;
  options.hidden = 576;
  options.ffn = 1536;
  options.n_heads = 9;
  options.n_kv_heads = 3;
  options.head_dim = 64;
  options.tied = true;
  const auto check = [&options](TensorType type, const SelfCheckOptions& how) {
    options.type = type;
    const auto card = testing::tiny_model_card(options);
    const auto report = check_against_cpu(*card, how, [&how](const ModelShape& shape) {
      CudaBackendOptions cuda;
      cuda.shape = shape;
      cuda.dtype = how.dtype;
      return make_cuda_backend(cuda);
    });
    ASSERT_TRUE(report.ok()) << report.status().to_string();
    EXPECT_EQ(report->refusal, "");
    std::cout << "worst " << report->worst << ", limit " << report->limit << ", rounding "
              << report->rounding << ", contrast " << report->contrast << "\n";
  };
  check(TensorType::q4_1, {Dtype::f32, 32});
  check(TensorType::q4_1, {Dtype::f16, 64});
  check(TensorType::q4_1, {Dtype::bf16, 32});
  check(TensorType::f32, {Dtype::bf16, 32});
}

TEST(CudaDevices, are_found_with_their_memory) {
  const auto devices = find_cuda_devices();
  ASSERT_TRUE(devices.ok()) << devices.status().to_string();
  ASSERT_FALSE(devices->empty());
  EXPECT_GE(devices->front().compute_major, 8);
  EXPECT_GT(devices->front().free_bytes, 0);
  EXPECT_LE(devices->front().free_bytes, devices->front().memory_bytes);
}

TEST(CudaDevices, what_is_left_for_kv_shrinks_with_the_model) {
  CudaDevice device;
  device.free_bytes = int64_t{8} << 30;
  CudaFootprint footprint;
  footprint.shape = tiny_card(TensorType::f32)->shape;
  const int64_t tiny = cuda_kv_bytes(device, footprint);
  EXPECT_GT(tiny, int64_t{7} << 30);
  EXPECT_LT(tiny, device.free_bytes);
  footprint.shape.hidden = 4096;
  footprint.shape.ffn = 14336;
  footprint.shape.n_layers = 32;
  footprint.shape.n_heads = 32;
  footprint.shape.n_kv_heads = 8;
  footprint.shape.head_dim = 128;
  footprint.shape.vocab = 32000;
  EXPECT_LT(cuda_kv_bytes(device, footprint), 0) << "14 GB of weights do not fit into 8";
}

TEST(CudaBackendErrors, shape_that_no_kernel_has_is_refused_by_name) {
  CudaBackendOptions options;
  options.shape = tiny_card(TensorType::f32)->shape;
  options.shape.head_dim = 48;
  options.shape.rope_inv_freq.resize(24);
  const auto backend = make_cuda_backend(options);
  ASSERT_FALSE(backend.ok());
  EXPECT_NE(backend.status().message().find("head_dim 48"), std::string::npos)
      << backend.status().message();
}

TEST(CudaBackendErrors, wrong_tensor_is_refused_by_name_and_more_memory_than_there_is_too) {
  const auto card = tiny_card(TensorType::f32);
  CudaBackendOptions options;
  options.shape = card->shape;
  auto backend = make_cuda_backend(options).value();
  TensorView bent = card->tensors.layers[0].q;
  bent.rows += 1;
  const auto matrix = backend->load_matrix({&bent, 1});
  ASSERT_FALSE(matrix.ok());
  EXPECT_NE(matrix.status().message().find(std::string(bent.name)), std::string::npos);
  EXPECT_FALSE(backend->allocate_kv(int64_t{1} << 30, kBlockSize).ok());
  EXPECT_EQ(backend->allocate_kv(8, 12).param(), "block_size");
}

#ifdef CUDA_EMULATOR

// Of the emulated machine; the next test finds it as new.
class EmulatedMachine : public ::testing::Test {
 protected:
  ~EmulatedMachine() override {
    cuda_emulator::reset();
    cuda_emulator::set_device_count(1);
  }
};

TEST_F(EmulatedMachine, without_a_device_says_so) {
  cuda_emulator::set_device_count(0);
  const auto devices = find_cuda_devices();
  ASSERT_FALSE(devices.ok());
  EXPECT_EQ(devices.status().message().rfind("no CUDA device", 0), 0U)
      << devices.status().message();
}

// Whatever call it is that fails, every request has its one answer, blocks come back, and nothing
// runs any more.
TEST_F(EmulatedMachine, lost_device_ends_every_request_as_unavailable) {
  const auto card = tiny_card(TensorType::q4_1);
  std::mt19937_64 random(printed_seed());
  for (int round = 0; round < 5; ++round) {
    const auto requests = requests_for(*card, random());
    auto runner = on_cuda(card, Dtype::bf16, {"two_workers", 2});
    const auto n = static_cast<int64_t>(1 + random() % 400);
    cuda_emulator::inject_error(n, cudaErrorLaunchFailure);
    const auto results = runner->run(requests);
    bool lost = false;
    for (const GenerationResult& result : results) {
      lost |= !result.status.ok();
      if (result.status.ok()) continue;
      EXPECT_EQ(result.status.code(), StatusCode::unavailable);
    }
    std::cout << "lost at call " << n << ": " << lost << "\n";
    if (lost) {
      const auto later = runner->run({requests.front()});
      EXPECT_EQ(later.front().status.code(), StatusCode::unavailable);
    }
    runner.reset();
    cuda_emulator::reset();
  }
}

// A replayed step is a handful of calls, whatever the model's depth.
TEST_F(EmulatedMachine, graphs_save_most_of_the_calls) {
  const auto card = tiny_card(TensorType::q4_1);
  GenerationRequest request = requests_for(*card, printed_seed()).front();
  request.max_new_tokens = 40;
  request.sampling.logprobs = false;
  request.sampling.top_logprobs = 0;
  const auto calls_with = [&](bool graphs) {
    const auto runner = on_cuda(card, Dtype::bf16, {"one", 1, 0, 128, graphs});
    const int64_t before = cuda_emulator::n_calls();
    EXPECT_TRUE(runner->run({request}).front().status.ok());
    return cuda_emulator::n_calls() - before;
  };
  const int64_t with_graphs = calls_with(true);
  const int64_t without = calls_with(false);
  std::cout << "calls of 40 steps: " << with_graphs << " with graphs, " << without << " without\n";
  EXPECT_LT(with_graphs * 2, without);
}

TEST_F(EmulatedMachine, two_devices_hold_a_model_each) {
  cuda_emulator::set_device_count(2);
  const auto card = tiny_card(TensorType::q4_1);
  auto requests = requests_for(*card, printed_seed());
  const auto expected = on_cpu(card, Dtype::f32)->run(requests);
  std::vector<EngineDevice> devices;
  for (const int32_t id : {0, 1}) {
    CudaBackendOptions options;
    options.shape = card->shape;
    options.dtype = Dtype::f32;
    options.device = id;
    devices.push_back({make_cuda_backend(options).value(), Blocks{64}});
  }
  for (size_t i = 0; i < requests.size(); ++i) requests[i].device = static_cast<int32_t>(i % 2);
  EngineRunner runner(card, std::move(devices), engine_options({"two_devices"}));
  EXPECT_EQ(tokens_of(runner.run(requests)), tokens_of(expected));
}

#endif

}  // namespace
}  // namespace parkd
