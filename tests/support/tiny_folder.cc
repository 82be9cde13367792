#include <algorithm>
#include <cstring>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lib/base/check.h"
#include "lib/base/json_writer.h"
#include "lib/weights/formats.h"
#include "tests/support/encode_tensor.h"
#include "tests/support/safetensors_writer.h"
#include "tests/support/tiny_family.h"
#include "tests/support/tiny_model.h"
#include "tests/support/tiny_tokenizer.h"
#include "tests/support/tiny_weights.h"

namespace parkd::testing {
namespace {

// transformers' name of a weight.
std::string hub_name(const std::string& name, const TinyFamily& family) {
  static const std::map<std::string, std::string> kNames = {
      {"token_embd", "model.embed_tokens"},
      {"output_norm", "model.norm"},
      {"output", "lm_head"},
      {"attn_norm", "input_layernorm"},
      {"attn_qkv", "self_attn.qkv_proj"},
      {"attn_q", "self_attn.q_proj"},
      {"attn_k", "self_attn.k_proj"},
      {"attn_v", "self_attn.v_proj"},
      {"attn_q_norm", "self_attn.q_norm"},
      {"attn_k_norm", "self_attn.k_norm"},
      {"attn_output", "self_attn.o_proj"},
      {"ffn_norm", "post_attention_layernorm"},
      {"post_attention_norm", "post_attention_layernorm"},
      {"post_ffw_norm", "post_feedforward_layernorm"},
      {"ffn_gate", "mlp.gate_proj"},
      {"ffn_up", "mlp.up_proj"},
      {"ffn_down", "mlp.down_proj"},
  };
  if (name.rfind("blk.", 0) != 0) return kNames.at(name) + ".weight";
  const size_t dot = name.find('.', 4);
  const std::string layer = "model.layers." + name.substr(4, dot - 4) + ".";
  const std::string of_layer = name.substr(dot + 1);
  if (family.norms_both_sides && of_layer == "ffn_norm") {
    return layer + "pre_feedforward_layernorm.weight";
  }
  if (family.is_fused && of_layer == "ffn_up") return layer + "mlp.gate_up_proj.weight";
  if (is_bias(name)) return layer + kNames.at(of_layer.substr(0, of_layer.find('.'))) + ".bias";
  return layer + kNames.at(of_layer) + ".weight";
}

// llama.cpp's converter puts rows i and i + head_dim / 2 of a head at 2i and 2i + 1: the way back.
std::vector<uint8_t> with_halves_apart(const TinyWeight& weight, int32_t head_dim) {
  const auto row_bytes = static_cast<ptrdiff_t>(weight.bytes.size()) / weight.rows;
  std::vector<uint8_t> bytes(weight.bytes.size());
  for (int64_t head = 0; head < weight.rows; head += head_dim) {
    for (int64_t i = 0; i < head_dim / 2; ++i) {
      for (const int64_t half : {0, 1}) {
        std::copy_n(weight.bytes.begin() + (head + 2 * i + half) * row_bytes, row_bytes,
                    bytes.begin() + (head + i + half * (head_dim / 2)) * row_bytes);
      }
    }
  }
  return bytes;
}

std::vector<uint8_t> less_offset(std::vector<uint8_t> bytes, float offset) {
  for (size_t at = 0; at < bytes.size(); at += sizeof(float)) {
    float value = 0;
    std::memcpy(&value, bytes.data() + at, sizeof value);
    value -= offset;
    std::memcpy(bytes.data() + at, &value, sizeof value);
  }
  return bytes;
}

std::string make_config(const TinyModelOptions& options, int64_t vocab) {
  const TinyFamily& family = tiny_family(options);
  JsonWriter json;
  json.begin_object().begin_array("architectures").element(family.hub_class);
  json.end_array().member("model_type", options.architecture);
  json.member("vocab_size", vocab).member("hidden_size", options.hidden);
  json.member("intermediate_size", options.ffn).member("num_hidden_layers", options.n_layers);
  json.member("num_attention_heads", options.n_heads);
  json.member("num_key_value_heads", options.n_kv_heads).member("head_dim", options.head_dim);
  json.member("max_position_embeddings", options.context_tokens);
  const bool is_gemma = options.architecture == "gemma3_text";
  if (is_gemma) {
    const int32_t divisor = options.query_divisor > 0 ? options.query_divisor : options.head_dim;
    json.member("hidden_activation", "gelu_pytorch_tanh").member("query_pre_attn_scalar", divisor);
    json.member("rope_local_base_freq", 10000);
    if (options.window_period > 0) json.member("sliding_window_pattern", options.window_period);
  } else {
    json.member("hidden_act", "silu");
  }
  json.member("rms_norm_eps", family.rms_eps).member("rope_theta", family.rope_base);
  json.member("tie_word_embeddings", options.tied);
  if (family.has_windows) {
    json.member("sliding_window", options.window > 0 ? options.window : options.context_tokens);
  } else if (options.window == 0) {
    json.member("sliding_window", nullptr);
  } else if (options.architecture == "mistral" || options.architecture == "ministral3") {
    PARKD_CHECK(options.first_windowed == 0, "all its layers have its window");
    json.member("sliding_window", options.window);
  } else {
    json.member("use_sliding_window", true).member("sliding_window", options.window);
    json.member("max_window_layers", options.first_windowed);
  }
  json.member("bos_token_id", 1).member("eos_token_id", 2).member("torch_dtype", "float32");
  // These classes' own is beyond this vocabulary.
  if (options.architecture == "smollm3" || family.is_fused) json.member("pad_token_id", 0);
  if (options.n_turned > 0) {
    json.member("partial_rotary_factor",
                SixDigits{double{1} * options.n_turned / options.head_dim});
  }
  const std::string rope_scaling = tiny_rope_scaling(options);
  if (rope_scaling == "longrope") {
    const TinyLongRope rope = tiny_long_rope(options);
    json.member("original_max_position_embeddings", rope.original_context);
    json.begin_object("rope_scaling").member("type", "longrope");
    const auto add = [&json](const char* name, const std::vector<float>& divisors) {
      json.begin_array(name);
      for (const float divisor : divisors) json.element(SixDigits{double{divisor}});
      json.end_array();
    };
    add("short_factor", rope.of_short);
    add("long_factor", rope.of_long);
    if (rope.factor > 0) json.member("factor", SixDigits{rope.factor});
    json.end_object();
  } else if (rope_scaling == "yarn") {
    const YarnRope scaling = tiny_yarn_rope();
    const bool is_ministral3 = options.architecture == "ministral3";
    json.begin_object(is_ministral3 ? "rope_parameters" : "rope_scaling");
    json.member("rope_type", "yarn").member("rope_theta", family.rope_base);
    json.member("factor", SixDigits{scaling.factor});
    json.member("original_max_position_embeddings", scaling.original_context);
    json.member("beta_fast", SixDigits{scaling.beta_fast});
    json.member("beta_slow", SixDigits{scaling.beta_slow});
    if (is_ministral3) {
      json.member("mscale", 1).member("mscale_all_dim", 1);
      json.member("llama_4_scaling_beta", kTinyQueryScaleBeta);
    }
    json.end_object();
  } else if (rope_scaling == "linear") {
    json.begin_object("rope_scaling").member("rope_type", "linear");
    json.member("factor", SixDigits{kTinyLinearFactor}).end_object();
  } else if (rope_scaling == "llama3") {
    const Llama3Rope scaling = tiny_llama3_rope();
    json.begin_object("rope_scaling").member("rope_type", "llama3");
    json.member("factor", SixDigits{scaling.factor});
    json.member("low_freq_factor", SixDigits{scaling.low_freq_factor});
    json.member("high_freq_factor", SixDigits{scaling.high_freq_factor});
    json.member("original_max_position_embeddings", scaling.original_context);
    json.end_object();
  }
  json.end_object();
  return json.take();
}

// As Mistral3ForConditionalGeneration: the tie is the text's, whatever stands beside it.
std::string with_vision(const std::string& text_config) {
  return R"({"architectures":["Mistral3ForConditionalGeneration"],"model_type":"mistral3",)"
         R"("vision_config":{"model_type":"pixtral"},"text_config":)" +
         text_config + "}";
}

std::string with_text_prefix(const std::string& name, const std::string& prefix) {
  constexpr std::string_view kPlain = "model.";
  if (prefix.empty()) return name;
  if (name.rfind(kPlain, 0) == 0) return prefix + name.substr(kPlain.size());
  return prefix == "language_model.model." ? "language_model." + name : name;
}

std::vector<std::string> vision_names(const std::string& text_prefix) {
  const std::string before = text_prefix == "model.language_model." ? "model." : "";
  return {before + "vision_tower.patch_conv.weight",
          before + "multi_modal_projector.linear_1.weight"};
}

std::string_view safetensors_type(TensorType type) {
  PARKD_CHECK(!format_of(type).is_quantised(), "safetensors have plain numbers");
  return format_of(type).name;
}

}  // namespace

std::map<std::string, std::vector<uint8_t>> make_tiny_folder(const TinyModelOptions& options) {
  const TinyVocabulary vocabulary = tiny_vocabulary();
  const int64_t vocab =
      options.vocab > 0 ? options.vocab : static_cast<int64_t>(vocabulary.texts.size());
  const auto bytes_of = [](std::string_view text) {
    return std::vector<uint8_t>(text.begin(), text.end());
  };
  std::map<std::string, std::vector<uint8_t>> files;
  const std::string config = make_config(options, vocab);
  files["config.json"] = bytes_of(options.text_prefix.empty() ? config : with_vision(config));
  files["generation_config.json"] = bytes_of(R"({"bos_token_id": 1, "eos_token_id": [2, 0]})");
  files["tokenizer.json"] = bytes_of(tiny_tokenizer_json(vocabulary));
  JsonWriter tokenizer;
  tokenizer.begin_object().member("eos_token", "<|im_end|>").member("add_bos_token", false);
  tokenizer.member("chat_template", kTinyTemplate).end_object();
  files["tokenizer_config.json"] = bytes_of(tokenizer.take());

  std::vector<SafetensorsWriter> shards(options.n_shards);
  const auto name_of_shard = [&](size_t i) {
    if (options.n_shards == 1) return std::string("model.safetensors");
    const auto five = [](size_t n) { return std::to_string(100000 + n).substr(1); };
    return "model-" + five(i + 1) + "-of-" + five(options.n_shards) + ".safetensors";
  };
  JsonWriter index;
  index.begin_object().begin_object("weight_map");
  size_t at = 0;
  const TinyFamily& family = tiny_family(options);
  for (const TinyWeight& weight : tiny_weights(options, vocab)) {
    const std::string name = with_text_prefix(hub_name(weight.name, family), options.text_prefix);
    const bool is_of_heads = weight.name.ends_with("attn_q") || weight.name.ends_with("attn_k");
    const bool moves = is_of_heads && family.pairs_together;
    std::vector<int64_t> shape = {weight.rows, weight.columns};
    if (weight.rows == 1) shape.erase(shape.begin());
    std::vector<uint8_t> bytes = moves ? with_halves_apart(weight, options.head_dim) : weight.bytes;
    if (weight.rows == 1) bytes = less_offset(std::move(bytes), family.hub_norm_offset);
    shards[at].add(name, safetensors_type(weight.type), shape, bytes);
    index.member(name, name_of_shard(at));
    at = (at + 1) % options.n_shards;
  }
  if (!options.text_prefix.empty()) {
    for (const std::string& name : vision_names(options.text_prefix)) {
      shards[0].add(name, "F32", std::vector<int64_t>{1, 1}, encode(TensorType::f32, {{1.0F}}));
      index.member(name, name_of_shard(0));
    }
  }
  index.end_object().end_object();
  for (size_t i = 0; i < shards.size(); ++i) files[name_of_shard(i)] = shards[i].bytes();
  if (options.n_shards > 1) files["model.safetensors.index.json"] = bytes_of(index.take());
  return files;
}

}  // namespace parkd::testing
