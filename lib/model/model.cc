#include "lib/model/model.h"

#include <cstring>
#include <initializer_list>
#include <list>
#include <span>
#include <utility>

#include "lib/base/check.h"
#include "lib/model/model_card.h"
#include "lib/weights/dequantise.h"
#include "lib/weights/float8.h"

namespace parkd {

namespace {

// A tensor of `rows_in_halves` (model_tensors.h) as the layers want it; `memory` keeps its bytes.
TensorView with_pairs_together(const TensorView& tensor, int32_t head_dim, int32_t rows_in_halves,
                               std::vector<uint8_t>& memory) {
  const bool is_vector = tensor.rows == 1;
  const auto n = static_cast<size_t>(is_vector ? tensor.columns : tensor.rows);
  const size_t bytes = tensor.bytes.size() / n;  // of what is moved: a row, or a vector's element
  const auto in_halves = static_cast<size_t>(rows_in_halves);
  memory.resize(tensor.bytes.size());
  for (size_t i = 0; i < n; ++i) {
    const size_t row = i % static_cast<size_t>(head_dim);  // of its head
    const size_t from = row < in_halves ? i - row + row % 2 * (in_halves / 2) + row / 2 : i;
    std::memcpy(memory.data() + i * bytes, tensor.bytes.data() + from * bytes, bytes);
  }
  TensorView moved = tensor;
  moved.bytes = memory;
  return moved;
}

// A norm's weight and what its file leaves out of it, in floats, as GGUF's converter adds it;
// `memory` keeps its bytes.
TensorView with_offset(const TensorView& tensor, float offset, std::vector<uint8_t>& memory) {
  std::vector<float> values(static_cast<size_t>(tensor.columns));
  dequantise(tensor.type, tensor.bytes.data(), tensor.columns, values.data());
  for (float& value : values) value += offset;
  memory.resize(values.size() * sizeof(float));
  std::memcpy(memory.data(), values.data(), memory.size());
  TensorView whole = tensor;
  whole.type = TensorType::f32;
  whole.bytes = memory;
  return whole;
}

// What the codes of an F8_E4M3 tensor stand for.
Result<TensorView> as_floats(const TensorView& tensor, std::vector<uint8_t>& memory) {
  memory.resize(static_cast<size_t>(tensor.rows * tensor.columns) * sizeof(float));
  PARKD_RETURN_IF_ERROR(dequantise_float8(tensor, reinterpret_cast<float*>(memory.data())));
  return TensorView{tensor.name, TensorType::f32, tensor.rows, tensor.columns, memory};
}

}  // namespace

Result<ModelWeights> load_weights(const ModelCard& card, Backend& backend,
                                  const LoadProgress& progress) {
  const ModelTensors& tensors = card.tensors;
  std::list<std::vector<uint8_t>> memory;  // of what is loaded other than it lies in the file
  const auto vector = [&](const TensorView& tensor) { return backend.load_vector(tensor); };
  const auto norm = [&](const TensorView& tensor) {
    if (tensors.norm_offset == 0) return vector(tensor);
    return vector(with_offset(tensor, tensors.norm_offset, memory.emplace_back()));
  };
  const auto norm_if_any = [&](const TensorView& tensor) {
    return tensor.rows > 0 ? norm(tensor) : Result<VectorId>(VectorId{});
  };
  const auto rows_of_heads = [&](const TensorView& tensor) {
    if (tensors.rows_in_halves == 0) return tensor;
    return with_pairs_together(tensor, card.shape.head_dim, tensors.rows_in_halves,
                               memory.emplace_back());
  };
  // Of `stored` the first n_of_heads have rows of heads.
  const auto matrix = [&](std::initializer_list<TensorView> stored,
                          size_t n_of_heads = 0) -> Result<MatrixId> {
    std::vector<TensorView> parts;
    for (TensorView part : stored) {
      if (part.float8 != nullptr) {
        PARKD_ASSIGN_OR_RETURN(part, as_floats(part, memory.emplace_back()));
      }
      parts.push_back(parts.size() < n_of_heads ? rows_of_heads(part) : part);
    }
    auto loaded = backend.load_matrix(parts);
    memory.clear();
    return loaded;
  };
  int64_t loaded_bytes = 0;
  ModelWeights weights;
  PARKD_ASSIGN_OR_RETURN(weights.embedding, matrix({tensors.embedding}));
  loaded_bytes += static_cast<int64_t>(tensors.embedding.bytes.size());
  for (const LayerTensors& from : tensors.layers) {
    LayerWeights layer;
    PARKD_ASSIGN_OR_RETURN(layer.attention_norm, norm(from.attention_norm));
    PARKD_ASSIGN_OR_RETURN(layer.qkv, matrix({from.q, from.k, from.v}, 2));
    if (from.q_norm.rows > 0) {
      PARKD_ASSIGN_OR_RETURN(layer.q_norm, norm(rows_of_heads(from.q_norm)));
      PARKD_ASSIGN_OR_RETURN(layer.k_norm, norm(rows_of_heads(from.k_norm)));
    }
    if (from.q_bias.rows > 0) {
      PARKD_ASSIGN_OR_RETURN(layer.q_bias, vector(rows_of_heads(from.q_bias)));
      PARKD_ASSIGN_OR_RETURN(layer.k_bias, vector(rows_of_heads(from.k_bias)));
      PARKD_ASSIGN_OR_RETURN(layer.v_bias, vector(from.v_bias));
    }
    PARKD_ASSIGN_OR_RETURN(layer.attention_out, matrix({from.attention_out}));
    PARKD_ASSIGN_OR_RETURN(layer.post_attention_norm, norm_if_any(from.post_attention_norm));
    PARKD_ASSIGN_OR_RETURN(layer.ffn_norm, norm(from.ffn_norm));
    PARKD_ASSIGN_OR_RETURN(layer.gate_up, matrix({from.gate, from.up}));
    PARKD_ASSIGN_OR_RETURN(layer.ffn_down, matrix({from.down}));
    PARKD_ASSIGN_OR_RETURN(layer.post_ffn_norm, norm_if_any(from.post_ffn_norm));
    weights.layers.push_back(layer);
    for (const auto tensor : kLayerMatrices) {
      loaded_bytes += static_cast<int64_t>((from.*tensor).bytes.size());
    }
    for (const auto tensor : kLayerVectors) {
      loaded_bytes += static_cast<int64_t>((from.*tensor).bytes.size());
    }
    if (progress) PARKD_RETURN_IF_ERROR(progress(loaded_bytes));
  }
  PARKD_ASSIGN_OR_RETURN(weights.output_norm, norm(tensors.output_norm));
  weights.head = weights.embedding;
  if (tensors.head) {
    PARKD_ASSIGN_OR_RETURN(weights.head, matrix({*tensors.head}));
  }
  return weights;
}

Model::Model(ModelShape shape, ModelWeights weights)
    : shape_(std::move(shape)), weights_(std::move(weights)) {
  PARKD_CHECK(static_cast<int32_t>(weights_.layers.size()) == shape_.n_layers,
              "a model has the weights of every layer");
  PARKD_CHECK(shape_.layers.size() == weights_.layers.size(), "a model has a plan of every layer");
}

std::array<BufferSize, 9> buffer_sizes(const ModelShape& shape, int64_t rows_max,
                                       int64_t logit_rows_max) {
  const int64_t head_dim = shape.head_dim;
  return {{{rows_max, shape.hidden},
           {rows_max, shape.hidden},
           {rows_max, (shape.n_heads + 2 * int64_t{shape.n_kv_heads}) * head_dim},
           {rows_max, shape.n_heads * head_dim},
           {rows_max, 2 * int64_t{shape.ffn}},
           {rows_max, shape.ffn},
           {logit_rows_max, shape.hidden},
           {logit_rows_max, shape.hidden},
           {logit_rows_max, shape.vocab}}};
}

ModelBuffers Model::make_buffers(Lane& lane, int64_t rows_max, int64_t logit_rows_max) const {
  ModelBuffers buffers;
  const std::array<Buffer*, 9> all = {
      &buffers.residual, &buffers.normed,         &buffers.qkv,
      &buffers.attended, &buffers.gate_up,        &buffers.activated,
      &buffers.sampled,  &buffers.sampled_normed, &buffers.logits};
  const auto sizes = buffer_sizes(shape_, rows_max, logit_rows_max);
  for (size_t i = 0; i < all.size(); ++i) {
    *all[i] = lane.make_buffer(sizes[i].rows, sizes[i].columns);
  }
  return buffers;
}

Result<ModelBuffers> Model::allocate(Lane& lane, int64_t rows_max, int64_t logit_rows_max) const {
  const ModelBuffers buffers = make_buffers(lane, rows_max, logit_rows_max);
  PARKD_RETURN_IF_ERROR(lane.run_largest_step(
      [&](const StepBatch& batch) { forward(lane, buffers, batch); }, buffers.logits));
  return buffers;
}

Status Model::prepare(Lane& lane, const ModelBuffers& buffers) const {
  return lane.prepare([&](const StepBatch& batch) { forward(lane, buffers, batch); },
                      buffers.logits);
}

void Model::forward(Lane& lane, const ModelBuffers& buffers, const StepBatch& batch) const {
  // What a layer's half makes goes to the residual, normed where the family norms it.
  const auto add = [&](MatrixId weight, Buffer in, VectorId norm) {
    if (norm.index < 0) return lane.matmul_add(weight, in, buffers.residual);
    lane.matmul(weight, in, buffers.normed);
    lane.rms_norm_add(buffers.normed, norm, buffers.residual);
  };
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
    add(layer.attention_out, buffers.attended, layer.post_attention_norm);

    lane.rms_norm(buffers.residual, layer.ffn_norm, buffers.normed);
    lane.matmul(layer.gate_up, buffers.normed, buffers.gate_up);
    lane.gate_mul(plan.activation, buffers.gate_up, buffers.activated);
    add(layer.ffn_down, buffers.activated, layer.post_ffn_norm);
  }
  if (batch.logit_rows.empty()) return;  // a chunk in the middle of a prompt: only its KV matters
  lane.gather_logit_rows(buffers.residual, buffers.sampled);
  lane.rms_norm(buffers.sampled, weights_.output_norm, buffers.sampled_normed);
  lane.matmul(weights_.head, buffers.sampled_normed, buffers.logits);
}

}  // namespace parkd
