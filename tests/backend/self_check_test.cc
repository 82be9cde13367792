// The self-check refuses a backend that answers wrongly, and lets a right one pass.
#include "lib/backend/self_check.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <iostream>

#include "lib/backend/cpu/cpu_backend.h"
#include "tests/support/tiny_model.h"

namespace parkd {
namespace {

// The CPU stands in for a device: right as it is, wrong when its shape is bent.
MakeBackend cpu_with(Dtype dtype, std::function<void(ModelShape&)> bend) {
  return [dtype, bend](const ModelShape& shape) -> Result<std::unique_ptr<Backend>> {
    CpuBackendOptions options;
    options.shape = shape;
    options.dtype = dtype;
    bend(options.shape);
    return make_cpu_backend(options);
  };
}

const auto kRight = [](ModelShape&) {};

std::shared_ptr<const ModelCard> real_card() {
  const char* path = std::getenv("PARKD_TEST_MODEL");
  return path != nullptr ? load_model_card(path).value() : nullptr;
}

void expect_pass(const ModelCard& card, Dtype dtype) {
  const auto report = check_against_cpu(card, dtype, cpu_with(dtype, kRight));
  ASSERT_TRUE(report.ok()) << report.status().to_string();
  std::cout << "worst " << report->worst << ", limit " << report->limit << ", contrast "
            << report->contrast << "\n";
}

void expect_refused(const ModelCard& card, Dtype dtype, std::function<void(ModelShape&)> bend) {
  const auto report = check_against_cpu(card, dtype, cpu_with(dtype, std::move(bend)));
  ASSERT_FALSE(report.ok()) << "worst " << report->worst << ", limit " << report->limit;
  std::cout << report.status().message() << "\n";
  EXPECT_NE(report.status().message().find("the limit is"), std::string::npos);
}

TEST(SelfCheck, right_backend_passes_with_every_type) {
  for (const Dtype dtype : {Dtype::f32, Dtype::f16, Dtype::bf16}) {
    expect_pass(*testing::tiny_model_card({}), dtype);
  }
}

TEST(SelfCheck, wrong_rotation_or_scale_or_norm_is_refused) {
  const auto card = testing::tiny_model_card({});
  const auto other_rotation = [](ModelShape& shape) {
    shape.rope_layout = shape.rope_layout == RopeLayout::interleaved ? RopeLayout::split_half
                                                                     : RopeLayout::interleaved;
  };
  expect_refused(*card, Dtype::bf16, other_rotation);
  expect_refused(*card, Dtype::bf16, [](ModelShape& shape) { shape.attention_scale *= 8; });
  expect_refused(*card, Dtype::bf16, [](ModelShape& shape) { shape.rms_eps = 1; });
  expect_refused(*card, Dtype::f32, [](ModelShape& shape) { shape.attention_scale *= 1.1F; });
}

TEST(SelfCheck, backend_that_cannot_be_made_is_the_answer) {
  const auto report = check_against_cpu(*testing::tiny_model_card({}), Dtype::f32,
                                        [](const ModelShape&) -> Result<std::unique_ptr<Backend>> {
                                          return unavailable("no CUDA device");
                                        });
  EXPECT_EQ(report.status().message(), "no CUDA device");
}

TEST(SelfCheck, real_model_passes_and_its_bent_twin_does_not) {
  const auto card = real_card();
  if (card == nullptr) GTEST_SKIP() << "SKIPPED LOUDLY: PARKD_TEST_MODEL is not set";
  expect_pass(*card, Dtype::bf16);
  expect_refused(*card, Dtype::bf16, [](ModelShape& shape) { shape.attention_scale *= 1.5F; });
}

}  // namespace
}  // namespace parkd
