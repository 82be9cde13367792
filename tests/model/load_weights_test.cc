// What load_weights() hands to a backend.
#include <gtest/gtest.h>

#include <cstring>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lib/model/backend.h"
#include "lib/model/model.h"
#include "lib/model/model_card.h"

namespace parkd {
namespace {

// Keeps what it is given, by name.
class KeepingBackend final : public Backend {
 public:
  std::map<std::string, std::vector<float>> kept;

  Result<MatrixId> load_matrix(std::span<const TensorView> parts) override {
    for (const TensorView& part : parts) keep(part);
    return MatrixId{0};
  }
  Result<VectorId> load_vector(const TensorView& vector) override {
    keep(vector);
    return VectorId{0};
  }
  Status allocate_kv(int64_t, int32_t) override { return {}; }
  Result<int64_t> fit_kv(int64_t n_blocks_max, int32_t) override { return n_blocks_max; }
  Result<std::unique_ptr<Lane>> make_lane() override { return unavailable("it has no lanes"); }
  std::string describe() const override { return "keeping"; }
  int64_t weight_bytes() const override { return 0; }
  int64_t kv_bytes() const override { return 0; }

 private:
  void keep(const TensorView& tensor) {
    std::vector<float>& values = kept[std::string(tensor.name)];
    values.resize(tensor.bytes.size() / sizeof(float));
    std::memcpy(values.data(), tensor.bytes.data(), tensor.bytes.size());
  }
};

// Numbers 0, 1, 2, ... in the file's order; one column, or one row.
TensorView numbers(std::string_view name, int64_t rows, int64_t columns) {
  static constexpr float kNumbers[] = {0, 1, 2, 3, 4, 5, 6, 7};
  const auto* bytes = reinterpret_cast<const uint8_t*>(kNumbers);
  const auto n_bytes = static_cast<size_t>(rows * columns) * sizeof(float);
  return {name, TensorType::f32, rows, columns, {bytes, n_bytes}};
}
TensorView column(std::string_view name, int64_t n) {
  return numbers(name, n, 1);
}
TensorView row(std::string_view name, int64_t n) {
  return numbers(name, 1, n);
}

TEST(LoadWeights, heads_in_halves_come_in_pairs_with_their_biases_and_norms) {
  ModelCard card;
  card.shape.head_dim = 4;
  card.tensors.rows_in_halves = 4;
  card.tensors.embedding = column("embedding", 1);
  card.tensors.output_norm = row("output_norm", 1);
  LayerTensors layer;
  layer.attention_norm = row("attention_norm", 1);
  layer.q = column("q", 8);
  layer.k = column("k", 4);
  layer.v = column("v", 4);
  layer.q_norm = row("q_norm", 4);
  layer.k_norm = row("k_norm", 4);
  layer.q_bias = row("q_bias", 8);
  layer.k_bias = row("k_bias", 4);
  layer.v_bias = row("v_bias", 4);
  layer.attention_out = column("attention_out", 1);
  layer.ffn_norm = row("ffn_norm", 1);
  layer.gate = layer.up = layer.down = column("ffn", 1);
  card.tensors.layers = {layer};

  KeepingBackend backend;
  ASSERT_TRUE(load_weights(card, backend, {}).ok());
  const std::vector<float> one_head = {0, 2, 1, 3};
  const std::vector<float> two_heads = {0, 2, 1, 3, 4, 6, 5, 7};
  const std::vector<float> as_it_is = {0, 1, 2, 3};
  EXPECT_EQ(backend.kept["q"], two_heads);
  EXPECT_EQ(backend.kept["k"], one_head);
  EXPECT_EQ(backend.kept["v"], as_it_is);
  EXPECT_EQ(backend.kept["q_bias"], two_heads);
  EXPECT_EQ(backend.kept["k_bias"], one_head);
  EXPECT_EQ(backend.kept["v_bias"], as_it_is);
  EXPECT_EQ(backend.kept["q_norm"], one_head);
  EXPECT_EQ(backend.kept["k_norm"], one_head);
}

// As Gemma's files hold them: less one.
TEST(LoadWeights, every_norm_gets_what_its_file_holds_it_less_and_nothing_else_does) {
  ModelCard card;
  card.shape.head_dim = 4;
  card.tensors.rows_in_halves = 4;
  card.tensors.norm_offset = 1;
  card.tensors.embedding = column("embedding", 2);
  card.tensors.output_norm = row("output_norm", 2);
  LayerTensors layer;
  layer.attention_norm = row("attention_norm", 2);
  layer.q = layer.k = layer.v = column("qkv", 4);
  layer.q_norm = row("q_norm", 4);
  layer.k_norm = row("k_norm", 4);
  layer.attention_out = column("attention_out", 2);
  layer.post_attention_norm = row("post_attention_norm", 2);
  layer.ffn_norm = row("ffn_norm", 2);
  layer.gate = layer.up = layer.down = column("ffn", 2);
  layer.post_ffn_norm = row("post_ffn_norm", 2);
  card.tensors.layers = {layer};

  KeepingBackend backend;
  ASSERT_TRUE(load_weights(card, backend, {}).ok());
  const std::vector<float> two = {1, 2};
  for (const char* norm :
       {"attention_norm", "post_attention_norm", "ffn_norm", "post_ffn_norm", "output_norm"}) {
    EXPECT_EQ(backend.kept[norm], two) << norm;
  }
  const std::vector<float> head = {1, 3, 2, 4};
  EXPECT_EQ(backend.kept["q_norm"], head);
  EXPECT_EQ(backend.kept["k_norm"], head);
  const std::vector<float> as_it_is = {0, 1};
  for (const char* matrix : {"embedding", "attention_out", "ffn"}) {
    EXPECT_EQ(backend.kept[matrix], as_it_is) << matrix;
  }
}

TEST(LoadWeights, of_heads_that_turn_in_part_only_that_part_comes_in_pairs) {
  ModelCard card;
  card.shape.head_dim = 8;
  card.tensors.rows_in_halves = 6;
  card.tensors.embedding = column("embedding", 1);
  card.tensors.output_norm = row("output_norm", 1);
  LayerTensors layer;
  layer.attention_norm = row("attention_norm", 1);
  layer.q = column("q", 8);
  layer.k = column("k", 8);
  layer.v = column("v", 8);
  layer.attention_out = column("attention_out", 1);
  layer.ffn_norm = row("ffn_norm", 1);
  layer.gate = layer.up = layer.down = column("ffn", 1);
  card.tensors.layers = {layer};

  KeepingBackend backend;
  ASSERT_TRUE(load_weights(card, backend, {}).ok());
  const std::vector<float> moved = {0, 3, 1, 4, 2, 5, 6, 7};
  const std::vector<float> as_it_is = {0, 1, 2, 3, 4, 5, 6, 7};
  EXPECT_EQ(backend.kept["q"], moved);
  EXPECT_EQ(backend.kept["k"], moved);
  EXPECT_EQ(backend.kept["v"], as_it_is);
}

}  // namespace
}  // namespace parkd
