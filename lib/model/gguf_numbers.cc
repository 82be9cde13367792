#include "lib/model/gguf_numbers.h"

#include <cmath>
#include <cstring>
#include <string>

#include "lib/base/json_writer.h"

namespace parkd {
namespace {

// What llama.cpp knows of an architecture and its files need not say.
struct Habits {
  std::string_view architecture;
  bool scales_queries = false;  // attention.temperature_scale
  // Each so many layers the last sees all, where there is a window; 0: files say no window.
  int32_t window_period = 0;
  bool has_window_of_all = false;  // of all layers, where there is one
  int32_t unrotated_period = 0;    // each so many layers the last has no rope; 0: all have
  // The model of exactly so many layers divides scores by the root of hidden / heads; 0: none does.
  int32_t n_layers_of_even_divisor = 0;
  // Heads may turn in part (rope.dimension_count), and by LongRoPE's divisors.
  bool has_long_rope = false;
};

constexpr Habits kHabits[] = {
    {.architecture = "mistral3", .scales_queries = true},
    {.architecture = "smollm3", .unrotated_period = 4},
    // Of its models only the largest, of 62 layers, has a query_pre_attn_scalar of its own.
    {.architecture = "gemma3", .window_period = 6, .n_layers_of_even_divisor = 62},
    {.architecture = "phi3", .has_window_of_all = true, .has_long_rope = true},
};

constexpr std::string_view kDivisors[] = {"rope_freqs.weight"};
constexpr std::string_view kLongDivisors[] = {"rope_factors_short.weight",
                                              "rope_factors_long.weight"};

Habits habits_of(std::string_view architecture) {
  for (const Habits& each : kHabits) {
    if (each.architecture == architecture) return each;
  }
  return {.architecture = architecture};
}

class Reader {
 public:
  Reader(const GgufFile& file, std::string_view architecture)
      : file_(file), prefix_(std::string(architecture) + "."), habits_(habits_of(architecture)) {}

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
    PARKD_RETURN_IF_ERROR(read_windows());
    for (int32_t i = 0; habits_.unrotated_period > 0 && i < numbers_.n_layers; ++i) {
      numbers_.unrotated.push_back((i + 1) % habits_.unrotated_period == 0);
    }
    if (numbers_.n_layers == habits_.n_layers_of_even_divisor) {
      const int32_t even_share = numbers_.hidden / numbers_.n_heads;  // of the hidden state, a head
      numbers_.query_divisor = even_share;
    }
    if (const Status status = check_numbers(numbers_); !status.ok()) {
      return corrupt(file_.error_text(status.message()));
    }
    PARKD_RETURN_IF_ERROR(habits_.has_long_rope ? read_long_rope() : read_divisors());
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

  Result<double> number_or(std::string_view name, double low, double high, double otherwise) const {
    PARKD_ASSIGN_OR_RETURN(const double value, file_.number_or(key(name), otherwise));
    if (value >= low && value <= high) return value;
    return corrupt(file_.error_text("key " + json_string(key(name)) + " is " +
                                    std::to_string(value) + ", the limits are " +
                                    std::to_string(low) + " and " + std::to_string(high)));
  }

  // Where the key has another value than the one that means nothing.
  Status refuse_unless(std::string_view name, double neutral) const {
    PARKD_ASSIGN_OR_RETURN(const double value, file_.number_or(key(name), neutral));
    if (value == neutral) return {};
    return unsupported("key " + json_string(key(name)) + " is not supported yet");
  }

  Status refuse_other_arithmetic() const {
    for (const char* name : {"expert_count", "attention.clamp_kqv", "logit_scale",
                             "attn_logit_softcapping", "final_logit_softcapping"}) {
      PARKD_RETURN_IF_ERROR(refuse_unless(name, 0));
    }
    if (habits_.window_period > 0 || habits_.has_window_of_all) return {};
    return refuse_unless("attention.sliding_window", 0);
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
                                        " is not a multiple of " + key("attention.head_count ") +
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
    PARKD_ASSIGN_OR_RETURN(const int64_t rotated,
                           file_.integer_or(key("rope.dimension_count"), numbers_.head_dim));
    if (rotated != numbers_.head_dim && !habits_.has_long_rope) {
      return unsupported(key("rope.dimension_count ") + std::to_string(rotated) +
                         " differs from the head's " + std::to_string(numbers_.head_dim) +
                         ": not supported yet");
    }
    const bool is_part = rotated >= 2 && rotated < numbers_.head_dim && rotated % 2 == 0;
    if (rotated != numbers_.head_dim && !is_part) {
      return corrupt(file_.error_text(key("rope.dimension_count is ") + std::to_string(rotated) +
                                      ", it must be even, and from 2 to the head's " +
                                      std::to_string(numbers_.head_dim)));
    }
    numbers_.rope.n_turned = static_cast<int32_t>(rotated);
    PARKD_ASSIGN_OR_RETURN(numbers_.rope.base, file_.number_or(key("rope.freq_base"), 10000));
    if (!(numbers_.rope.base >= 1 && numbers_.rope.base <= kRopeBaseMax)) {
      return corrupt(file_.error_text(key("rope.freq_base is not in [1, 1e12]")));
    }
    original_ = numbers_.context_tokens;
    if (file_.has(key("rope.scaling.original_context_length"))) {
      PARKD_ASSIGN_OR_RETURN(original_,
                             integer("rope.scaling.original_context_length", 1, kContextTokensMax));
    }
    PARKD_RETURN_IF_ERROR(read_query_scale());
    return read_scaling();
  }

  Status read_scaling() {
    // As llama.cpp reads them: a factor without a type is linear's, of type none there is none.
    PARKD_ASSIGN_OR_RETURN(const std::string_view scaling,
                           file_.string_or(key("rope.scaling.type"), "linear"));
    if (scaling == "none") return {};
    if (scaling != "linear" && scaling != "yarn") {
      return unsupported(key("rope.scaling.type ") + json_string(scaling) +
                         " is not supported yet");
    }
    PARKD_ASSIGN_OR_RETURN(const double older,
                           number_or("rope.scale_linear", 1e-3, kRopeFactorMax, 1));
    PARKD_ASSIGN_OR_RETURN(const double factor,
                           number_or("rope.scaling.factor", 1e-3, kRopeFactorMax, older));
    if (!habits_.has_long_rope) PARKD_RETURN_IF_ERROR(refuse_unless("rope.scaling.attn_factor", 1));
    if (scaling == "yarn") return read_yarn(factor);
    if (factor == 1) return {};
    numbers_.rope.scaling = RopeScaling::linear;
    numbers_.rope.factor = factor;
    return {};
  }

  Status read_yarn(double factor) {
    RopeNumbers& rope = numbers_.rope;
    if (rope.base <= 1) {
      return corrupt(file_.error_text("yarn needs a " + key("rope.freq_base") + " above 1"));
    }
    rope.scaling = RopeScaling::yarn;
    rope.yarn.factor = factor;
    rope.yarn.original_context = original_;
    PARKD_ASSIGN_OR_RETURN(rope.yarn.beta_fast,
                           number_or("rope.scaling.yarn_beta_fast", 1e-3, 1e6, 32));
    PARKD_ASSIGN_OR_RETURN(rope.yarn.beta_slow,
                           number_or("rope.scaling.yarn_beta_slow", 1e-3, 1e6, 1));
    PARKD_RETURN_IF_ERROR(refuse_unless("rope.scaling.yarn_ext_factor", 1));
    // transformers' attention_factor and mscale_all_dim; beside that one mscale is 1.
    if (file_.has(key("rope.scaling.yarn_attn_factor"))) {
      PARKD_ASSIGN_OR_RETURN(rope.yarn.attention_factor,
                             number_or("rope.scaling.yarn_attn_factor", 1e-3, 1e3, 1));
    }
    PARKD_ASSIGN_OR_RETURN(const double all_dim,
                           number_or("rope.scaling.yarn_log_multiplier", 0, 1e3, 0));
    if (all_dim == 0) return {};
    rope.yarn.mscale = 1;
    rope.yarn.mscale_all_dim = all_dim;
    return {};
  }

  Status read_query_scale() {
    if (!habits_.scales_queries) return refuse_unless("attention.temperature_scale", 0);
    PARKD_ASSIGN_OR_RETURN(const double beta, number_or("attention.temperature_scale", 0, 1e3, 0));
    PARKD_RETURN_IF_ERROR(refuse_unless("attention.temperature_length", original_));
    if (beta != 0) numbers_.query_scale = {static_cast<float>(beta), original_};
    return {};
  }

  // Where a period says which layers have a window, these turn by a rope of their own, whose
  // frequencies are never scaled.
  Status read_windows() {
    if (!habits_.has_window_of_all && habits_.window_period == 0) return {};
    if (!file_.has(key("attention.sliding_window"))) return {};
    PARKD_ASSIGN_OR_RETURN(const int32_t window,
                           integer("attention.sliding_window", 0, kContextTokensMax));
    if (window == 0) return {};
    if (habits_.has_window_of_all) {
      const bool sees_all = window >= numbers_.context_tokens;
      if (!sees_all) numbers_.windows.assign(static_cast<size_t>(numbers_.n_layers), window);
      return {};
    }
    PARKD_RETURN_IF_ERROR(read_layers_with_window());
    PARKD_ASSIGN_OR_RETURN(numbers_.local_rope.base,
                           number_or("rope.freq_base_swa", 1, kRopeBaseMax, 10000));
    if (window >= numbers_.context_tokens) return {};
    for (const bool is_local : numbers_.local) numbers_.windows.push_back(is_local ? window : 0);
    return {};
  }

  // A period, or an entry for each layer.
  Status read_layers_with_window() {
    constexpr std::string_view kPattern = "attention.sliding_window_pattern";
    int64_t period = habits_.window_period;
    if (file_.has(key(kPattern))) {
      if (auto each = file_.flags(key(kPattern)); each.ok()) {
        if (static_cast<int64_t>(each->size()) != numbers_.n_layers) {
          return corrupt(file_.error_text(key(kPattern) + " has " + std::to_string(each->size()) +
                                          " entries where block_count is " +
                                          std::to_string(numbers_.n_layers)));
        }
        numbers_.local = std::move(*each);
        return {};
      }
      PARKD_ASSIGN_OR_RETURN(period, integer(kPattern, 1, kLayersMax));
    }
    for (int32_t i = 0; i < numbers_.n_layers; ++i) {
      numbers_.local.push_back((i + 1) % period != 0);
    }
    return {};
  }

  Status read_divisors() {
    if (file_.find_tensor(kDivisors[0]) == nullptr) return {};
    if (numbers_.rope.scaling != RopeScaling::none) {
      return unsupported("tensor " + json_string(kDivisors[0]) + " beside " +
                         key("rope.scaling.type") + " is not supported yet");
    }
    PARKD_ASSIGN_OR_RETURN(numbers_.rope.divisors, divisors_of(kDivisors[0]));
    return {};
  }

  // Two tensors of divisors, of which the context chooses one for good (DESIGN, "Families").
  Status read_long_rope() {
    PARKD_ASSIGN_OR_RETURN(numbers_.rope.amplitude,
                           number_or("rope.scaling.attn_factor", 1e-3, 1e3, 1));
    const bool is_extended = numbers_.context_tokens > original_;
    const bool has_any = file_.find_tensor(kLongDivisors[0]) != nullptr ||
                         file_.find_tensor(kLongDivisors[1]) != nullptr;
    if (!has_any && !is_extended && numbers_.rope.amplitude == 1) return {};
    if (numbers_.rope.scaling != RopeScaling::none) {
      return unsupported(key("rope.scaling.type") + " beside a rope of " +
                         std::string(kLongDivisors[0]) + " is not supported yet");
    }
    PARKD_ASSIGN_OR_RETURN(auto of_short, divisors_of(kLongDivisors[0]));
    PARKD_ASSIGN_OR_RETURN(auto of_long, divisors_of(kLongDivisors[1]));
    numbers_.rope.divisors = std::move(is_extended ? of_long : of_short);
    return {};
  }

  Result<std::vector<float>> divisors_of(std::string_view tensor) const {
    const std::string name = "tensor " + json_string(tensor);
    const TensorView* found = file_.find_tensor(tensor);
    if (found == nullptr) {
      return corrupt(file_.error_text(
          name + " is missing, where " + key("context_length") + " " +
          std::to_string(numbers_.context_tokens) + " is beyond " +
          key("rope.scaling.original_context_length") + " " + std::to_string(original_) +
          ", or another tensor of divisors or " + key("rope.scaling.attn_factor") + " is there"));
    }
    const int32_t n_pairs = numbers_.rope.n_turned / 2;
    if (found->rows != 1 || found->columns != n_pairs) {
      return corrupt(file_.error_text(
          name + " is (" + std::to_string(found->rows) + ", " + std::to_string(found->columns) +
          ") where the hyper-parameters make it (1, " + std::to_string(n_pairs) + ")"));
    }
    if (found->type != TensorType::f32) return unsupported(name + " is not F32");
    std::vector<float> divisors(static_cast<size_t>(found->columns));
    std::memcpy(divisors.data(), found->bytes.data(), found->bytes.size());
    for (const float divisor : divisors) {
      if (!(divisor > 0) || !std::isfinite(divisor)) {
        return corrupt(file_.error_text(name + " holds " + std::to_string(divisor) +
                                        ", not a positive number"));
      }
    }
    return divisors;
  }

  const GgufFile& file_;
  const std::string prefix_;
  const Habits habits_;
  int32_t original_ = 0;  // context before it was extended
  DecoderNumbers numbers_;
};

}  // namespace

std::span<const std::string_view> gguf_rope_tensors(std::string_view architecture) {
  if (habits_of(architecture).has_long_rope) return kLongDivisors;
  return kDivisors;
}

Result<DecoderNumbers> read_gguf_numbers(const GgufFile& file, std::string_view architecture) {
  return Reader(file, architecture).read();
}

}  // namespace parkd
