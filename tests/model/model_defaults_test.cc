#include "lib/model/model_defaults.h"

#include <gtest/gtest.h>

#include <string>
#include <utility>

#include "tests/support/gguf_writer.h"

namespace parkd::testing {
namespace {

Result<ModelDefaults> of_gguf(GgufWriter& writer) {
  auto file = GgufFile::from_bytes("m.gguf", writer.bytes());
  if (!file.ok()) return file.status();
  return read_gguf_defaults(**file);
}

Result<ModelDefaults> of_hub(const std::string& text) {
  return read_generation_config(text, "generation_config.json");
}

TEST(ModelDefaults, of_a_gguf_file_are_its_general_sampling) {
  GgufWriter writer;
  writer.add_f32("general.sampling.temp", 0.5F);
  writer.add_f32("general.sampling.top_p", 0.75F);
  writer.add_u32("general.sampling.top_k", 64);
  writer.add_f32("general.sampling.penalty_repeat", 1.25F);
  const auto defaults = of_gguf(writer);
  ASSERT_TRUE(defaults.ok()) << defaults.status().to_string();
  const std::map<std::string_view, double> expected = {
      {"temperature", 0.5}, {"top_p", 0.75}, {"repetition_penalty", 1.25}};
  EXPECT_EQ(defaults->sampling, expected);
  EXPECT_EQ(defaults->top_k, 64);
  GgufWriter silent;
  silent.add_string("general.name", "x");
  EXPECT_TRUE(of_gguf(silent)->sampling.empty());
  EXPECT_FALSE(of_gguf(silent)->top_k);
}

TEST(ModelDefaults, of_a_gguf_file_out_of_range_are_refused_by_key_and_value) {
  GgufWriter writer;
  writer.add_f32("general.sampling.temp", 7);
  const Status refused = of_gguf(writer).status();
  EXPECT_EQ(refused.code(), StatusCode::invalid);
  EXPECT_NE(refused.message().find("general.sampling.temp is 7, it must be from 0 to 2"),
            std::string::npos)
      << refused.message();
}

TEST(ModelDefaults, of_a_directory_are_those_of_generation_config_json) {
  const auto defaults = of_hub(
      R"({"do_sample":true,"temperature":0.6,"top_p":0.95,"top_k":20,"min_p":null,
          "repetition_penalty":1.1,"eos_token_id":[1,2],"transformers_version":"4.51.0"})");
  ASSERT_TRUE(defaults.ok()) << defaults.status().to_string();
  const std::map<std::string_view, double> expected = {
      {"temperature", 0.6}, {"top_p", 0.95}, {"repetition_penalty", 1.1}};
  EXPECT_EQ(defaults->sampling, expected);
  EXPECT_EQ(defaults->top_k, 20);
  EXPECT_EQ(of_hub(R"({"top_k":-1})")->top_k, 0);
  EXPECT_EQ(of_hub(R"({"top_k":50.0})")->top_k, 50);
  EXPECT_TRUE(of_hub("{}")->sampling.empty());
}

TEST(ModelDefaults, of_a_directory_that_are_wrong_are_refused_with_the_files_name) {
  const std::pair<const char*, const char*> cases[] = {
      {R"({"temperature":"hot"})", "generation_config.json: temperature is \"hot\""},
      {R"({"top_p":0})", "top_p is 0, it must be from 0 (not included) to 1"},
      {R"({"top_k":1.5})", "top_k is 1.5"},
      {R"({"top_k":-2})", "top_k is -2, it must be from -1"},
      {R"([])", "it must be a JSON object"},
      {R"({"top_p":)", "generation_config.json"},
  };
  for (const auto& [text, words] : cases) {
    const Status refused = of_hub(text).status();
    EXPECT_FALSE(refused.ok()) << text;
    EXPECT_NE(refused.message().find(words), std::string::npos) << refused.message();
  }
}

}  // namespace
}  // namespace parkd::testing
