#include "tests/support/tiny_weights.h"

#include <cmath>
#include <utility>

#include "tests/support/encode_tensor.h"
#include "tests/support/tiny_family.h"

namespace parkd::testing {
namespace {

// splitmix64 (Steele, Lea, Flood 2014): the same numbers everywhere, unlike <random>'s.
class Draw {
 public:
  explicit Draw(uint64_t seed) : state_(seed) {}

  // About normal, mean 0, deviation 1: the sum of 12 uniforms (Irwin-Hall).
  float normal() {
    double sum = -6;
    for (int i = 0; i < 12; ++i) sum += static_cast<double>(next() >> 11) * 0x1p-53;
    return static_cast<float>(sum);
  }

 private:
  uint64_t next() {
    uint64_t z = state_ += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
  }
  uint64_t state_;
};

class WeightPlanner {
 public:
  void norm(const std::string& name, int64_t columns) { norm(name, columns, 1.0F, 0.1F); }
  void norm(const std::string& name, int64_t columns, float mean, float deviation) {
    plans.push_back({name, 1, columns, mean, deviation, false, false});
  }
  // Deviation 1/sqrt(columns), so that a row of deviation 1 stays one.
  void matrix(const std::string& name, int64_t rows, int64_t columns) {
    table(name, rows, columns, 1.0F / std::sqrt(static_cast<float>(columns)), false);
  }
  void table(const std::string& name, int64_t rows, int64_t columns, float deviation, bool head) {
    plans.push_back({name, rows, columns, 0, deviation, true, head});
  }

  std::vector<TinyWeightPlan> plans;
};

// Control tokens get no weight in the head, so that a turn does not end by chance; bytes that are
// no printable ASCII get little, so that most output is readable.
float head_scale(int64_t token, int64_t n_control) {
  if (token < n_control) return 0.0F;
  const int64_t byte = token - n_control;
  if (byte >= 256) return 1.0F;
  return byte >= 0x20 && byte < 0x7f ? 1.0F : 0.25F;
}

}  // namespace

std::vector<TinyWeightPlan> plan_tiny_weights(const TinyModelOptions& options, int64_t vocab) {
  WeightPlanner weights;
  const int64_t hidden = options.hidden;
  const int64_t q_rows = int64_t{options.n_heads} * options.head_dim;
  const int64_t kv_rows = int64_t{options.n_kv_heads} * options.head_dim;
  // A head of deviation 0.5 on normed rows gives logits of deviation sqrt(hidden) / 2: few ties.
  weights.table("token_embd", vocab, hidden, 0.5F, options.tied);
  for (int32_t i = 0; i < options.n_layers; ++i) {
    const std::string prefix = "blk." + std::to_string(i) + ".";
    weights.norm(prefix + "attn_norm", hidden);
    const bool is_fused = tiny_family(options).is_fused;
    if (is_fused) {
      weights.matrix(prefix + "attn_qkv", q_rows + 2 * kv_rows, hidden);
    } else {
      weights.matrix(prefix + "attn_q", q_rows, hidden);
      weights.matrix(prefix + "attn_k", kv_rows, hidden);
      weights.matrix(prefix + "attn_v", kv_rows, hidden);
    }
    if (tiny_family(options).projection_biases) {
      // As large as what they are added to.
      weights.norm(prefix + "attn_q.bias", q_rows, 0.0F, 1.0F);
      weights.norm(prefix + "attn_k.bias", kv_rows, 0.0F, 1.0F);
      weights.norm(prefix + "attn_v.bias", kv_rows, 0.0F, 1.0F);
    }
    if (tiny_family(options).head_norms) {
      // Far enough from 1, and from each other, that leaving one out or swapping them shows.
      weights.norm(prefix + "attn_q_norm", options.head_dim, 1.5F, 0.4F);
      weights.norm(prefix + "attn_k_norm", options.head_dim, 0.8F, 0.4F);
    }
    weights.matrix(prefix + "attn_output", hidden, q_rows);
    if (tiny_family(options).norms_both_sides) {
      weights.norm(prefix + "post_attention_norm", hidden, 0.7F, 0.3F);
    }
    weights.norm(prefix + "ffn_norm", hidden);
    if (!is_fused) weights.matrix(prefix + "ffn_gate", options.ffn, hidden);
    weights.matrix(prefix + "ffn_up", is_fused ? 2 * options.ffn : options.ffn, hidden);
    weights.matrix(prefix + "ffn_down", hidden, options.ffn);
    if (tiny_family(options).norms_both_sides) {
      weights.norm(prefix + "post_ffw_norm", hidden, 1.4F, 0.3F);
    }
  }
  weights.norm("output_norm", hidden);
  if (!options.tied) weights.table("output", vocab, hidden, 0.5F, true);
  return std::move(weights.plans);
}

std::vector<TinyWeight> tiny_weights(const TinyModelOptions& options, int64_t vocab) {
  Draw draw(options.seed);
  const bool rounds_norms = tiny_family(options).hub_norm_offset != 0;
  const int64_t n_control = options.n_control > 0 ? options.n_control : 3;
  std::vector<TinyWeight> weights;
  for (const TinyWeightPlan& plan : plan_tiny_weights(options, vocab)) {
    std::vector<float> values;
    values.reserve(static_cast<size_t>(plan.rows * plan.columns));
    for (int64_t row = 0; row < plan.rows; ++row) {
      const float deviation = plan.deviation * (plan.head ? head_scale(row, n_control) : 1.0F);
      for (int64_t i = 0; i < plan.columns; ++i) {
        float value = deviation * draw.normal();
        if (!plan.is_matrix) value += plan.mean;  // not of matrices, whose zeros have signs
        if (!plan.is_matrix && rounds_norms) {
          value = std::nearbyint(value / kTinyNormStep) * kTinyNormStep;
        }
        values.push_back(value);
      }
    }
    const TensorType type = plan.is_matrix ? options.type : TensorType::f32;
    weights.push_back({plan.name, type, plan.rows, plan.columns, encode(type, values)});
  }
  return weights;
}

}  // namespace parkd::testing
