#include "lib/engine/scheduler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <iostream>
#include <map>
#include <random>

#include "lib/base/text.h"
#include "lib/base/units.h"

namespace parkd {
namespace {

SequenceProgress decode(int64_t last_step) {
  return {1, true, last_step};
}
SequenceProgress prompt(int64_t n_tokens) {
  return {n_tokens, false, 0};
}

TEST(Scheduler, decodes_go_first_and_prompts_share_the_rest_in_order) {
  const Scheduler scheduler({16, 6});
  const std::vector<SequenceProgress> sequences = {prompt(9), decode(1), prompt(4), prompt(50),
                                                   decode(1)};
  const BatchPlan plan = scheduler.plan(sequences);
  const std::vector<BatchPlan::Entry> expected = {
      {1, 1, true}, {4, 1, true}, {0, 6, false}, {2, 4, true}, {3, 4, false}};
  EXPECT_EQ(plan.entries, expected);
  EXPECT_EQ(plan.n_tokens, 16);
}

TEST(Scheduler, whole_prompt_goes_in_one_step_when_it_fits) {
  const Scheduler scheduler({16, 0});
  const std::vector<SequenceProgress> sequences = {prompt(16)};
  EXPECT_EQ(scheduler.plan(sequences).entries, (std::vector<BatchPlan::Entry>{{0, 16, true}}));
}

TEST(Scheduler, nothing_to_run_plans_nothing) {
  EXPECT_TRUE(Scheduler({16, 0}).plan({}).entries.empty());
}

TEST(Scheduler, waiting_prompt_keeps_its_share_when_decodes_would_fill_the_step) {
  const Scheduler scheduler({16, 0});
  std::vector<SequenceProgress> sequences(40, decode(7));
  sequences.push_back(prompt(100));
  const BatchPlan plan = scheduler.plan(sequences);
  EXPECT_EQ(plan.n_tokens, 16);
  EXPECT_EQ(plan.entries.size(), 15U);
  EXPECT_EQ(plan.entries.back(), (BatchPlan::Entry{40, 2, false}));
}

TEST(Scheduler, too_many_decodes_take_turns_the_longest_waiting_first) {
  const Scheduler scheduler({4, 0});
  const std::vector<SequenceProgress> sequences = {decode(9), decode(3), decode(9),
                                                   decode(2), decode(3), decode(3)};
  const std::vector<BatchPlan::Entry> expected = {
      {1, 1, true}, {3, 1, true}, {4, 1, true}, {5, 1, true}};
  EXPECT_EQ(scheduler.plan(sequences).entries, expected);
}

// A small world of sequences that run by the plans: the rule of the header holds in every step.
TEST(Scheduler, rule_holds_on_random_loads) {
  const uint64_t seed = random_u64();
  std::cout << "seed " << seed << "\n";
  std::mt19937_64 random(seed);
  struct One {
    SequenceProgress progress;
    int64_t left_to_decode = 0;
    int64_t waited = 0;  // steps since it last moved, while decoding
  };
  for (int world = 0; world < 200; ++world) {
    const SchedulerOptions options{static_cast<int32_t>(2 + random() % 30),
                                   static_cast<int32_t>(random() % 12)};
    const int32_t chunk =
        options.prefill_chunk_tokens == 0 ? options.step_tokens : options.prefill_chunk_tokens;
    const int32_t share = std::max(1, options.step_tokens / 8);
    const Scheduler scheduler(options);
    std::vector<One> ones;
    int64_t step = 0;
    int64_t to_come = 60;
    while (to_come > 0 || !ones.empty()) {
      ASSERT_LT(++step, 100000) << "somebody starves";
      while (to_come > 0 && (ones.empty() || random() % 2 == 0)) {
        ones.push_back({prompt(static_cast<int64_t>(1 + random() % 40)),
                        static_cast<int64_t>(1 + random() % 20), 0});
        --to_come;
      }
      std::vector<SequenceProgress> progress;
      int64_t n_decoding = 0;
      int64_t oldest_prompt = -1;
      for (const One& one : ones) {
        if (one.progress.decoding) ++n_decoding;
        if (!one.progress.decoding && oldest_prompt < 0) {
          oldest_prompt = static_cast<int64_t>(progress.size());
        }
        progress.push_back(one.progress);
      }
      const BatchPlan plan = scheduler.plan(progress);
      ASSERT_EQ(plan, scheduler.plan(progress));

      std::map<int32_t, int32_t> planned;
      int64_t n_tokens = 0;
      int64_t last_prompt = -1;
      for (const BatchPlan::Entry& entry : plan.entries) {
        const SequenceProgress& of = progress.at(static_cast<size_t>(entry.sequence));
        ASSERT_TRUE(planned.emplace(entry.sequence, entry.n_tokens).second) << "planned twice";
        ASSERT_GE(entry.n_tokens, 1);
        ASSERT_LE(entry.n_tokens, of.n_pending_tokens);
        ASSERT_EQ(entry.sample, entry.n_tokens == of.n_pending_tokens);
        n_tokens += entry.n_tokens;
        if (of.decoding) continue;
        ASSERT_LE(entry.n_tokens, chunk);
        ASSERT_GT(entry.sequence, last_prompt) << "prompts go in order";
        last_prompt = entry.sequence;
      }
      ASSERT_EQ(n_tokens, plan.n_tokens);
      ASSERT_LE(n_tokens, options.step_tokens);
      ASSERT_GE(n_tokens, 1);
      if (oldest_prompt >= 0) {
        ASSERT_TRUE(planned.count(static_cast<int32_t>(oldest_prompt)) > 0) << "a prompt starves";
      }
      const int64_t room = options.step_tokens - (oldest_prompt >= 0 ? share : 0);
      const int64_t turns =
          ceil_div(static_cast<int64_t>(ones.size()), options.step_tokens - share);
      for (size_t i = 0; i < ones.size(); ++i) {
        const auto it = planned.find(static_cast<int32_t>(i));
        One& one = ones[i];
        if (one.progress.decoding) {
          if (n_decoding <= room) {
            ASSERT_TRUE(it != planned.end()) << "a decode was left out";
          }
          one.waited = it == planned.end() ? one.waited + 1 : 0;
          ASSERT_LE(one.waited, turns + 1) << "a decode starves";
        }
        if (it == planned.end()) continue;
        one.progress.last_step = step;
        one.progress.n_pending_tokens -= it->second;
        if (one.progress.n_pending_tokens > 0) continue;
        one.progress.decoding = true;
        one.progress.n_pending_tokens = 1;
        --one.left_to_decode;
      }
      ones.erase(std::remove_if(ones.begin(), ones.end(),
                                [](const One& one) { return one.left_to_decode == 0; }),
                 ones.end());
    }
  }
}

}  // namespace
}  // namespace parkd
