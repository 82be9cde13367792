// ModelShape: the numbers of a decoder that its forward pass and its KV memory need. A value.
// check_layers() is pure, any thread.
#pragma once

#include <cstdint>
#include <vector>

#include "lib/base/status.h"

namespace parkd {

// interleaved: pairs (2i, 2i+1), GGUF's permuted llama layout. split_half: pairs (i, i+d/2), NeoX.
enum class RopeLayout { interleaved, split_half };

// One way to rotate q and k by their position.
struct Rope {
  RopeLayout layout = RopeLayout::interleaved;
  // (head_dim / 2): angle = position * inv_freq[i]; a pair of 0 is left as it is.
  std::vector<float> inv_freq;
  // What the other pairs are multiplied by as well, q's and k's (YaRN's and LongRoPE's factor).
  float amplitude = 1;
};

inline constexpr int32_t kNoRope = -1;

// What a gate goes through. silu(g) = g / (1 + e^-g). gelu_tanh(g) = g / 2 * (1 + tanh(sqrt(2 / pi)
// * (g + 0.044715 g^3))).
enum class Activation { silu, gelu_tanh };

// Llama 4's: after its rotation q is multiplied by 1 + beta * ln(1 + floor(position / period)).
struct QueryScale {
  float beta = 0;  // 0: it is not
  int32_t period = 1;
};

// What a layer's ops are called with beside its weights. Layers of a model may differ in it.
struct LayerPlan {
  int32_t rope = 0;           // of ModelShape::ropes, or kNoRope
  float attention_scale = 0;  // head_dim^-0.5
  int32_t window = 0;         // a token sees itself and the window - 1 before it; 0: all
  QueryScale query_scale;
  Activation activation = Activation::silu;
};

struct ModelShape {
  int32_t n_layers = 0;
  int32_t hidden = 0;
  int32_t ffn = 0;
  int32_t n_heads = 0;
  int32_t n_kv_heads = 0;
  int32_t head_dim = 0;  // never assumed to be hidden / n_heads
  int32_t vocab = 0;
  int32_t context_tokens = 0;
  float rms_eps = 0;              // of all norms
  float embedding_scale = 1;      // of a token's row of the embedding
  std::vector<Rope> ropes;        // what layers choose from
  std::vector<LayerPlan> layers;  // (n_layers)
};

// For backends, whose lanes index with what stands here: there is a rotation, each has head_dim / 2
// frequencies and a positive amplitude, every layer's is one of them or kNoRope; windows and scales
// are in their ranges. Errors: invalid.
Status check_layers(const ModelShape& shape);

}  // namespace parkd
