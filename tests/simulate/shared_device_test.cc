// Steps that run at once share one device: neither bound gives more than the hardware has.
#include "tools/simulate/shared_device.h"

#include <gtest/gtest.h>

#include <numeric>
#include <random>

namespace parkd::simulate {
namespace {

StepCost step(double memory_s, double arithmetic_s, double idle_s = 0) {
  return {memory_s, arithmetic_s, std::max(memory_s, arithmetic_s), idle_s};
}

TEST(SharedDevice, a_step_alone_takes_its_own_time) {
  for (const Overlap overlap : {Overlap::in_turn, Overlap::perfect}) {
    SharedDevice device(overlap, 2);
    EXPECT_FALSE(device.next_end());
    device.begin(1, step(3, 1, 2), false);
    EXPECT_NEAR(*device.next_end(), 5, 1e-9);
    EXPECT_TRUE(device.advance(4).empty());
    EXPECT_EQ(device.advance(1), std::vector<int32_t>{1});
    EXPECT_FALSE(device.is_busy(1));
  }
}

TEST(SharedDevice, equal_steps_take_twice_as_long_by_either_bound) {
  for (const Overlap overlap : {Overlap::in_turn, Overlap::perfect}) {
    SharedDevice device(overlap, 2);
    device.begin(0, step(4, 1), false);
    device.begin(1, step(4, 1), false);
    EXPECT_NEAR(*device.next_end(), 8, 1e-9) << "both read the same memory";
    EXPECT_EQ(device.advance(8).size(), 2U);
  }
}

TEST(SharedDevice, memory_and_arithmetic_overlap_by_the_better_bound_alone) {
  SharedDevice in_turn(Overlap::in_turn, 2);
  SharedDevice perfect(Overlap::perfect, 2);
  for (SharedDevice* device : {&in_turn, &perfect}) {
    device->begin(0, step(4, 1), false);
    device->begin(1, step(1, 4), false);
  }
  EXPECT_NEAR(*in_turn.next_end(), 8, 1e-9);
  EXPECT_NEAR(*perfect.next_end(), 5, 1e-9) << "each bus carries 4 + 1";
}

TEST(SharedDevice, gaps_of_one_are_used_by_the_other) {
  SharedDevice device(Overlap::in_turn, 2);
  device.begin(0, step(2, 0, 2), false);
  device.begin(1, step(2, 0, 2), false);
  EXPECT_NEAR(*device.next_end(), 4, 1e-9) << "each keeps half of the device busy";
}

TEST(SharedDevice, who_goes_first_is_as_fast_as_alone_and_the_other_has_the_rest) {
  SharedDevice device(Overlap::in_turn, 2);
  device.begin(0, step(8, 0), false);
  device.begin(1, step(3, 0, 1), true);
  EXPECT_EQ(device.speeds(), (std::vector<double>{0.25, 1}));
  EXPECT_EQ(device.advance(4), std::vector<int32_t>{1});
  EXPECT_NEAR(*device.next_end(), 7, 1e-9);
}

TEST(SharedDevice, never_gives_more_than_there_is) {
  const uint64_t seed = std::random_device()();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937_64 random(seed);
  std::uniform_real_distribution<double> number(0, 1);
  for (int i = 0; i < 2000; ++i) {
    const Overlap overlap = i % 2 == 0 ? Overlap::in_turn : Overlap::perfect;
    SharedDevice device(overlap, 3);
    std::vector<StepCost> steps;
    for (int32_t lane = 0; lane < 3; ++lane) {
      steps.push_back(step(number(random), number(random), number(random)));
      device.begin(lane, steps.back(), number(random) < 0.3);
    }
    const std::vector<double> speeds = device.speeds();
    double memory = 0, arithmetic = 0, kernels = 0;
    bool one_is_full = true;
    for (size_t lane = 0; lane < 3; ++lane) {
      EXPECT_LE(speeds[lane], 1 + 1e-9);
      const double rate = speeds[lane] / steps[lane].alone_s();
      memory += rate * steps[lane].memory_s;
      arithmetic += rate * steps[lane].arithmetic_s;
      kernels += rate * steps[lane].kernels_s;
      if (speeds[lane] < 1 - 1e-9) one_is_full = false;
    }
    EXPECT_LE(memory, 1 + 1e-9);
    EXPECT_LE(arithmetic, 1 + 1e-9);
    if (overlap == Overlap::in_turn) {
      EXPECT_LE(kernels, 1 + 1e-9);
    }
    const double fullest = overlap == Overlap::in_turn ? kernels : std::max(memory, arithmetic);
    EXPECT_TRUE(one_is_full || fullest > 1 - 1e-9) << "a step waits for nothing";
  }
}

}  // namespace
}  // namespace parkd::simulate
