// Phi-3's family: fused tensors, heads that turn in part, LongRoPE's two tables, windows of all
// layers, and what is refused of them.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "lib/model/family.h"
#include "lib/model/gguf_numbers.h"
#include "lib/model/hub_numbers.h"
#include "lib/model/model_card.h"
#include "tests/support/encode_tensor.h"
#include "tests/support/gguf_writer.h"
#include "tests/support/tiny_family.h"
#include "tests/support/tiny_model.h"

namespace parkd {
namespace {

using testing::GgufWriter;
using testing::TinyModelOptions;

Result<HubConfig> config_of(const std::string& text) {
  auto files = testing::make_tiny_folder({});
  files["config.json"].assign(text.begin(), text.end());
  return read_hub_config(*ModelFolder::from_files("m", files).value());
}

ModelShape shape_of(const DecoderNumbers& numbers) {
  ModelShape shape;
  plan_layers(*find_family_of_hub("phi3"), numbers, shape);
  return shape;
}

std::string list_of(size_t n, const std::string& number) {
  std::string text = "[";
  for (size_t i = 0; i < n; ++i) text += (i > 0 ? "," : "") + number;
  return text + "]";
}

// As Phi-4-mini-instruct has it, but for its divisors.
std::string phi4_mini() {
  return R"({"architectures":["Phi3ForCausalLM"],"attention_bias":false,"full_attn_mod":1,)"
         R"("hidden_act":"silu","hidden_size":3072,"interpolate_factor":1,)"
         R"("intermediate_size":8192,"lm_head_bias":false,"max_position_embeddings":131072,)"
         R"("mlp_bias":false,"model_type":"phi3","num_attention_heads":24,)"
         R"("num_hidden_layers":32,"num_key_value_heads":8,)"
         R"("original_max_position_embeddings":4096,"partial_rotary_factor":0.75,)"
         R"("rms_norm_eps":1e-05,"rope_scaling":{"long_factor":)" +
         list_of(48, "2.5") + R"(,"short_factor":)" + list_of(48, "1") +
         R"(,"type":"longrope"},"rope_theta":10000.0,"sliding_window":262144,)"
         R"("tie_word_embeddings":true,"vocab_size":200064,"eos_token_id":199999})";
}

TEST(Phi3, phi_4_mini_turns_three_quarters_of_a_head_by_the_long_divisors) {
  const auto config = config_of(phi4_mini());
  ASSERT_TRUE(config.ok()) << config.status().message();
  EXPECT_EQ(config->tied, true);
  const ModelShape shape = shape_of(config->numbers);
  EXPECT_EQ(shape.head_dim, 128);
  ASSERT_EQ(shape.ropes.size(), 1U);
  const Rope& rope = shape.ropes[0];
  ASSERT_EQ(rope.inv_freq.size(), 64U);
  const std::vector<float> turned(rope.inv_freq.begin(), rope.inv_freq.begin() + 48);
  EXPECT_EQ(turned, divided_rope(96, 1e4, std::vector<float>(48, 2.5F)));
  EXPECT_TRUE(std::all_of(rope.inv_freq.begin() + 48, rope.inv_freq.end(),
                          [](float frequency) { return frequency == 0; }));
  EXPECT_FLOAT_EQ(rope.amplitude, 1.1902381F) << "the root of 1 + ln(32) / ln(4096)";
  EXPECT_EQ(shape.layers[31].window, 0) << "one longer than the context";
}

TEST(Phi3, phi_3_mini_4k_has_a_window_on_all_layers_and_a_plain_rope) {
  const auto config = config_of(
      R"({"hidden_act":"silu","hidden_size":3072,"intermediate_size":8192,"model_type":"phi3",)"
      R"("max_position_embeddings":4096,"num_attention_heads":32,"num_hidden_layers":3,)"
      R"("num_key_value_heads":32,"original_max_position_embeddings":4096,"rms_norm_eps":1e-05,)"
      R"("rope_scaling":null,"rope_theta":10000.0,"sliding_window":2047,"vocab_size":32064})");
  ASSERT_TRUE(config.ok()) << config.status().message();
  EXPECT_EQ(config->numbers.windows, (std::vector<int32_t>{2047, 2047, 2047}));
  const ModelShape shape = shape_of(config->numbers);
  EXPECT_EQ(shape.ropes[0].inv_freq, plain_rope(96, 1e4));
  EXPECT_EQ(shape.ropes[0].amplitude, 1);
}

TinyModelOptions tiny() {
  TinyModelOptions options;
  options.architecture = "phi3";
  options.n_turned = 12;
  options.window = 20;
  options.rope_scaling = "longrope";
  return options;
}

TEST(Phi3, both_formats_cut_its_tensors_and_mean_the_same) {
  const auto gguf = testing::tiny_model_card(tiny());
  const auto folder = testing::tiny_folder_card(tiny());
  for (const auto& card : {gguf, folder}) {
    EXPECT_EQ(card->architecture, "phi3");
    EXPECT_EQ(card->tensors.rows_in_halves, 12);
    const LayerTensors& layer = card->tensors.layers[1];
    EXPECT_EQ(layer.q.rows, 64);
    EXPECT_EQ(layer.k.rows, 32);
    EXPECT_EQ(layer.v.rows, 32);
    EXPECT_EQ(layer.q.bytes.data() + layer.q.bytes.size(), layer.k.bytes.data());
    EXPECT_EQ(layer.k.bytes.data() + layer.k.bytes.size(), layer.v.bytes.data());
    EXPECT_EQ(layer.v.first_row, 96);
    EXPECT_EQ(layer.gate.rows, 96);
    EXPECT_EQ(layer.gate.bytes.data() + layer.gate.bytes.size(), layer.up.bytes.data());
    EXPECT_EQ(layer.up.first_row, 96);
    EXPECT_EQ(card->shape.layers[1].window, 20);
    EXPECT_FLOAT_EQ(card->shape.ropes[0].amplitude, 1.6583124F);
  }
  EXPECT_EQ(gguf->shape.ropes[0].inv_freq, folder->shape.ropes[0].inv_freq);
  EXPECT_EQ(gguf->shape.ropes[0].amplitude, folder->shape.ropes[0].amplitude);
}

TEST(Phi3, the_context_chooses_the_divisors_for_good) {
  TinyModelOptions options = tiny();
  options.original_context = 64;
  const testing::TinyLongRope divisors = testing::tiny_long_rope(options);
  for (const int32_t context : {63, 64, 65}) {
    options.context_tokens = context;
    std::vector<float> wanted =
        divided_rope(12, 1e4, context > 64 ? divisors.of_long : divisors.of_short);
    wanted.resize(8, 0);
    for (const auto& card :
         {testing::tiny_model_card(options), testing::tiny_folder_card(options)}) {
      EXPECT_EQ(card->shape.ropes[0].inv_freq, wanted) << context;
    }
  }
}

// phi4_mini() with a text in another's place.
std::string changed(const std::string& from, const std::string& to) {
  std::string text = phi4_mini();
  const size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return text.replace(at, from.size(), to);
}

TEST(Phi3, the_original_context_is_the_classs_where_it_is_left_out) {
  const auto config = config_of(changed(R"("original_max_position_embeddings":4096,)", ""));
  ASSERT_TRUE(config.ok()) << config.status().message();
  EXPECT_FLOAT_EQ(shape_of(config->numbers).ropes[0].amplitude, 1.1902381F);
  for (const char* type : {"su", "yarn"}) {
    const auto older = config_of(changed("longrope", type));
    ASSERT_TRUE(older.ok()) << older.status().message();
    EXPECT_EQ(older->numbers.rope.divisors, std::vector<float>(48, 2.5F)) << type;
  }
  const auto given =
      config_of(changed(R"("type":"longrope")", R"("type":"longrope","attention_factor":1.5)"));
  ASSERT_TRUE(given.ok()) << given.status().message();
  EXPECT_EQ(shape_of(given->numbers).ropes[0].amplitude, 1.5F);
}

TEST(Phi3, what_config_json_has_wrong_is_refused_in_a_line) {
  struct Case {
    std::string from, to, says;
  };
  const std::vector<Case> cases = {
      {R"("long_factor":)" + list_of(48, "2.5") + ",", "", "rope_scaling.long_factor is missing"},
      {R"("short_factor":)" + list_of(48, "1"), R"("short_factor":)" + list_of(64, "1"),
       "rope_scaling.short_factor has 64 entries, it must have 48"},
      {R"("short_factor":)" + list_of(48, "1"), R"("short_factor":3)",
       "rope_scaling.short_factor is not an array"},
      {"[2.5,2.5", "[2.5,0", "rope_scaling.long_factor has 0, it must be from 1E-6 to 1E6"},
      {"[2.5,2.5", R"([2.5,"2.5")", "rope_scaling.long_factor has \"2.5\", it must be from"},
      {R"("partial_rotary_factor":0.75)", R"("partial_rotary_factor":0)",
       "partial_rotary_factor is 0, it must be from 1E-6 to 1E0"},
      {R"("partial_rotary_factor":0.75)", R"("partial_rotary_factor":1.25)",
       "partial_rotary_factor is 1.25E0, it must be from 1E-6 to 1E0"},
      {R"("partial_rotary_factor":0.75)", R"("partial_rotary_factor":0.1)",
       "rope_scaling.short_factor has 48 entries, it must have 6"},
      {R"("partial_rotary_factor":0.75)", R"("partial_rotary_factor":0.352)",
       "partial_rotary_factor 3.52E-1 turns 45 of a head's 128 numbers: it must be an even number"},
      {R"("type":"longrope")", R"("type":"linear","factor":2)",
       "rope_scaling.type \"linear\" is not supported for phi3 (\"longrope\" is)"},
      {R"("type":"longrope")", R"("type":"longrope","original_max_position_embeddings":8192)",
       "the rope's original_max_position_embeddings 8192 differs from the configuration's, which "
       "is 4096"},
      {R"("type":"longrope")", R"("type":"longrope","attention_factor":-1)",
       "rope_scaling.attention_factor is -1"},
      {R"("original_max_position_embeddings":4096)", R"("original_max_position_embeddings":1)",
       "original_max_position_embeddings is 1, it must be from"},
      {R"("sliding_window":262144)", R"("sliding_window":0)", "sliding_window is 0"},
  };
  for (const Case& each : cases) {
    const Status status = config_of(changed(each.from, each.to)).status();
    EXPECT_FALSE(status.ok()) << each.to;
    EXPECT_EQ(status.message().rfind("m/config.json: " + each.says, 0), 0U) << status.message();
    EXPECT_EQ(status.message().find('\n'), std::string::npos);
  }
}

// A tiny model's GGUF file with more, and tensors of divisors as given.
struct Divisors {
  std::string name;
  std::vector<float> values;
  TensorType type = TensorType::f32;
};
Result<DecoderNumbers> gguf_numbers(const std::map<std::string, uint32_t>& more,
                                    const std::vector<Divisors>& tensors,
                                    float attention_factor = 1) {
  GgufWriter writer;
  writer.add_string("general.architecture", "phi3");
  std::map<std::string, uint32_t> keys = {
      {"block_count", 2},          {"context_length", 2048},    {"embedding_length", 64},
      {"feed_forward_length", 96}, {"attention.head_count", 4}, {"attention.head_count_kv", 2}};
  for (const auto& [name, value] : more) keys[name] = value;
  for (const auto& [name, value] : keys) writer.add_u32("phi3." + name, value);
  writer.add_f32("phi3.attention.layer_norm_rms_epsilon", 1e-5F);
  if (attention_factor != 1) writer.add_f32("phi3.rope.scaling.attn_factor", attention_factor);
  for (const Divisors& each : tensors) {
    writer.add_tensor(each.name, each.type, 1, static_cast<int64_t>(each.values.size()),
                      testing::encode(each.type, each.values));
  }
  return read_gguf_numbers(*GgufFile::from_bytes("m.gguf", writer.bytes()).value(), "phi3");
}

constexpr const char* kShort = "rope_factors_short.weight";
constexpr const char* kLong = "rope_factors_long.weight";
constexpr const char* kOriginal = "rope.scaling.original_context_length";

TEST(Phi3, gguf_files_say_its_rope_as_llama_cpp_reads_it) {
  // Older files of a model without LongRoPE say as little.
  auto numbers = gguf_numbers({}, {});
  ASSERT_TRUE(numbers.ok()) << numbers.status().message();
  EXPECT_EQ(shape_of(*numbers).ropes[0].inv_freq, plain_rope(16, 1e4));
  EXPECT_TRUE(numbers->windows.empty());
  numbers = gguf_numbers({{"attention.sliding_window", 0}}, {});
  ASSERT_TRUE(numbers.ok()) << numbers.status().message();
  EXPECT_TRUE(numbers->windows.empty()) << "as converters write none";
  numbers = gguf_numbers({{"attention.sliding_window", 2047}, {"rope.dimension_count", 16}}, {});
  ASSERT_TRUE(numbers.ok()) << numbers.status().message();
  EXPECT_EQ(numbers->windows, (std::vector<int32_t>{2047, 2047}));
  const std::vector<float> ones(6, 1);
  const std::vector<float> twos(6, 2);
  numbers = gguf_numbers({{kOriginal, 64}, {"rope.dimension_count", 12}},
                         {{kShort, ones}, {kLong, twos}}, 1.25F);
  ASSERT_TRUE(numbers.ok()) << numbers.status().message();
  EXPECT_EQ(numbers->rope.divisors, twos);
  EXPECT_EQ(shape_of(*numbers).ropes[0].amplitude, 1.25F);
}

TEST(Phi3, what_a_gguf_file_has_wrong_is_refused_in_a_line) {
  const std::vector<float> ones(8, 1);
  const auto refused = [](const Result<DecoderNumbers>& numbers, const std::string& says) {
    EXPECT_FALSE(numbers.ok()) << says;
    EXPECT_NE(numbers.status().message().find(says), std::string::npos)
        << numbers.status().message();
    EXPECT_EQ(numbers.status().message().find('\n'), std::string::npos);
  };
  const auto missing = [](const char* name) {
    return "tensor \"" + std::string(name) + "\" is missing";
  };
  refused(gguf_numbers({{kOriginal, 64}}, {}), missing(kShort));
  refused(gguf_numbers({}, {}, 1.5F), missing(kShort));
  refused(gguf_numbers({{kOriginal, 64}}, {{kShort, ones}}), missing(kLong));
  refused(gguf_numbers({}, {{kLong, ones}}), missing(kShort));
  refused(
      gguf_numbers({}, {{kShort, ones}, {kLong, std::vector<float>(6, 1)}}),
      "tensor \"rope_factors_long.weight\" is (1, 6) where the hyper-parameters make it (1, 8)");
  refused(gguf_numbers({{"rope.dimension_count", 12}}, {{kShort, ones}, {kLong, ones}}),
          "tensor \"rope_factors_short.weight\" is (1, 8) where the hyper-parameters make it (1, "
          "6)");
  std::vector<float> holed = ones;
  holed[3] = 0;
  refused(gguf_numbers({}, {{kShort, ones}, {kLong, holed}}),
          "tensor \"rope_factors_long.weight\" holds 0.000000, not a positive number");
  refused(gguf_numbers({}, {{kShort, ones}, {kLong, ones, TensorType::f16}}),
          "tensor \"rope_factors_long.weight\" is not F32");
  for (const uint32_t turned : {0U, 7U, 18U}) {
    refused(gguf_numbers({{"rope.dimension_count", turned}}, {}),
            "phi3.rope.dimension_count is " + std::to_string(turned) +
                ", it must be even, and from 2 to the head's 16");
  }
  refused(gguf_numbers({}, {}, -2), "key \"phi3.rope.scaling.attn_factor\" is -2.000000");
}

// A directory's files, of which a tensor has another shape or name.
TEST(Phi3, fused_tensors_of_another_shape_are_refused_by_name) {
  TinyModelOptions options = tiny();
  const auto with_numbers_of = [&options](const TinyModelOptions& other) {
    auto files = testing::make_tiny_folder(options);
    files["config.json"] = testing::make_tiny_folder(other)["config.json"];
    const auto card = testing::tiny_folder_card(options);
    return make_model_card(ModelFolder::from_files("m", files).value(),
                           {card->tokenizer, card->chat_template})
        .status();
  };
  TinyModelOptions other = options;
  other.n_kv_heads = 4;
  EXPECT_NE(with_numbers_of(other).message().find(
                "tensor \"model.layers.0.self_attn.qkv_proj.weight\" is (128, 64) where the "
                "hyper-parameters make it (192, 64)"),
            std::string::npos)
      << with_numbers_of(other).message();
  other = options;
  other.ffn = 160;
  EXPECT_NE(with_numbers_of(other).message().find(
                "tensor \"model.layers.0.mlp.gate_up_proj.weight\" is (192, 64) where the "
                "hyper-parameters make it (320, 64)"),
            std::string::npos)
      << with_numbers_of(other).message();

  std::vector<uint8_t> bytes = testing::make_tiny_model(options);
  const std::string from = "blk.1.attn_qkv.weight";
  const auto at = std::search(bytes.begin(), bytes.end(), from.begin(), from.end());
  ASSERT_NE(at, bytes.end());
  *(at + 4) = '7';
  EXPECT_NE(make_model_card(GgufFile::from_bytes("m", bytes).value())
                .status()
                .message()
                .find("tensor \"blk.1.attn_qkv.weight\" is missing"),
            std::string::npos);
}

}  // namespace
}  // namespace parkd
