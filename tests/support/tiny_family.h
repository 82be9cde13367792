// What the tests' tiny models (tiny_model.h) of each family have of their own. One row a family: a
// family of lib/model/family.h without one is none that make_tiny_model and its like can make.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "lib/model/rope_frequencies.h"
#include "tests/support/tiny_model.h"

namespace parkd::testing {

struct TinyFamily {
  std::string_view name;               // the model_type of config.json
  std::string_view gguf_architecture;  // and the prefix of a GGUF file's keys
  std::string_view hub_class;          // of config.json's "architectures"
  // What its models usually have, and converters write for it.
  float rope_base = 1e4F;
  float rms_eps = 1e-5F;
  bool pairs_together = true;  // of a head's rows in GGUF; then it says how many are rotated
  bool head_norms = false;
  bool projection_biases = false;
  bool norms_both_sides = false;  // of attention and the ffn
  // A directory's norms are less this; they are such that the difference is exact.
  float hub_norm_offset = 0;
  bool has_windows = false;  // always, in GGUF too; one that is left out is of all tokens
  // q, k and v are one tensor, gate and up another; heads may turn in part, by LongRoPE.
  bool is_fused = false;
};

// Requires one of tiny_family_names().
const TinyFamily& tiny_family(const TinyModelOptions& options);

// Options' or, where a family has one always, its.
std::string tiny_rope_scaling(const TinyModelOptions& options);
Llama3Rope tiny_llama3_rope();
YarnRope tiny_yarn_rope();                          // its ramp is some pairs long
inline constexpr float kTinyQueryScaleBeta = 0.5F;  // of ministral3
inline constexpr float kTinyLinearFactor = 8;

// Its divisors are one a pair that turns.
struct TinyLongRope {
  int32_t original_context = 0;
  std::vector<float> of_short;
  std::vector<float> of_long;
  double factor = 0;  // 0: not said, but context by original context
  double amplitude = 1;
};
TinyLongRope tiny_long_rope(const TinyModelOptions& options);

}  // namespace parkd::testing
