// What config.json means where it leaves a field out: transformers 5.24's classes.
#include <gtest/gtest.h>

#include <map>
#include <string>
#include <vector>

#include "lib/model/family.h"
#include "lib/model/hub_numbers.h"
#include "tests/support/tiny_model.h"

namespace parkd {
namespace {

Result<HubConfig> config_of(const std::string& text) {
  auto files = testing::make_tiny_folder({});
  files["config.json"].assign(text.begin(), text.end());
  return read_hub_config(*ModelFolder::from_files("m", files).value());
}

std::string text_of(const std::string& model_type, int32_t n_heads, const std::string& more) {
  return R"({"vocab_size":297,"hidden_size":)" + std::to_string(16 * n_heads) +
         R"(,"intermediate_size":96,"num_hidden_layers":5,"max_position_embeddings":2048,)"
         R"("head_dim":16,"num_attention_heads":)" +
         std::to_string(n_heads) + R"(,"model_type":")" + model_type + "\"" + more + "}";
}

TEST(HubClasses, heads_of_keys_that_are_left_out_are_the_classs_and_null_means_all) {
  const std::map<std::string, int32_t> kLeftOut = {
      {"llama", 64}, {"mistral", 8}, {"ministral3", 8},  {"qwen2", 32},
      {"qwen3", 32}, {"smollm3", 4}, {"gemma3_text", 4}, {"phi3", 64}};
  for (const Family& family : all_families()) {
    const std::string type(family.name);
    const auto left_out = config_of(text_of(type, 64, ""));
    ASSERT_TRUE(left_out.ok()) << left_out.status().message();
    EXPECT_EQ(left_out->numbers.n_kv_heads, kLeftOut.at(type)) << type;
    const auto null = config_of(text_of(type, 64, R"(,"num_key_value_heads":null)"));
    ASSERT_TRUE(null.ok()) << null.status().message();
    EXPECT_EQ(null->numbers.n_kv_heads, 64) << type;
  }
  const Status few = config_of(text_of("qwen3", 4, "")).status();
  EXPECT_NE(few.message().find("num_key_value_heads is left out, which for qwen3 means 32: more "
                               "than num_attention_heads 4"),
            std::string::npos)
      << few.message();
}

TEST(HubClasses, an_end_that_no_token_can_be_is_refused) {
  for (const std::string end : {"297", "-1", "[2,297]", "100000000"}) {
    const Status status = config_of(text_of("llama", 4, R"(,"eos_token_id":)" + end)).status();
    EXPECT_EQ(status.code(), StatusCode::corrupt) << end;
    EXPECT_NE(status.message().find("which is not a token: vocab_size is 297"), std::string::npos)
        << status.message();
  }
  EXPECT_TRUE(config_of(text_of("llama", 4, R"(,"eos_token_id":296)")).ok());
}

TEST(HubClasses, smollm3s_layers_without_a_rope_are_listed_or_every_fourth) {
  const auto unrotated = [](const std::string& more) {
    const auto config = config_of(text_of("smollm3", 4, more));
    EXPECT_TRUE(config.ok()) << config.status().message();
    std::string layers;
    ModelShape shape;
    plan_layers(*find_family_of_hub("smollm3"), config->numbers, shape);
    for (const LayerPlan& plan : shape.layers) layers += plan.rope == kNoRope ? "0" : "1";
    return layers;
  };
  EXPECT_EQ(unrotated(""), "11101");
  EXPECT_EQ(unrotated(R"(,"no_rope_layer_interval":2)"), "10101");
  EXPECT_EQ(unrotated(R"(,"no_rope_layers":[0,1,1,1,0,1])"), "01110") << "it may be longer";
  const std::map<std::string, std::string> kCases = {
      {R"(,"no_rope_layers":[1,1])", "no_rope_layers has 2 entries where num_hidden_layers is 5"},
      {R"(,"no_rope_layers":[1,1,2,1,1])", "no_rope_layers has 2, not 0 or 1"},
      {R"(,"no_rope_layers":3)", "no_rope_layers is not an array"},
      {R"(,"no_rope_layer_interval":0)", "no_rope_layer_interval is 0"},
      {R"(,"use_sliding_window":true,"sliding_window":16)", "sliding_window 16 is not supported"},
  };
  for (const auto& [more, expected] : kCases) {
    const Status status = config_of(text_of("smollm3", 4, more)).status();
    EXPECT_FALSE(status.ok()) << more;
    EXPECT_NE(status.message().find(expected), std::string::npos) << status.message();
  }
}

}  // namespace
}  // namespace parkd
