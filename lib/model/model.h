// Model: the forward pass of a decoder, written once for all families (family.h), in textbook
// order, on a Lane's ops. Source: Touvron et al., "LLaMA" (2023), and Hugging Face's
// modeling_llama.py; what the families do otherwise comes from their plans and weights.
//
// Immutable after construction and shared by all workers of the model; forward() may run on many
// lanes at once.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <vector>

#include "lib/base/status.h"
#include "lib/model/backend.h"

namespace parkd {

struct ModelCard;

struct LayerWeights {
  VectorId attention_norm;
  MatrixId qkv;     // q, k and v stacked
  VectorId q_norm;  // of each head, and k_norm; index -1 where the family has none
  VectorId k_norm;
  VectorId q_bias;  // and k_bias, v_bias; index -1 where the family has none
  VectorId k_bias;
  VectorId v_bias;
  MatrixId attention_out;
  VectorId post_attention_norm;  // of what attention adds; index -1 where the family has none
  VectorId ffn_norm;
  MatrixId gate_up;  // gate and up stacked
  MatrixId ffn_down;
  VectorId post_ffn_norm;  // of what the ffn adds; index -1 where the family has none
};

struct ModelWeights {
  MatrixId embedding;
  std::vector<LayerWeights> layers;
  VectorId output_norm;
  MatrixId head;  // the embedding itself where the two are tied
};

// One lane's working memory.
struct ModelBuffers {
  Buffer residual;        // (rows, hidden): the stream that every layer adds to
  Buffer normed;          // (rows, hidden): what a product reads, or is to be added once normed
  Buffer qkv;             // (rows, (n_heads + 2 n_kv_heads) * head_dim)
  Buffer attended;        // (rows, n_heads * head_dim)
  Buffer gate_up;         // (rows, 2 * ffn)
  Buffer activated;       // (rows, ffn)
  Buffer sampled;         // (logit rows, hidden)
  Buffer sampled_normed;  // (logit rows, hidden)
  Buffer logits;          // (logit rows, vocab)
};

// Told of the file's bytes that are loaded so far, of ModelCard::weight_bytes; a few times a second
// at most where layers are large. On the thread that loads, which an error ends.
using LoadProgress = std::function<Status(int64_t loaded_bytes)>;

// Loads every weight the card lists into `backend`. Fails with the backend's Status, or that of
// `progress`, which is called after each layer; it may be empty.
Result<ModelWeights> load_weights(const ModelCard& card, Backend& backend,
                                  const LoadProgress& progress);

// Rows and columns of each of a lane's buffers, in the order of ModelBuffers.
struct BufferSize {
  int64_t rows = 0;
  int64_t columns = 0;
};
std::array<BufferSize, 9> buffer_sizes(const ModelShape& shape, int64_t rows_max,
                                       int64_t logit_rows_max);

class Model {
 public:
  Model(ModelShape shape, ModelWeights weights);

  // Working memory for steps of at most `rows_max` tokens and `logit_rows_max` sampled rows.
  ModelBuffers make_buffers(Lane& lane, int64_t rows_max, int64_t logit_rows_max) const;

  // The same, with all that its steps need allocated (Lane::run_largest_step).
  Result<ModelBuffers> allocate(Lane& lane, int64_t rows_max, int64_t logit_rows_max) const;
  // The last before the lane's first job (Lane::prepare).
  Status prepare(Lane& lane, const ModelBuffers& buffers) const;

  // Starts a step and computes it up to the logits of batch.logit_rows, which are then in
  // buffers.logits. The caller ends the step with sample() or end_step(), and collects it.
  void forward(Lane& lane, const ModelBuffers& buffers, const StepBatch& batch) const;

  const ModelShape& shape() const { return shape_; }

 private:
  const ModelShape shape_;
  const ModelWeights weights_;
};

}  // namespace parkd
