#include "lib/model/family.h"

#include <cmath>

#include "lib/model/rope_frequencies.h"

namespace parkd {
namespace {

// What every decoder's layer has so far.
constexpr LayerTensorRule kProducts[] = {
    {"attn_q.weight", "self_attn.q_proj.weight", &LayerTensors::q, Extent::q, Extent::hidden},
    {"attn_k.weight", "self_attn.k_proj.weight", &LayerTensors::k, Extent::kv, Extent::hidden},
    {"attn_v.weight", "self_attn.v_proj.weight", &LayerTensors::v, Extent::kv, Extent::hidden},
    {"attn_output.weight", "self_attn.o_proj.weight", &LayerTensors::attention_out, Extent::hidden,
     Extent::q},
    {"ffn_gate.weight", "mlp.gate_proj.weight", &LayerTensors::gate, Extent::ffn, Extent::hidden},
    {"ffn_up.weight", "mlp.up_proj.weight", &LayerTensors::up, Extent::ffn, Extent::hidden},
    {"ffn_down.weight", "mlp.down_proj.weight", &LayerTensors::down, Extent::hidden, Extent::ffn},
};

// Of what attention and the ffn read. transformers' name of the second is of where it stands.
constexpr LayerTensorRule kNorms[] = {
    {"attn_norm.weight", "input_layernorm.weight", &LayerTensors::attention_norm, Extent::one,
     Extent::hidden},
    {"ffn_norm.weight", "post_attention_layernorm.weight", &LayerTensors::ffn_norm, Extent::one,
     Extent::hidden},
};

// And of what they add.
constexpr LayerTensorRule kNormsOnBothSides[] = {
    {"attn_norm.weight", "input_layernorm.weight", &LayerTensors::attention_norm, Extent::one,
     Extent::hidden},
    {"post_attention_norm.weight", "post_attention_layernorm.weight",
     &LayerTensors::post_attention_norm, Extent::one, Extent::hidden},
    {"ffn_norm.weight", "pre_feedforward_layernorm.weight", &LayerTensors::ffn_norm, Extent::one,
     Extent::hidden},
    {"post_ffw_norm.weight", "post_feedforward_layernorm.weight", &LayerTensors::post_ffn_norm,
     Extent::one, Extent::hidden},
};

// Of each head.
constexpr LayerTensorRule kHeadNorms[] = {
    {"attn_q_norm.weight", "self_attn.q_norm.weight", &LayerTensors::q_norm, Extent::one,
     Extent::head_dim},
    {"attn_k_norm.weight", "self_attn.k_norm.weight", &LayerTensors::k_norm, Extent::one,
     Extent::head_dim},
};

// Products that read the same, as one tensor.
constexpr LayerTensorRule kFusedProducts[] = {
    {"attn_qkv.weight",
     "self_attn.qkv_proj.weight",
     &LayerTensors::q,
     Extent::q,
     Extent::hidden,
     {{{&LayerTensors::k, Extent::kv}, {&LayerTensors::v, Extent::kv}}}},
    {"attn_output.weight", "self_attn.o_proj.weight", &LayerTensors::attention_out, Extent::hidden,
     Extent::q},
    {"ffn_up.weight",
     "mlp.gate_up_proj.weight",
     &LayerTensors::gate,
     Extent::ffn,
     Extent::hidden,
     {{{&LayerTensors::up, Extent::ffn}}}},
    {"ffn_down.weight", "mlp.down_proj.weight", &LayerTensors::down, Extent::hidden, Extent::ffn},
};

// What q, k and v have added to them.
constexpr LayerTensorRule kProjectionBiases[] = {
    {"attn_q.bias", "self_attn.q_proj.bias", &LayerTensors::q_bias, Extent::one, Extent::q},
    {"attn_k.bias", "self_attn.k_proj.bias", &LayerTensors::k_bias, Extent::one, Extent::kv},
    {"attn_v.bias", "self_attn.v_proj.bias", &LayerTensors::v_bias, Extent::one, Extent::kv},
};

constexpr Family kFamilies[] = {
    // Touvron et al., "LLaMA" (2023); Hugging Face's modeling_llama.py. llama.cpp's converter
    // permutes q and k so that pairs lie beside each other.
    {"llama", "llama", RopeLayout::interleaved, {kNorms, kProducts}},
    // Jiang et al., "Mistral 7B" (2023): llama's arithmetic, whose name its GGUF files have.
    {"mistral", "", RopeLayout::interleaved, {kNorms, kProducts}},
    // Hugging Face's modeling_ministral3.py: mistral with yarn's frequencies and Llama 4's scale of
    // queries. In GGUF Mistral Small 3.1 has its name too.
    {"ministral3", "mistral3", RopeLayout::interleaved, {kNorms, kProducts}},
    // Hugging Face's modeling_qwen2.py (Qwen2, Qwen2.5): llama with biases of q, k and v, and pairs
    // half a head apart.
    {"qwen2", "qwen2", RopeLayout::split_half, {kNorms, kProducts, kProjectionBiases}},
    // Hugging Face's modeling_qwen3.py: llama with RMS norms of each head of q and k before the
    // rotation, whose pairs are half a head apart.
    {"qwen3", "qwen3", RopeLayout::split_half, {kNorms, kProducts, kHeadNorms}},
    // Hugging Face's modeling_smollm3.py: llama with some layers that are not rotated.
    {"smollm3", "smollm3", RopeLayout::interleaved, {kNorms, kProducts}},
    // Hugging Face's modeling_gemma3.py, the text: norms on both sides of attention and ffn, norms
    // of heads, a GELU gate, scaled embeddings, and windowed layers that turn by a rope of their
    // own. transformers rounds the embeddings' scale to the weights' type; in float it is exact, as
    // in llama.cpp.
    {"gemma3_text",
     "gemma3",
     RopeLayout::split_half,
     {kNormsOnBothSides, kProducts, kHeadNorms},
     Activation::gelu_tanh,
     true,
     1},
    // Hugging Face's modeling_phi3.py (Phi-3, Phi-3.5-mini, Phi-4-mini): llama with fused products,
    // a window, and heads that may turn in part.
    {.name = "phi3",
     .architecture = "phi3",
     .rope_layout = RopeLayout::interleaved,
     .layer_tensors = {kNorms, kFusedProducts},
     .gguf_in_halves = true},
};

}  // namespace

void plan_layers(const Family& family, const DecoderNumbers& numbers, ModelShape& shape) {
  shape.n_layers = numbers.n_layers;
  shape.hidden = numbers.hidden;
  shape.ffn = numbers.ffn;
  shape.n_heads = numbers.n_heads;
  shape.n_kv_heads = numbers.n_kv_heads;
  shape.head_dim = numbers.head_dim;
  shape.context_tokens = numbers.context_tokens;
  shape.rms_eps = static_cast<float>(numbers.rms_eps);
  if (family.scales_embedding) {
    shape.embedding_scale = static_cast<float>(std::sqrt(double{1} * shape.hidden));
  }
  shape.ropes.push_back(rope_of(numbers.rope, family.rope_layout, numbers.head_dim));
  const double divisor =
      numbers.query_divisor > 0 ? numbers.query_divisor : double{1} * shape.head_dim;
  LayerPlan plan;
  plan.rope = 0;
  plan.attention_scale = static_cast<float>(1 / std::sqrt(divisor));
  plan.query_scale = numbers.query_scale;
  plan.activation = family.activation;
  shape.layers.assign(static_cast<size_t>(shape.n_layers), plan);
  for (size_t i = 0; i < numbers.windows.size(); ++i) shape.layers[i].window = numbers.windows[i];
  bool some_are_local = false;
  for (size_t i = 0; i < shape.layers.size(); ++i) {
    LayerPlan& layer = shape.layers[i];
    const bool is_local = i < numbers.local.size() && numbers.local[i];
    if (is_local) layer.rope = 1;
    if (i < numbers.unrotated.size() && numbers.unrotated[i]) layer.rope = kNoRope;
    some_are_local |= is_local;
  }
  if (!some_are_local) return;
  shape.ropes.push_back(rope_of(numbers.local_rope, family.rope_layout, shape.head_dim));
}

std::span<const Family> all_families() {
  return kFamilies;
}

const Family* find_family_of_gguf(std::string_view architecture) {
  for (const Family& family : kFamilies) {
    if (!architecture.empty() && family.architecture == architecture) return &family;
  }
  return nullptr;
}

const Family* find_family_of_hub(std::string_view model_type) {
  for (const Family& family : kFamilies) {
    if (family.name == model_type) return &family;
  }
  return nullptr;
}

std::string family_names() {
  std::string names;
  for (const Family& family : kFamilies) {
    names += (names.empty() ? "" : ", ") + std::string(family.name);
  }
  return names;
}

}  // namespace parkd
