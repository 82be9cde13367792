// I7 on the real CPU backend and a tiny model: a request's tokens and log-probabilities are the
// same bytes alone, in a batch, with any number of workers and team threads, chunked and whole, and
// with what another request has left in the KV cache. One
// instruction set at a time: across sets the bytes may differ.
#include <gtest/gtest.h>

#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "lib/backend/cpu/cpu_backend.h"
#include "lib/model/model_card.h"
#include "lib/weights/formats.h"
#include "tests/support/engine_runner.h"
#include "tests/support/tiny_model.h"

namespace parkd {
namespace {

using testing::EngineRunner;
using testing::result_bytes;

struct Way {
  const char* name;
  int32_t n_workers;
  int32_t team_size;
  int32_t prefill_chunk_tokens;
  int32_t step_tokens;
  int32_t block_size;
  bool share_prefixes = true;
  bool again = false;  // each request for the second time: it finds its prompt's blocks
};

// What every other way is compared with: one request at a time, its prompt whole.
constexpr Way kAlone = {"alone", 1, 1, 0, 512, 32, false};
constexpr Way kWays[] = {
    {"batch", 1, 1, 0, 512, 32},
    {"two_workers", 2, 1, 0, 512, 32},
    {"three_workers", 3, 1, 0, 512, 32},
    {"chunks_of_1", 1, 1, 1, 64, 32},
    {"chunks_of_7", 1, 1, 7, 64, 32},
    {"chunks_of_64", 2, 1, 64, 256, 32},
    {"team_of_2", 1, 2, 0, 512, 32},
    {"small_steps", 1, 1, 0, 9, 32},
    {"larger_blocks", 1, 1, 33, 100, 64},
    {"prefix_hits", 1, 1, 0, 512, 32, true, true},
    {"prefix_hits_of_others", 3, 1, 5, 64, 32, true, true},
};

// One of each kind of product and of KV memory, and one of each family.
struct Weights {
  Dtype dtype;
  TensorType type;
  const char* architecture = "llama";
  int32_t window = 0;
};
constexpr Weights kWeights[] = {{Dtype::f32, TensorType::q4_1},
                                {Dtype::bf16, TensorType::q4_1},
                                {Dtype::bf16, TensorType::f32},
                                {Dtype::f16, TensorType::q8_0},
                                {Dtype::bf16, TensorType::q4_0, "qwen3"},
                                {Dtype::bf16, TensorType::q8_0, "qwen2"},
                                {Dtype::bf16, TensorType::bf16, "mistral", 20},
                                {Dtype::bf16, TensorType::q4_1, "ministral3"}};

class SameBytes : public ::testing::TestWithParam<std::tuple<cpu::Isa, Weights>> {
 protected:
  void SetUp() override {
    const cpu::Isa isa = std::get<0>(GetParam());
    if (!cpu::isa_available(isa)) {
      GTEST_SKIP() << "SKIPPED LOUDLY: this machine has no " << cpu::to_string(isa);
    }
  }

  std::unique_ptr<EngineRunner> runner(const Way& way) const {
    CpuBackendOptions backend;
    backend.shape = card_->shape;
    backend.isa = std::get<0>(GetParam());
    backend.dtype = std::get<1>(GetParam()).dtype;
    backend.team_size = way.team_size;
    EngineOptions options;
    options.block_size = way.block_size;
    options.n_workers = way.n_workers;
    options.max_num_seqs = 32;
    options.step_tokens = way.step_tokens;
    options.prefill_chunk_tokens = way.prefill_chunk_tokens;
    options.share_prefixes = way.share_prefixes;
    return std::make_unique<EngineRunner>(card_, make_cpu_backend(backend).value(), Blocks{256},
                                          options);
  }

  // Sixteen requests: short and long prompts (over block and chunk borders), greedy and sampled,
  // one with two choices, penalties and biases on some.
  std::vector<GenerationRequest> requests() const {
    // The scalar kernels are some twenty times slower: shorter prompts, still over a block's
    // border.
    const int32_t n_prompt_max = std::get<0>(GetParam()) == cpu::Isa::scalar ? 40 : 130;
    std::vector<GenerationRequest> requests;
    for (int32_t i = 0; i < 16; ++i) {
      GenerationRequest request;
      request.id = static_cast<RequestId>(i + 1);
      const int32_t n_prompt = 1 + (i * 37) % n_prompt_max;
      for (int32_t t = 0; t < n_prompt; ++t) {
        request.prompt.push_back((i * 7919 + t * 104729) % card_->shape.vocab);
      }
      request.max_new_tokens = 6 + i % 5;
      request.n_choices = i == 5 ? 2 : 1;
      request.sampling.temperature = i % 2 == 0 ? 0.0F : 0.8F;
      request.sampling.top_p = i % 4 == 1 ? 0.9F : 1.0F;
      request.sampling.top_k = i % 4 == 3 ? 20 : 0;
      if (i % 3 == 1) request.sampling.frequency_penalty = 1.0F;
      if (i % 3 == 2) request.sampling.repetition_penalty = 1.3F;
      if (i % 5 == 1) request.sampling.presence_penalty = -0.5F;
      if (i % 7 == 2) request.sampling.logit_bias = {{5, 3.0F}, {i, -100.0F}};
      request.sampling.seed = static_cast<uint64_t>(1000 + i);
      request.sampling.logprobs = true;
      request.sampling.top_logprobs = 5;
      requests.push_back(std::move(request));
    }
    return requests;
  }

  static std::shared_ptr<const ModelCard> card() {
    testing::TinyModelOptions options;
    options.type = std::get<1>(GetParam()).type;
    options.architecture = std::get<1>(GetParam()).architecture;
    options.window = std::get<1>(GetParam()).window;
    // A directory is what says a window.
    return options.window > 0 ? testing::tiny_folder_card(options)
                              : testing::tiny_model_card(options);
  }
  const std::shared_ptr<const ModelCard> card_ = card();
};

TEST_P(SameBytes, alone_batched_chunked_and_with_more_workers) {
  const std::vector<GenerationRequest> requests = this->requests();
  std::vector<std::string> alone;
  for (const GenerationResult& result : runner(kAlone)->run_alone(requests)) {
    ASSERT_TRUE(result.status.ok()) << result.status.to_string();
    alone.push_back(result_bytes(result));
  }
  ASSERT_EQ(std::set<std::string>(alone.begin(), alone.end()).size(), alone.size())
      << "the requests do not tell the ways apart";
  for (const Way& way : kWays) {
    const auto runner = this->runner(way);
    if (way.again) (void)runner->run(requests);
    const std::vector<GenerationResult> results = runner->run(requests);
    if (way.again) {
      EXPECT_GT(runner->engine().stats().shared_tokens, 0) << way.name << ": nothing was shared";
    }
    for (size_t i = 0; i < requests.size(); ++i) {
      EXPECT_EQ(result_bytes(results[i]) == alone[i], true)
          << way.name << ": request " << requests[i].id << " differs from the one run alone";
    }
  }
}

std::string name_of(const ::testing::TestParamInfo<SameBytes::ParamType>& info) {
  const Weights weights = std::get<1>(info.param);
  const char* dtype = weights.dtype == Dtype::f32    ? "f32"
                      : weights.dtype == Dtype::bf16 ? "bf16"
                                                     : "f16";
  return std::string(cpu::to_string(std::get<0>(info.param))) + "_" + dtype + "_on_" +
         std::string(format_of(weights.type).name) + "_of_" + weights.architecture;
}

INSTANTIATE_TEST_SUITE_P(Cpu, SameBytes,
                         ::testing::Combine(::testing::Values(cpu::Isa::scalar, cpu::Isa::avx2,
                                                              cpu::Isa::avx512),
                                            ::testing::ValuesIn(kWeights)),
                         name_of);

}  // namespace
}  // namespace parkd
