#include "lib/model/hub_numbers.h"

#include <algorithm>
#include <boost/json.hpp>
#include <string_view>
#include <utility>

#include "lib/base/json_reader.h"
#include "lib/model/hub_json.h"
#include "lib/model/hub_rope.h"

namespace parkd {
namespace {

namespace json = boost::json;

constexpr int32_t kMaxWindowLayers = 28;  // where it is left out
constexpr int32_t kWindowPeriod = 6;      // where sliding_window_pattern is
constexpr int32_t kUnrotatedPeriod = 4;   // where no_rope_layer_interval is
constexpr int32_t kFloat8Block = 128;     // where weight_block_size is
constexpr size_t kEndTokensMax = 256;

// Of Granite, Gemma, Cohere: a number of these changes what is computed.
constexpr const char* kScalesOfOthers[] = {"attention_multiplier",   "query_pre_attn_scalar",
                                           "attn_logit_softcapping", "final_logit_softcapping",
                                           "residual_multiplier",    "embedding_multiplier",
                                           "logits_scaling",         "logit_scale"};

Result<std::optional<Float8Blocks>> read_quantization(const JsonFields& config) {
  PARKD_ASSIGN_OR_RETURN(const auto quantised, config.object("quantization_config"));
  if (!quantised) return std::optional<Float8Blocks>();
  PARKD_ASSIGN_OR_RETURN(const std::string method, quantised->word_or("quant_method", ""));
  if (method != "fp8") {
    return quantised->unsupported("quant_method", quantised->shown("quant_method") +
                                                      " is not supported (\"fp8\" is): take the "
                                                      "model's unquantised files");
  }
  PARKD_ASSIGN_OR_RETURN(const std::string form, quantised->word_or("fmt", "e4m3"));
  if (form != "e4m3") {
    return quantised->unsupported("fmt", quantised->shown("fmt") + " is not supported yet");
  }
  if (!quantised->members().contains("weight_block_size")) {
    return std::optional(Float8Blocks{kFloat8Block, kFloat8Block, true});
  }
  const json::value* given = quantised->find("weight_block_size");
  if (given == nullptr) return std::optional(Float8Blocks{});  // null: a scale for each tensor
  const json::array* sizes = given->if_array();
  const auto size_at = [&](size_t i) -> int64_t {
    return sizes == nullptr || sizes->size() != 2 ? 0 : whole_number((*sizes)[i]).value_or(0);
  };
  if (size_at(0) < 1 || size_at(1) < 1 || size_at(0) > kWidthMax || size_at(1) > kWidthMax) {
    return config.damaged("quantization_config.weight_block_size is " + shown_json(*given) +
                          ", it must be null or two sizes from 1 to " + std::to_string(kWidthMax));
  }
  return std::optional(
      Float8Blocks{static_cast<int32_t>(size_at(0)), static_cast<int32_t>(size_at(1))});
}

Status refuse_other_arithmetic(const JsonFields& config, const ModelClass& of) {
  for (const char* name : {"num_experts", "num_local_experts", "n_routed_experts"}) {
    PARKD_ASSIGN_OR_RETURN(const double n, config.number_or(name, 0, 1e9, 0));
    if (n != 0) return config.unsupported(name, "(a mixture of experts) is not supported");
  }
  const char* field = of.gates_by_gelu ? "hidden_activation" : "hidden_act";
  const char* expected = of.gates_by_gelu ? "gelu_pytorch_tanh" : "silu";
  PARKD_ASSIGN_OR_RETURN(const std::string act, config.word_or(field, expected));
  if (act != expected && (of.gates_by_gelu || act != "swish")) {
    return config.unsupported(field, config.shown(field) + " is not supported yet");
  }
  for (const char* name :
       {"attention_bias", "mlp_bias", "use_bias", "use_bidirectional_attention"}) {
    PARKD_ASSIGN_OR_RETURN(const bool has, config.flag_or(name, false));
    if (has) return config.unsupported(name, "is not supported yet");
  }
  for (const char* name : kScalesOfOthers) {
    if (!config.has(name)) continue;
    if (of.query_divisor > 0 && std::string_view(name) == "query_pre_attn_scalar") continue;
    return config.unsupported(name, config.shown(name) + " is not supported yet");
  }
  return {};
}

// For each layer whether it is of the type sliding_attention; empty: layer_types is left out.
Result<std::vector<bool>> read_layer_types(const JsonFields& config, const ModelClass& of,
                                           int32_t n_layers) {
  std::vector<bool> sliding;
  const json::value* types = config.find("layer_types");
  if (types == nullptr) return sliding;
  const json::array* array = types->if_array();
  if (array == nullptr) return config.damaged("layer_types is not an array");
  const bool may_slide = of.windows == Windows::where_switched || of.windows == Windows::periodic;
  for (const json::value& type : *array) {
    const std::string_view word = type.is_string() ? std::string_view(type.get_string()) : "";
    if (word != "full_attention" && !(may_slide && word == "sliding_attention")) {
      return config.unsupported(
          "layer_types", "has " + shown_json(type) + ": only full_attention" +
                             (may_slide ? " and sliding_attention are" : " is") + " supported yet");
    }
    sliding.push_back(word == "sliding_attention");
  }
  if (static_cast<int64_t>(sliding.size()) == n_layers) return sliding;
  return config.damaged("layer_types has " + std::to_string(sliding.size()) +
                        " entries where num_hidden_layers is " + std::to_string(n_layers));
}

// For each layer whether layer_types, or the class's period, lets it slide; empty: neither says.
Result<std::vector<bool>> sliding_layers(const JsonFields& config, const ModelClass& of,
                                         int32_t n_layers) {
  PARKD_ASSIGN_OR_RETURN(std::vector<bool> sliding, read_layer_types(config, of, n_layers));
  if (of.windows != Windows::periodic || !sliding.empty()) return sliding;
  PARKD_ASSIGN_OR_RETURN(const int32_t period,
                         config.integer_or("sliding_window_pattern", 1, kLayersMax, kWindowPeriod));
  for (int32_t i = 0; i < n_layers; ++i) sliding.push_back((i + 1) % period != 0);
  return sliding;
}

// 0: none, or it is switched off. Some classes do not know the switch.
Result<int32_t> window_of(const JsonFields& config, const ModelClass& of) {
  const bool has_a_switch = of.windows == Windows::where_switched;
  PARKD_ASSIGN_OR_RETURN(const bool used, config.flag_or("use_sliding_window", !has_a_switch));
  // Null means none, left out means the class's.
  int32_t window = config.members().contains("sliding_window") ? 0 : of.sliding_window;
  PARKD_ASSIGN_OR_RETURN(window, config.integer_or("sliding_window", 1, kContextTokensMax, window));
  const bool has_another_rule =
      of.windows == Windows::of_all_layers || of.windows == Windows::periodic;
  return used || has_another_rule ? window : 0;
}

// Where layers slide and window_of() is 0.
Status refuse_no_window(const JsonFields& config) {
  std::string layers = "layer_types has sliding_attention";
  if (!config.has("layer_types")) {
    layers = "sliding_window_pattern";
    layers += config.has("sliding_window_pattern")
                  ? " " + config.shown("sliding_window_pattern")
                  : ", left out and so " + std::to_string(kWindowPeriod) + ",";
    layers += " gives layers a window";
  }
  const bool is_null = config.members().contains("sliding_window") && !config.has("sliding_window");
  return config.damaged(layers + " where " +
                        (is_null ? "sliding_window is null" : "use_sliding_window is not true"));
}

Status read_windows(const JsonFields& config, const ModelClass& of, DecoderNumbers& numbers) {
  PARKD_ASSIGN_OR_RETURN(std::vector<bool> sliding, sliding_layers(config, of, numbers.n_layers));
  if (of.local_theta > 0) numbers.local = sliding;
  PARKD_ASSIGN_OR_RETURN(const int32_t window, window_of(config, of));
  if (window == 0) {
    const bool any = std::find(sliding.begin(), sliding.end(), true) != sliding.end();
    return any ? refuse_no_window(config) : Status();
  }
  const bool sees_all = window >= numbers.context_tokens;
  if (of.windows == Windows::where_switched && sliding.empty()) {
    PARKD_ASSIGN_OR_RETURN(const int32_t n_full,
                           config.integer_or("max_window_layers", 0, kWidthMax, kMaxWindowLayers));
    for (int32_t i = 0; i < numbers.n_layers; ++i) sliding.push_back(i >= n_full);
  } else if (of.windows == Windows::of_all_layers) {
    if (!sliding.empty() && !sees_all) {
      return config.unsupported("layer_types", "beside a sliding_window of all layers, " +
                                                   std::to_string(window) + ", is not supported");
    }
    sliding.assign(static_cast<size_t>(numbers.n_layers), true);
  }
  if (sees_all) return {};
  if (of.windows == Windows::none) {
    return config.unsupported("sliding_window", std::to_string(window) + " is not supported for " +
                                                    std::string(of.model_type));
  }
  for (const bool slides : sliding) numbers.windows.push_back(slides ? window : 0);
  return {};
}

// no_rope_layers has a 1 for each layer that has a rope.
Status read_unrotated(const JsonFields& config, DecoderNumbers& numbers) {
  const json::value* given = config.find("no_rope_layers");
  if (given == nullptr) {
    PARKD_ASSIGN_OR_RETURN(const int32_t period, config.integer_or("no_rope_layer_interval", 1,
                                                                   kWidthMax, kUnrotatedPeriod));
    for (int32_t i = 0; i < numbers.n_layers; ++i) {
      numbers.unrotated.push_back((i + 1) % period == 0);
    }
    return {};
  }
  const json::array* array = given->if_array();
  if (array == nullptr) return config.damaged("no_rope_layers is not an array");
  if (static_cast<int64_t>(array->size()) < numbers.n_layers) {
    return config.damaged("no_rope_layers has " + std::to_string(array->size()) +
                          " entries where num_hidden_layers is " +
                          std::to_string(numbers.n_layers));
  }
  for (int32_t i = 0; i < numbers.n_layers; ++i) {
    const json::value& has_rope = (*array)[static_cast<size_t>(i)];
    const std::optional<int64_t> number = whole_number(has_rope);
    if (!number || (*number != 0 && *number != 1)) {
      return config.damaged("no_rope_layers has " + shown_json(has_rope) + ", not 0 or 1");
    }
    numbers.unrotated.push_back(*number == 0);
  }
  return {};
}

// `otherwise`: 0 where it has to be given.
Result<int32_t> read_size(const JsonFields& config, std::string_view name, int64_t high,
                          int32_t otherwise) {
  if (otherwise == 0) return config.integer(name, 1, high);
  return config.integer_or(name, 1, high, otherwise);
}

Status read_sizes(const JsonFields& config, const ModelClass& of, DecoderNumbers& numbers) {
  PARKD_ASSIGN_OR_RETURN(numbers.n_layers, config.integer("num_hidden_layers", 1, kLayersMax));
  PARKD_ASSIGN_OR_RETURN(numbers.hidden, config.integer("hidden_size", 1, kWidthMax));
  PARKD_ASSIGN_OR_RETURN(numbers.ffn, config.integer("intermediate_size", 1, kWidthMax));
  PARKD_ASSIGN_OR_RETURN(numbers.vocab, read_size(config, "vocab_size", kVocabMax, of.vocab));
  PARKD_ASSIGN_OR_RETURN(numbers.context_tokens, read_size(config, "max_position_embeddings",
                                                           kContextTokensMax, of.context_tokens));
  PARKD_ASSIGN_OR_RETURN(numbers.n_heads,
                         read_size(config, "num_attention_heads", kWidthMax, of.n_heads));
  // Null means as many as heads, left out means the class's number. As with the window.
  const bool is_left_out = !config.members().contains("num_key_value_heads");
  const int32_t n_kv_heads = is_left_out && of.n_kv_heads > 0 ? of.n_kv_heads : numbers.n_heads;
  if (n_kv_heads > numbers.n_heads) {
    return config.damaged("num_key_value_heads is left out, which for " +
                          std::string(of.model_type) + " means " + std::to_string(n_kv_heads) +
                          ": more than num_attention_heads " + std::to_string(numbers.n_heads));
  }
  PARKD_ASSIGN_OR_RETURN(numbers.n_kv_heads,
                         config.integer_or("num_key_value_heads", 1, numbers.n_heads, n_kv_heads));
  int32_t head_dim = config.members().contains("head_dim") ? 0 : of.head_dim;
  if (head_dim == 0 && !config.has("head_dim") && numbers.hidden % numbers.n_heads != 0) {
    return config.damaged("hidden_size " + std::to_string(numbers.hidden) +
                          " is not a multiple of num_attention_heads " +
                          std::to_string(numbers.n_heads) + ", and there is no head_dim");
  }
  if (head_dim == 0) head_dim = numbers.hidden / numbers.n_heads;
  PARKD_ASSIGN_OR_RETURN(numbers.head_dim, config.integer_or("head_dim", 2, kHeadDimMax, head_dim));
  PARKD_ASSIGN_OR_RETURN(numbers.rms_eps, config.number_or("rms_norm_eps", 1e-30, 0.5, of.rms_eps));
  if (of.query_divisor == 0) return {};
  PARKD_ASSIGN_OR_RETURN(numbers.query_divisor,
                         config.number_or("query_pre_attn_scalar", 1e-3, 1e6, of.query_divisor));
  return {};
}

// eos_token_id: one, or several.
Status add_end_tokens(const JsonFields& config, int32_t vocab, std::vector<TokenId>& ends) {
  const json::value* value = config.find("eos_token_id");
  if (value == nullptr) return {};
  const auto add = [&](const json::value& each) -> Status {
    const std::optional<int64_t> number = whole_number(each);
    if (!number || *number < 0 || *number >= vocab) {
      return config.damaged("eos_token_id has " + shown_json(each) +
                            ", which is not a token: vocab_size is " + std::to_string(vocab));
    }
    ends.push_back(static_cast<TokenId>(*number));
    return {};
  };
  const json::array* several = value->if_array();
  if (several == nullptr) return add(*value);
  if (several->size() > kEndTokensMax) {
    return config.damaged("eos_token_id has " + std::to_string(several->size()) +
                          " tokens, the limit is " + std::to_string(kEndTokensMax));
  }
  for (const json::value& each : *several) PARKD_RETURN_IF_ERROR(add(each));
  return {};
}

Status read_end_tokens(const ModelFolder& folder, const JsonFields& config, HubConfig& read) {
  PARKD_RETURN_IF_ERROR(add_end_tokens(config, read.numbers.vocab, read.end_tokens));
  if (folder.text_of(kGenerationConfigFile)) {
    PARKD_ASSIGN_OR_RETURN(const JsonFile file, read_json_file(folder, kGenerationConfigFile));
    PARKD_RETURN_IF_ERROR(
        add_end_tokens(JsonFields(folder, file), read.numbers.vocab, read.end_tokens));
  }
  std::sort(read.end_tokens.begin(), read.end_tokens.end());
  const auto last = std::unique(read.end_tokens.begin(), read.end_tokens.end());
  read.end_tokens.erase(last, read.end_tokens.end());
  return {};
}

Result<std::optional<bool>> tie_of(const JsonFields& config) {
  if (!config.has("tie_word_embeddings")) return std::optional<bool>();
  PARKD_ASSIGN_OR_RETURN(const bool tied, config.flag_or("tie_word_embeddings", false));
  return std::optional<bool>(tied);
}

}  // namespace

Result<std::string> read_model_type(const ModelFolder& folder) {
  PARKD_ASSIGN_OR_RETURN(const JsonFile file, read_json_file(folder, kConfigFile));
  const JsonFields whole(folder, file);
  PARKD_ASSIGN_OR_RETURN(const std::optional<JsonFields> text, whole.object("text_config"));
  const JsonFields& config = text ? *text : whole;
  PARKD_ASSIGN_OR_RETURN(std::string type, config.word_or("model_type", ""));
  if (type.empty()) return config.damaged("model_type is missing");
  return type;
}

Result<HubConfig> read_hub_config(const ModelFolder& folder) {
  PARKD_ASSIGN_OR_RETURN(const JsonFile file, read_json_file(folder, kConfigFile));
  const JsonFields whole(folder, file);
  PARKD_ASSIGN_OR_RETURN(const std::optional<JsonFields> text, whole.object("text_config"));
  const JsonFields& config = text ? *text : whole;
  HubConfig read;
  read.has_other_parts = text.has_value();
  PARKD_ASSIGN_OR_RETURN(read.model_type, config.word_or("model_type", ""));
  PARKD_ASSIGN_OR_RETURN(read.tied, tie_of(config));
  PARKD_ASSIGN_OR_RETURN(read.tied_of_whole, tie_of(whole));
  const ModelClass of = class_of(read.model_type);
  if (!read.tied && !read.tied_of_whole && of.is_tied) read.tied = true;
  PARKD_ASSIGN_OR_RETURN(read.float8, read_quantization(whole));
  if (!read.float8) {
    PARKD_ASSIGN_OR_RETURN(read.float8, read_quantization(config));
  }
  PARKD_RETURN_IF_ERROR(refuse_other_arithmetic(config, of));
  PARKD_RETURN_IF_ERROR(read_sizes(config, of, read.numbers));
  PARKD_RETURN_IF_ERROR(read_windows(config, of, read.numbers));
  if (of.has_unrotated) PARKD_RETURN_IF_ERROR(read_unrotated(config, read.numbers));
  PARKD_RETURN_IF_ERROR(read_hub_rope(config, of, read.numbers));
  if (const Status status = check_numbers(read.numbers); !status.ok()) {
    return config.damaged(status.message());
  }
  PARKD_RETURN_IF_ERROR(read_end_tokens(folder, whole, read));
  if (text) PARKD_RETURN_IF_ERROR(read_end_tokens(folder, *text, read));
  return read;
}

}  // namespace parkd
