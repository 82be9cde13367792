#include "tests/support/tiny_model.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <fstream>
#include <string_view>
#include <utility>

#include "lib/base/check.h"
#include "lib/base/json_writer.h"
#include "lib/model/rope_frequencies.h"
#include "lib/text/byte_alphabet.h"
#include "lib/weights/formats.h"
#include "tests/support/gguf_writer.h"
#include "tests/support/safetensors_writer.h"

namespace parkd::testing {
namespace {

constexpr std::string_view kTemplate =
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a tiny model.<|im_end|>\n' }}{% endif %}"
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

// Both parts of each merge are bytes or earlier merges.
constexpr std::array<std::pair<std::string_view, std::string_view>, 38> kMerges = {{
    {" ", "t"},       {" ", "a"},       {"h", "e"},   {"i", "n"},   {"r", "e"},   {"o", "n"},
    {" t", "he"},     {"e", "r"},       {" ", "s"},   {"a", "t"},   {" ", "c"},   {"n", "d"},
    {"i", "s"},       {"o", "r"},       {"i", "t"},   {"e", "n"},   {"a", "l"},   {" ", "o"},
    {"in", "g"},      {" o", "f"},      {" a", "nd"}, {" ", " "},   {"  ", "  "}, {"e", "s"},
    {"a", "n"},       {" ", "w"},       {"o", "u"},   {" ", "p"},   {"at", "i"},  {"ati", "on"},
    {"s", "t"},       {"u", "s"},       {"er", "s"},  {"us", "er"}, {"l", "l"},   {"\n", "\n"},
    {"\xc3", "\xa4"}, {"\xe4", "\xb8"},
}};

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

uint16_t to_bf16(float value) {
  uint32_t bits = 0;
  std::memcpy(&bits, &value, sizeof bits);
  return static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

// Round to nearest even; for |value| < 65504, subnormals become zero.
uint16_t to_f16(float value) {
  uint32_t bits = 0;
  std::memcpy(&bits, &value, sizeof bits);
  const auto sign = static_cast<uint16_t>(bits >> 16 & 0x8000);
  const int32_t exponent = static_cast<int32_t>(bits >> 23 & 0xff) - 127 + 15;
  if (exponent <= 0) return sign;
  const uint32_t mantissa = bits & 0x7fffff;
  uint32_t half = static_cast<uint32_t>(exponent) << 10 | mantissa >> 13;
  const uint32_t rest = mantissa & 0x1fff;
  if (rest > 0x1000 || (rest == 0x1000 && (half & 1) != 0)) ++half;
  return static_cast<uint16_t>(sign | half);
}

uint8_t to_code(float scaled, float max) {
  return static_cast<uint8_t>(std::clamp(std::nearbyint(scaled), 0.0F, max));
}

void put_nibbles(std::vector<uint8_t>& out, const std::array<uint8_t, 32>& codes) {
  for (size_t j = 0; j < 16; ++j) {
    out.push_back(static_cast<uint8_t>(codes[j] | codes[j + 16] << 4));
  }
}

// One block of 32 values, as ggml's reference quantiser writes it (up to the choice of rounding).
void put_block(std::vector<uint8_t>& out, TensorType type, std::span<const float> values) {
  const auto [low, high] = std::minmax_element(values.begin(), values.end());
  const float largest = std::max(std::fabs(*low), std::fabs(*high));
  std::array<uint8_t, 32> codes{};
  if (type == TensorType::q8_0) {
    const float d = largest / 127;
    GgufWriter::put(out, to_f16(d));
    for (const float value : values) {
      out.push_back(
          static_cast<uint8_t>(static_cast<int8_t>(d > 0 ? std::nearbyint(value / d) : 0)));
    }
  } else if (type == TensorType::q4_0) {
    const float d = (std::fabs(*low) > std::fabs(*high) ? *low : *high) / -8;
    GgufWriter::put(out, to_f16(d));
    for (size_t i = 0; i < 32; ++i) codes[i] = to_code(d != 0 ? values[i] / d + 8 : 8, 15);
    put_nibbles(out, codes);
  } else {
    const float d = (*high - *low) / 15;
    GgufWriter::put(out, to_f16(d));
    GgufWriter::put(out, to_f16(*low));
    for (size_t i = 0; i < 32; ++i) codes[i] = to_code(d > 0 ? (values[i] - *low) / d : 0, 15);
    put_nibbles(out, codes);
  }
}

std::vector<uint8_t> encode(TensorType type, std::span<const float> values) {
  PARKD_CHECK(can_encode(type), "the tests' encoder has no such type");
  std::vector<uint8_t> bytes;
  if (format_of(type).is_quantised()) {
    for (size_t i = 0; i < values.size(); i += 32) put_block(bytes, type, values.subspan(i, 32));
    return bytes;
  }
  for (const float value : values) {
    if (type == TensorType::f32) {
      GgufWriter::put(bytes, value);
    } else {
      GgufWriter::put(bytes, type == TensorType::f16 ? to_f16(value) : to_bf16(value));
    }
  }
  return bytes;
}

struct Vocabulary {
  std::vector<std::string> texts = {"<|endoftext|>", "<|im_start|>", "<|im_end|>"};
  std::vector<std::string> merges;
  size_t n_special = 3;
};

Vocabulary make_vocabulary() {
  Vocabulary vocabulary;
  for (int byte = 0; byte < 256; ++byte) {
    const char c = static_cast<char>(byte);
    vocabulary.texts.push_back(byte_level_text_of({&c, 1}));
  }
  for (const auto& [left, right] : kMerges) {
    const std::string first = byte_level_text_of(left);
    const std::string second = byte_level_text_of(right);
    vocabulary.merges.push_back(first + " " + second);
    vocabulary.texts.push_back(first + second);
  }
  return vocabulary;
}

// The same as tokenizer.json, laid out as SmolLM2's.
std::string make_tokenizer_json(const Vocabulary& vocabulary) {
  JsonWriter json;
  json.begin_object().member("version", "1.0").member("truncation", nullptr);
  json.member("padding", nullptr).begin_array("added_tokens");
  for (size_t id = 0; id < vocabulary.n_special; ++id) {
    json.begin_object().member("id", id).member("content", vocabulary.texts[id]);
    json.member("single_word", false).member("lstrip", false).member("rstrip", false);
    json.member("normalized", false).member("special", true).end_object();
  }
  json.end_array().member("normalizer", nullptr);
  json.begin_object("pre_tokenizer").member("type", "Sequence").begin_array("pretokenizers");
  json.begin_object().member("type", "Digits").member("individual_digits", true).end_object();
  json.begin_object().member("type", "ByteLevel").member("add_prefix_space", false);
  json.member("trim_offsets", true).member("use_regex", true).end_object();
  json.end_array().end_object();
  json.member("post_processor", nullptr).begin_object("decoder").member("type", "ByteLevel");
  json.member("add_prefix_space", true).member("trim_offsets", true).member("use_regex", true);
  json.end_object().begin_object("model").member("type", "BPE").member("dropout", nullptr);
  json.member("unk_token", nullptr).member("continuing_subword_prefix", nullptr);
  json.member("end_of_word_suffix", nullptr).member("fuse_unk", false);
  json.member("byte_fallback", false).member("ignore_merges", false).begin_object("vocab");
  for (size_t id = 0; id < vocabulary.texts.size(); ++id) json.member(vocabulary.texts[id], id);
  json.end_object().begin_array("merges");
  for (const std::string& merge : vocabulary.merges) json.element(merge);
  json.end_array().end_object().end_object();
  return json.take();
}

void add_vocabulary(GgufWriter& writer, const Vocabulary& vocabulary,
                    const std::string& pre_tokenizer) {
  std::vector<int32_t> types(vocabulary.texts.size(), 1);
  std::fill_n(types.begin(), vocabulary.n_special, 3);
  writer.add_string("tokenizer.ggml.model", "gpt2");
  writer.add_string("tokenizer.ggml.pre", pre_tokenizer);
  writer.add_strings("tokenizer.ggml.tokens", vocabulary.texts);
  writer.add_i32s("tokenizer.ggml.token_type", types);
  writer.add_strings("tokenizer.ggml.merges", vocabulary.merges);
  writer.add_u32("tokenizer.ggml.bos_token_id", 1);
  writer.add_u32("tokenizer.ggml.eos_token_id", 2);
  writer.add_bool("tokenizer.ggml.add_bos_token", false);
  writer.add_string("tokenizer.chat_template", kTemplate);
}

// What the models of an architecture usually have, and converters write for it.
struct Habits {
  float rope_base;
  float rms_eps;
  bool pairs_together;  // of a head's rows; then it says how many are rotated
  bool head_norms;
  bool projection_biases;
};

std::string gguf_architecture(const TinyModelOptions& options) {
  if (options.architecture == "ministral3") return "mistral3";
  return options.architecture == "mistral" ? "llama" : options.architecture;
}

constexpr float kQueryScaleBeta = 0.5F;  // of ministral3

std::string rope_scaling_of(const TinyModelOptions& options) {
  const bool has_always = options.architecture == "ministral3";
  return has_always && options.rope_scaling.empty() ? "yarn" : options.rope_scaling;
}

Llama3Rope llama3_scaling() {
  Llama3Rope scaling;
  scaling.original_context = 32;
  return scaling;
}

// Its ramp is some pairs long.
YarnRope yarn_scaling() {
  YarnRope scaling;
  scaling.factor = 16;
  scaling.original_context = 16;
  scaling.beta_fast = 1;
  scaling.beta_slow = 0.125;
  return scaling;
}

Habits habits_of(const std::string& architecture) {
  if (architecture == "qwen2") return {1e6F, 1e-6F, false, false, true};
  if (architecture == "qwen3") return {1e6F, 1e-6F, false, true, false};
  return {1e4F, 1e-5F, true, false, false};
}

void add_shape(GgufWriter& writer, const TinyModelOptions& options, size_t vocab) {
  const std::string prefix = gguf_architecture(options) + ".";
  const Habits habits = habits_of(options.architecture);
  const auto add = [&](const char* key, int32_t value) {
    writer.add_u32(prefix + key, static_cast<uint32_t>(value));
  };
  writer.add_string("general.architecture", gguf_architecture(options));
  writer.add_string("general.name", "tiny model");
  add("block_count", options.n_layers);
  add("context_length", options.context_tokens);
  add("embedding_length", options.hidden);
  add("feed_forward_length", options.ffn);
  add("attention.head_count", options.n_heads);
  add("attention.head_count_kv", options.n_kv_heads);
  add("attention.key_length", options.head_dim);
  add("attention.value_length", options.head_dim);
  if (habits.pairs_together) add("rope.dimension_count", options.head_dim);
  add("vocab_size", static_cast<int32_t>(vocab));
  writer.add_f32(prefix + "rope.freq_base", habits.rope_base);
  writer.add_f32(prefix + "attention.layer_norm_rms_epsilon", habits.rms_eps);
}

void add_yarn(GgufWriter& writer, const TinyModelOptions& options) {
  const std::string prefix = gguf_architecture(options) + ".";
  const YarnRope scaling = yarn_scaling();
  const auto add = [&](const char* key, double value) {
    writer.add_f32(prefix + key, static_cast<float>(value));
  };
  writer.add_string(prefix + "rope.scaling.type", "yarn");
  add("rope.scaling.factor", scaling.factor);
  writer.add_u32(prefix + "rope.scaling.original_context_length",
                 static_cast<uint32_t>(scaling.original_context));
  add("rope.scaling.yarn_beta_fast", scaling.beta_fast);
  add("rope.scaling.yarn_beta_slow", scaling.beta_slow);
  if (options.architecture != "ministral3") return;
  add("rope.scaling.yarn_log_multiplier", 1);
  add("attention.temperature_scale", kQueryScaleBeta);
}

struct Weight {
  std::string name;  // as GGUF has it, but for ".weight"
  TensorType type;
  int64_t rows;
  int64_t columns;
  std::vector<uint8_t> bytes;
};

bool is_bias(const std::string& name) {
  return name.ends_with(".bias");
}

std::string gguf_name(const std::string& name) {
  return is_bias(name) ? name : name + ".weight";
}

class WeightMaker {
 public:
  explicit WeightMaker(const TinyModelOptions& options)
      : type_(options.type), draw_(options.seed) {}

  void norm(const std::string& name, int64_t columns) { norm(name, columns, 1.0F, 0.1F); }
  void norm(const std::string& name, int64_t columns, float mean, float deviation) {
    std::vector<float> values(static_cast<size_t>(columns));
    for (float& value : values) value = mean + deviation * draw_.normal();
    weights.push_back({name, TensorType::f32, 1, columns, encode(TensorType::f32, values)});
  }

  // Deviation 1/sqrt(columns), so that a row of deviation 1 stays one.
  void matrix(const std::string& name, int64_t rows, int64_t columns) {
    table(name, rows, columns, 1.0F / std::sqrt(static_cast<float>(columns)),
          [](int64_t) { return 1.0F; });
  }

  template <class RowScale>
  void table(const std::string& name, int64_t rows, int64_t columns, float deviation,
             RowScale row_scale) {
    std::vector<float> values;
    values.reserve(static_cast<size_t>(rows * columns));
    for (int64_t row = 0; row < rows; ++row) {
      const float scale = deviation * row_scale(row);
      for (int64_t i = 0; i < columns; ++i) values.push_back(scale * draw_.normal());
    }
    weights.push_back({name, type_, rows, columns, encode(type_, values)});
  }

  std::vector<Weight> weights;

 private:
  const TensorType type_;
  Draw draw_;
};

// Special tokens get no weight in the head, so that a turn does not end by chance; bytes that are
// no printable ASCII get little, so that most output is readable.
float head_scale(int64_t token) {
  if (token < 3) return 0.0F;
  const int64_t byte = token - 3;
  if (byte >= 256) return 1.0F;
  return byte >= 0x20 && byte < 0x7f ? 1.0F : 0.25F;
}

std::vector<Weight> make_weights(const TinyModelOptions& options, int64_t vocab) {
  WeightMaker weights(options);
  const int64_t hidden = options.hidden;
  const int64_t q_rows = int64_t{options.n_heads} * options.head_dim;
  const int64_t kv_rows = int64_t{options.n_kv_heads} * options.head_dim;
  // A head of deviation 0.5 on normed rows gives logits of deviation sqrt(hidden) / 2: few ties.
  weights.table("token_embd", vocab, hidden, 0.5F,
                [&](int64_t row) { return options.tied ? head_scale(row) : 1.0F; });
  for (int32_t i = 0; i < options.n_layers; ++i) {
    const std::string prefix = "blk." + std::to_string(i) + ".";
    weights.norm(prefix + "attn_norm", hidden);
    weights.matrix(prefix + "attn_q", q_rows, hidden);
    weights.matrix(prefix + "attn_k", kv_rows, hidden);
    weights.matrix(prefix + "attn_v", kv_rows, hidden);
    if (habits_of(options.architecture).projection_biases) {
      // As large as what they are added to.
      weights.norm(prefix + "attn_q.bias", q_rows, 0.0F, 1.0F);
      weights.norm(prefix + "attn_k.bias", kv_rows, 0.0F, 1.0F);
      weights.norm(prefix + "attn_v.bias", kv_rows, 0.0F, 1.0F);
    }
    if (habits_of(options.architecture).head_norms) {
      // Far enough from 1, and from each other, that leaving one out or swapping them shows.
      weights.norm(prefix + "attn_q_norm", options.head_dim, 1.5F, 0.4F);
      weights.norm(prefix + "attn_k_norm", options.head_dim, 0.8F, 0.4F);
    }
    weights.matrix(prefix + "attn_output", hidden, q_rows);
    weights.norm(prefix + "ffn_norm", hidden);
    weights.matrix(prefix + "ffn_gate", options.ffn, hidden);
    weights.matrix(prefix + "ffn_up", options.ffn, hidden);
    weights.matrix(prefix + "ffn_down", hidden, options.ffn);
  }
  weights.norm("output_norm", hidden);
  if (!options.tied) weights.table("output", vocab, hidden, 0.5F, head_scale);
  return std::move(weights.weights);
}

// transformers' name of a weight.
std::string hub_name(const std::string& name) {
  static const std::map<std::string, std::string> kNames = {
      {"token_embd", "model.embed_tokens"},
      {"output_norm", "model.norm"},
      {"output", "lm_head"},
      {"attn_norm", "input_layernorm"},
      {"attn_q", "self_attn.q_proj"},
      {"attn_k", "self_attn.k_proj"},
      {"attn_v", "self_attn.v_proj"},
      {"attn_q_norm", "self_attn.q_norm"},
      {"attn_k_norm", "self_attn.k_norm"},
      {"attn_output", "self_attn.o_proj"},
      {"ffn_norm", "post_attention_layernorm"},
      {"ffn_gate", "mlp.gate_proj"},
      {"ffn_up", "mlp.up_proj"},
      {"ffn_down", "mlp.down_proj"},
  };
  if (name.rfind("blk.", 0) != 0) return kNames.at(name) + ".weight";
  const size_t dot = name.find('.', 4);
  const std::string layer = "model.layers." + name.substr(4, dot - 4) + ".";
  const std::string of_layer = name.substr(dot + 1);
  if (is_bias(name)) return layer + kNames.at(of_layer.substr(0, of_layer.find('.'))) + ".bias";
  return layer + kNames.at(of_layer) + ".weight";
}

// llama.cpp's converter puts rows i and i + head_dim / 2 of a head at 2i and 2i + 1: the way back.
std::vector<uint8_t> with_halves_apart(const Weight& weight, int32_t head_dim) {
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

std::string make_config(const TinyModelOptions& options, int64_t vocab) {
  const Habits habits = habits_of(options.architecture);
  const std::map<std::string, std::string> classes = {{"llama", "LlamaForCausalLM"},
                                                      {"mistral", "MistralForCausalLM"},
                                                      {"ministral3", "Ministral3ForCausalLM"},
                                                      {"qwen2", "Qwen2ForCausalLM"},
                                                      {"qwen3", "Qwen3ForCausalLM"}};
  JsonWriter json;
  json.begin_object().begin_array("architectures").element(classes.at(options.architecture));
  json.end_array().member("model_type", options.architecture);
  json.member("vocab_size", vocab).member("hidden_size", options.hidden);
  json.member("intermediate_size", options.ffn).member("num_hidden_layers", options.n_layers);
  json.member("num_attention_heads", options.n_heads);
  json.member("num_key_value_heads", options.n_kv_heads).member("head_dim", options.head_dim);
  json.member("max_position_embeddings", options.context_tokens).member("hidden_act", "silu");
  json.member("rms_norm_eps", habits.rms_eps).member("rope_theta", habits.rope_base);
  json.member("tie_word_embeddings", options.tied);
  if (options.window == 0) {
    json.member("sliding_window", nullptr);
  } else if (options.architecture == "mistral" || options.architecture == "ministral3") {
    PARKD_CHECK(options.first_windowed == 0, "all its layers have its window");
    json.member("sliding_window", options.window);
  } else {
    json.member("use_sliding_window", true).member("sliding_window", options.window);
    json.member("max_window_layers", options.first_windowed);
  }
  json.member("bos_token_id", 1).member("eos_token_id", 2).member("torch_dtype", "float32");
  const std::string rope_scaling = rope_scaling_of(options);
  if (rope_scaling == "yarn") {
    const YarnRope scaling = yarn_scaling();
    const bool is_ministral3 = options.architecture == "ministral3";
    json.begin_object(is_ministral3 ? "rope_parameters" : "rope_scaling");
    json.member("rope_type", "yarn").member("rope_theta", habits.rope_base);
    json.member("factor", SixDigits{scaling.factor});
    json.member("original_max_position_embeddings", scaling.original_context);
    json.member("beta_fast", SixDigits{scaling.beta_fast});
    json.member("beta_slow", SixDigits{scaling.beta_slow});
    if (is_ministral3) {
      json.member("mscale", 1).member("mscale_all_dim", 1);
      json.member("llama_4_scaling_beta", kQueryScaleBeta);
    }
    json.end_object();
  } else if (rope_scaling == "llama3") {
    const Llama3Rope scaling = llama3_scaling();
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

std::string vision_name(const std::string& text_prefix) {
  const bool is_inside = text_prefix == "model.language_model.";
  return std::string(is_inside ? "model." : "") + "vision_tower.patch_conv.weight";
}

std::string_view safetensors_type(TensorType type) {
  PARKD_CHECK(!format_of(type).is_quantised(), "safetensors have plain numbers");
  return format_of(type).name;
}

}  // namespace

bool can_encode(TensorType type) {
  const int64_t elements = format_of(type).block_elements;
  return elements == 1 || type == TensorType::q4_0 || type == TensorType::q4_1 ||
         type == TensorType::q8_0;
}

std::vector<uint8_t> make_tiny_model(const TinyModelOptions& options) {
  const Vocabulary vocabulary = make_vocabulary();
  GgufWriter writer;
  add_shape(writer, options, vocabulary.texts.size());
  if (rope_scaling_of(options) == "yarn") add_yarn(writer, options);
  add_vocabulary(writer, vocabulary, options.pre_tokenizer);
  if (rope_scaling_of(options) == "llama3") {
    const std::vector<float> divisors = llama3_divisors(
        options.head_dim, habits_of(options.architecture).rope_base, llama3_scaling());
    writer.add_tensor("rope_freqs.weight", TensorType::f32, 1, options.head_dim / 2,
                      encode(TensorType::f32, divisors));
  }
  for (const Weight& weight :
       make_weights(options, static_cast<int64_t>(vocabulary.texts.size()))) {
    writer.add_tensor(gguf_name(weight.name), weight.type, weight.rows, weight.columns,
                      weight.bytes);
  }
  return writer.bytes();
}

std::map<std::string, std::vector<uint8_t>> make_tiny_folder(const TinyModelOptions& options) {
  const Vocabulary vocabulary = make_vocabulary();
  const auto vocab = static_cast<int64_t>(vocabulary.texts.size());
  const auto bytes_of = [](std::string_view text) {
    return std::vector<uint8_t>(text.begin(), text.end());
  };
  std::map<std::string, std::vector<uint8_t>> files;
  const std::string config = make_config(options, vocab);
  files["config.json"] = bytes_of(options.text_prefix.empty() ? config : with_vision(config));
  files["generation_config.json"] = bytes_of(R"({"bos_token_id": 1, "eos_token_id": [2, 0]})");
  files["tokenizer.json"] = bytes_of(make_tokenizer_json(vocabulary));
  JsonWriter tokenizer;
  tokenizer.begin_object().member("eos_token", "<|im_end|>").member("add_bos_token", false);
  tokenizer.member("chat_template", kTemplate).end_object();
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
  for (const Weight& weight : make_weights(options, vocab)) {
    const std::string name = with_text_prefix(hub_name(weight.name), options.text_prefix);
    const bool is_of_heads = weight.name.ends_with("attn_q") || weight.name.ends_with("attn_k");
    const bool moves = is_of_heads && habits_of(options.architecture).pairs_together;
    std::vector<int64_t> shape = {weight.rows, weight.columns};
    if (weight.rows == 1) shape.erase(shape.begin());
    shards[at].add(name, safetensors_type(weight.type), shape,
                   moves ? with_halves_apart(weight, options.head_dim) : weight.bytes);
    index.member(name, name_of_shard(at));
    at = (at + 1) % options.n_shards;
  }
  if (!options.text_prefix.empty()) {
    const std::string name = vision_name(options.text_prefix);
    shards[0].add(name, "F32", std::vector<int64_t>{1, 1}, encode(TensorType::f32, {{1.0F}}));
    index.member(name, name_of_shard(0));
  }
  index.end_object().end_object();
  for (size_t i = 0; i < shards.size(); ++i) files[name_of_shard(i)] = shards[i].bytes();
  if (options.n_shards > 1) files["model.safetensors.index.json"] = bytes_of(index.take());
  return files;
}

namespace {

Status write_file(const std::string& path, std::span<const uint8_t> bytes) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file.write(reinterpret_cast<const char*>(bytes.data()),
             static_cast<std::streamsize>(bytes.size()));
  file.close();
  if (!file) return unavailable(path + " cannot be written");
  return {};
}

}  // namespace

Status write_tiny_model(const std::string& path, const TinyModelOptions& options) {
  return write_file(path, make_tiny_model(options));
}

Status write_tiny_folder(const std::string& directory, const TinyModelOptions& options) {
  for (const auto& [name, bytes] : make_tiny_folder(options)) {
    PARKD_RETURN_IF_ERROR(write_file(directory + "/" + name, bytes));
  }
  return {};
}

std::shared_ptr<const ModelCard> tiny_model_card(const TinyModelOptions& options) {
  return make_model_card(GgufFile::from_bytes("tiny model", make_tiny_model(options)).value())
      .value();
}

std::shared_ptr<const ModelCard> tiny_folder_card(const TinyModelOptions& options) {
  const auto gguf = tiny_model_card(options);
  return make_model_card(ModelFolder::from_files("tiny model", make_tiny_folder(options)).value(),
                         {gguf->tokenizer, gguf->chat_template})
      .value();
}

}  // namespace parkd::testing
