#include "lib/model/hub_classes.h"

namespace parkd {
namespace {

// As of transformers 5.24.
constexpr ModelClass kClasses[] = {
    {.model_type = "mistral",
     .windows = Windows::of_all_layers,
     .sliding_window = 4096,
     .n_kv_heads = 8},
    {.model_type = "ministral3",
     .windows = Windows::of_all_layers,
     .head_dim = 128,
     .n_kv_heads = 8,
     .rms_eps = 1e-5,
     .has_default_yarn = true,
     .scales_queries = true},
    {.model_type = "qwen2",
     .windows = Windows::where_switched,
     .sliding_window = 4096,
     .n_kv_heads = 32},
    {.model_type = "qwen3",
     .windows = Windows::where_switched,
     .sliding_window = 4096,
     .head_dim = 128,
     .n_kv_heads = 32},
    {.model_type = "smollm3",
     .n_kv_heads = 4,
     .rope_theta = 2e6,
     .is_tied = true,
     .has_unrotated = true},
    // The text of a larger Gemma 3 says little but its width and depth.
    {.model_type = "gemma3_text",
     .windows = Windows::periodic,
     .sliding_window = 4096,
     .head_dim = 256,
     .n_heads = 8,
     .n_kv_heads = 4,
     .vocab = 262208,
     .context_tokens = 131072,
     .rope_theta = 1e6,
     .local_theta = 10000,
     .query_divisor = 256,
     .is_tied = true,
     .gates_by_gelu = true},
    {.model_type = "phi3",
     .windows = Windows::of_all_layers,
     .rms_eps = 1e-5,
     .turns_in_part = true,
     .long_rope_original = 4096},
};

}  // namespace

ModelClass class_of(std::string_view model_type) {
  for (const ModelClass& each : kClasses) {
    if (each.model_type == model_type) return each;
  }
  return {.model_type = model_type};
}

}  // namespace parkd
