#include "tests/support/tiny_gguf.h"

#include "lib/model/rope_frequencies.h"
#include "tests/support/encode_tensor.h"
#include "tests/support/gguf_writer.h"
#include "tests/support/tiny_family.h"
#include "tests/support/tiny_model.h"
#include "tests/support/tiny_tokenizer.h"
#include "tests/support/tiny_weights.h"

namespace parkd::testing {
namespace {

void add_shape(GgufWriter& writer, const TinyModelOptions& options, size_t vocab) {
  const std::string prefix = std::string(tiny_family(options).gguf_architecture) + ".";
  const TinyFamily& family = tiny_family(options);
  const auto add = [&](const char* key, int32_t value) {
    writer.add_u32(prefix + key, static_cast<uint32_t>(value));
  };
  writer.add_string("general.architecture", std::string(tiny_family(options).gguf_architecture));
  writer.add_string("general.name", "tiny model");
  add("block_count", options.n_layers);
  add("context_length", options.context_tokens);
  add("embedding_length", options.hidden);
  add("feed_forward_length", options.ffn);
  add("attention.head_count", options.n_heads);
  add("attention.head_count_kv", options.n_kv_heads);
  add("attention.key_length", options.head_dim);
  add("attention.value_length", options.head_dim);
  if (family.pairs_together) add("rope.dimension_count", options.head_dim);
  if (options.n_turned > 0) add("rope.dimension_count", options.n_turned);
  add("vocab_size", static_cast<int32_t>(vocab));
  writer.add_f32(prefix + "rope.freq_base", family.rope_base);
  writer.add_f32(prefix + "attention.layer_norm_rms_epsilon", family.rms_eps);
  if (!family.has_windows) return;
  add("attention.sliding_window", options.window > 0 ? options.window : options.context_tokens);
  if (options.window_period > 0) add("attention.sliding_window_pattern", options.window_period);
}

void add_yarn(GgufWriter& writer, const TinyModelOptions& options) {
  const std::string prefix = std::string(tiny_family(options).gguf_architecture) + ".";
  const YarnRope scaling = tiny_yarn_rope();
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
  add("attention.temperature_scale", kTinyQueryScaleBeta);
}

// Its tensors, as llama.cpp's converter has them: among the first.
void add_long_rope(GgufWriter& writer, const TinyModelOptions& options) {
  const std::string prefix = std::string(tiny_family(options).gguf_architecture) + ".";
  const TinyLongRope rope = tiny_long_rope(options);
  writer.add_u32(prefix + "rope.scaling.original_context_length",
                 static_cast<uint32_t>(rope.original_context));
  writer.add_f32(prefix + "rope.scaling.attn_factor", static_cast<float>(rope.amplitude));
  const auto n_pairs = static_cast<int64_t>(rope.of_long.size());
  writer.add_tensor("rope_factors_long.weight", TensorType::f32, 1, n_pairs,
                    encode(TensorType::f32, rope.of_long));
  writer.add_tensor("rope_factors_short.weight", TensorType::f32, 1, n_pairs,
                    encode(TensorType::f32, rope.of_short));
}

}  // namespace

std::string gguf_name(const std::string& weight) {
  return is_bias(weight) ? weight : weight + ".weight";
}

void add_tiny_head(GgufWriter& writer, const TinyModelOptions& options,
                   const TinyVocabulary& vocabulary) {
  add_shape(writer, options, vocabulary.texts.size());
  if (tiny_rope_scaling(options) == "yarn") add_yarn(writer, options);
  if (tiny_rope_scaling(options) == "longrope") add_long_rope(writer, options);
  if (tiny_rope_scaling(options) == "linear") {
    const std::string prefix = std::string(tiny_family(options).gguf_architecture) + ".";
    writer.add_string(prefix + "rope.scaling.type", "linear");
    writer.add_f32(prefix + "rope.scaling.factor", kTinyLinearFactor);
  }
  add_tiny_vocabulary(writer, vocabulary, options.pre_tokenizer);
  if (tiny_rope_scaling(options) == "llama3") {
    const std::vector<float> divisors =
        llama3_divisors(options.head_dim, tiny_family(options).rope_base, tiny_llama3_rope());
    writer.add_tensor("rope_freqs.weight", TensorType::f32, 1, options.head_dim / 2,
                      encode(TensorType::f32, divisors));
  }
}

std::vector<uint8_t> make_tiny_model(const TinyModelOptions& options) {
  const TinyVocabulary vocabulary = tiny_vocabulary();
  GgufWriter writer;
  add_tiny_head(writer, options, vocabulary);
  for (const TinyWeight& weight :
       tiny_weights(options, static_cast<int64_t>(vocabulary.texts.size()))) {
    writer.add_tensor(gguf_name(weight.name), weight.type, weight.rows, weight.columns,
                      weight.bytes);
  }
  return writer.bytes();
}

}  // namespace parkd::testing
