#include "lib/model/model_card.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "lib/model/model.h"
#include "tests/support/fake_backend.h"
#include "tests/support/gguf_writer.h"
#include "tests/support/temp_dir.h"
#include "tests/support/tiny_model.h"

namespace parkd {
namespace {

using testing::GgufWriter;
using testing::make_tiny_model;
using testing::TinyModelOptions;

Result<std::shared_ptr<const ModelCard>> card_of(std::vector<uint8_t> bytes) {
  PARKD_ASSIGN_OR_RETURN(auto file, GgufFile::from_bytes("m.gguf", std::move(bytes)));
  return make_model_card(std::move(file));
}

// A tiny model with `from` in its header replaced by `to`, which is as long.
std::vector<uint8_t> with_change(std::string from, std::string to) {
  std::vector<uint8_t> bytes = make_tiny_model({});
  EXPECT_EQ(from.size(), to.size());
  const auto at = std::search(bytes.begin(), bytes.end(), from.begin(), from.end());
  EXPECT_NE(at, bytes.end()) << from;
  std::copy(to.begin(), to.end(), at);
  return bytes;
}

// A tiny model whose key of type uint32 has another value.
std::vector<uint8_t> with_number(const std::string& key, uint32_t value) {
  std::vector<uint8_t> bytes = make_tiny_model({});
  const auto at = std::search(bytes.begin(), bytes.end(), key.begin(), key.end());
  EXPECT_NE(at, bytes.end()) << key;
  const auto offset = static_cast<size_t>(at - bytes.begin()) + key.size() + 4;
  std::memcpy(bytes.data() + offset, &value, sizeof value);
  return bytes;
}

// A tiny model with keys before its own and tensors behind them.
std::vector<uint8_t> with_key(const std::function<void(GgufWriter&)>& add,
                              const TinyModelOptions& options = {}) {
  GgufWriter extra;
  add(extra);
  const std::vector<uint8_t> more = extra.bytes_with_counts(0, 1);
  const auto extra_file = GgufFile::from_bytes("extra", more).value();
  const auto key_bytes = extra_file->header().subspan(24);
  std::vector<uint8_t> bytes = make_tiny_model(options);
  const auto tiny = GgufFile::from_bytes("tiny", bytes).value();
  std::vector<uint8_t> header(bytes.begin(), bytes.begin() + 24);
  uint64_t n_keys = tiny->keys().size() + 1;
  std::memcpy(header.data() + 16, &n_keys, sizeof n_keys);
  header.insert(header.end(), key_bytes.begin(), key_bytes.end());
  header.insert(header.end(), bytes.begin() + 24,
                bytes.begin() + static_cast<ptrdiff_t>(tiny->header().size()));
  header.resize((header.size() + 31) / 32 * 32);
  const size_t data_start = (tiny->header().size() + 31) / 32 * 32;
  header.insert(header.end(), bytes.begin() + static_cast<ptrdiff_t>(data_start), bytes.end());
  return header;
}

void expect_refusal(std::vector<uint8_t> bytes, StatusCode code, const std::string& text) {
  const auto card = card_of(std::move(bytes));
  ASSERT_FALSE(card.ok()) << text;
  EXPECT_EQ(card.status().code(), code) << card.status().message();
  EXPECT_NE(card.status().message().find(text), std::string::npos) << card.status().message();
  EXPECT_EQ(card.status().message().rfind("m.gguf: ", 0), 0U) << card.status().message();
}

TEST(ModelCard, a_tiny_model_of_every_weight_type_has_the_shape_it_was_given) {
  for (const TensorType type : {TensorType::f32, TensorType::f16, TensorType::bf16,
                                TensorType::q8_0, TensorType::q4_0, TensorType::q4_1}) {
    TinyModelOptions options;
    options.type = type;
    options.head_dim = 32;
    options.context_tokens = 777;
    const std::vector<uint8_t> bytes = make_tiny_model(options);
    EXPECT_LT(bytes.size(), 1U << 20);
    const auto card = card_of(bytes).value();
    EXPECT_EQ(card->shape.n_layers, 2);
    EXPECT_EQ(card->shape.hidden, 64);
    EXPECT_EQ(card->shape.ffn, 96);
    EXPECT_EQ(card->shape.n_heads, 4);
    EXPECT_EQ(card->shape.n_kv_heads, 2);
    EXPECT_EQ(card->shape.head_dim, 32) << "not hidden / n_heads";
    EXPECT_EQ(card->shape.context_tokens, 777);
    EXPECT_EQ(card->shape.vocab, card->tokenizer->vocab_size());
    EXPECT_EQ(card->tensors.layers.size(), 2U);
    EXPECT_EQ(card->tensors.layers[1].q.rows, 4 * 32);
    EXPECT_EQ(card->tensors.layers[1].k.rows, 2 * 32);
    EXPECT_EQ(card->tensors.layers[1].down.columns, 96);
    EXPECT_EQ(card->tensors.layers[1].up.type, type);
    EXPECT_EQ(card->tensors.layers[1].ffn_norm.type, TensorType::f32);
    ASSERT_TRUE(card->tensors.head.has_value());
    EXPECT_EQ(card->tensors.head->rows, card->shape.vocab);
    ASSERT_EQ(card->shape.ropes.size(), 1U);
    EXPECT_EQ(card->shape.ropes[0].layout, RopeLayout::interleaved);
    const std::vector<float>& inv_freq = card->shape.ropes[0].inv_freq;
    ASSERT_EQ(inv_freq.size(), 16U);
    EXPECT_FLOAT_EQ(inv_freq[0], 1.0F);
    EXPECT_FLOAT_EQ(inv_freq[8], 0.01F);  // 10000^(-16/32)
    ASSERT_EQ(card->shape.layers.size(), 2U);
    EXPECT_EQ(card->shape.layers[1].rope, 0);
    EXPECT_FLOAT_EQ(card->shape.layers[1].attention_scale, static_cast<float>(1 / std::sqrt(32.0)));
    EXPECT_EQ(card->tensors.layers[1].q_norm.rows, 0) << "llama has none";
  }
}

TEST(ModelCard, a_model_without_a_head_uses_its_embedding) {
  TinyModelOptions options;
  options.tied = true;
  EXPECT_FALSE(testing::tiny_model_card(options)->tensors.head.has_value());
}

TEST(LoadWeights, tells_after_each_layer_how_many_bytes_are_loaded) {
  for (const std::string& family : testing::tiny_family_names()) {
    SCOPED_TRACE(family);
    testing::TinyModelOptions options;
    options.architecture = family;
    const auto card = testing::tiny_model_card(options);
    testing::FakeBackend backend;
    std::vector<int64_t> told;
    const auto weights = load_weights(*card, backend, [&told](int64_t loaded_bytes) {
      told.push_back(loaded_bytes);
      return Status();
    });
    ASSERT_TRUE(weights.ok()) << weights.status().to_string();
    ASSERT_EQ(static_cast<int32_t>(told.size()), card->shape.n_layers);
    EXPECT_GT(told.front(), 0);
    EXPECT_LT(told.front(), told.back());
    int64_t behind_bytes = static_cast<int64_t>(card->tensors.output_norm.bytes.size());
    if (card->tensors.head) behind_bytes += static_cast<int64_t>(card->tensors.head->bytes.size());
    EXPECT_EQ(told.back() + behind_bytes, card->weight_bytes);
  }
}

TEST(LoadWeights, ends_when_who_is_told_wants_no_more) {
  const auto card = testing::tiny_model_card();
  ASSERT_GT(card->shape.n_layers, 1);
  testing::FakeBackend backend;
  int n_told = 0;
  const auto weights = load_weights(*card, backend, [&n_told](int64_t) {
    ++n_told;
    return unavailable("enough");
  });
  EXPECT_EQ(weights.status().message(), "enough");
  EXPECT_EQ(n_told, 1);
}

TEST(ModelCard, a_written_model_reads_like_the_one_in_memory) {
  const TempDir folder;
  const std::string path = folder.path() + "/tiny.gguf";
  ASSERT_TRUE(testing::write_tiny_model(path, {}).ok());
  const auto card = load_model_card(path).value();
  EXPECT_EQ(card->path, path);
  EXPECT_EQ(card->fingerprint, testing::tiny_model_card()->fingerprint);
}

TEST(ModelCard, another_seed_or_type_has_another_fingerprint) {
  TinyModelOptions seed;
  seed.seed = 2;
  TinyModelOptions type;
  type.type = TensorType::q8_0;
  const std::string first = testing::tiny_model_card()->fingerprint;
  EXPECT_EQ(first.size(), 16U);
  EXPECT_NE(first, testing::tiny_model_card(seed)->fingerprint);
  EXPECT_NE(first, testing::tiny_model_card(type)->fingerprint);
}

TEST(ModelCard, another_architecture_is_refused_by_name) {
  GgufWriter writer;
  writer.add_string("general.architecture", "gptj");
  expect_refusal(
      writer.bytes(), StatusCode::invalid,
      "architecture \"gptj\" is not supported yet (llama, mistral, ministral3, qwen2, qwen3, "
      "smollm3, gemma3_text, phi3 are)");
}

TinyModelOptions tiny_qwen3() {
  TinyModelOptions options;
  options.architecture = "qwen3";
  options.head_dim = 48;
  return options;
}

TEST(ModelCard, qwen3_has_norms_of_its_heads_and_rotates_halves) {
  const auto card = card_of(make_tiny_model(tiny_qwen3())).value();
  EXPECT_EQ(card->architecture, "qwen3");
  EXPECT_EQ(card->shape.head_dim, 48) << "not hidden / n_heads";
  EXPECT_FLOAT_EQ(card->shape.rms_eps, 1e-6F);
  ASSERT_EQ(card->shape.ropes.size(), 1U);
  EXPECT_EQ(card->shape.ropes[0].layout, RopeLayout::split_half);
  ASSERT_EQ(card->shape.ropes[0].inv_freq.size(), 24U);
  EXPECT_FLOAT_EQ(card->shape.ropes[0].inv_freq[12], 1e-3F);  // 1e6^(-24/48)
  ASSERT_EQ(card->shape.layers.size(), 2U);
  EXPECT_EQ(card->shape.layers[1].rope, 0);
  EXPECT_FLOAT_EQ(card->shape.layers[1].attention_scale, static_cast<float>(1 / std::sqrt(48.0)));
  EXPECT_EQ(card->tensors.layers[1].q_norm.columns, 48);
  EXPECT_EQ(card->tensors.layers[1].k_norm.name, "blk.1.attn_k_norm.weight");
}

TEST(ModelCard, qwen2_has_biases_of_q_k_and_v) {
  TinyModelOptions options;
  options.architecture = "qwen2";
  options.head_dim = 48;
  const std::vector<uint8_t> bytes = make_tiny_model(options);
  const auto card = card_of(bytes).value();
  EXPECT_EQ(card->architecture, "qwen2");
  EXPECT_EQ(card->shape.ropes[0].layout, RopeLayout::split_half);
  const LayerTensors& layer = card->tensors.layers[1];
  EXPECT_EQ(layer.q_bias.name, "blk.1.attn_q.bias");
  EXPECT_EQ(layer.k_bias.name, "blk.1.attn_k.bias");
  EXPECT_EQ(layer.v_bias.name, "blk.1.attn_v.bias");
  EXPECT_EQ(layer.q_bias.columns, 4 * 48);
  EXPECT_EQ(layer.k_bias.columns, 2 * 48);
  EXPECT_EQ(layer.v_bias.columns, 2 * 48);
  EXPECT_EQ(layer.q_norm.rows, 0);

  const auto with_name = [&bytes](const std::string& from, const std::string& to) {
    std::vector<uint8_t> changed = bytes;
    const auto at = std::search(changed.begin(), changed.end(), from.begin(), from.end());
    EXPECT_NE(at, changed.end()) << from;
    std::copy(to.begin(), to.end(), at);
    return changed;
  };
  expect_refusal(with_name("blk.1.attn_v.bias", "blk.1.attn_v.bibs"), StatusCode::corrupt,
                 "tensor \"blk.1.attn_v.bias\" is missing");
  std::vector<uint8_t> as_llama = bytes;
  const std::string name = "qwen2";
  for (auto at = as_llama.begin();;) {
    at = std::search(at, as_llama.end(), name.begin(), name.end());
    if (at == as_llama.end()) break;
    std::copy_n("llama", 5, at);
  }
  expect_refusal(as_llama, StatusCode::invalid,
                 "tensor \"blk.0.attn_q.bias\" is not supported yet");
}

TEST(ModelCard, qwen3_is_refused_for_what_only_other_families_have_and_for_what_it_lacks) {
  const auto with_tensor_renamed = [](std::string from, std::string to) {
    std::vector<uint8_t> bytes = make_tiny_model(tiny_qwen3());
    const auto at = std::search(bytes.begin(), bytes.end(), from.begin(), from.end());
    EXPECT_NE(at, bytes.end()) << from;
    std::copy(to.begin(), to.end(), at);
    return bytes;
  };
  expect_refusal(with_tensor_renamed("blk.1.attn_q_norm.weight", "blk.1.attn_q_morn.weight"),
                 StatusCode::corrupt, "tensor \"blk.1.attn_q_norm.weight\" is missing");
  // Keys are the architecture's own.
  const auto with_window = [](const char* key) {
    return with_key([key](GgufWriter& w) { w.add_u32(key, 4096); }, tiny_qwen3());
  };
  expect_refusal(with_window("qwen3.attention.sliding_window"), StatusCode::invalid,
                 "key \"qwen3.attention.sliding_window\" is not supported yet");
  EXPECT_TRUE(card_of(with_window("llama.attention.sliding_window")).ok());
}

TEST(ModelCard, a_llama_with_norms_of_heads_is_none) {
  std::vector<uint8_t> bytes = make_tiny_model(tiny_qwen3());
  const std::string from = "qwen3";
  for (auto at = bytes.begin();;) {
    at = std::search(at, bytes.end(), from.begin(), from.end());
    if (at == bytes.end()) break;
    std::copy_n("llama", 5, at);
  }
  expect_refusal(bytes, StatusCode::invalid,
                 "tensor \"blk.0.attn_q_norm.weight\" is not supported yet");
}

TEST(ModelCard, an_unknown_pre_splitting_is_refused_by_name) {
  TinyModelOptions options = tiny_qwen3();
  options.pre_tokenizer = "qwen2";
  EXPECT_TRUE(card_of(make_tiny_model(options)).ok()) << "Qwen's own";
  options.pre_tokenizer = "qwen9";
  expect_refusal(make_tiny_model(options), StatusCode::invalid,
                 "tokenizer.ggml.pre \"qwen9\" is not supported yet");
}

TEST(ModelCard, a_tensor_of_another_shape_than_the_hyper_parameters_say_is_refused) {
  expect_refusal(with_number("llama.feed_forward_length", 128), StatusCode::corrupt,
                 "tensor \"blk.0.ffn_gate.weight\" is (96, 64) where the hyper-parameters make it "
                 "(128, 64)");
  expect_refusal(with_number("llama.embedding_length", 128), StatusCode::corrupt,
                 "tensor \"token_embd.weight\"");
  expect_refusal(with_number("llama.block_count", 3), StatusCode::corrupt,
                 "tensor \"blk.2.attn_norm.weight\" is missing");
}

TEST(ModelCard, a_tensor_nobody_would_use_is_refused) {
  expect_refusal(with_number("llama.block_count", 1), StatusCode::invalid,
                 "tensor \"blk.1.attn_norm.weight\" is not supported yet");
  expect_refusal(with_change("blk.1.attn_q.weight", "blk.1.attn_q.biasxx"), StatusCode::corrupt,
                 "tensor \"blk.1.attn_q.weight\" is missing");
}

TEST(ModelCard, numbers_out_of_range_are_refused_with_their_limits) {
  expect_refusal(with_number("llama.block_count", 0), StatusCode::corrupt,
                 "key \"llama.block_count\" is 0, the limits are 1 and 4096");
  expect_refusal(with_number("llama.attention.head_count_kv", 3), StatusCode::corrupt,
                 "not a multiple");
  expect_refusal(with_number("llama.attention.head_count_kv", 5), StatusCode::corrupt,
                 "the limits are 1 and 4");
  expect_refusal(with_number("llama.attention.layer_norm_rms_epsilon", 0), StatusCode::corrupt,
                 "layer_norm_rms_epsilon");
  expect_refusal(with_number("llama.rope.freq_base", 0x7fc00000), StatusCode::corrupt,
                 "freq_base");  // NaN
  expect_refusal(with_number("llama.rope.dimension_count", 8), StatusCode::invalid,
                 "llama.rope.dimension_count 8 differs");
}

TEST(ModelCard, other_scaled_ropes_and_experts_are_refused_as_not_supported) {
  const auto expect_unsupported = [](const char* key, const std::function<void(GgufWriter&)>& add) {
    expect_refusal(with_key(add), StatusCode::invalid, key);
  };
  EXPECT_TRUE(card_of(with_key([](GgufWriter& w) {
                w.add_string("llama.rope.scaling.type", "none");
              })).ok());
  expect_unsupported("llama.rope.scaling.type \"longrope\"",
                     [](GgufWriter& w) { w.add_string("llama.rope.scaling.type", "longrope"); });
  expect_unsupported("llama.rope.scaling.attn_factor",
                     [](GgufWriter& w) { w.add_f32("llama.rope.scaling.attn_factor", 1.5F); });
  expect_unsupported("llama.attention.temperature_scale",
                     [](GgufWriter& w) { w.add_f32("llama.attention.temperature_scale", 0.1F); });
  expect_unsupported("llama.expert_count",
                     [](GgufWriter& w) { w.add_u32("llama.expert_count", 8); });
}

TEST(ModelCard, a_file_without_a_template_is_a_base_model) {
  const auto card = card_of(with_change("tokenizer.chat_template", "tokenizer.chat_templatX"));
  ASSERT_TRUE(card.ok()) << card.status().to_string();
  EXPECT_FALSE((*card)->chat_template.has_value());
}

TEST(ModelCard, a_template_that_is_no_jinja_is_refused_with_its_line) {
  expect_refusal(with_change("{% endfor %}", "{% endfar %}"), StatusCode::invalid,
                 "chat template: the template, line ");
}

}  // namespace
}  // namespace parkd
