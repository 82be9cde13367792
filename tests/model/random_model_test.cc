// The models of tests/support/random_model.h: they open as models of their families, have the
// shapes and vocabularies of those they are like, and are what they say in bytes.
#include "tests/support/random_model.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "lib/model/model_card.h"
#include "tests/support/temp_dir.h"

namespace parkd::testing {
namespace {

// A real one's shape but for its layers.
RandomModel with_layers(const char* name, int32_t n_layers) {
  RandomModel model = *find_random_model(name);
  model.options.n_layers = n_layers;
  return model;
}

TEST(RandomModel, opens_with_the_shape_and_the_vocabulary_that_it_says) {
  for (const RandomModel& model :
       {with_layers("mini", 2), with_layers("mini-qwen3", 2), with_layers("qwen3-0.6b", 1)}) {
    const TempDir directory;
    const std::string path = directory.path() + "/model.gguf";
    ASSERT_TRUE(write_random_model(path, model).ok());
    const auto card = load_model_card(path);
    ASSERT_TRUE(card.ok()) << model.name << ": " << card.status().to_string();
    const ModelShape& shape = (*card)->shape;
    EXPECT_EQ(shape.vocab, model.vocab) << model.name;
    EXPECT_EQ(shape.hidden, model.options.hidden) << model.name;
    EXPECT_EQ(shape.ffn, model.options.ffn) << model.name;
    EXPECT_EQ(shape.n_layers, model.options.n_layers) << model.name;
    EXPECT_EQ(shape.n_heads, model.options.n_heads) << model.name;
    EXPECT_EQ(shape.n_kv_heads, model.options.n_kv_heads) << model.name;
    EXPECT_EQ(shape.head_dim, model.options.head_dim) << model.name;
    EXPECT_EQ((*card)->tensors.head.has_value(), !model.options.tied) << model.name;
    const auto bytes = static_cast<int64_t>(std::filesystem::file_size(path));
    EXPECT_GE(bytes, random_model_bytes(model)) << model.name;
    EXPECT_LE(bytes, random_model_bytes(model) + (int64_t{8} << 20)) << model.name << ": its head";
  }
}

TEST(RandomModel, is_as_large_as_the_one_it_is_like) {
  // 7.248e9 numbers of two bytes (mistralai/Mistral-7B-v0.3), 0.596e9 (Qwen/Qwen3-0.6B).
  EXPECT_NEAR(double(random_model_bytes(*find_random_model("mistral-7b"))), 14.496e9, 0.02e9);
  EXPECT_NEAR(double(random_model_bytes(*find_random_model("qwen3-0.6b"))), 1.192e9, 0.01e9);
  EXPECT_EQ(find_random_model("mistral-8b"), nullptr);
}

TEST(RandomModel, that_cannot_be_written_says_so_and_leaves_nothing) {
  const RandomModel& model = *find_random_model("mini");
  EXPECT_EQ(write_random_model("/no/such/place/m.gguf", model).code(), StatusCode::unavailable);
  const Status full = write_random_model("/dev/full", model);
  EXPECT_EQ(full.code(), StatusCode::unavailable);
  EXPECT_NE(full.message().find("/dev/full cannot be written"), std::string::npos);
  RandomModel ragged = model;
  ragged.options.type = TensorType::q4_k;
  EXPECT_EQ(write_random_model("/dev/null", ragged).code(), StatusCode::invalid);
}

}  // namespace
}  // namespace parkd::testing
