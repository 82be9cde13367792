// Ministral 3: yarn's frequencies, Llama 4's scale of queries, and the text inside
// Mistral3ForConditionalGeneration; and what GGUF says of yarn for any architecture.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <string>
#include <vector>

#include "lib/model/family.h"
#include "lib/model/hub_numbers.h"
#include "lib/model/model_card.h"
#include "tests/support/tiny_model.h"

namespace parkd {
namespace {

using Files = std::map<std::string, std::vector<uint8_t>>;
using testing::make_tiny_folder;
using testing::TinyModelOptions;

TinyModelOptions ministral3() {
  TinyModelOptions options;
  options.architecture = "ministral3";
  options.head_dim = 32;
  return options;
}

std::vector<uint8_t> bytes_of(std::string_view text) {
  return {text.begin(), text.end()};
}

Result<HubConfig> config_of(std::string_view text) {
  Files files = make_tiny_folder({});
  files["config.json"] = bytes_of(text);
  return read_hub_config(*ModelFolder::from_files("m", files).value());
}

// Of Ministral-3-3B-2512, but for its vision tower's numbers. `rope` replaces the rope.
std::string real_config(const std::string& rope) {
  return R"({"architectures":["Mistral3ForConditionalGeneration"],"model_type":"mistral3",)"
         R"("tie_word_embeddings":false,"vision_config":{"model_type":"pixtral"},"text_config":{)"
         R"("model_type":"ministral3","hidden_size":3072,"intermediate_size":9216,)"
         R"("num_hidden_layers":26,"num_attention_heads":32,"num_key_value_heads":8,)" +
         rope +
         R"("vocab_size":131072,"hidden_act":"silu","max_position_embeddings":262144,)"
         R"("sliding_window":null,"tie_word_embeddings":true}})";
}

constexpr const char* kRealRope =
    R"("head_dim":128,"rms_norm_eps":1e-05,"rope_parameters":{"type":"yarn","rope_type":"yarn",)"
    R"("rope_theta":1000000.0,"factor":16.0,"original_max_position_embeddings":16384,)"
    R"("beta_fast":32.0,"beta_slow":1.0,"mscale":1.0,"mscale_all_dim":1.0,)"
    R"("llama_4_scaling_beta":0.1},)";

TEST(Ministral3, its_configuration_has_the_frequencies_and_scales_of_transformers) {
  // And what is left out is Ministral3Config's.
  for (const char* rope : {kRealRope, ""}) {
    const auto config = config_of(real_config(rope));
    ASSERT_TRUE(config.ok()) << config.status().message();
    EXPECT_EQ(config->tied, true) << "the text's own flag";
    ModelShape shape;
    const Family& family = *find_family_of_hub("ministral3");
    plan_layers(family, config->numbers, shape);
    EXPECT_EQ(shape.head_dim, 128) << "32 heads of it are not the hidden size";
    EXPECT_FLOAT_EQ(shape.rms_eps, 1e-5F);
    const std::map<size_t, double> kFrequencies = {
        {0, 1.0}, {20, 0.0133352}, {28, 0.00132518}, {37, 2.12388e-5}, {63, 7.75586e-8}};
    ASSERT_EQ(shape.ropes[0].inv_freq.size(), 64U);
    for (const auto& [i, value] : kFrequencies) {
      EXPECT_NEAR(double{shape.ropes[0].inv_freq[i]}, value, value * 1e-5) << "pair " << i;
    }
    ASSERT_EQ(shape.layers.size(), 26U);
    const LayerPlan& plan = shape.layers[25];
    EXPECT_FLOAT_EQ(plan.attention_scale, static_cast<float>(1 / std::sqrt(128.0)))
        << "mscale and mscale_all_dim are alike: yarn's factor is 1";
    EXPECT_EQ(plan.window, 0);
    const std::map<int32_t, double> kScales = {
        {0, 1.0}, {16383, 1.0}, {16384, 1.069315}, {32768, 1.109861}, {262143, 1.277259}};
    for (const auto& [position, scale] : kScales) {
      const QueryScale& query = plan.query_scale;
      EXPECT_NEAR(1 + double{query.beta} * std::log(1 + position / query.period), scale, 1e-6)
          << "position " << position;
    }
  }
}

// transformers 5.24: Ministral3Config.from_dict().rope_parameters.
TEST(Ministral3, a_rope_theta_counts_where_a_rope_is_given) {
  struct Case {
    const char* rope;
    double base;
    RopeScaling scaling;
  };
  constexpr Case kCases[] = {
      {R"("rope_theta":500000.0,)", 1e6, RopeScaling::yarn},
      {R"("rope_theta":500000.0,"rope_parameters":null,)", 1e6, RopeScaling::yarn},
      {R"("rope_theta":500000.0,"rope_parameters":{},)", 5e5, RopeScaling::none},
      {R"("rope_theta":500000.0,"rope_scaling":{"type":"linear","factor":2.0},)", 5e5,
       RopeScaling::linear},
      {R"("rope_scaling":{"type":"linear","factor":2.0},)", 1e4, RopeScaling::linear},
      {R"("rope_parameters":{"rope_type":"default"},)", 1e4, RopeScaling::none},
  };
  for (const Case& each : kCases) {
    const auto config = config_of(real_config(each.rope));
    ASSERT_TRUE(config.ok()) << each.rope << config.status().message();
    EXPECT_EQ(config->numbers.rope.base, each.base) << each.rope;
    EXPECT_EQ(config->numbers.rope.scaling, each.scaling) << each.rope;
  }
}

TEST(Ministral3, a_scale_of_queries_is_refused_where_its_class_has_none_or_it_has_no_period) {
  const std::string text =
      R"({"model_type":"ministral3","vocab_size":297,"hidden_size":64,"intermediate_size":96,)"
      R"("num_hidden_layers":2,"num_attention_heads":4,"num_key_value_heads":2,"head_dim":16,)"
      R"("max_position_embeddings":2048,"rope_parameters":{"rope_type":"default",)"
      R"("original_max_position_embeddings":16,"llama_4_scaling_beta":0.5}})";
  const auto config = config_of(text);
  ASSERT_TRUE(config.ok()) << config.status().message();
  EXPECT_EQ(config->numbers.query_scale.beta, 0.5F) << "whatever the rope's type";
  EXPECT_EQ(config->numbers.query_scale.period, 16);
  const auto with = [&text](const std::string& from, const std::string& to) {
    std::string changed = text;
    return changed.replace(changed.find(from), from.size(), to);
  };
  const Status other = config_of(with("ministral3", "mistral")).status();
  EXPECT_EQ(other.code(), StatusCode::invalid);
  EXPECT_NE(other.message().find("llama_4_scaling_beta is not supported for mistral"),
            std::string::npos)
      << other.message();
  const Status lost = config_of(with(R"("original_max_position_embeddings":16,)", "")).status();
  EXPECT_EQ(lost.code(), StatusCode::corrupt);
  EXPECT_NE(lost.message().find("without original_max_position_embeddings"), std::string::npos)
      << lost.message();
}

TEST(Ministral3, its_text_is_read_under_each_prefix) {
  for (const bool tied : {true, false}) {
    TinyModelOptions options = ministral3();
    options.tied = tied;
    const auto plain = testing::tiny_folder_card(options);
    for (const char* prefix : {"language_model.model.", "model.language_model.", "model."}) {
      options.text_prefix = prefix;
      const auto card = testing::tiny_folder_card(options);
      EXPECT_EQ(card->architecture, "ministral3");
      EXPECT_EQ(card->left_out, "all but the text model");
      EXPECT_EQ(card->tensors.head.has_value(), !tied) << prefix;
      EXPECT_TRUE(std::equal(card->tensors.layers[1].q.bytes.begin(),
                             card->tensors.layers[1].q.bytes.end(),
                             plain->tensors.layers[1].q.bytes.begin()))
          << prefix;
      EXPECT_EQ(card->tensors.rows_in_halves, 32);
    }
  }
}

TEST(Ministral3, a_gguf_file_has_the_directorys_rope_and_scales) {
  const auto gguf = testing::tiny_model_card(ministral3());
  const auto folder = testing::tiny_folder_card(ministral3());
  for (const auto& card : {gguf, folder}) {
    EXPECT_EQ(card->architecture, "ministral3");
    EXPECT_EQ(card->shape.ropes[0].layout, RopeLayout::interleaved);
    const LayerPlan& plan = card->shape.layers[1];
    EXPECT_EQ(plan.query_scale.beta, 0.5F);
    EXPECT_EQ(plan.query_scale.period, 16);
    EXPECT_EQ(plan.attention_scale, static_cast<float>(1 / std::sqrt(32.0)));
    EXPECT_EQ(card->shape.ropes[0].amplitude, 1);
  }
  EXPECT_EQ(gguf->shape.ropes[0].inv_freq, folder->shape.ropes[0].inv_freq);
  EXPECT_NE(gguf->shape.ropes[0].inv_freq, plain_rope(32, 1e4));
}

// A GGUF file's key renamed to another of the same length.
Result<std::shared_ptr<const ModelCard>> with_key_renamed(const TinyModelOptions& options,
                                                          const std::string& from,
                                                          const std::string& to) {
  std::vector<uint8_t> bytes = testing::make_tiny_model(options);
  const auto at = std::search(bytes.begin(), bytes.end(), from.begin(), from.end());
  EXPECT_NE(at, bytes.end()) << from;
  EXPECT_EQ(from.size(), to.size());
  std::copy(to.begin(), to.end(), at);
  return make_model_card(GgufFile::from_bytes("m.gguf", std::move(bytes)).value());
}

TEST(Ministral3, yarn_of_gguf_files_is_llama_cpps) {
  TinyModelOptions options = ministral3();
  // Without the multiplier q and k are both multiplied by 0.1 ln(16) + 1.
  const auto without = with_key_renamed(options, "yarn_log_multiplier", "yarn_log_multiplieX");
  ASSERT_TRUE(without.ok()) << without.status().message();
  EXPECT_FLOAT_EQ((*without)->shape.ropes[0].amplitude, 1.2772589F);
  // Without a type a factor is linear's.
  const auto linear = with_key_renamed(options, "rope.scaling.type", "rope.scaling.typX");
  ASSERT_TRUE(linear.ok()) << linear.status().message();
  EXPECT_EQ((*linear)->shape.ropes[0].inv_freq, linear_rope(32, 1e4, 16));
  EXPECT_EQ((*linear)->shape.ropes[0].amplitude, 1);
  options.architecture = "qwen2";
  options.rope_scaling = "yarn";
  EXPECT_FLOAT_EQ(testing::tiny_model_card(options)->shape.ropes[0].amplitude, 1.2772589F);
}

}  // namespace
}  // namespace parkd
