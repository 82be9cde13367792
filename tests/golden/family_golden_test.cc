// Every family's forward pass against transformers' model of it, on tiny random models: the float
// path on every instruction set, whole and in steps.
#include <gtest/gtest.h>

#include <algorithm>
#include <iostream>
#include <string>
#include <vector>

#include "lib/backend/cpu/cpu_backend.h"
#include "lib/base/text.h"
#include "lib/model/family.h"
#include "tests/golden/golden_files.h"
#include "tests/support/teacher_forcing.h"
#include "tests/support/tiny_family.h"

namespace parkd {
namespace {

using testing::GoldenFamily;

std::vector<std::vector<float>> logits_along(const GoldenFamily& golden, const ModelCard& card,
                                             cpu::Isa isa, int32_t step_tokens) {
  CpuBackendOptions options;
  options.shape = card.shape;
  options.dtype = Dtype::f32;
  options.isa = isa;
  testing::TeacherForcing forcing(card, make_cpu_backend(options).value(),
                                  static_cast<int32_t>(golden.tokens.size()), step_tokens);
  return forcing.logits(golden.tokens, 0);
}

TEST(FamilyGolden, models_are_the_ones_that_the_reference_read) {
  for (const GoldenFamily& golden : testing::load_golden_families()) {
    const std::vector<uint8_t> bytes = testing::make_tiny_model(golden.model);
    EXPECT_EQ(to_hex(fnv1a64({reinterpret_cast<const char*>(bytes.data()), bytes.size()})),
              golden.fnv1a64)
        << golden.name << ": tools/golden/families.py makes the file anew";
  }
}

TEST(FamilyGolden, float_path_has_the_references_logits_on_every_instruction_set) {
  for (const GoldenFamily& golden : testing::load_golden_families()) {
    const auto card = testing::tiny_folder_card(golden.model);
    for (const cpu::Isa isa : {cpu::Isa::scalar, cpu::Isa::avx2, cpu::Isa::avx512}) {
      if (!cpu::isa_available(isa)) {
        std::cout << "SKIPPED LOUDLY: this machine has no " << cpu::to_string(isa) << std::endl;
        continue;
      }
      double worst = 0;
      for (const int32_t step_tokens : {64, 7}) {
        const auto rows = logits_along(golden, *card, isa, step_tokens);
        ASSERT_EQ(rows.size(), golden.logits.size());
        for (size_t i = 0; i < rows.size(); ++i) {
          for (const TokenLogprob& wanted : golden.logits[i]) {
            const double ours = rows[i][static_cast<size_t>(wanted.token)];
            const double error = std::abs(ours - double{wanted.logprob});
            ASSERT_LE(error, golden.tolerance)
                << golden.name << ", " << cpu::to_string(isa) << ", after token " << i;
            worst = std::max(worst, error);
          }
        }
      }
      std::cout << golden.name << ", " << cpu::to_string(isa) << ": worst difference of a logit "
                << worst << " (limit " << golden.tolerance << ")\n";
    }
  }
}

TEST(FamilyGolden, greedy_tokens_are_the_references) {
  for (const GoldenFamily& golden : testing::load_golden_families()) {
    const auto card = testing::tiny_folder_card(golden.model);
    const auto rows = logits_along(golden, *card, cpu::detect_isa(), 64);
    ASSERT_GT(golden.tokens.size(), golden.prompt_tokens + 5);
    for (size_t i = golden.prompt_tokens; i < golden.tokens.size(); ++i) {
      const std::vector<float>& row = rows[i - 1];
      EXPECT_EQ(std::max_element(row.begin(), row.end()) - row.begin(), golden.tokens[i])
          << golden.name << ", token " << i;
    }
  }
}

TEST(FamilyGolden, a_gguf_file_and_a_directory_of_the_same_weights_give_the_same_bits) {
  for (GoldenFamily golden : testing::load_golden_families()) {
    // Which GGUF files do not say.
    if (!testing::tiny_family(golden.model).has_windows) golden.model.window = 0;
    golden.model.query_divisor = 0;
    const auto gguf = testing::tiny_model_card(golden.model);
    const auto wanted = logits_along(golden, *gguf, cpu::detect_isa(), 64);
    for (const size_t n_shards : {1, 3}) {
      golden.model.n_shards = n_shards;
      const auto folder = testing::tiny_folder_card(golden.model);
      EXPECT_EQ(logits_along(golden, *folder, cpu::detect_isa(), 64), wanted)
          << golden.name << " in " << n_shards;
    }
  }
}

TEST(FamilyGolden, a_configuration_as_transformers_writes_it_gives_the_same_shape) {
  for (const GoldenFamily& golden : testing::load_golden_families()) {
    auto files = testing::make_tiny_folder(golden.model);
    files["config.json"].assign(golden.config.begin(), golden.config.end());
    const auto ours = testing::tiny_folder_card(golden.model);
    const auto theirs = make_model_card(ModelFolder::from_files("theirs", files).value(),
                                        {ours->tokenizer, ours->chat_template});
    ASSERT_TRUE(theirs.ok()) << golden.name << ": " << theirs.status().message();
    const ModelShape& shape = (*theirs)->shape;
    ASSERT_EQ(shape.ropes.size(), ours->shape.ropes.size()) << golden.name;
    for (size_t i = 0; i < shape.ropes.size(); ++i) {
      EXPECT_EQ(shape.ropes[i].inv_freq, ours->shape.ropes[i].inv_freq) << golden.name;
      EXPECT_EQ(shape.ropes[i].amplitude, ours->shape.ropes[i].amplitude) << golden.name;
    }
    EXPECT_EQ(shape.embedding_scale, ours->shape.embedding_scale) << golden.name;
    EXPECT_EQ(shape.context_tokens, ours->shape.context_tokens) << golden.name;
    EXPECT_EQ(shape.rms_eps, ours->shape.rms_eps) << golden.name;
    EXPECT_EQ(shape.head_dim, ours->shape.head_dim) << golden.name;
    ASSERT_EQ(shape.layers.size(), ours->shape.layers.size()) << golden.name;
    for (size_t i = 0; i < shape.layers.size(); ++i) {
      const LayerPlan& plan = shape.layers[i];
      const LayerPlan& wanted = ours->shape.layers[i];
      EXPECT_EQ(plan.window, wanted.window) << golden.name << ", layer " << i;
      EXPECT_EQ(plan.rope, wanted.rope) << golden.name << ", layer " << i;
      EXPECT_EQ(plan.activation, wanted.activation) << golden.name << ", layer " << i;
      EXPECT_EQ(plan.query_scale.beta, wanted.query_scale.beta) << golden.name;
      EXPECT_EQ(plan.query_scale.period, wanted.query_scale.period) << golden.name;
      EXPECT_EQ(plan.attention_scale, wanted.attention_scale) << golden.name << ", layer " << i;
    }
    EXPECT_EQ((*theirs)->tensors.head.has_value(), !golden.model.tied) << golden.name;
  }
}

TEST(FamilyGolden, every_family_has_a_case) {
  for (const Family& family : all_families()) {
    const auto cases = testing::load_golden_families();
    EXPECT_TRUE(std::any_of(cases.begin(), cases.end(), [&family](const GoldenFamily& golden) {
      return golden.model.architecture == family.name;
    })) << family.name;
  }
}

}  // namespace
}  // namespace parkd
