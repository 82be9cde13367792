// Gemma 3's text: two ropes, windows by layers, norms kept less one, and what config.json and GGUF
// files leave out.
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <string>
#include <vector>

#include "lib/model/family.h"
#include "lib/model/gguf_numbers.h"
#include "lib/model/hub_numbers.h"
#include "lib/model/model_card.h"
#include "tests/support/gguf_writer.h"
#include "tests/support/tiny_model.h"

namespace parkd {
namespace {

using Files = std::map<std::string, std::vector<uint8_t>>;

Result<HubConfig> config_of(const std::string& text) {
  Files files = testing::make_tiny_folder({});
  files["config.json"].assign(text.begin(), text.end());
  return read_hub_config(*ModelFolder::from_files("m", files).value());
}

ModelShape shape_of(const DecoderNumbers& numbers) {
  ModelShape shape;
  plan_layers(*find_family_of_hub("gemma3_text"), numbers, shape);
  return shape;
}

// As gemma-3-4b-it has it, but for its vision tower's numbers.
constexpr const char* kOf4b =
    R"({"architectures":["Gemma3ForConditionalGeneration"],"model_type":"gemma3",)"
    R"("eos_token_id":[1,106],"mm_tokens_per_image":256,"vision_config":{"model_type":)"
    R"("siglip_vision_model"},"text_config":{"hidden_size":2560,"intermediate_size":10240,)"
    R"("model_type":"gemma3_text","num_hidden_layers":34,"rope_scaling":{"factor":8.0,)"
    R"("rope_type":"linear"},"sliding_window":1024}})";

TEST(Gemma3, a_text_that_says_little_has_its_classs_numbers) {
  const auto config = config_of(kOf4b);
  ASSERT_TRUE(config.ok()) << config.status().message();
  EXPECT_TRUE(config->has_other_parts);
  EXPECT_EQ(config->tied, true) << "its class's, as nothing says otherwise";
  EXPECT_EQ(config->numbers.vocab, 262208);
  EXPECT_EQ(config->end_tokens, (std::vector<TokenId>{0, 1, 2, 106}))
      << "and generation_config.json";
  const ModelShape shape = shape_of(config->numbers);
  EXPECT_EQ(shape.n_heads, 8);
  EXPECT_EQ(shape.n_kv_heads, 4);
  EXPECT_EQ(shape.head_dim, 256);
  EXPECT_EQ(shape.context_tokens, 131072);
  EXPECT_FLOAT_EQ(shape.rms_eps, 1e-6F);
  EXPECT_FLOAT_EQ(shape.embedding_scale, 50.596443F) << "the root of 2560, not rounded to bf16";
  ASSERT_EQ(shape.ropes.size(), 2U);
  EXPECT_EQ(shape.ropes[0].inv_freq, linear_rope(256, 1e6, 8));
  EXPECT_EQ(shape.ropes[1].inv_freq, plain_rope(256, 1e4)) << "windows' are never slowed down";
  for (size_t i = 0; i < 34; ++i) {
    const bool sees_all = i % 6 == 5;
    EXPECT_EQ(shape.layers[i].window, sees_all ? 0 : 1024) << i;
    EXPECT_EQ(shape.layers[i].rope, sees_all ? 0 : 1) << i;
    EXPECT_FLOAT_EQ(shape.layers[i].attention_scale, 1.0F / 16) << i;
    EXPECT_EQ(shape.layers[i].activation, Activation::gelu_tanh) << i;
  }
}

// Of text alone; `more` stands before the end.
std::string small(const std::string& more) {
  return R"({"model_type":"gemma3_text","vocab_size":297,"hidden_size":64,)"
         R"("intermediate_size":96,"num_hidden_layers":3,"num_attention_heads":4,)"
         R"("num_key_value_heads":2,"head_dim":16,"max_position_embeddings":2048,)"
         R"("sliding_window":16)" +
         more + "}";
}

TEST(Gemma3, both_ways_to_say_its_ropes_and_layers_mean_the_same) {
  const auto older = config_of(
      small(R"(,"rope_theta":500000.0,"rope_local_base_freq":20000.0,"sliding_window_pattern":2,)"
            R"("query_pre_attn_scalar":168,"rope_scaling":{"rope_type":"linear","factor":8.0})"));
  ASSERT_TRUE(older.ok()) << older.status().message();
  const auto newer = config_of(small(
      R"(,"layer_types":["sliding_attention","full_attention","sliding_attention"],)"
      R"("query_pre_attn_scalar":168,"rope_parameters":{"full_attention":{"rope_type":"linear",)"
      R"("factor":8.0,"rope_theta":500000.0},"sliding_attention":{"rope_type":"default",)"
      R"("rope_theta":20000.0}})"));
  ASSERT_TRUE(newer.ok()) << newer.status().message();
  for (const auto& config : {older, newer}) {
    const ModelShape shape = shape_of(config->numbers);
    ASSERT_EQ(shape.ropes.size(), 2U);
    EXPECT_EQ(shape.ropes[0].inv_freq, linear_rope(16, 5e5, 8));
    EXPECT_EQ(shape.ropes[1].inv_freq, plain_rope(16, 2e4));
    for (size_t i = 0; i < 3; ++i) {
      EXPECT_EQ(shape.layers[i].window, i == 1 ? 0 : 16);
      EXPECT_EQ(shape.layers[i].rope, i == 1 ? 0 : 1);
      EXPECT_FLOAT_EQ(shape.layers[i].attention_scale, static_cast<float>(1 / std::sqrt(168.0)));
    }
  }
}

TEST(Gemma3, each_rope_has_its_own_amplitude) {
  const auto config = config_of(
      small(R"(,"rope_parameters":{"sliding_attention":{"rope_type":"yarn","factor":16}})"));
  ASSERT_TRUE(config.ok()) << config.status().message();
  const ModelShape shape = shape_of(config->numbers);
  ASSERT_EQ(shape.ropes.size(), 2U);
  EXPECT_EQ(shape.ropes[0].amplitude, 1);
  EXPECT_FLOAT_EQ(shape.ropes[1].amplitude, 1.2772589F);
}

TEST(Gemma3, a_window_that_sees_all_leaves_its_layers_their_rope) {
  const auto config =
      config_of(small(R"(,"max_position_embeddings":16)")
                    .replace(small("").find(R"("max_position_embeddings":2048,)"), 31, ""));
  ASSERT_TRUE(config.ok()) << config.status().message();
  const ModelShape shape = shape_of(config->numbers);
  ASSERT_EQ(shape.ropes.size(), 2U);
  EXPECT_EQ(shape.layers[0].window, 0);
  EXPECT_EQ(shape.layers[0].rope, 1);
}

TEST(Gemma3, what_it_cannot_do_is_refused_by_name) {
  const std::map<std::string, std::string> kCases = {
      {R"(,"final_logit_softcapping":30)", "final_logit_softcapping 30"},
      {R"(,"attn_logit_softcapping":50)", "attn_logit_softcapping 50"},
      {R"(,"hidden_activation":"gelu")", "hidden_activation \"gelu\""},
      {R"(,"use_bidirectional_attention":true)", "use_bidirectional_attention"},
      {R"(,"query_pre_attn_scalar":0)", "query_pre_attn_scalar"},
      {R"(,"sliding_window_pattern":0)", "sliding_window_pattern"},
      {R"(,"layer_types":["full_attention"])", "layer_types has 1 entries"},
      {R"(,"rope_parameters":{"rope_theta":1e6})", "neither full_attention nor sliding_attention"},
      {R"(,"rope_parameters":{"sliding_attention":{"rope_type":"ntk"}})",
       "rope_parameters.sliding_attention.rope_type \"ntk\""},
      {R"(,"rope_parameters":{"full_attention":{"rope_type":"ntk"}})",
       "rope_parameters.full_attention.rope_type \"ntk\""},
  };
  for (const auto& [more, expected] : kCases) {
    const Status status = config_of(small(more)).status();
    EXPECT_FALSE(status.ok()) << more;
    EXPECT_NE(status.message().find(expected), std::string::npos) << status.message();
  }
}

TEST(Gemma3, layers_that_slide_without_a_window_are_refused_by_what_was_read) {
  const std::map<std::string, std::string> kCases = {
      {"", "sliding_window_pattern, left out and so 6, gives layers a window"},
      {R"(,"sliding_window_pattern":2)", "sliding_window_pattern 2 gives layers a window"},
      {R"(,"layer_types":["full_attention","full_attention","sliding_attention"])",
       "layer_types has sliding_attention"},
  };
  const std::string given = R"("sliding_window":16)";
  for (const auto& [more, expected] : kCases) {
    std::string text = small(more);
    text.replace(text.find(given), given.size(), R"("sliding_window":null)");
    const Status status = config_of(text).status();
    EXPECT_EQ(status.code(), StatusCode::corrupt);
    EXPECT_NE(status.message().find(": " + expected + " where sliding_window is null"),
              std::string::npos)
        << status.message();
  }
}

// A GGUF file's numbers; `add` adds keys.
template <class Add>
Result<DecoderNumbers> gguf_numbers(int32_t n_layers, const Add& add) {
  testing::GgufWriter writer;
  writer.add_string("general.architecture", "gemma3");
  const std::map<std::string, int32_t> kKeys = {
      {"block_count", n_layers},    {"context_length", 2048},      {"embedding_length", 64},
      {"feed_forward_length", 96},  {"attention.head_count", 2},   {"attention.head_count_kv", 1},
      {"attention.key_length", 16}, {"attention.value_length", 16}};
  for (const auto& [name, value] : kKeys) {
    writer.add_u32("gemma3." + name, static_cast<uint32_t>(value));
  }
  writer.add_f32("gemma3.attention.layer_norm_rms_epsilon", 1e-6F);
  writer.add_f32("gemma3.rope.freq_base", 1e6F);
  add(writer);
  return read_gguf_numbers(*GgufFile::from_bytes("m.gguf", writer.bytes()).value(), "gemma3");
}

TEST(Gemma3, gguf_files_say_its_windows_as_llama_cpp_reads_them) {
  using testing::GgufWriter;
  // Without a window all layers have the one rope.
  auto numbers = gguf_numbers(7, [](GgufWriter&) {});
  ASSERT_TRUE(numbers.ok()) << numbers.status().message();
  EXPECT_EQ(shape_of(*numbers).ropes.size(), 1U);
  const auto window = [](GgufWriter& w) { w.add_u32("gemma3.attention.sliding_window", 512); };
  numbers = gguf_numbers(7, window);
  ASSERT_TRUE(numbers.ok()) << numbers.status().message();
  EXPECT_EQ(numbers->windows, (std::vector<int32_t>{512, 512, 512, 512, 512, 0, 512}));
  EXPECT_EQ(shape_of(*numbers).ropes[1].inv_freq, plain_rope(16, 1e4));
  numbers = gguf_numbers(3, [&](GgufWriter& w) {
    window(w);
    w.add_u32("gemma3.attention.sliding_window_pattern", 2);
    w.add_f32("gemma3.rope.freq_base_swa", 2e4F);
  });
  ASSERT_TRUE(numbers.ok()) << numbers.status().message();
  EXPECT_EQ(numbers->windows, (std::vector<int32_t>{512, 0, 512}));
  EXPECT_EQ(shape_of(*numbers).ropes[1].inv_freq, plain_rope(16, 2e4));
  const auto flags = [&](std::vector<uint8_t> each) {
    return gguf_numbers(3, [&](GgufWriter& w) {
      window(w);
      std::vector<uint8_t> payload;
      GgufWriter::put(payload, uint32_t{7});
      GgufWriter::put(payload, uint64_t{each.size()});
      payload.insert(payload.end(), each.begin(), each.end());
      w.add_raw("gemma3.attention.sliding_window_pattern", 9, payload);
    });
  };
  numbers = flags({1, 0, 0});
  ASSERT_TRUE(numbers.ok()) << numbers.status().message();
  EXPECT_EQ(numbers->windows, (std::vector<int32_t>{512, 0, 0}));
  EXPECT_NE(flags({1, 0}).status().message().find("has 2 entries where block_count is 3"),
            std::string::npos);
  const Status capped = gguf_numbers(3, [](GgufWriter& w) {
                          w.add_f32("gemma3.final_logit_softcapping", 30);
                        }).status();
  EXPECT_NE(capped.message().find("gemma3.final_logit_softcapping"), std::string::npos)
      << capped.message();
}

TEST(Gemma3, the_largest_models_gguf_divides_scores_by_its_width_a_head) {
  const auto numbers = gguf_numbers(62, [](testing::GgufWriter&) {});
  ASSERT_TRUE(numbers.ok()) << numbers.status().message();
  EXPECT_FLOAT_EQ(shape_of(*numbers).layers[0].attention_scale,
                  static_cast<float>(1 / std::sqrt(32.0)));
}

}  // namespace
}  // namespace parkd
