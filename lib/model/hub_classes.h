// What the classes of transformers' configurations differ in: which fields of config.json they
// know, and what a field means that is left out. A table that never changes, any thread.
#pragma once

#include <cstdint>
#include <string_view>

namespace parkd {

// Which layers see a window: none; all; those of layer_types or behind max_window_layers, where
// use_sliding_window says so; those of layer_types, or all but the last of each
// sliding_window_pattern.
enum class Windows { none, of_all_layers, where_switched, periodic };

struct ModelClass {
  std::string_view model_type;
  Windows windows = Windows::none;
  int32_t sliding_window = 0;  // 0: none
  int32_t head_dim = 0;        // 0: hidden_size by heads
  int32_t n_heads = 0;         // 0: has to be given, as of vocab and context_tokens
  int32_t n_kv_heads = 0;      // 0: as many as heads
  int32_t vocab = 0;
  int32_t context_tokens = 0;
  double rms_eps = 1e-6;
  double rope_theta = 10000;
  double local_theta = 0;         // of the rope of layers with a window; 0: they have the others'
  double query_divisor = 0;       // query_pre_attn_scalar; 0: there is no such field
  bool has_default_yarn = false;  // where no rope is given, whatever rope_theta says
  bool is_tied = false;
  bool scales_queries = false;  // llama_4_scaling_beta
  bool has_unrotated = false;   // no_rope_layers
  bool gates_by_gelu = false;   // hidden_activation
  bool turns_in_part = false;   // partial_rotary_factor
  // original_max_position_embeddings where ropes are LongRoPE's and no others; 0: they are none.
  int32_t long_rope_original = 0;
};

// One that is not known has every field's plain meaning.
ModelClass class_of(std::string_view model_type);

}  // namespace parkd
