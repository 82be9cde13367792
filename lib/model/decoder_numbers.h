// DecoderNumbers: what a model says of itself in numbers, whoever said it: a GGUF file's keys
// (gguf_numbers.h) or a directory's config.json (hub_numbers.h). A family (family.h) makes a shape
// of them. Values, any thread.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "lib/base/status.h"
#include "lib/model/rope_frequencies.h"
#include "lib/model/shape.h"

namespace parkd {

enum class RopeScaling { none, linear, llama3, yarn };

struct RopeNumbers {
  double base = 10000;
  RopeScaling scaling = RopeScaling::none;
  double factor = 1;  // linear
  Llama3Rope llama3;
  YarnRope yarn;
  // Of the plain frequencies, one a pair that turns; empty: ones.
  std::vector<float> divisors;
  int32_t n_turned = 0;  // of a head's numbers the first so many turn; 0: all
  double amplitude = 1;  // as Rope's, beside yarn's own
};

struct DecoderNumbers {
  int32_t n_layers = 0;
  int32_t hidden = 0;
  int32_t ffn = 0;
  int32_t n_heads = 0;
  int32_t n_kv_heads = 0;
  int32_t head_dim = 0;
  int32_t context_tokens = 0;
  int32_t vocab = 0;  // 0: as many as the tokenizer has
  double rms_eps = 0;
  RopeNumbers rope;
  QueryScale query_scale;
  double query_divisor = 0;  // scores are divided by its root; 0: head_dim
  // (n_layers) each; empty: of no layer.
  std::vector<int32_t> windows;  // as LayerPlan::window
  std::vector<bool> unrotated;   // those without a rope
  std::vector<bool> local;       // those that turn by local_rope
  RopeNumbers local_rope;
};

// Limits of what a reader takes, so that sizes and their products fit.
inline constexpr int64_t kLayersMax = 4096;
inline constexpr int64_t kWidthMax = 1 << 20;  // hidden, ffn, heads x head_dim
inline constexpr int64_t kHeadDimMax = 1024;
inline constexpr int64_t kContextTokensMax = 1 << 24;
inline constexpr int64_t kVocabMax = 1 << 24;
inline constexpr double kRopeBaseMax = 1e12;
inline constexpr double kRopeFactorMax = 1e6;

// What the numbers say of a rope. The pairs of a head that turns in part are `layout`'s, the first.
Rope rope_of(const RopeNumbers& rope, RopeLayout layout, int32_t head_dim);

// Whether the numbers fit each other. Errors: corrupt, without the file's name.
Status check_numbers(const DecoderNumbers& numbers);

}  // namespace parkd
