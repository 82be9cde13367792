// Capacity in KV blocks: the formula of DESIGN.md, "Units", on models whose numbers are known.
#include "lib/config/kv_capacity.h"

#include <gtest/gtest.h>

namespace parkd {
namespace {

KvShape shape(Dtype dtype, int32_t block_size, int32_t kv_heads, int32_t head_dim, int32_t layers) {
  KvShape s;
  s.dtype = dtype;
  s.block_size = block_size;
  s.n_kv_heads = kv_heads;
  s.head_dim = head_dim;
  s.n_layers = layers;
  return s;
}

TEST(KvCapacity, ministral_3b_with_8192_mb_and_blocks_of_64_holds_1260) {
  EXPECT_EQ(kv_capacity_blocks(8192, shape(Dtype::f16, 64, 8, 128, 26)).count, 1260);
}

TEST(KvCapacity, qwen2_5_half_b_with_2048_mb_and_blocks_of_64_holds_2730) {
  EXPECT_EQ(kv_capacity_blocks(2048, shape(Dtype::f16, 64, 2, 64, 24)).count, 2730);
}

TEST(KvCapacity, f32_halves_what_bf16_holds) {
  EXPECT_EQ(kv_capacity_blocks(1024, shape(Dtype::bf16, 32, 8, 128, 32)).count, 256);
  EXPECT_EQ(kv_capacity_blocks(1024, shape(Dtype::f32, 32, 8, 128, 32)).count, 128);
}

TEST(KvCapacity, a_block_that_does_not_fit_gives_zero) {
  EXPECT_EQ(kv_capacity_blocks(1, shape(Dtype::f32, 256, 8, 128, 32)).count, 0);
}

TEST(KvCapacity, the_largest_memory_does_not_overflow) {
  EXPECT_EQ(kv_capacity_blocks(1 << 24, shape(Dtype::f16, 32, 1, 1, 1)).count,
            (int64_t{1} << 44) / 128);
}

TEST(UnitCapacity, max_units_lowers_the_capacity) {
  const UnitCapacity c = unit_capacity({2520}, 1260);
  EXPECT_EQ(c.blocks.count, 1260);
  EXPECT_EQ(c.warning, "");
}

TEST(UnitCapacity, without_max_units_all_blocks_count) {
  EXPECT_EQ(unit_capacity({2520}, std::nullopt).blocks.count, 2520);
}

TEST(UnitCapacity, max_units_above_the_memory_is_clamped_with_both_numbers) {
  const UnitCapacity c = unit_capacity({1024}, 2048);
  EXPECT_EQ(c.blocks.count, 1024);
  EXPECT_EQ(c.warning,
            "limits.max_units 2048 is above the 1024 blocks the KV memory holds; using 1024");
}

TEST(UnitCapacity, max_units_equal_to_the_memory_is_no_warning) {
  const UnitCapacity c = unit_capacity({2048}, 2048);
  EXPECT_EQ(c.blocks.count, 2048);
  EXPECT_EQ(c.warning, "");
}

// Blocks of 32: a sequence of 1,024 tokens takes 32 of them.
TEST(SequencesHeld, is_as_many_of_a_typical_length_as_the_blocks_hold) {
  EXPECT_EQ(sequences_held(Blocks{32 * 55}, 32, 32768), 55);
  EXPECT_EQ(sequences_held(Blocks{32 * 55 + 31}, 32, 32768), 55);
  EXPECT_EQ(sequences_held(Blocks{32 * 256}, 32, 32768), 256);
  EXPECT_EQ(sequences_held(Blocks{32 * 10'000}, 32, 32768), 256) << "the most of a device";
  EXPECT_EQ(sequences_held(Blocks{1}, 32, 32768), 1) << "one job may run, whatever it needs";
}

TEST(SequencesHeld, takes_a_shorter_context_for_the_typical_length) {
  EXPECT_EQ(sequences_held(Blocks{40}, 32, 256), 5);
  EXPECT_EQ(sequences_held(Blocks{40}, 64, 200), 10) << "4 blocks each, rounded up";
}

TEST(DealSequences, are_dealt_by_what_each_device_holds_and_none_is_lost) {
  const auto dealt = [](int32_t total, std::vector<Blocks> capacities) {
    return deal_sequences(total, capacities);
  };
  EXPECT_EQ(dealt(16, {Blocks{100}}), std::vector<int32_t>{16});
  EXPECT_EQ(dealt(16, {Blocks{100}, Blocks{100}}), (std::vector<int32_t>{8, 8}));
  EXPECT_EQ(dealt(16, {Blocks{300}, Blocks{100}}), (std::vector<int32_t>{12, 4}));
  EXPECT_EQ(dealt(5, {Blocks{100}, Blocks{100}}), (std::vector<int32_t>{3, 2}));
  EXPECT_EQ(dealt(3, {Blocks{1000}, Blocks{1}, Blocks{1}}), (std::vector<int32_t>{1, 1, 1}))
      << "one each";
  EXPECT_EQ(dealt(4096, {Blocks{1}, Blocks{1000000}}), (std::vector<int32_t>{1, 4095}));
}

}  // namespace
}  // namespace parkd
