// ModelShape: the numbers of a decoder that its forward pass and its KV memory need. A value.
#pragma once

#include <cstdint>
#include <vector>

namespace parkd {

// interleaved: pairs (2i, 2i+1), GGUF's permuted llama layout. split_half: pairs (i, i+d/2), NeoX.
enum class RopeLayout { interleaved, split_half };

struct ModelShape {
  int32_t n_layers = 0;
  int32_t hidden = 0;
  int32_t ffn = 0;
  int32_t n_heads = 0;
  int32_t n_kv_heads = 0;
  int32_t head_dim = 0;  // never assumed to be hidden / n_heads
  int32_t vocab = 0;
  int32_t context_tokens = 0;
  float rms_eps = 0;
  RopeLayout rope_layout = RopeLayout::interleaved;
  std::vector<float> rope_inv_freq;  // (head_dim / 2): angle = position * inv_freq[i]
  float attention_scale = 0;         // head_dim^-0.5
};

}  // namespace parkd
