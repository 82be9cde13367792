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

namespace parkd {
namespace {

using testing::GoldenFamily;

std::vector<std::vector<float>> logits_along(const GoldenFamily& golden, cpu::Isa isa,
                                             int32_t step_tokens) {
  const auto card = testing::tiny_model_card(golden.model);
  CpuBackendOptions options;
  options.shape = card->shape;
  options.dtype = Dtype::f32;
  options.isa = isa;
  testing::TeacherForcing forcing(*card, make_cpu_backend(options).value(),
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
    for (const cpu::Isa isa : {cpu::Isa::scalar, cpu::Isa::avx2, cpu::Isa::avx512}) {
      if (!cpu::isa_available(isa)) {
        std::cout << "SKIPPED LOUDLY: this machine has no " << cpu::to_string(isa) << std::endl;
        continue;
      }
      double worst = 0;
      for (const int32_t step_tokens : {64, 7}) {
        const auto rows = logits_along(golden, isa, step_tokens);
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
    const auto rows = logits_along(golden, cpu::detect_isa(), 64);
    ASSERT_GT(golden.tokens.size(), golden.prompt_tokens + 5);
    for (size_t i = golden.prompt_tokens; i < golden.tokens.size(); ++i) {
      const std::vector<float>& row = rows[i - 1];
      EXPECT_EQ(std::max_element(row.begin(), row.end()) - row.begin(), golden.tokens[i])
          << golden.name << ", token " << i;
    }
  }
}

// The real model's golden is tests/golden/smollm2-135m, of llama.
TEST(FamilyGolden, every_family_but_llama_has_a_case) {
  for (const Family& family : all_families()) {
    if (family.architecture == "llama") continue;
    const auto cases = testing::load_golden_families();
    EXPECT_TRUE(std::any_of(cases.begin(), cases.end(), [&family](const GoldenFamily& golden) {
      return golden.model.architecture == family.architecture;
    })) << family.architecture;
  }
}

}  // namespace
}  // namespace parkd
