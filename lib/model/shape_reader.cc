#include "lib/model/shape_reader.h"

#include <cmath>
#include <cstring>

#include "lib/base/json_writer.h"

namespace parkd {
namespace {

constexpr int64_t kLayersMax = 4096;
constexpr int64_t kWidthMax = 1 << 20;  // hidden, ffn, heads x head_dim
constexpr int64_t kContextTokensMax = 1 << 24;

}  // namespace

Result<int32_t> ShapeReader::dimension(std::string_view name, int64_t low, int64_t high) const {
  PARKD_ASSIGN_OR_RETURN(const int64_t value, file_.integer(key(name)));
  if (value < low || value > high) {
    return corrupt(file_.error_text("key " + json_string(key(name)) + " is " +
                                    std::to_string(value) + ", the limits are " +
                                    std::to_string(low) + " and " + std::to_string(high)));
  }
  return static_cast<int32_t>(value);
}

Status ShapeReader::refuse_other_arithmetic() const {
  for (const char* name :
       {"expert_count", "attention.sliding_window", "attention.clamp_kqv", "logit_scale"}) {
    PARKD_ASSIGN_OR_RETURN(const double value, file_.number_or(key(name), 0));
    if (value != 0) return unsupported("key " + json_string(key(name)) + " is not supported yet");
  }
  return {};
}

Status ShapeReader::read_sizes(ModelShape& shape) const {
  PARKD_RETURN_IF_ERROR(refuse_other_arithmetic());
  PARKD_ASSIGN_OR_RETURN(shape.n_layers, dimension("block_count", 1, kLayersMax));
  PARKD_ASSIGN_OR_RETURN(shape.hidden, dimension("embedding_length", 1, kWidthMax));
  PARKD_ASSIGN_OR_RETURN(shape.ffn, dimension("feed_forward_length", 1, kWidthMax));
  PARKD_ASSIGN_OR_RETURN(shape.context_tokens, dimension("context_length", 1, kContextTokensMax));
  PARKD_RETURN_IF_ERROR(read_heads(shape));
  const std::string eps_key = key("attention.layer_norm_rms_epsilon");
  PARKD_ASSIGN_OR_RETURN(const double eps, file_.number(eps_key));
  if (!(eps > 0 && eps < 1)) return corrupt(file_.error_text(eps_key + " is not in (0, 1)"));
  shape.rms_eps = static_cast<float>(eps);
  return {};
}

Status ShapeReader::read_heads(ModelShape& shape) const {
  PARKD_ASSIGN_OR_RETURN(shape.n_heads, dimension("attention.head_count", 1, kWidthMax));
  shape.n_kv_heads = shape.n_heads;
  if (file_.has(key("attention.head_count_kv"))) {
    PARKD_ASSIGN_OR_RETURN(shape.n_kv_heads,
                           dimension("attention.head_count_kv", 1, shape.n_heads));
  }
  if (shape.n_heads % shape.n_kv_heads != 0) {
    return corrupt(file_.error_text(key("attention.head_count ") + std::to_string(shape.n_heads) +
                                    " is no multiple of " + key("attention.head_count_kv ") +
                                    std::to_string(shape.n_kv_heads)));
  }
  if (file_.has(key("attention.key_length"))) {
    PARKD_ASSIGN_OR_RETURN(shape.head_dim, dimension("attention.key_length", 2, 1024));
    PARKD_ASSIGN_OR_RETURN(const int64_t value_length,
                           file_.integer_or(key("attention.value_length"), shape.head_dim));
    if (value_length != shape.head_dim) {
      return unsupported(key("attention.value_length ") + std::to_string(value_length) +
                         " differs from key_length " + std::to_string(shape.head_dim) +
                         ": not supported yet");
    }
  } else {
    if (shape.hidden % shape.n_heads != 0) {
      return corrupt(file_.error_text(key("embedding_length ") + std::to_string(shape.hidden) +
                                      " is no multiple of " + key("attention.head_count ") +
                                      std::to_string(shape.n_heads)));
    }
    shape.head_dim = shape.hidden / shape.n_heads;
  }
  if (shape.head_dim % 2 != 0 || int64_t{shape.head_dim} * shape.n_heads > kWidthMax) {
    return corrupt(file_.error_text(
        "a head of " + std::to_string(shape.head_dim) + " x " + std::to_string(shape.n_heads) +
        " heads: it must be even, and all of them at most " + std::to_string(kWidthMax)));
  }
  return {};
}

Status ShapeReader::add_rope(RopeLayout layout, std::span<const float> divisors,
                             ModelShape& shape) const {
  PARKD_ASSIGN_OR_RETURN(const std::string_view scaling,
                         file_.string_or(key("rope.scaling.type"), "none"));
  PARKD_ASSIGN_OR_RETURN(const double factor, file_.number_or(key("rope.scaling.factor"), 1));
  PARKD_ASSIGN_OR_RETURN(const double scale_linear, file_.number_or(key("rope.scale_linear"), 1));
  if (scaling != "none" || factor != 1 || scale_linear != 1) {
    return unsupported(key("rope.scaling ") + json_string(scaling) + " is not supported yet");
  }
  PARKD_ASSIGN_OR_RETURN(const int64_t rotated,
                         file_.integer_or(key("rope.dimension_count"), shape.head_dim));
  if (rotated != shape.head_dim) {
    return unsupported(key("rope.dimension_count ") + std::to_string(rotated) +
                       " differs from the head's " + std::to_string(shape.head_dim) +
                       ": not supported yet");
  }
  PARKD_ASSIGN_OR_RETURN(const double base, file_.number_or(key("rope.freq_base"), 10000));
  if (!(base >= 1 && base <= 1e12)) {
    return corrupt(file_.error_text(key("rope.freq_base is not in [1, 1e12]")));
  }
  Rope rope;
  rope.layout = layout;
  for (int32_t i = 0; i < shape.head_dim / 2; ++i) {
    const double exponent = -2.0 * i / shape.head_dim;
    const double divisor = divisors.empty() ? 1.0 : double{divisors[static_cast<size_t>(i)]};
    rope.inv_freq.push_back(static_cast<float>(std::pow(base, exponent) / divisor));
  }
  shape.ropes.push_back(std::move(rope));
  return {};
}

Result<std::vector<float>> ShapeReader::rope_divisors(const ModelShape& shape) {
  const TensorView* found = file_.find_tensor(kRopeDivisors);
  if (found == nullptr) return std::vector<float>();
  const std::string name = "tensor " + json_string(kRopeDivisors);
  if (found->rows != 1 || found->columns != shape.head_dim / 2) {
    return corrupt(file_.error_text(
        name + " is (" + std::to_string(found->rows) + ", " + std::to_string(found->columns) +
        ") where the hyper-parameters make it (1, " + std::to_string(shape.head_dim / 2) + ")"));
  }
  if (found->type != TensorType::f32) return unsupported(name + " is not F32");
  std::vector<float> divisors(static_cast<size_t>(found->columns));
  std::memcpy(divisors.data(), found->bytes.data(), found->bytes.size());
  for (const float divisor : divisors) {
    if (!(divisor > 0) || !std::isfinite(divisor)) {
      return corrupt(
          file_.error_text(name + " holds " + std::to_string(divisor) + ", not a positive number"));
    }
  }
  used_rope_divisors_ = true;
  return divisors;
}

}  // namespace parkd
