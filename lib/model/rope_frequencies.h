// The frequencies of rotary embeddings (Rope::inv_freq), plain and as files say that they are
// scaled for contexts longer than a model was first trained on. Whatever a file's format: the
// readers of GGUF keys and of config.json hand in numbers that they have checked.
//
// Pure functions, any thread; computed in double, as Hugging Face's modeling_rope_utils.py defines
// them. Scaled frequencies hold at all positions.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace parkd {

// RoFormer (Su et al. 2021): base^(-2i / head_dim) for each i below head_dim / 2.
std::vector<float> plain_rope(int32_t head_dim, double base);

// Positions divided by `factor` (Chen et al., "Extending context window", 2023).
std::vector<float> linear_rope(int32_t head_dim, double base, double factor);

// Llama 3.1: long waves are slowed down by `factor`, short ones stay, between them it goes
// smoothly.
struct Llama3Rope {
  double factor = 8;
  double low_freq_factor = 1;
  double high_freq_factor = 4;  // above low_freq_factor
  int32_t original_context = 8192;
};
std::vector<float> llama3_rope(int32_t head_dim, double base, const Llama3Rope& scaling);
// What it divides the plain frequencies by, as GGUF files keep it (rope_freqs.weight): with these
// the same bits come out.
std::vector<float> llama3_divisors(int32_t head_dim, double base, const Llama3Rope& scaling);
std::vector<float> divided_rope(int32_t head_dim, double base, std::span<const float> divisors);

// Peng et al., "YaRN", 2023.
struct YarnRope {
  double factor = 1;
  int32_t original_context = 0;
  double beta_fast = 32;
  double beta_slow = 1;
  bool truncate = true;  // the ramp begins and ends at whole pairs
  std::optional<double> attention_factor;
  std::optional<double> mscale;
  std::optional<double> mscale_all_dim;
};
std::vector<float> yarn_rope(int32_t head_dim, double base, const YarnRope& scaling);

// What q and k are both multiplied by beside the rotation (Rope::amplitude). 1 where mscale and
// mscale_all_dim are alike; 0.1 ln(factor) + 1 where nothing is said.
double yarn_attention_factor(const YarnRope& scaling);

// The same of Ding et al., "LongRoPE", 2024, whose frequencies are divided_rope()'s: of a context
// `factor` times the original one. Requires an original context of two tokens or more.
double long_rope_attention_factor(double factor, int32_t original_context);

}  // namespace parkd
