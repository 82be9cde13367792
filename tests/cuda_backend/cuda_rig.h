// A tiny model on the CUDA backend and on the CPU's, and the requests that compare them.
#pragma once

#include <cstdint>
#include <iostream>
#include <memory>
#include <random>
#include <string_view>
#include <vector>

#include "lib/backend/cpu/cpu_backend.h"
#include "lib/backend/cuda/cuda_backend.h"
#include "lib/base/text.h"
#include "lib/model/model_card.h"
#include "tests/support/engine_runner.h"
#include "tests/support/tiny_model.h"

namespace parkd::testing {

constexpr int32_t kBlockSize = 32;

struct CudaWay {
  const char* name;
  int32_t n_workers = 1;
  int32_t prefill_chunk_tokens = 0;
  int32_t step_tokens = 128;
  bool graphs = true;
  TensorType type = TensorType::q4_1;
  int32_t head_dim = 64;
  bool tensor_cores = false;
  const char* architecture = "llama";
  const char* rope_scaling = "";  // of TinyModelOptions
  bool warms_up = false;          // as the daemon's do; costs the emulator as much as a short run
  friend std::ostream& operator<<(std::ostream& out, const CudaWay& way) { return out << way.name; }
};

inline std::shared_ptr<const ModelCard> card_of(const CudaWay& way, uint64_t seed) {
  TinyModelOptions options;
  options.architecture = way.architecture;
  options.seed = seed;
  options.type = way.type;
  options.hidden = 64;
  options.n_heads = 2;
  options.n_kv_heads = 1;
  options.head_dim = way.head_dim;
  options.rope_scaling = way.rope_scaling;
  if (options.architecture == "smollm3") options.n_layers = 4;  // its fourth has no rope
  options.window = 24;        // of gemma3_text and phi3: GGUF files of others say none
  options.window_period = 2;  // its second layer sees all
  if (options.architecture == "phi3") {
    options.n_turned = way.head_dim * 3 / 4;
    options.rope_scaling = "longrope";
    options.original_context = 512;  // scores a fifth larger
  }
  return tiny_model_card(options);
}
inline std::shared_ptr<const ModelCard> tiny_card(TensorType type) {
  CudaWay way{"card"};
  way.type = type;
  return card_of(way, 1);
}

inline EngineOptions engine_options(const CudaWay& way) {
  EngineOptions options;
  options.block_size = kBlockSize;
  options.n_workers = way.n_workers;
  options.max_num_seqs = 8;
  options.step_tokens = way.step_tokens;
  options.prefill_chunk_tokens = way.prefill_chunk_tokens;
  return options;
}

inline CudaBackendOptions backend_options(const ModelCard& card, Dtype dtype, const CudaWay& way) {
  CudaBackendOptions options;
  options.shape = card.shape;
  options.dtype = dtype;
  options.graphs = way.graphs;
  options.tensor_core_attention = way.tensor_cores;
  options.warms_up = way.warms_up;
  return options;
}

inline std::unique_ptr<EngineRunner> on_cuda(const std::shared_ptr<const ModelCard>& card,
                                             Dtype dtype, const CudaWay& way, Blocks blocks) {
  auto backend = make_cuda_backend(backend_options(*card, dtype, way)).value();
  return std::make_unique<EngineRunner>(card, std::move(backend), blocks, engine_options(way));
}
inline std::unique_ptr<EngineRunner> on_cuda(const std::shared_ptr<const ModelCard>& card,
                                             Dtype dtype, const CudaWay& way) {
  return on_cuda(card, dtype, way, Blocks{64});
}

inline std::unique_ptr<EngineRunner> on_cpu(const std::shared_ptr<const ModelCard>& card,
                                            Dtype dtype) {
  CpuBackendOptions options;
  options.shape = card->shape;
  options.dtype = dtype;
  return std::make_unique<EngineRunner>(card, make_cpu_backend(options).value(), Blocks{64},
                                        engine_options({"cpu"}));
}

inline std::vector<TokenId> random_prompt(std::mt19937_64& random, const ModelCard& card,
                                          int32_t n_tokens) {
  std::vector<TokenId> prompt;
  for (int32_t t = 0; t < n_tokens; ++t) {
    prompt.push_back(static_cast<TokenId>(random() % static_cast<uint64_t>(card.shape.vocab)));
  }
  return prompt;
}

// Prompts of lengths around blocks and chunks, and two that decode attention splits among blocks of
// threads (from 129 tokens on); greedy and sampled in every way, some with log-probabilities, one
// with two choices, some with penalties and biases.
inline std::vector<GenerationRequest> requests_for(const ModelCard& card, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<GenerationRequest> requests;
  for (const int32_t n_prompt : {1, 2, 300, 31, 32, 33, 450, 40, 64, 70}) {
    const auto i = static_cast<int32_t>(requests.size());
    GenerationRequest request;
    request.id = static_cast<RequestId>(i + 1);
    request.prompts[0].tokens = random_prompt(random, card, n_prompt);
    request.prompts[0].max_new_tokens = 5 + i % 4;
    request.n_choices = i == 3 ? 2 : 1;
    request.sampling.temperature = i % 2 == 0 ? 0.0F : 0.9F;
    request.sampling.top_k = i % 4 == 1 ? 20 : 0;
    request.sampling.top_p = i % 4 == 3 ? 0.8F : 1.0F;
    request.sampling.min_p = i == 7 ? 0.05F : 0.0F;
    if (i % 3 == 1) request.sampling.frequency_penalty = 1.5F;
    if (i % 4 == 3) request.sampling.presence_penalty = 0.75F;
    if (i % 5 == 3) request.sampling.repetition_penalty = 1.3F;
    if (i % 4 == 2) {
      request.sampling.logit_bias = {
          {request.prompts[0].tokens[0], 4.0F},
          {(request.prompts[0].tokens[0] + 1) % card.shape.vocab, -100.0F}};
    }
    request.sampling.seed = random();
    request.sampling.logprobs = i % 3 == 0;
    request.sampling.top_logprobs = i % 3 == 0 ? i : 0;
    requests.push_back(std::move(request));
  }
  return requests;
}

// Those of them that take few steps.
inline std::vector<GenerationRequest> short_requests_for(const ModelCard& card, uint64_t seed) {
  auto requests = requests_for(card, seed);
  std::erase_if(requests,
                [](const auto& request) { return request.prompts[0].tokens.size() > 100; });
  return requests;
}

// The sanitized builds of the emulator are many times slower: what is long runs there once.
inline bool is_sanitized() {
#ifdef CUDA_EMULATOR_BUILD
  return std::string_view(CUDA_EMULATOR_BUILD) != "plain";
#else
  return false;
#endif
}

// requests_for, of a sanitized build's first way alone the long ones too.
inline std::vector<GenerationRequest> requests_for(const ModelCard& card, const CudaWay& way,
                                                   uint64_t seed) {
  const bool is_short = is_sanitized() && std::string_view(way.name) != "whole";
  return is_short ? short_requests_for(card, seed) : requests_for(card, seed);
}

inline std::vector<std::vector<TokenId>> tokens_of(const std::vector<GenerationResult>& results) {
  std::vector<std::vector<TokenId>> tokens;
  for (const GenerationResult& result : results) {
    EXPECT_TRUE(result.status.ok()) << result.status.to_string();
    for (const GeneratedChoice& choice : result.choices) tokens.push_back(choice.tokens);
  }
  return tokens;
}

inline uint64_t printed_seed() {
  const uint64_t seed = random_u64();
  std::cout << "seed " << seed << "\n";
  return seed;
}

}  // namespace parkd::testing
