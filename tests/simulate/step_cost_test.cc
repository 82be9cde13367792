// The model of a step: figures that were worked out by hand, and the page of kernel_roofline.py,
// which adds up the same step in another language from the kernels' counted traffic.
#include "tools/simulate/step_cost.h"

#include <gtest/gtest.h>

#include <fstream>
#include <regex>
#include <sstream>
#include <string>

namespace parkd::simulate {
namespace {

// A device and a model of round numbers: 1 byte a picosecond, 1 tensor flop a femtosecond.
DeviceSheet round_device() {
  return {"round", 1e12, 1e12, 1e15, 1e13, 100, 1e9};
}
// 1 layer: q 64, kv 32; weights 64 * 128 + 64 * 64 + 3 * 64 * 256 = 61,440; head 64 * 1000.
ModelSheet round_model() {
  return {"round", 1, 64, 256, 2, 1, 32, 1000, true};
}

TEST(StepCost, one_decode_is_the_sum_worked_out_by_hand) {
  StepWork work;
  work.decode_rows = work.logit_rows = 1;
  work.decode_context_tokens = 100;
  const StepCost cost = cost_of(work, round_model(), round_device(), all_of_the_peaks());
  // products 2 * 61,440 + 2 * 448 + 4 * (64 + 64 + 512 + 256) = 127,360
  // head 2 * 64,000 + 128 + 4,000 = 132,128
  // attention 64 * 6 + 100 * 2 * 2 * 32 = 13,184 (one split: 100 tokens are fewer than 128)
  // rows 2 * 384 + 8 * 96 + 6 * 32 + 10 * 256 + 384 + 384 + 512 + 384 + 8,000 = 13,952
  EXPECT_NEAR(cost.memory_s, (127'360 + 132'128 + 13'184 + 13'952) * 1e-12, 1e-15);
  // 2 * 61,440 + 2 * 64,000 tensor flops
  EXPECT_NEAR(cost.arithmetic_s, 250'880 * 1e-15, 1e-15);
  EXPECT_DOUBLE_EQ(cost.kernels_s, cost.memory_s) << "every part is bound by memory";
  EXPECT_NEAR(cost.idle_s, (10 + 8 + 3) * 1.5e-6, 1e-12) << "a graph: gaps alone";
}

TEST(StepCost, a_part_takes_the_longer_of_its_memory_and_its_arithmetic) {
  StepWork work;
  work.prompt_rows = 10'000;
  work.prompt_context_tokens = 10'000 * 10'001 / 2;
  const StepCost cost = cost_of(work, round_model(), round_device(), all_of_the_peaks());
  // products: 2 * 61,440 * 10,000 flops = 1.23 us against 44.9 us of activations; attention: 4 * 64
  // flops for each pair on tensor cores = 12.8 us
  const double products_s = (122'880 + 10'000 * (896 + 3'584.0)) * 1e-12;
  const double rows_s = 10'000 * (768 + 960 + 2'560 + 384 + 384.0) * 1e-12;
  const double attention_s = 256 * 50'005'000.0 * 1e-15;
  EXPECT_NEAR(cost.kernels_s, products_s + rows_s + attention_s, 1e-9);
  EXPECT_NEAR(cost.arithmetic_s, 122'880 * 10'000.0 * 1e-15 + attention_s, 1e-9);
}

TEST(StepCost, a_step_with_a_prompt_waits_for_its_launches_where_they_are_what_is_slow) {
  StepWork work;
  work.prompt_rows = work.prompt_context_tokens = 1;
  const StepCost cost = cost_of(work, round_model(), round_device(), all_of_the_peaks());
  EXPECT_NEAR(cost.alone_s(), (10 + 8 + 3) * 2.5e-6, 1e-12);
  work.decode_rows = work.decode_context_tokens = 1;
  const StepCost both = cost_of(work, round_model(), round_device(), all_of_the_peaks());
  EXPECT_NEAR(both.alone_s(), (11 + 8 + 3) * 2.5e-6, 1e-12) << "two kernels of attention";
}

TEST(StepCost, decode_attention_is_bound_by_issue_slots_where_a_kv_head_serves_many) {
  EXPECT_NEAR(decode_run_instructions(1, 128), 381, 8);
  EXPECT_NEAR(decode_run_instructions(2, 128), 547, 8);
  EXPECT_NEAR(decode_run_instructions(4, 128), 882, 8);
  EXPECT_NEAR(decode_run_instructions(8, 128), 1542, 8);
  EXPECT_NEAR(decode_run_instructions(16, 128), 2 * 1542, 16) << "KV is read once for 8 heads";

  // Mistral on an H100, 64 sequences of 1,024: 32 layers * 65,536 tokens * 8 heads / 8 a run * 880
  // instructions, of which 132 multiprocessors issue 2.4 a clock at 1.755 GHz = 3.319 ms; memory
  // would have it in 8.590 GB of KV + 0.050 of q and out / (0.8 * 3.35 TB/s) = 3.224 ms: 512 blocks
  // are more than the device holds, so there is one split.
  StepWork work;
  work.decode_rows = work.logit_rows = 64;
  work.decode_context_tokens = 64 * 1024;
  Reached plenty;
  plenty.issue_slots = 1000;
  const ModelSheet& mistral = *find_model("Mistral-7B");
  const DeviceSheet& h100 = *find_device("H100");
  const double bound = cost_of(work, mistral, h100, Reached()).kernels_s;
  const double unbound = cost_of(work, mistral, h100, plenty).kernels_s;
  EXPECT_NEAR(bound - unbound, 3.319e-3 - 3.224e-3, 0.002e-3);
}

TEST(StepCost, prompts_attention_is_bound_by_issue_slots_on_a_device_of_fast_tensor_cores) {
  // Mistral on an H100, 2,048 rows that each see 2,048 tokens: 4 * 32 * 4,096 * 2,048^2 = 2.199e12
  // flops; 677 instructions for 524,288 of them, of which 132 multiprocessors issue 2.4 a clock
  // at 1.755 GHz: 5.107 ms; tensor cores would have it in 2.199e12 / (0.35 * 989e12) = 6.353 ms.
  StepWork work;
  work.prompt_rows = 2048;
  work.prompt_context_tokens = 2048 * 2048;
  const ModelSheet& mistral = *find_model("Mistral-7B");
  const DeviceSheet& h100 = *find_device("H100");
  Reached all_flops;
  all_flops.prompt_flops = 1;
  const double by_flops = cost_of(work, mistral, h100, Reached()).kernels_s;
  const double by_issue = cost_of(work, mistral, h100, all_flops).kernels_s;
  EXPECT_NEAR(by_flops - by_issue, 6.353e-3 - 5.107e-3, 0.005e-3);
}

TEST(StepCost, memory_is_counted_as_the_files_have_it) {
  const ModelSheet& mistral = *find_model("Mistral-7B");
  EXPECT_EQ(kv_token_bytes(mistral), 131'072);
  EXPECT_NEAR(weight_bytes(mistral), 14.48e9, 0.01e9);
  EXPECT_NEAR(weight_bytes(*find_model("Qwen3-0.6B")), 1.19e9, 0.01e9) << "one matrix for both";
}

// "| Mistral-7B | H100 SXM | 64 | 8,764 | 8,206 | ..."
TEST(StepCost, its_roofs_are_those_of_the_page) {
  std::ifstream file(std::string(PARKD_SOURCE_DIR) + "/kernels/cuda/README.md");
  std::stringstream page;
  page << file.rdbuf();
  const std::string text = page.str();
  const std::regex row(
      R"(\| ([\w.-]+) \| (H100|RTX 4090)[^|]* \| (\d+) \| ([\d,]+) \| ([\d,]+) \|)");
  int n_rows = 0;
  for (auto it = std::sregex_iterator(text.begin(), text.end(), row); it != std::sregex_iterator();
       ++it) {
    const auto number = [](std::string digits) {
      std::erase(digits, ',');
      return std::stod(digits);
    };
    const ModelSheet* model = find_model((*it)[1].str());
    const DeviceSheet* device = find_device((*it)[2].str());
    ASSERT_NE(model, nullptr) << (*it)[0];
    ASSERT_NE(device, nullptr) << (*it)[0];
    StepWork work;
    work.decode_rows = work.logit_rows = static_cast<int64_t>(number((*it)[3]));
    work.decode_context_tokens = work.decode_rows * 1024;
    const StepCost cost = cost_of(work, *model, *device, all_of_the_peaks());
    const auto rows = static_cast<double>(work.decode_rows);
    // The page counts the kernels' traffic, 8 splits of any number of sequences among it.
    EXPECT_NEAR(rows / cost.kernels_s / number((*it)[4]), 1, 0.04) << (*it)[0];
    EXPECT_NEAR(rows / cost.alone_s() / number((*it)[5]), 1, 0.04) << (*it)[0];
    ++n_rows;
  }
  EXPECT_EQ(n_rows, 12);
}

}  // namespace
}  // namespace parkd::simulate
