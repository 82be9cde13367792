#include "lib/model/family.h"

#include <cmath>

#include "lib/model/shape_reader.h"

namespace parkd {
namespace {

// What every decoder's layer has so far.
constexpr LayerTensorRule kLayer[] = {
    {"attn_norm", &LayerTensors::attention_norm, Extent::one, Extent::hidden},
    {"attn_q", &LayerTensors::q, Extent::q, Extent::hidden},
    {"attn_k", &LayerTensors::k, Extent::kv, Extent::hidden},
    {"attn_v", &LayerTensors::v, Extent::kv, Extent::hidden},
    {"attn_output", &LayerTensors::attention_out, Extent::hidden, Extent::q},
    {"ffn_norm", &LayerTensors::ffn_norm, Extent::one, Extent::hidden},
    {"ffn_gate", &LayerTensors::gate, Extent::ffn, Extent::hidden},
    {"ffn_up", &LayerTensors::up, Extent::ffn, Extent::hidden},
    {"ffn_down", &LayerTensors::down, Extent::hidden, Extent::ffn},
};

// Of each head.
constexpr LayerTensorRule kHeadNorms[] = {
    {"attn_q_norm", &LayerTensors::q_norm, Extent::one, Extent::head_dim},
    {"attn_k_norm", &LayerTensors::k_norm, Extent::one, Extent::head_dim},
};

// Every layer alike: one rotation, scores divided by the root of head_dim.
void plan_alike(ModelShape& shape) {
  LayerPlan plan;
  plan.rope = 0;
  plan.attention_scale = static_cast<float>(1.0 / std::sqrt(double{1} * shape.head_dim));
  shape.layers.assign(static_cast<size_t>(shape.n_layers), plan);
}

// Touvron et al., "LLaMA" (2023); Hugging Face's modeling_llama.py. llama.cpp's converter permutes
// q and k so that pairs lie beside each other; Llama 3's rope_freqs divide the frequencies.
Status read_llama(ShapeReader& reader, ModelShape& shape) {
  PARKD_RETURN_IF_ERROR(reader.read_sizes(shape));
  PARKD_ASSIGN_OR_RETURN(std::vector<float> divisors, reader.rope_divisors(shape));
  PARKD_RETURN_IF_ERROR(reader.add_rope(RopeLayout::interleaved, divisors, shape));
  plan_alike(shape);
  return {};
}

// Hugging Face's modeling_qwen3.py: llama with RMS norms of each head of q and k before the
// rotation, whose pairs are half a head apart.
Status read_qwen3(ShapeReader& reader, ModelShape& shape) {
  PARKD_RETURN_IF_ERROR(reader.read_sizes(shape));
  PARKD_RETURN_IF_ERROR(reader.add_rope(RopeLayout::split_half, {}, shape));
  plan_alike(shape);
  return {};
}

constexpr Family kFamilies[] = {
    {"llama", kLayer, {}, read_llama},
    {"qwen3", kLayer, kHeadNorms, read_qwen3},
};

}  // namespace

std::span<const Family> all_families() {
  return kFamilies;
}

const Family* find_family(std::string_view architecture) {
  for (const Family& family : kFamilies) {
    if (family.architecture == architecture) return &family;
  }
  return nullptr;
}

std::string family_names() {
  std::string names;
  for (const Family& family : kFamilies) {
    names += (names.empty() ? "" : ", ") + std::string(family.architecture);
  }
  return names;
}

}  // namespace parkd
