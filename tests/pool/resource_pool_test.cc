#include "lib/pool/resource_pool.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <utility>

#include "lib/pool/price.h"

namespace parkd {
namespace {

PoolSize pool_of(int64_t blocks, int32_t sequences = 100, double reserve = 0) {
  return {{{Blocks{blocks}, sequences}}, reserve};
}

TEST(Price, is_n_times_the_blocks_of_prompt_and_answer) {
  EXPECT_EQ(job_cost(1, 1, 0, 32), Blocks{1});
  EXPECT_EQ(job_cost(1, 16, 16, 32), Blocks{1});
  EXPECT_EQ(job_cost(1, 16, 17, 32), Blocks{2});
  EXPECT_EQ(job_cost(3, 16, 17, 32), Blocks{6}) << "each choice is rounded up by itself";
  EXPECT_EQ(job_cost(1, 210, 96, 16), Blocks{20});
}

TEST(Price, of_several_prompts_is_the_sum_of_each) {
  const std::vector<PromptNeed> prompts = {{16, 16}, {16, 17}, {210, 96}};
  EXPECT_EQ(job_cost(1, prompts, 32), Blocks{1 + 2 + 10});
  EXPECT_EQ(job_cost(3, prompts, 32), Blocks{3 * (1 + 2 + 10)});
}

TEST(Price, does_not_overflow_at_the_largest_counts) {
  EXPECT_EQ(job_cost(128, 2147483647, 2147483647, 1), Blocks{128 * 2 * int64_t{2147483647}});
}

TEST(ResourcePool, what_fits_is_charged_and_what_does_not_is_refused) {
  ResourcePool pool(pool_of(10));
  auto first = pool.try_charge(Blocks{10}, 1);
  ASSERT_TRUE(first);
  EXPECT_EQ(pool.in_use(), Blocks{10});
  EXPECT_FALSE(pool.try_charge(Blocks{1}, 1));
  EXPECT_TRUE(pool.try_charge(Blocks{0}, 1)) << "nothing always fits";
}

TEST(ResourcePool, a_charge_gives_its_blocks_back_when_it_goes) {
  ResourcePool pool(pool_of(10));
  {
    auto charge = pool.try_charge(Blocks{7}, 1);
    ASSERT_TRUE(charge);
  }
  EXPECT_EQ(pool.in_use(), Blocks{0});
  EXPECT_EQ(pool.peak(), Blocks{7});
}

TEST(ResourcePool, a_moved_charge_is_counted_once) {
  ResourcePool pool(pool_of(10));
  auto first = pool.try_charge(Blocks{4}, 1);
  auto second = pool.try_charge(Blocks{5}, 1);
  ASSERT_TRUE(first && second);
  Charge moved = std::move(*first);
  first.reset();
  EXPECT_EQ(pool.in_use(), Blocks{9});
  moved = std::move(*second);  // the four go back, the five change hands
  EXPECT_EQ(pool.in_use(), Blocks{5});
  moved.release();
  moved.release();
  EXPECT_EQ(pool.in_use(), Blocks{0});
}

TEST(ResourcePool, a_cost_near_the_largest_number_does_not_wrap_around) {
  ResourcePool pool(pool_of(10));
  auto one = pool.try_charge(Blocks{1}, 1);
  ASSERT_TRUE(one);
  EXPECT_FALSE(pool.try_charge(Blocks{INT64_MAX}, 1));
  EXPECT_EQ(pool.in_use(), Blocks{1});
}

TEST(ResourcePoolDeathTest, going_away_before_its_charges_is_a_bug) {
  EXPECT_DEATH(
      {
        auto pool = std::make_unique<ResourcePool>(pool_of(2));
        auto charge = pool->try_charge(Blocks{1}, 1);
        pool.reset();
      },
      "before its charges");
}

TEST(ResourcePool, charge_is_of_one_part_and_of_the_emptiest) {
  ResourcePool pool({{{Blocks{10}, 40}, {Blocks{10}, 40}, {Blocks{4}, 20}}, 0});
  EXPECT_EQ(pool.capacity(), Blocks{24});
  EXPECT_EQ(pool.free(), Blocks{10});
  auto first = pool.try_charge(Blocks{6}, 1);
  ASSERT_TRUE(first);
  EXPECT_EQ(first->part(), 0) << "the first of equals";
  auto second = pool.try_charge(Blocks{7}, 1);
  ASSERT_TRUE(second);
  EXPECT_EQ(second->part(), 1);
  EXPECT_FALSE(pool.try_charge(Blocks{5}, 1)) << "11 are free, but no part has 5";
  EXPECT_EQ(pool.free(), Blocks{4});
  auto third = pool.try_charge(Blocks{3}, 1);
  ASSERT_TRUE(third);
  EXPECT_EQ(third->part(), 0) << "4 are free there, and in the smallest: the first of equals";
  EXPECT_EQ(pool.in_use(), Blocks{16});
  second->release();
  EXPECT_EQ(pool.free(), Blocks{10});
}

TEST(ResourcePool, sequence_slots_are_charged_with_the_blocks_or_nothing_is) {
  ResourcePool pool(pool_of(10, 4));
  auto first = pool.try_charge(Blocks{2}, 3);
  ASSERT_TRUE(first);
  EXPECT_FALSE(pool.try_charge(Blocks{2}, 2));
  EXPECT_FALSE(pool.try_charge(Blocks{9}, 1));
  EXPECT_EQ(pool.free_sequences(), 1);
  EXPECT_EQ(pool.in_use(), Blocks{2});
  first->release();
  EXPECT_EQ(pool.free_sequences(), 4);
}

TEST(ResourcePool, what_is_kept_is_a_fraction_and_one_slot_at_least_but_never_the_only_one) {
  const auto kept = [](int32_t sequences, double fraction) {
    const ResourcePool pool(pool_of(100, sequences, fraction));
    return std::pair(pool.reserve().count, pool.sequences().reserve());
  };
  EXPECT_EQ(kept(16, 0.125), (std::pair<int64_t, int64_t>(12, 2)));
  EXPECT_EQ(kept(7, 0.125), (std::pair<int64_t, int64_t>(12, 1)));
  EXPECT_EQ(kept(2, 0.01), (std::pair<int64_t, int64_t>(1, 1)));
  EXPECT_EQ(kept(1, 0.5), (std::pair<int64_t, int64_t>(50, 0)));
  EXPECT_EQ(kept(16, 0), (std::pair<int64_t, int64_t>(0, 0)));
  const ResourcePool parts({{{Blocks{100}, 5}, {Blocks{9}, 3}}, 0.25});
  EXPECT_EQ(parts.reserve(), Blocks{27}) << "of each part";
  EXPECT_EQ(parts.sequences().reserve(), 2) << "1 of 5, and 1 of 3 at least";
}

TEST(ResourcePool, what_is_kept_is_for_those_who_ask_for_it_and_comes_back_to_it) {
  ResourcePool pool(pool_of(16, 8, 0.25));
  auto batch = pool.try_charge(Blocks{11}, 5);
  ASSERT_TRUE(batch);
  EXPECT_FALSE(batch->uses_reserve());
  EXPECT_FALSE(pool.try_charge(Blocks{2}, 1)) << "1 of 12 is free, 4 are kept";
  EXPECT_FALSE(pool.try_charge(Blocks{1}, 2)) << "1 of 6 slots is free, 2 are kept";
  EXPECT_FALSE(pool.try_charge(Blocks{5}, 1, Purse::reserve));
  auto waited = pool.try_charge(Blocks{5}, 2, Purse::all);
  ASSERT_TRUE(waited) << "what is free, then what is kept";
  EXPECT_TRUE(waited->uses_reserve());
  EXPECT_EQ(pool.reserve_in_use(), Blocks{4});
  EXPECT_EQ(pool.sequences().in_use().reserved, 1);
  batch->release();
  EXPECT_EQ(pool.free(), Blocks{11}) << "kept is what is kept";
  EXPECT_EQ(pool.free(Purse::reserve), Blocks{0});
  Charge moved = std::move(*waited);
  waited.reset();
  moved.release();
  EXPECT_EQ(pool.free(Purse::reserve), Blocks{4});
  EXPECT_EQ(pool.free_sequences(Purse::reserve), 2);
}

TEST(ResourcePool, a_job_that_needs_what_is_kept_starts_where_nothing_runs) {
  ResourcePool pool({{{Blocks{16}, 8}, {Blocks{8}, 4}}, 0.25});
  EXPECT_FALSE(pool.is_wide(Blocks{12}, 6));
  EXPECT_TRUE(pool.is_wide(Blocks{13}, 1));
  EXPECT_TRUE(pool.is_wide(Blocks{1}, 7));
  auto small = pool.try_charge(Blocks{6}, 1);
  ASSERT_TRUE(small);
  EXPECT_EQ(small->part(), 0);
  EXPECT_FALSE(pool.try_charge(Blocks{13}, 1));
  auto in_the_other = pool.try_charge(Blocks{8}, 1);
  ASSERT_TRUE(in_the_other) << "its part is empty";
  EXPECT_EQ(in_the_other->part(), 1);
  EXPECT_TRUE(in_the_other->uses_reserve());
  small->release();
  auto one = pool.try_charge(Blocks{1}, 1);
  EXPECT_FALSE(pool.try_charge(Blocks{1}, 8)) << "one slot is in use";
  one->release();
  EXPECT_TRUE(pool.try_charge(Blocks{1}, 8)) << "what runs in the other part takes none of this";
  in_the_other->release();
  EXPECT_TRUE(pool.try_charge(Blocks{16}, 8)) << "whatever can ever fit can run";
}

TEST(ResourcePool, what_a_charge_takes_is_of_one_part_slots_too) {
  ResourcePool pool({{{Blocks{10}, 2}, {Blocks{6}, 3}}, 0});
  EXPECT_EQ(pool.sequences().capacity(), 5);
  EXPECT_EQ(pool.free_sequences(), 3) << "of one part";
  EXPECT_FALSE(pool.try_charge(Blocks{1}, 4)) << "5 are free, no part has 4";
  auto three = pool.try_charge(Blocks{1}, 3);
  ASSERT_TRUE(three);
  EXPECT_EQ(three->part(), 1) << "the other has more blocks, and 2 slots";
  auto two = pool.try_charge(Blocks{2}, 2);
  ASSERT_TRUE(two);
  EXPECT_EQ(two->part(), 0);
  EXPECT_FALSE(pool.try_charge(Blocks{1}, 1)) << "blocks are free, but no slot";
  EXPECT_EQ(pool.free(), Blocks{8});
  EXPECT_EQ(pool.free(Purse::common, 1), Blocks{0});
  two->release();
  EXPECT_EQ(pool.free(Purse::common, 1), Blocks{10});
  EXPECT_EQ(pool.free(Purse::common, 3), Blocks{0}) << "its slots are taken";
  three->release();
  EXPECT_EQ(pool.sequences().in_use().sum(), 0);
}

TEST(ResourcePool, twice_the_parts_run_twice_the_sequences) {
  for (const size_t n_parts : {1, 2}) {
    ResourcePool pool({std::vector<PoolPart>(n_parts, {Blocks{100}, 8}), 0});
    std::vector<Charge> charges;
    std::vector<int> of_part(n_parts);
    while (auto charge = pool.try_charge(Blocks{5}, 1)) {
      ++of_part[static_cast<size_t>(charge->part())];
      charges.push_back(std::move(*charge));
    }
    EXPECT_EQ(charges.size(), 8 * n_parts);
    EXPECT_EQ(of_part, std::vector<int>(n_parts, 8));
    charges.clear();
  }
}

TEST(ResourcePool, the_largest_part_says_what_can_run) {
  const std::vector<PoolPart> parts = {{Blocks{8}, 9}, {Blocks{20}, 4}, {Blocks{20}, 5}};
  EXPECT_EQ(largest_of(parts), (PoolPart{Blocks{20}, 5}));
  EXPECT_EQ(all_sequences(parts), 18);
}

}  // namespace
}  // namespace parkd
