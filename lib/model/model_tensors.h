// ModelTensors: a decoder's weights as its file holds them. Views into the file, values.
#pragma once

#include <array>
#include <optional>
#include <vector>

#include "lib/weights/tensor.h"

namespace parkd {

// One decoder layer. Shapes in TensorView's notation (rows, columns); a tensor of no rows is one
// that the family does not have.
struct LayerTensors {
  TensorView attention_norm;       // (1, hidden)
  TensorView q;                    // (n_heads * head_dim, hidden)
  TensorView k;                    // (n_kv_heads * head_dim, hidden)
  TensorView v;                    // (n_kv_heads * head_dim, hidden)
  TensorView q_norm;               // (1, head_dim): of each head of q
  TensorView k_norm;               // (1, head_dim)
  TensorView q_bias;               // (1, n_heads * head_dim)
  TensorView k_bias;               // (1, n_kv_heads * head_dim)
  TensorView v_bias;               // (1, n_kv_heads * head_dim)
  TensorView attention_out;        // (hidden, n_heads * head_dim)
  TensorView post_attention_norm;  // (1, hidden)
  TensorView ffn_norm;             // (1, hidden)
  TensorView gate;                 // (ffn, hidden)
  TensorView up;                   // (ffn, hidden)
  TensorView down;                 // (hidden, ffn)
  TensorView post_ffn_norm;        // (1, hidden)
};

// All of a layer's, where each is treated alike: what products multiply by, and the rest.
inline constexpr std::array kLayerMatrices = {
    &LayerTensors::q,    &LayerTensors::k,  &LayerTensors::v,   &LayerTensors::attention_out,
    &LayerTensors::gate, &LayerTensors::up, &LayerTensors::down};
inline constexpr std::array kLayerVectors = {&LayerTensors::attention_norm,
                                             &LayerTensors::q_norm,
                                             &LayerTensors::k_norm,
                                             &LayerTensors::q_bias,
                                             &LayerTensors::k_bias,
                                             &LayerTensors::v_bias,
                                             &LayerTensors::post_attention_norm,
                                             &LayerTensors::ffn_norm,
                                             &LayerTensors::post_ffn_norm};
static_assert(sizeof(LayerTensors) ==
              (kLayerMatrices.size() + kLayerVectors.size()) * sizeof(TensorView));

struct ModelTensors {
  TensorView embedding;  // (vocab, hidden)
  std::vector<LayerTensors> layers;
  TensorView output_norm;          // (1, hidden)
  std::optional<TensorView> head;  // (vocab, hidden); empty: the embedding serves as head too
  // Of a head of q and k the first so many rows lie in halves, where the layers turn pairs beside
  // each other: load_weights() puts row i and i + rows_in_halves / 2 of the file at 2i and 2i + 1,
  // and so the rows of what is added to a head or norms it. 0: none do.
  int32_t rows_in_halves = 0;
  // What the norms' weights have added when they are loaded: the files hold them less so much.
  float norm_offset = 0;
};

}  // namespace parkd
