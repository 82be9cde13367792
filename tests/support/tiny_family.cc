#include "tests/support/tiny_family.h"

#include "lib/base/check.h"

namespace parkd::testing {
namespace {

constexpr TinyFamily kFamilies[] = {
    {"llama", "llama", "LlamaForCausalLM"},
    {"mistral", "llama", "MistralForCausalLM"},
    {"ministral3", "mistral3", "Ministral3ForCausalLM"},
    {"qwen2", "qwen2", "Qwen2ForCausalLM", 1e6F, 1e-6F, false, false, true},
    {"qwen3", "qwen3", "Qwen3ForCausalLM", 1e6F, 1e-6F, false, true, false},
    {"smollm3", "smollm3", "SmolLM3ForCausalLM", 5e6F, 1e-6F},
    {"gemma3_text", "gemma3", "Gemma3ForCausalLM", 1e6F, 1e-6F, false, true, false, true, 1, true},
    {"phi3", "phi3", "Phi3ForCausalLM", 1e4F, 1e-5F, false, false, false, false, 0, true, true},
};

}  // namespace

const TinyFamily& tiny_family(const TinyModelOptions& options) {
  const TinyFamily* found = nullptr;
  for (const TinyFamily& family : kFamilies) {
    if (family.name == options.architecture) found = &family;
  }
  PARKD_CHECK(found != nullptr, "the tests' models have no such family");
  return *found;
}

std::vector<std::string> tiny_family_names() {
  std::vector<std::string> names;
  for (const TinyFamily& family : kFamilies) names.emplace_back(family.name);
  return names;
}

std::string tiny_rope_scaling(const TinyModelOptions& options) {
  const bool has_always = options.architecture == "ministral3";
  return has_always && options.rope_scaling.empty() ? "yarn" : options.rope_scaling;
}

Llama3Rope tiny_llama3_rope() {
  Llama3Rope scaling;
  scaling.original_context = 32;
  return scaling;
}

YarnRope tiny_yarn_rope() {
  YarnRope scaling;
  scaling.factor = 16;
  scaling.original_context = 16;
  scaling.beta_fast = 1;
  scaling.beta_slow = 0.125;
  return scaling;
}

TinyLongRope tiny_long_rope(const TinyModelOptions& options) {
  TinyLongRope rope;
  rope.original_context = options.original_context;
  const int32_t n_turned = options.n_turned > 0 ? options.n_turned : options.head_dim;
  for (int32_t i = 0; i < n_turned / 2; ++i) {  // numbers that a float and six digits have
    rope.of_short.push_back(1 + 0.0625F * static_cast<float>(i));
    rope.of_long.push_back(1.5F + 0.75F * static_cast<float>(i));
  }
  double factor = double{1} * options.context_tokens / rope.original_context;
  if (factor <= 1) factor = rope.factor = 4;
  rope.amplitude = long_rope_attention_factor(factor, rope.original_context);
  return rope;
}

}  // namespace parkd::testing
