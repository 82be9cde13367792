#include "lib/model/gguf_numbers.h"

#include <cmath>
#include <cstring>
#include <string>

#include "lib/base/json_writer.h"

namespace parkd {
namespace {

class Reader {
 public:
  Reader(const GgufFile& file, std::string_view architecture)
      : file_(file), prefix_(std::string(architecture) + ".") {}

  Result<DecoderNumbers> read() {
    PARKD_RETURN_IF_ERROR(refuse_other_arithmetic());
    PARKD_ASSIGN_OR_RETURN(numbers_.n_layers, integer("block_count", 1, kLayersMax));
    PARKD_ASSIGN_OR_RETURN(numbers_.hidden, integer("embedding_length", 1, kWidthMax));
    PARKD_ASSIGN_OR_RETURN(numbers_.ffn, integer("feed_forward_length", 1, kWidthMax));
    PARKD_ASSIGN_OR_RETURN(numbers_.context_tokens,
                           integer("context_length", 1, kContextTokensMax));
    PARKD_RETURN_IF_ERROR(read_heads());
    const std::string eps_key = key("attention.layer_norm_rms_epsilon");
    PARKD_ASSIGN_OR_RETURN(numbers_.rms_eps, file_.number(eps_key));
    if (!(numbers_.rms_eps > 0 && numbers_.rms_eps < 1)) {
      return corrupt(file_.error_text(eps_key + " is not in (0, 1)"));
    }
    PARKD_RETURN_IF_ERROR(read_rope());
    if (const Status status = check_numbers(numbers_); !status.ok()) {
      return corrupt(file_.error_text(status.message()));
    }
    PARKD_RETURN_IF_ERROR(read_divisors());
    return std::move(numbers_);
  }

 private:
  std::string key(std::string_view name) const { return prefix_ + std::string(name); }
  Status unsupported(const std::string& what) const { return invalid(file_.error_text(what)); }

  // Of [low, high].
  Result<int32_t> integer(std::string_view name, int64_t low, int64_t high) const {
    PARKD_ASSIGN_OR_RETURN(const int64_t value, file_.integer(key(name)));
    if (value < low || value > high) {
      return corrupt(file_.error_text("key " + json_string(key(name)) + " is " +
                                      std::to_string(value) + ", the limits are " +
                                      std::to_string(low) + " and " + std::to_string(high)));
    }
    return static_cast<int32_t>(value);
  }

  Status refuse_other_arithmetic() const {
    for (const char* name : {"expert_count", "attention.sliding_window", "attention.clamp_kqv",
                             "logit_scale", "attention.temperature_scale"}) {
      PARKD_ASSIGN_OR_RETURN(const double value, file_.number_or(key(name), 0));
      if (value != 0) return unsupported("key " + json_string(key(name)) + " is not supported yet");
    }
    return {};
  }

  Status read_heads() {
    PARKD_ASSIGN_OR_RETURN(numbers_.n_heads, integer("attention.head_count", 1, kWidthMax));
    numbers_.n_kv_heads = numbers_.n_heads;
    if (file_.has(key("attention.head_count_kv"))) {
      PARKD_ASSIGN_OR_RETURN(numbers_.n_kv_heads,
                             integer("attention.head_count_kv", 1, numbers_.n_heads));
    }
    if (!file_.has(key("attention.key_length"))) {
      if (numbers_.hidden % numbers_.n_heads != 0) {
        return corrupt(file_.error_text(key("embedding_length ") + std::to_string(numbers_.hidden) +
                                        " is no multiple of " + key("attention.head_count ") +
                                        std::to_string(numbers_.n_heads)));
      }
      numbers_.head_dim = numbers_.hidden / numbers_.n_heads;
      return {};
    }
    PARKD_ASSIGN_OR_RETURN(numbers_.head_dim, integer("attention.key_length", 2, kHeadDimMax));
    PARKD_ASSIGN_OR_RETURN(const int64_t value_length,
                           file_.integer_or(key("attention.value_length"), numbers_.head_dim));
    if (value_length == numbers_.head_dim) return {};
    return unsupported(key("attention.value_length ") + std::to_string(value_length) +
                       " differs from key_length " + std::to_string(numbers_.head_dim) +
                       ": not supported yet");
  }

  Status read_rope() {
    PARKD_ASSIGN_OR_RETURN(const std::string_view scaling,
                           file_.string_or(key("rope.scaling.type"), "none"));
    PARKD_ASSIGN_OR_RETURN(const double factor, file_.number_or(key("rope.scaling.factor"), 1));
    PARKD_ASSIGN_OR_RETURN(const double scale_linear, file_.number_or(key("rope.scale_linear"), 1));
    if (scaling != "none" || factor != 1 || scale_linear != 1) {
      return unsupported(key("rope.scaling ") + json_string(scaling) + " is not supported yet");
    }
    PARKD_ASSIGN_OR_RETURN(const int64_t rotated,
                           file_.integer_or(key("rope.dimension_count"), numbers_.head_dim));
    if (rotated != numbers_.head_dim) {
      return unsupported(key("rope.dimension_count ") + std::to_string(rotated) +
                         " differs from the head's " + std::to_string(numbers_.head_dim) +
                         ": not supported yet");
    }
    PARKD_ASSIGN_OR_RETURN(numbers_.rope.base, file_.number_or(key("rope.freq_base"), 10000));
    if (!(numbers_.rope.base >= 1 && numbers_.rope.base <= kRopeBaseMax)) {
      return corrupt(file_.error_text(key("rope.freq_base is not in [1, 1e12]")));
    }
    return {};
  }

  Status read_divisors() {
    const TensorView* found = file_.find_tensor(kRopeDivisors);
    if (found == nullptr) return {};
    const std::string name = "tensor " + json_string(kRopeDivisors);
    if (found->rows != 1 || found->columns != numbers_.head_dim / 2) {
      return corrupt(file_.error_text(name + " is (" + std::to_string(found->rows) + ", " +
                                      std::to_string(found->columns) +
                                      ") where the hyper-parameters make it (1, " +
                                      std::to_string(numbers_.head_dim / 2) + ")"));
    }
    if (found->type != TensorType::f32) return unsupported(name + " is not F32");
    std::vector<float>& divisors = numbers_.rope.divisors;
    divisors.resize(static_cast<size_t>(found->columns));
    std::memcpy(divisors.data(), found->bytes.data(), found->bytes.size());
    for (const float divisor : divisors) {
      if (!(divisor > 0) || !std::isfinite(divisor)) {
        return corrupt(file_.error_text(name + " holds " + std::to_string(divisor) +
                                        ", not a positive number"));
      }
    }
    return {};
  }

  const GgufFile& file_;
  const std::string prefix_;
  DecoderNumbers numbers_;
};

}  // namespace

Result<DecoderNumbers> read_gguf_numbers(const GgufFile& file, std::string_view architecture) {
  return Reader(file, architecture).read();
}

}  // namespace parkd
