#include "lib/model/model.h"

#include <cstring>
#include <span>
#include <utility>

#include "lib/base/check.h"
#include "lib/model/model_card.h"

namespace parkd {

namespace {

// A tensor of `heads_in_halves` (model_tensors.h) as the layers want it; `memory` keeps its bytes.
TensorView with_pairs_together(const TensorView& tensor, int32_t head_dim,
                               std::vector<uint8_t>& memory) {
  const bool is_vector = tensor.rows == 1;
  const auto n = static_cast<size_t>(is_vector ? tensor.columns : tensor.rows);
  const size_t bytes = tensor.bytes.size() / n;  // of what is moved: a row, or a vector's element
  const auto half = static_cast<size_t>(head_dim) / 2;
  memory.resize(tensor.bytes.size());
  for (size_t i = 0; i < n; ++i) {
    const size_t head = i / (2 * half) * (2 * half);
    const size_t from = head + i % 2 * half + i % (2 * half) / 2;
    std::memcpy(memory.data() + i * bytes, tensor.bytes.data() + from * bytes, bytes);
  }
  TensorView moved = tensor;
  moved.bytes = memory;
  return moved;
}

}  // namespace

Result<ModelWeights> load_weights(const ModelCard& card, Backend& backend,
                                  const LoadProgress& progress) {
  const ModelTensors& tensors = card.tensors;
  int64_t loaded_bytes = 0;
  const auto vector = [&](const TensorView& tensor) {
    loaded_bytes += static_cast<int64_t>(tensor.bytes.size());
    return backend.load_vector(tensor);
  };
  const auto matrix = [&](std::span<const TensorView> parts) {
    for (const TensorView& part : parts) loaded_bytes += static_cast<int64_t>(part.bytes.size());
    return backend.load_matrix(parts);
  };
  ModelWeights weights;
  PARKD_ASSIGN_OR_RETURN(weights.embedding, matrix({&tensors.embedding, 1}));
  for (const LayerTensors& from : tensors.layers) {
    std::vector<uint8_t> moved_q;
    std::vector<uint8_t> moved_k;
    const auto rows_of_heads = [&](const TensorView& tensor, std::vector<uint8_t>& memory) {
      if (!tensors.heads_in_halves) return tensor;
      return with_pairs_together(tensor, card.shape.head_dim, memory);
    };
    const TensorView qkv[] = {rows_of_heads(from.q, moved_q), rows_of_heads(from.k, moved_k),
                              from.v};
    const TensorView gate_up[] = {from.gate, from.up};
    LayerWeights layer;
    PARKD_ASSIGN_OR_RETURN(layer.attention_norm, vector(from.attention_norm));
    PARKD_ASSIGN_OR_RETURN(layer.qkv, matrix(qkv));
    if (from.q_norm.rows > 0) {
      PARKD_ASSIGN_OR_RETURN(layer.q_norm, vector(rows_of_heads(from.q_norm, moved_q)));
      PARKD_ASSIGN_OR_RETURN(layer.k_norm, vector(rows_of_heads(from.k_norm, moved_k)));
    }
    if (from.q_bias.rows > 0) {
      PARKD_ASSIGN_OR_RETURN(layer.q_bias, vector(rows_of_heads(from.q_bias, moved_q)));
      PARKD_ASSIGN_OR_RETURN(layer.k_bias, vector(rows_of_heads(from.k_bias, moved_k)));
      PARKD_ASSIGN_OR_RETURN(layer.v_bias, vector(from.v_bias));
    }
    PARKD_ASSIGN_OR_RETURN(layer.attention_out, matrix({&from.attention_out, 1}));
    PARKD_ASSIGN_OR_RETURN(layer.ffn_norm, vector(from.ffn_norm));
    PARKD_ASSIGN_OR_RETURN(layer.gate_up, matrix(gate_up));
    PARKD_ASSIGN_OR_RETURN(layer.ffn_down, matrix({&from.down, 1}));
    weights.layers.push_back(layer);
    if (progress) progress(loaded_bytes);
  }
  PARKD_ASSIGN_OR_RETURN(weights.output_norm, vector(tensors.output_norm));
  weights.head = weights.embedding;
  if (tensors.head) {
    PARKD_ASSIGN_OR_RETURN(weights.head, matrix({&*tensors.head, 1}));
  }
  return weights;
}

Model::Model(ModelShape shape, ModelWeights weights)
    : shape_(std::move(shape)), weights_(std::move(weights)) {
  PARKD_CHECK(static_cast<int32_t>(weights_.layers.size()) == shape_.n_layers,
              "a model has the weights of every layer");
  PARKD_CHECK(shape_.layers.size() == weights_.layers.size(), "a model has a plan of every layer");
}

ModelBuffers Model::make_buffers(Lane& lane, int64_t rows_max, int64_t logit_rows_max) const {
  const int64_t head_dim = shape_.head_dim;
  ModelBuffers buffers;
  buffers.residual = lane.make_buffer(rows_max, shape_.hidden);
  buffers.normed = lane.make_buffer(rows_max, shape_.hidden);
  buffers.qkv =
      lane.make_buffer(rows_max, (shape_.n_heads + 2 * int64_t{shape_.n_kv_heads}) * head_dim);
  buffers.attended = lane.make_buffer(rows_max, shape_.n_heads * head_dim);
  buffers.gate_up = lane.make_buffer(rows_max, 2 * int64_t{shape_.ffn});
  buffers.activated = lane.make_buffer(rows_max, shape_.ffn);
  buffers.sampled = lane.make_buffer(logit_rows_max, shape_.hidden);
  buffers.sampled_normed = lane.make_buffer(logit_rows_max, shape_.hidden);
  buffers.logits = lane.make_buffer(logit_rows_max, shape_.vocab);
  return buffers;
}

Result<ModelBuffers> Model::prepare(Lane& lane, int64_t rows_max, int64_t logit_rows_max) const {
  const ModelBuffers buffers = make_buffers(lane, rows_max, logit_rows_max);
  PARKD_RETURN_IF_ERROR(
      lane.prepare([&](const StepBatch& batch) { forward(lane, buffers, batch); }, buffers.logits));
  return buffers;
}

void Model::forward(Lane& lane, const ModelBuffers& buffers, const StepBatch& batch) const {
  lane.begin_step(batch);
  lane.embed(weights_.embedding, shape_.embedding_scale, buffers.residual);
  for (int32_t i = 0; i < shape_.n_layers; ++i) {
    const LayerWeights& layer = weights_.layers[static_cast<size_t>(i)];
    const LayerPlan& plan = shape_.layers[static_cast<size_t>(i)];
    lane.rms_norm(buffers.residual, layer.attention_norm, buffers.normed);
    lane.matmul(layer.qkv, buffers.normed, buffers.qkv);
    lane.rope_and_store(i,
                        {layer.q_norm, layer.k_norm, plan.rope, layer.q_bias, layer.k_bias,
                         layer.v_bias, plan.query_scale},
                        buffers.qkv);
    lane.attention(i, {plan.attention_scale, plan.window}, buffers.qkv, buffers.attended);
    lane.matmul_add(layer.attention_out, buffers.attended, buffers.residual);

    lane.rms_norm(buffers.residual, layer.ffn_norm, buffers.normed);
    lane.matmul(layer.gate_up, buffers.normed, buffers.gate_up);
    lane.gate_mul(plan.activation, buffers.gate_up, buffers.activated);
    lane.matmul_add(layer.ffn_down, buffers.activated, buffers.residual);
  }
  if (batch.logit_rows.empty()) return;  // a chunk in the middle of a prompt: only its KV matters
  lane.gather_logit_rows(buffers.residual, buffers.sampled);
  lane.rms_norm(buffers.sampled, weights_.output_norm, buffers.sampled_normed);
  lane.matmul(weights_.head, buffers.sampled_normed, buffers.logits);
}

}  // namespace parkd
