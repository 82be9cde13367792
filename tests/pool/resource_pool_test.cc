#include "lib/pool/resource_pool.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <utility>

#include "lib/pool/price.h"

namespace parkd {
namespace {

TEST(Price, is_n_times_the_blocks_of_prompt_and_answer) {
  EXPECT_EQ(job_cost(1, 1, 0, 32), Blocks{1});
  EXPECT_EQ(job_cost(1, 16, 16, 32), Blocks{1});
  EXPECT_EQ(job_cost(1, 16, 17, 32), Blocks{2});
  EXPECT_EQ(job_cost(3, 16, 17, 32), Blocks{6}) << "each choice is rounded up by itself";
  EXPECT_EQ(job_cost(1, 210, 96, 16), Blocks{20});
}

TEST(Price, does_not_overflow_at_the_largest_counts) {
  EXPECT_EQ(job_cost(128, 2147483647, 2147483647, 1), Blocks{128 * 2 * int64_t{2147483647}});
}

TEST(ResourcePool, what_fits_is_charged_and_what_does_not_is_refused) {
  ResourcePool pool(Blocks{10});
  auto first = pool.try_charge(Blocks{10});
  ASSERT_TRUE(first);
  EXPECT_EQ(pool.in_use(), Blocks{10});
  EXPECT_FALSE(pool.try_charge(Blocks{1}));
  EXPECT_TRUE(pool.try_charge(Blocks{0})) << "nothing always fits";
}

TEST(ResourcePool, a_charge_gives_its_blocks_back_when_it_goes) {
  ResourcePool pool(Blocks{10});
  {
    auto charge = pool.try_charge(Blocks{7});
    ASSERT_TRUE(charge);
  }
  EXPECT_EQ(pool.in_use(), Blocks{0});
  EXPECT_EQ(pool.peak(), Blocks{7});
}

TEST(ResourcePool, a_moved_charge_is_counted_once) {
  ResourcePool pool(Blocks{10});
  auto first = pool.try_charge(Blocks{4});
  auto second = pool.try_charge(Blocks{5});
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

TEST(ResourcePool, a_charge_grows_only_within_the_capacity) {
  ResourcePool pool(Blocks{10});
  auto charge = pool.try_charge(Blocks{4});
  ASSERT_TRUE(charge);
  EXPECT_TRUE(charge->try_extend(Blocks{6}));
  EXPECT_FALSE(charge->try_extend(Blocks{1}));
  EXPECT_EQ(charge->blocks(), Blocks{10});
  EXPECT_EQ(pool.in_use(), Blocks{10});
}

TEST(ResourcePool, a_cost_near_the_largest_number_does_not_wrap_around) {
  ResourcePool pool(Blocks{10});
  auto one = pool.try_charge(Blocks{1});
  ASSERT_TRUE(one);
  EXPECT_FALSE(pool.try_charge(Blocks{INT64_MAX}));
  EXPECT_EQ(pool.in_use(), Blocks{1});
}

TEST(ResourcePoolDeathTest, going_away_before_its_charges_is_a_bug) {
  EXPECT_DEATH(
      {
        auto pool = std::make_unique<ResourcePool>(Blocks{2});
        auto charge = pool->try_charge(Blocks{1});
        pool.reset();
      },
      "before its charges");
}

TEST(ResourcePool, charge_is_of_one_part_and_of_the_emptiest) {
  ResourcePool pool(std::vector<Blocks>{Blocks{10}, Blocks{10}, Blocks{4}});
  EXPECT_EQ(pool.capacity(), Blocks{24});
  EXPECT_EQ(pool.capacity_of_largest(), Blocks{10});
  EXPECT_EQ(pool.free(), Blocks{10});
  auto first = pool.try_charge(Blocks{6});
  ASSERT_TRUE(first);
  EXPECT_EQ(first->part(), 0) << "the first of equals";
  auto second = pool.try_charge(Blocks{7});
  ASSERT_TRUE(second);
  EXPECT_EQ(second->part(), 1);
  EXPECT_FALSE(pool.try_charge(Blocks{5})) << "11 are free, but no part has 5";
  EXPECT_EQ(pool.free(), Blocks{4});
  auto third = pool.try_charge(Blocks{3});
  ASSERT_TRUE(third);
  EXPECT_EQ(third->part(), 0) << "4 are free there, and in the smallest: the first of equals";
  EXPECT_TRUE(second->try_extend(Blocks{3}));
  EXPECT_FALSE(second->try_extend(Blocks{1})) << "its own part is full";
  EXPECT_EQ(pool.in_use_of(0), Blocks{9});
  EXPECT_EQ(pool.in_use(), Blocks{19});
  second->release();
  EXPECT_EQ(pool.in_use_of(1), Blocks{0});
  EXPECT_EQ(pool.free(), Blocks{10});
}

}  // namespace
}  // namespace parkd
