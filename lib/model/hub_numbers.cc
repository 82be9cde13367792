#include "lib/model/hub_numbers.h"

#include <algorithm>
#include <boost/json.hpp>
#include <string_view>
#include <utility>

#include "lib/base/json_reader.h"
#include "lib/model/hub_json.h"
#include "lib/model/rope_frequencies.h"

namespace parkd {
namespace {

namespace json = boost::json;

constexpr size_t kEndTokensMax = 256;

// Of Granite, Gemma, Cohere: a number of these changes what is computed.
constexpr const char* kScalesOfOthers[] = {"attention_multiplier",   "query_pre_attn_scalar",
                                           "attn_logit_softcapping", "final_logit_softcapping",
                                           "residual_multiplier",    "embedding_multiplier",
                                           "logits_scaling",         "logit_scale"};

// Which layers see a window: none, all, or those of layer_types or behind max_window_layers, where
// use_sliding_window says so.
enum class Windows { none, of_all_layers, of_some_layers };

// What the classes of transformers differ in: which fields they know, and where one is left out.
struct ModelClass {
  std::string_view model_type;
  Windows windows;
  int32_t sliding_window;  // 0: none
  int32_t head_dim;        // 0: hidden_size by heads
  double rms_eps;
  bool scales_queries;  // llama_4_scaling_beta
};

constexpr ModelClass kClasses[] = {
    {"mistral", Windows::of_all_layers, 4096, 0, 1e-6, false},
    {"ministral3", Windows::of_all_layers, 0, 128, 1e-5, true},
    {"qwen2", Windows::of_some_layers, 4096, 0, 1e-6, false},
    {"qwen3", Windows::of_some_layers, 4096, 128, 1e-6, false},
};
constexpr int32_t kMaxWindowLayers = 28;  // where it is left out

ModelClass class_of(std::string_view model_type) {
  for (const ModelClass& each : kClasses) {
    if (each.model_type == model_type) return each;
  }
  return {model_type, Windows::none, 0, 0, 1e-6, false};
}

Status refuse_other_arithmetic(const JsonFields& config) {
  if (config.has("quantization_config")) {
    return config.unsupported("quantization_config",
                              "is not supported yet: take the model's unquantised files");
  }
  for (const char* name : {"num_experts", "num_local_experts", "n_routed_experts"}) {
    PARKD_ASSIGN_OR_RETURN(const double n, config.number_or(name, 0, 1e9, 0));
    if (n != 0) return config.unsupported(name, "(a mixture of experts) is not supported");
  }
  PARKD_ASSIGN_OR_RETURN(const std::string act, config.word_or("hidden_act", "silu"));
  if (act != "silu" && act != "swish") {
    return config.unsupported("hidden_act", config.shown("hidden_act") + " is not supported yet");
  }
  for (const char* name : {"attention_bias", "mlp_bias", "use_bias"}) {
    PARKD_ASSIGN_OR_RETURN(const bool has, config.flag_or(name, false));
    if (has) return config.unsupported(name, "is not supported yet");
  }
  PARKD_ASSIGN_OR_RETURN(const double rotated, config.number_or("partial_rotary_factor", 0, 1, 1));
  if (rotated != 1) {
    return config.unsupported("partial_rotary_factor", "other than 1 is not supported yet");
  }
  for (const char* name : kScalesOfOthers) {
    if (!config.has(name)) continue;
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
  const bool may_slide = of.windows == Windows::of_some_layers;
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

Status read_windows(const JsonFields& config, const ModelClass& of, DecoderNumbers& numbers) {
  PARKD_ASSIGN_OR_RETURN(std::vector<bool> sliding, read_layer_types(config, of, numbers.n_layers));
  const bool has_a_switch = of.windows == Windows::of_some_layers;
  PARKD_ASSIGN_OR_RETURN(const bool used, config.flag_or("use_sliding_window", !has_a_switch));
  // Null means none, left out means the class's.
  int32_t window = config.members().contains("sliding_window") ? 0 : of.sliding_window;
  PARKD_ASSIGN_OR_RETURN(window, config.integer_or("sliding_window", 1, kContextTokensMax, window));
  // The others' classes know no such switch.
  if (has_a_switch && !used) window = 0;
  if (window == 0) {
    if (std::find(sliding.begin(), sliding.end(), true) == sliding.end()) return {};
    return config.damaged(
        "layer_types has sliding_attention where there is no sliding_window, or use_sliding_window "
        "is not true");
  }
  const bool sees_all = window >= numbers.context_tokens;
  if (has_a_switch && sliding.empty()) {
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
    if (!used) return {};
    return config.unsupported("sliding_window", std::to_string(window) + " is not supported for " +
                                                    std::string(of.model_type));
  }
  for (const bool slides : sliding) numbers.windows.push_back(slides ? window : 0);
  return {};
}

Status read_sizes(const JsonFields& config, const ModelClass& of, DecoderNumbers& numbers) {
  PARKD_ASSIGN_OR_RETURN(numbers.n_layers, config.integer("num_hidden_layers", 1, kLayersMax));
  PARKD_ASSIGN_OR_RETURN(numbers.hidden, config.integer("hidden_size", 1, kWidthMax));
  PARKD_ASSIGN_OR_RETURN(numbers.ffn, config.integer("intermediate_size", 1, kWidthMax));
  PARKD_ASSIGN_OR_RETURN(numbers.vocab, config.integer("vocab_size", 1, kVocabMax));
  PARKD_ASSIGN_OR_RETURN(numbers.context_tokens,
                         config.integer("max_position_embeddings", 1, kContextTokensMax));
  PARKD_ASSIGN_OR_RETURN(numbers.n_heads, config.integer("num_attention_heads", 1, kWidthMax));
  PARKD_ASSIGN_OR_RETURN(numbers.n_kv_heads, config.integer_or("num_key_value_heads", 1,
                                                               numbers.n_heads, numbers.n_heads));
  // As with the window.
  int32_t head_dim = config.members().contains("head_dim") ? 0 : of.head_dim;
  if (head_dim == 0 && !config.has("head_dim") && numbers.hidden % numbers.n_heads != 0) {
    return config.damaged("hidden_size " + std::to_string(numbers.hidden) +
                          " is no multiple of num_attention_heads " +
                          std::to_string(numbers.n_heads) + ", and there is no head_dim");
  }
  if (head_dim == 0) head_dim = numbers.hidden / numbers.n_heads;
  PARKD_ASSIGN_OR_RETURN(numbers.head_dim, config.integer_or("head_dim", 2, kHeadDimMax, head_dim));
  PARKD_ASSIGN_OR_RETURN(numbers.rms_eps, config.number_or("rms_norm_eps", 1e-30, 0.5, of.rms_eps));
  return {};
}

Status read_yarn(const JsonFields& rope, double factor, int32_t original, RopeNumbers& read) {
  YarnRope& yarn = read.yarn;
  read.scaling = RopeScaling::yarn;
  yarn.factor = factor;
  yarn.original_context = original;
  PARKD_ASSIGN_OR_RETURN(yarn.beta_fast, rope.number_or("beta_fast", 1e-3, 1e6, 32));
  PARKD_ASSIGN_OR_RETURN(yarn.beta_slow, rope.number_or("beta_slow", 1e-3, 1e6, 1));
  PARKD_ASSIGN_OR_RETURN(yarn.truncate, rope.flag_or("truncate", true));
  PARKD_ASSIGN_OR_RETURN(yarn.mscale, rope.number_or("mscale", 0, 1e3, 0));
  PARKD_ASSIGN_OR_RETURN(yarn.mscale_all_dim, rope.number_or("mscale_all_dim", 0, 1e3, 0));
  if (rope.has("attention_factor")) {
    PARKD_ASSIGN_OR_RETURN(yarn.attention_factor, rope.number_or("attention_factor", 1e-3, 1e3, 1));
  }
  if (read.base <= 1) return rope.damaged("yarn needs a rope_theta above 1");
  return {};
}

Status read_llama3(const JsonFields& rope, double factor, int32_t original, RopeNumbers& read) {
  Llama3Rope& llama3 = read.llama3;
  read.scaling = RopeScaling::llama3;
  llama3.factor = factor;
  llama3.original_context = original;
  PARKD_ASSIGN_OR_RETURN(llama3.low_freq_factor, rope.number_or("low_freq_factor", 1e-3, 1e6, 1));
  PARKD_ASSIGN_OR_RETURN(llama3.high_freq_factor, rope.number_or("high_freq_factor", 1e-3, 1e6, 4));
  if (llama3.high_freq_factor > llama3.low_freq_factor) return {};
  return rope.damaged("high_freq_factor is not above low_freq_factor");
}

// What Ministral3Config has where no rope is given.
void take_ministral3_rope(DecoderNumbers& numbers) {
  RopeNumbers& rope = numbers.rope;
  rope.base = 1e6;
  rope.scaling = RopeScaling::yarn;
  rope.yarn.factor = 16;
  rope.yarn.original_context = 16384;
  rope.yarn.mscale = rope.yarn.mscale_all_dim = 1;
  numbers.query_scale = {0.1F, 16384};
}

Status read_query_scale(const JsonFields& rope, const ModelClass& of, int32_t original,
                        DecoderNumbers& numbers) {
  PARKD_ASSIGN_OR_RETURN(const double beta, rope.number_or("llama_4_scaling_beta", 0, 1e3, 0));
  if (beta == 0) return {};
  if (!of.scales_queries) {
    return rope.unsupported("llama_4_scaling_beta",
                            "is not supported for " + std::string(of.model_type));
  }
  if (original == 0) {
    return rope.damaged("llama_4_scaling_beta is without original_max_position_embeddings");
  }
  numbers.query_scale = {static_cast<float>(beta), original};
  return {};
}

Status read_rope(const JsonFields& config, const ModelClass& of, DecoderNumbers& numbers) {
  RopeNumbers& read = numbers.rope;
  PARKD_ASSIGN_OR_RETURN(read.base, config.number_or("rope_theta", 1, kRopeBaseMax, 10000));
  PARKD_ASSIGN_OR_RETURN(std::optional<JsonFields> rope, config.object("rope_parameters"));
  const json::value* older = config.find("rope_scaling");
  if (rope && older != nullptr && *older != *config.find("rope_parameters")) {
    return config.damaged("rope_parameters and rope_scaling differ: leave the one that is meant");
  }
  if (!rope) {
    PARKD_ASSIGN_OR_RETURN(rope, config.object("rope_scaling"));
  }
  if (!rope) {
    if (of.scales_queries) take_ministral3_rope(numbers);
    return {};
  }
  for (const auto& member : rope->members()) {
    if (member.value().is_object()) {
      return rope->unsupported(std::string_view(member.key()),
                               "(a rope of some layers) is not supported yet");
    }
  }
  PARKD_ASSIGN_OR_RETURN(read.base, rope->number_or("rope_theta", 1, kRopeBaseMax, read.base));
  PARKD_ASSIGN_OR_RETURN(const double rotated, rope->number_or("partial_rotary_factor", 0, 1, 1));
  if (rotated != 1) {
    return rope->unsupported("partial_rotary_factor", "other than 1 is not supported yet");
  }
  PARKD_ASSIGN_OR_RETURN(
      const int32_t of_whole,
      config.integer_or("original_max_position_embeddings", 1, kContextTokensMax, 0));
  PARKD_ASSIGN_OR_RETURN(int32_t original, rope->integer_or("original_max_position_embeddings", 1,
                                                            kContextTokensMax, of_whole));
  PARKD_RETURN_IF_ERROR(read_query_scale(*rope, of, original, numbers));
  if (original == 0) original = numbers.context_tokens;
  const char* type_field = rope->has("rope_type") ? "rope_type" : "type";
  PARKD_ASSIGN_OR_RETURN(const std::string type, rope->word_or(type_field, "default"));
  if (type == "default") return {};
  if (type != "linear" && type != "llama3" && type != "yarn") {
    return rope->unsupported(type_field, rope->shown(type_field) + " is not supported yet");
  }
  if (!rope->has("factor")) return rope->damaged("rope of type " + type + " has no factor");
  PARKD_ASSIGN_OR_RETURN(const double factor, rope->number_or("factor", 1e-3, kRopeFactorMax, 1));
  if (type == "llama3") return read_llama3(*rope, factor, original, read);
  if (type == "yarn") return read_yarn(*rope, factor, original, read);
  read.scaling = RopeScaling::linear;
  read.factor = factor;
  return {};
}

// eos_token_id: one, or several.
Status add_end_tokens(const JsonFields& config, std::vector<TokenId>& ends) {
  const json::value* value = config.find("eos_token_id");
  if (value == nullptr) return {};
  const auto add = [&](const json::value& each) -> Status {
    const std::optional<int64_t> number = whole_number(each);
    if (!number || *number < 0 || *number >= kVocabMax) {
      return config.damaged("eos_token_id has " + shown_json(each) + ", which is no token");
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
  PARKD_RETURN_IF_ERROR(add_end_tokens(config, read.end_tokens));
  if (folder.text_of(kGenerationConfigFile)) {
    PARKD_ASSIGN_OR_RETURN(const JsonFile file, read_json_file(folder, kGenerationConfigFile));
    PARKD_RETURN_IF_ERROR(add_end_tokens(JsonFields(folder, file), read.end_tokens));
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
  if (whole.has("quantization_config")) PARKD_RETURN_IF_ERROR(refuse_other_arithmetic(whole));
  PARKD_RETURN_IF_ERROR(refuse_other_arithmetic(config));
  const ModelClass of = class_of(read.model_type);
  PARKD_RETURN_IF_ERROR(read_sizes(config, of, read.numbers));
  PARKD_RETURN_IF_ERROR(read_windows(config, of, read.numbers));
  PARKD_RETURN_IF_ERROR(read_rope(config, of, read.numbers));
  if (const Status status = check_numbers(read.numbers); !status.ok()) {
    return config.damaged(status.message());
  }
  PARKD_RETURN_IF_ERROR(read_end_tokens(folder, whole, read));
  if (text) PARKD_RETURN_IF_ERROR(read_end_tokens(folder, *text, read));
  return read;
}

}  // namespace parkd
