// Directories of F8_E4M3: their matrices are what codes and scales make, and what belongs to them
// and is missing or of another shape is named.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "lib/backend/cpu/cpu_backend.h"
#include "lib/model/model.h"
#include "lib/model/model_card.h"
#include "lib/weights/float8.h"
#include "lib/weights/safetensors.h"
#include "tests/support/safetensors_writer.h"
#include "tests/support/teacher_forcing.h"
#include "tests/support/tiny_model.h"

namespace parkd {
namespace {

using Files = std::map<std::string, std::vector<uint8_t>>;
using testing::SafetensorsWriter;

std::vector<uint8_t> bytes_of(std::string_view text) {
  return {text.begin(), text.end()};
}

std::vector<uint8_t> floats(std::vector<float> values) {
  std::vector<uint8_t> bytes(values.size() * sizeof(float));
  std::memcpy(bytes.data(), values.data(), bytes.size());
  return bytes;
}

// Rows and columns of a block, and what a directory says of them.
constexpr int64_t kBlock = 32;
constexpr const char* kSaysBlocks = R"(,"weight_block_size":[32,32])";
constexpr const char* kSaysNone = R"(,"weight_block_size":null)";
constexpr const char* kLeavesOut = R"(,"ignored_layers":["model.layers.1.mlp.down_proj"])";

struct Form {
  bool in_float8 = true;
  bool by_block = true;
  std::string without = {};  // a tensor that is left out
  int64_t more_rows = 0;     // of each scale tensor
  const char* says = kSaysBlocks;
  std::string ignored = {};  // a matrix that is not quantised
  int32_t ffn = 96;
  std::optional<float> last_scale = {};  // of each scale tensor, instead
  std::optional<uint8_t> last_code = {};
  const char* architecture = "llama";
  int32_t n_kv_heads = 2;
};

// A tiny model whose layers' matrices are codes of their own, in F8_E4M3 or as the floats that
// these stand for.
Files make_files(const Form& form) {
  testing::TinyModelOptions options;
  options.architecture = form.architecture;
  options.n_kv_heads = form.n_kv_heads;
  options.ffn = form.ffn;
  Files files = testing::make_tiny_folder(options);
  const auto source =
      SafetensorsFile::read(MappedFile::from_bytes("tiny", files["model.safetensors"])).value();
  SafetensorsWriter writer;
  const auto add = [&](const std::string& name, const char* type, std::vector<int64_t> shape,
                       const std::vector<uint8_t>& bytes) {
    if (name != form.without) writer.add(name, type, shape, bytes);
  };
  for (const TensorView& view : source->tensors()) {
    const std::string name(view.name);
    if (name.find("_proj.weight") == std::string::npos) {
      std::vector<int64_t> shape = {view.rows, view.columns};
      if (view.rows == 1) shape.erase(shape.begin());
      add(name, "F32", shape, {view.bytes.begin(), view.bytes.end()});
      continue;
    }
    std::vector<uint8_t> codes;
    for (int64_t i = 0; i < view.rows * view.columns; ++i) {
      codes.push_back(static_cast<uint8_t>((i * 73 + i / 19) % 96 + i % 3 % 2 * 128));
    }
    const int64_t rows = form.by_block ? (view.rows + kBlock - 1) / kBlock : 1;
    const int64_t columns = form.by_block ? (view.columns + kBlock - 1) / kBlock : 1;
    std::vector<float> scales;
    for (int64_t i = 0; i < rows * columns; ++i)
      scales.push_back(0.01F + 0.003F * static_cast<float>(i % 7));
    if (!form.in_float8 || name == form.ignored) {
      std::vector<float> values;
      for (int64_t i = 0; i < view.rows * view.columns; ++i) {
        const int64_t row = form.by_block ? i / view.columns / kBlock : 0;
        const int64_t column = form.by_block ? i % view.columns / kBlock : 0;
        values.push_back(float8_to_float(codes[static_cast<size_t>(i)]) *
                         scales[static_cast<size_t>(row * columns + column)]);
      }
      add(name, "F32", {view.rows, view.columns}, floats(values));
      continue;
    }
    if (form.last_scale) scales.back() = *form.last_scale;
    if (form.last_code) codes.back() = *form.last_code;
    add(name, "F8_E4M3", {view.rows, view.columns}, codes);
    scales.resize(static_cast<size_t>((rows + form.more_rows) * columns), 1.0F);
    const std::string base = name.substr(0, name.rfind('.') + 1);
    if (form.by_block) {
      add(base + "weight_scale_inv", "F32", {rows + form.more_rows, columns}, floats(scales));
    } else {
      add(base + "weight_scale", "F32", {}, floats(scales));
      add(base + "input_scale", "F32", {}, floats({2.5F}));
    }
  }
  files["model.safetensors"] = writer.bytes();
  if (!form.in_float8) return files;
  std::string config(files["config.json"].begin(), files["config.json"].end());
  config.insert(1, R"("quantization_config":{"quant_method":"fp8","activation_scheme":"dynamic",)"
                   R"("fmt":"e4m3")" +
                       std::string(form.says) + "},");
  files["config.json"] = bytes_of(config);
  return files;
}

Result<std::shared_ptr<const ModelCard>> card_of(const Files& files) {
  const auto tiny = testing::tiny_model_card();
  return make_model_card(ModelFolder::from_files("m", files).value(),
                         {tiny->tokenizer, tiny->chat_template});
}

std::vector<std::vector<float>> logits_of(const ModelCard& card, Dtype dtype) {
  CpuBackendOptions options;
  options.shape = card.shape;
  options.dtype = dtype;
  testing::TeacherForcing forcing(card, make_cpu_backend(options).value(), 64, 16);
  std::vector<TokenId> tokens;
  for (TokenId i = 0; i < 40; ++i) tokens.push_back(i * 37 % 290 + 3);
  return forcing.logits(tokens, 0);
}

TEST(Float8Model, has_the_bits_of_the_floats_that_its_codes_stand_for) {
  for (const bool by_block : {true, false}) {
    const auto coded =
        card_of(make_files({.by_block = by_block, .says = by_block ? kSaysBlocks : kSaysNone}));
    ASSERT_TRUE(coded.ok()) << coded.status().message();
    EXPECT_NE((*coded)->weight_types.find("F8_E4M3 x14"), std::string::npos)
        << (*coded)->weight_types;
    const auto plain = card_of(make_files({false, by_block}));
    ASSERT_TRUE(plain.ok()) << plain.status().message();
    EXPECT_NE((*coded)->fingerprint, (*plain)->fingerprint);
    for (const Dtype dtype : {Dtype::f32, Dtype::bf16}) {
      EXPECT_EQ(logits_of(**coded, dtype), logits_of(**plain, dtype)) << by_block;
    }
  }
}

// v begins at row 80 of qkv, amid a block.
TEST(Float8Model, parts_of_a_fused_tensor_have_its_scales) {
  for (const bool by_block : {true, false}) {
    const auto coded = card_of(make_files({.by_block = by_block,
                                           .says = by_block ? kSaysBlocks : kSaysNone,
                                           .architecture = "phi3",
                                           .n_kv_heads = 1}));
    ASSERT_TRUE(coded.ok()) << coded.status().message();
    EXPECT_EQ((*coded)->tensors.layers[0].v.first_row, 80);
    const auto plain = card_of(make_files(
        {.in_float8 = false, .by_block = by_block, .architecture = "phi3", .n_kv_heads = 1}));
    ASSERT_TRUE(plain.ok()) << plain.status().message();
    EXPECT_EQ(logits_of(**coded, Dtype::f32), logits_of(**plain, Dtype::f32)) << by_block;
  }
}

// As AutoFP8 and llm-compressor write them for vLLM: no block sizes, one scale for each matrix.
TEST(Float8Model, where_the_block_sizes_are_left_out_the_scale_of_a_matrix_decides) {
  const std::string ignored = "model.layers.1.mlp.down_proj.weight";
  const int32_t ffn = 160;  // wider than a block of the default size
  const auto coded =
      card_of(make_files({.by_block = false, .says = kLeavesOut, .ignored = ignored, .ffn = ffn}));
  ASSERT_TRUE(coded.ok()) << coded.status().message();
  EXPECT_NE((*coded)->weight_types.find("F8_E4M3 x13"), std::string::npos)
      << (*coded)->weight_types;
  const auto plain = card_of(make_files({.in_float8 = false, .by_block = false, .ffn = ffn}));
  ASSERT_TRUE(plain.ok()) << plain.status().message();
  EXPECT_EQ(logits_of(**coded, Dtype::f32), logits_of(**plain, Dtype::f32));
}

void expect_refusal(const Files& files, StatusCode code, const std::string& text) {
  const Status status = card_of(files).status();
  EXPECT_EQ(status.code(), code) << status.message();
  EXPECT_NE(status.message().find(text), std::string::npos) << status.message();
}

Files with_config(const std::string& from, const std::string& to) {
  Files files = make_files({});
  std::string config(files["config.json"].begin(), files["config.json"].end());
  const size_t at = config.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  config.replace(at, from.size(), to);
  files["config.json"] = bytes_of(config);
  return files;
}

TEST(Float8Model, scales_that_are_missing_or_of_another_shape_are_named) {
  const std::string q = "model.layers.1.self_attn.q_proj.weight";
  expect_refusal(make_files({true, true, q + "_scale_inv"}), StatusCode::corrupt,
                 "tensor \"" + q + "\" is F8_E4M3, and there is no \"" + q + "_scale_inv\"");
  expect_refusal(make_files({true, true, "", 1}), StatusCode::corrupt,
                 "is (3, 2) where weight_block_size makes it (2, 2)");
  expect_refusal(make_files({.says = kLeavesOut}), StatusCode::corrupt,
                 "is (2, 2) where weight_block_size, which is left out, makes it (1, 1), or (1, 1) "
                 "for one scale of the whole tensor");
  expect_refusal(with_config("[32,32]", "[64,32]"), StatusCode::corrupt,
                 "is (2, 2) where weight_block_size makes it (1, 2)");
}

TEST(Float8Model, a_scale_or_a_code_that_is_not_finite_is_refused_by_row_and_column) {
  const float infinity = std::numeric_limits<float>::infinity();
  expect_refusal(make_files({.last_scale = infinity}), StatusCode::corrupt,
                 "tensor \"model.layers.0.self_attn.q_proj.weight_scale_inv\": the scale at row 1, "
                 "column 1 is not finite");
  expect_refusal(make_files({.by_block = false, .says = kSaysNone, .last_scale = NAN}),
                 StatusCode::corrupt, "weight_scale\": the scale at row 0, column 0 is not finite");
  const auto card = card_of(make_files({.last_code = 0xFF}));
  ASSERT_TRUE(card.ok()) << card.status().message();
  CpuBackendOptions options;
  options.shape = (*card)->shape;
  const Status status = load_weights(**card, *make_cpu_backend(options).value(), {}).status();
  EXPECT_EQ(status.code(), StatusCode::invalid);
  EXPECT_NE(
      status.message().find("tensor model.layers.0.self_attn.q_proj.weight: the number at row "
                            "63, column 63 is not finite (F8_E4M3 code 255 by its scale)"),
      std::string::npos)
      << status.message();
}

TEST(Float8Model, other_methods_are_refused_by_name) {
  expect_refusal(with_config(R"("fp8")", R"("gptq")"), StatusCode::invalid,
                 "quantization_config.quant_method \"gptq\" is not supported (\"fp8\" is)");
  expect_refusal(with_config(R"("quant_method":"fp8",)", ""), StatusCode::invalid,
                 "quantization_config.quant_method null is not supported");
  expect_refusal(with_config(R"("e4m3")", R"("e5m2")"), StatusCode::invalid,
                 "quantization_config.fmt \"e5m2\" is not supported yet");
  for (const char* sizes : {"[32]", "[0,32]", "[32,32,1]", "32", "[32,\"a\"]"}) {
    expect_refusal(with_config("[32,32]", sizes), StatusCode::corrupt,
                   "quantization_config.weight_block_size is");
  }
  expect_refusal(with_config(R"("quantization_config")", R"("anything")"), StatusCode::invalid,
                 "F8_E4M3 is supported with a quantization_config of \"fp8\" alone");
}

}  // namespace
}  // namespace parkd
