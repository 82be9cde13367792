#include "lib/engine/kv_cache.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <iostream>
#include <random>
#include <set>
#include <vector>

#include "lib/base/text.h"
#include "lib/base/thread.h"

namespace parkd {
namespace {

TEST(KvCache, table_takes_a_block_only_when_a_position_needs_it) {
  KvCache cache(Blocks{8}, 32);
  BlockTable table = cache.reserve(Blocks{3});
  EXPECT_EQ(cache.charged(), Blocks{3});
  EXPECT_EQ(cache.in_use(), Blocks{0});
  table.cover(1);
  EXPECT_EQ(table.blocks().size(), 1U);
  table.cover(32);
  EXPECT_EQ(table.blocks().size(), 1U);
  table.cover(33);
  EXPECT_EQ(table.blocks().size(), 2U);
  table.cover(96);
  EXPECT_EQ(cache.in_use(), Blocks{3});
}

TEST(KvCache, released_table_gives_blocks_and_charge_back) {
  KvCache cache(Blocks{4}, 16);
  {
    BlockTable first = cache.reserve(Blocks{4});
    first.cover(64);
    BlockTable second = std::move(first);
    EXPECT_EQ(second.blocks().size(), 4U);
    EXPECT_EQ(cache.in_use(), Blocks{4});
  }
  EXPECT_EQ(cache.in_use(), Blocks{0});
  EXPECT_EQ(cache.charged(), Blocks{0});
  BlockTable again = cache.reserve(Blocks{4});
  again.cover(64);
  const std::set<int32_t> ids(again.blocks().begin(), again.blocks().end());
  EXPECT_EQ(ids, (std::set<int32_t>{0, 1, 2, 3}));
}

TEST(KvCacheDeathTest, more_charges_than_capacity_abort) {
  KvCache cache(Blocks{4}, 16);
  const BlockTable table = cache.reserve(Blocks{3});
  EXPECT_DEATH((void)cache.reserve(Blocks{2}), "was given 5 blocks of work and has 4");
}

TEST(KvCacheDeathTest, more_blocks_than_charged_abort) {
  KvCache cache(Blocks{4}, 16);
  BlockTable table = cache.reserve(Blocks{2});
  table.cover(32);
  EXPECT_DEATH(table.cover(33), "wants block 3 of a charge of 2");
}

TEST(KvCacheDeathTest, table_that_outlives_its_cache_aborts) {
  EXPECT_DEATH(
      {
        BlockTable table;
        KvCache cache(Blocks{4}, 16);
        table = cache.reserve(Blocks{1});
      },
      "outlives its KvCache");
}

// No block is ever held by two tables, and live blocks <= charged <= capacity, at every moment.
TEST(KvCache, random_walk_keeps_blocks_apart) {
  const uint64_t seed = random_u64();
  std::cout << "seed " << seed << "\n";
  std::mt19937_64 random(seed);
  KvCache cache(Blocks{40}, 4);
  struct Live {
    BlockTable table;
    int64_t tokens = 0;
  };
  std::vector<Live> live;
  for (int i = 0; i < 20000; ++i) {
    const auto pick = live.empty() ? 0 : random() % live.size();
    const uint64_t what = random() % 10;
    if (what < 3) {
      const auto charge = static_cast<int64_t>(1 + random() % 8);
      if (cache.charged().count + charge > 40) continue;
      live.push_back({cache.reserve(Blocks{charge}), 0});
    } else if (what < 8 && !live.empty()) {
      Live& one = live[pick];
      one.tokens = std::min<int64_t>(one.tokens + static_cast<int64_t>(random() % 6),
                                     one.table.charged().count * 4);
      one.table.cover(one.tokens);
    } else if (!live.empty()) {
      live.erase(live.begin() + static_cast<std::ptrdiff_t>(pick));
    }
    std::set<int32_t> seen;
    int64_t charged = 0;
    for (const Live& one : live) {
      charged += one.table.charged().count;
      ASSERT_EQ(static_cast<int64_t>(one.table.blocks().size()), ceil_div(one.tokens, 4));
      for (const int32_t block : one.table.blocks()) {
        ASSERT_TRUE(block >= 0 && block < 40 && seen.insert(block).second);
      }
    }
    ASSERT_EQ(cache.charged().count, charged);
    ASSERT_EQ(cache.in_use().count, static_cast<int64_t>(seen.size()));
    ASSERT_LE(cache.in_use(), cache.charged());
  }
}

TEST(KvCache, workers_of_one_model_share_it) {
  KvCache cache(Blocks{64}, 4);
  std::vector<int> memory(64, 0);  // written without a lock: the sanitizer watches the hand-over
  {
    std::vector<Thread> threads;
    for (int worker = 0; worker < 4; ++worker) {
      threads.emplace_back(Thread::Options{"kv", 0}, [&cache, &memory, worker] {
        for (int i = 0; i < 500; ++i) {
          BlockTable table = cache.reserve(Blocks{16});
          for (int tokens = 4; tokens <= 64; tokens += 12) {
            table.cover(tokens);
            for (const int32_t b : table.blocks()) memory[static_cast<size_t>(b)] = worker;
            for (const int32_t b : table.blocks()) {
              EXPECT_EQ(memory[static_cast<size_t>(b)], worker);
            }
          }
        }
      });
    }
  }
  EXPECT_EQ(cache.in_use(), Blocks{0});
  EXPECT_EQ(cache.charged(), Blocks{0});
}

}  // namespace
}  // namespace parkd
