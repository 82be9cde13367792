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
  KvCache cache(Blocks{8}, 32, true);
  BlockTable table = cache.reserve(Blocks{3}, {});
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
  KvCache cache(Blocks{4}, 16, true);
  {
    BlockTable first = cache.reserve(Blocks{4}, {});
    first.cover(64);
    BlockTable second = std::move(first);
    EXPECT_EQ(second.blocks().size(), 4U);
    EXPECT_EQ(cache.in_use(), Blocks{4});
  }
  EXPECT_EQ(cache.in_use(), Blocks{0});
  EXPECT_EQ(cache.charged(), Blocks{0});
  BlockTable again = cache.reserve(Blocks{4}, {});
  again.cover(64);
  const std::set<int32_t> ids(again.blocks().begin(), again.blocks().end());
  EXPECT_EQ(ids, (std::set<int32_t>{0, 1, 2, 3}));
}

TEST(KvCacheDeathTest, more_charges_than_capacity_abort) {
  KvCache cache(Blocks{4}, 16, true);
  const BlockTable table = cache.reserve(Blocks{3}, {});
  EXPECT_DEATH((void)cache.reserve(Blocks{2}, {}), "was given 5 blocks of work and has 4");
}

TEST(KvCacheDeathTest, more_blocks_than_charged_abort) {
  KvCache cache(Blocks{4}, 16, true);
  BlockTable table = cache.reserve(Blocks{2}, {});
  table.cover(32);
  EXPECT_DEATH(table.cover(33), "wants block 3 of a charge of 2");
}

TEST(KvCacheDeathTest, table_that_outlives_its_cache_aborts) {
  EXPECT_DEATH(
      {
        BlockTable table;
        KvCache cache(Blocks{4}, 16, true);
        table = cache.reserve(Blocks{1}, {});
      },
      "outlives its KvCache");
}

std::vector<TokenId> tokens_from(TokenId first, int32_t n) {
  std::vector<TokenId> tokens;
  for (int32_t i = 0; i < n; ++i) tokens.push_back(first + i);
  return tokens;
}

TEST(KvCache, published_blocks_are_held_by_all_who_begin_alike) {
  KvCache cache(Blocks{8}, 4, true);
  const std::vector<TokenId> tokens = tokens_from(0, 10);
  BlockTable first = cache.reserve(Blocks{3}, {});
  EXPECT_EQ(first.share_prefix(tokens), 0);
  first.cover(10);
  first.publish(tokens);
  BlockTable second = cache.reserve(Blocks{3}, {});
  EXPECT_EQ(second.share_prefix(tokens), 8) << "the third block is not full";
  EXPECT_EQ(second.blocks()[1], first.blocks()[1]);
  second.cover(10);
  EXPECT_NE(second.blocks()[2], first.blocks()[2]);
  EXPECT_EQ(cache.in_use(), Blocks{4});
  EXPECT_EQ(cache.charged(), Blocks{6}) << "each holder is charged";
  first.release();
  EXPECT_EQ(cache.in_use(), Blocks{3});
  second.release();
  EXPECT_EQ(cache.in_use(), Blocks{0});
  EXPECT_EQ(cache.cached(), Blocks{2});
}

TEST(KvCache, tokens_are_told_apart_by_what_comes_before_them) {
  KvCache cache(Blocks{8}, 4, true);
  std::vector<TokenId> tokens = tokens_from(0, 9);
  BlockTable first = cache.reserve(Blocks{3}, {});
  first.cover(9);
  first.publish(tokens);
  tokens[0] = 77;
  BlockTable second = cache.reserve(Blocks{3}, {});
  EXPECT_EQ(second.share_prefix(tokens), 0) << "the second four tokens are the same";
}

TEST(KvCache, tokens_are_told_apart_by_their_root) {
  KvCache cache(Blocks{16}, 4, true);
  const std::vector<TokenId> tokens = tokens_from(0, 13);
  const std::vector<PrefixRoot> roots = {{0, 0}, {1, 0}, {0, 1}, {1, 1}};
  const auto shared = [&](const PrefixRoot& root) {
    return cache.reserve(Blocks{4}, root).share_prefix(tokens);
  };
  for (size_t n_known = 0; n_known < roots.size(); ++n_known) {
    for (size_t i = 0; i < roots.size(); ++i) {
      EXPECT_EQ(shared(roots[i]), i < n_known ? 12 : 0) << "root " << i << " of " << n_known;
    }
    BlockTable table = cache.reserve(Blocks{4}, roots[n_known]);
    EXPECT_EQ(table.share_prefix(tokens), 0);
    table.cover(13);
    table.publish(tokens);
    BlockTable moved = std::move(table);
    EXPECT_EQ(moved.blocks().size(), 4U);
  }
}

TEST(KvCache, the_longest_unused_block_makes_room_first_and_a_prefix_from_its_tail) {
  KvCache cache(Blocks{4}, 4, true);
  const std::vector<TokenId> old = tokens_from(0, 8);
  const std::vector<TokenId> recent = tokens_from(100, 8);
  for (const auto& tokens : {old, recent}) {
    BlockTable table = cache.reserve(Blocks{2}, {});
    table.cover(8);
    table.publish(tokens);
  }
  EXPECT_EQ(cache.cached(), Blocks{4});
  const auto shared = [&cache](std::vector<TokenId> tokens) {
    tokens.push_back(1);
    return cache.reserve(Blocks{3}, {}).share_prefix(tokens);
  };
  const auto take = [&cache](int64_t n_blocks) {
    cache.reserve(Blocks{n_blocks}, {}).cover(4 * n_blocks);
  };
  take(1);
  EXPECT_EQ(shared(old), 4) << "its tail went, its head did not";
  EXPECT_EQ(shared(recent), 8);
  // old's head, asked for before recent, is now the longest unused.
  take(2);
  EXPECT_EQ(shared(old), 0);
  EXPECT_EQ(shared(recent), 8);
  take(4);
  EXPECT_EQ(shared(recent), 0);
  EXPECT_EQ(cache.cached(), Blocks{0});
}

TEST(KvCache, two_who_computed_the_same_keep_a_block_each_and_one_is_shared) {
  KvCache cache(Blocks{8}, 4, true);
  const std::vector<TokenId> tokens = tokens_from(0, 8);
  BlockTable first = cache.reserve(Blocks{2}, {});
  BlockTable second = cache.reserve(Blocks{2}, {});
  for (BlockTable* table : {&first, &second}) {
    table->cover(8);
    table->publish(std::span(tokens).first(4));
  }
  // The second goes on from a block that is not the published one.
  second.publish(tokens);
  const int32_t tail = second.blocks()[1];
  const int32_t head = first.blocks()[0];
  BlockTable third = cache.reserve(Blocks{3}, {});
  EXPECT_EQ(third.share_prefix(tokens_from(0, 9)), 8);
  EXPECT_EQ(third.blocks()[0], head);
  EXPECT_EQ(third.blocks()[1], tail);
}

TEST(KvCacheDeathTest, publishing_more_than_is_covered_aborts) {
  KvCache cache(Blocks{4}, 4, true);
  BlockTable table = cache.reserve(Blocks{2}, {});
  table.cover(4);
  EXPECT_DEATH(table.publish(tokens_from(0, 8)), "published with blocks");
}

// A block that two tables hold is a published one, holds what both believe, and stands at the same
// place; live blocks <= charged <= capacity, at every moment.
TEST(KvCache, random_walk_shares_nothing_but_what_is_the_same) {
  const uint64_t seed = random_u64();
  std::cout << "seed " << seed << "\n";
  std::mt19937_64 random(seed);
  KvCache cache(Blocks{40}, 4, true);
  struct Live {
    BlockTable table;
    PrefixRoot root;
    std::vector<TokenId> tokens;  // that it will hold
    int64_t n_done = 0;           // and holds
  };
  std::vector<Live> live;
  std::vector<std::vector<TokenId>> memory(40);  // by block: the prefix whose last tokens it holds
  std::vector<PrefixRoot> memory_root(40);       // and of which root
  int64_t n_shared = 0;
  const auto compute = [&memory, &memory_root](Live& one, int64_t n) {
    for (int64_t end = one.n_done + 1; end <= n; ++end) {
      const auto block =
          static_cast<size_t>(one.table.blocks()[static_cast<size_t>((end - 1) / 4)]);
      memory[block].assign(one.tokens.begin(), one.tokens.begin() + end);
      memory_root[block] = one.root;
    }
    one.n_done = n;
  };
  for (int i = 0; i < 20000; ++i) {
    const auto pick = live.empty() ? 0 : random() % live.size();
    const uint64_t what = random() % 10;
    if (what < 3) {
      const auto charge = static_cast<int64_t>(1 + random() % 8);
      if (cache.charged().count + charge > 40) continue;
      const PrefixRoot root{random() % 2, random() % 2};
      Live one{cache.reserve(Blocks{charge}, root), root, {}, 0};
      for (int64_t t = 0; t < charge * 4; ++t) one.tokens.push_back(random() % 8 == 0 ? 1 : 0);
      one.n_done = one.table.share_prefix(one.tokens);
      n_shared += one.n_done;
      live.push_back(std::move(one));
    } else if (what < 8 && !live.empty()) {
      Live& one = live[pick];
      const int64_t n = std::min<int64_t>(one.n_done + static_cast<int64_t>(random() % 6),
                                          one.table.charged().count * 4);
      one.table.cover(n);
      compute(one, n);
      if (random() % 2 == 0) {
        one.table.publish(std::span(one.tokens).first(static_cast<size_t>(n)));
      }
    } else if (!live.empty()) {
      live.erase(live.begin() + static_cast<std::ptrdiff_t>(pick));
    }
    std::set<int32_t> seen;
    int64_t charged = 0;
    for (const Live& one : live) {
      charged += one.table.charged().count;
      ASSERT_EQ(static_cast<int64_t>(one.table.blocks().size()), ceil_div(one.n_done, 4));
      for (size_t b = 0; b < one.table.blocks().size(); ++b) {
        const int32_t block = one.table.blocks()[b];
        ASSERT_TRUE(block >= 0 && block < 40);
        seen.insert(block);
        ASSERT_TRUE(memory_root[static_cast<size_t>(block)] == one.root);
        const auto end = std::min(one.n_done, static_cast<int64_t>(b + 1) * 4);
        ASSERT_EQ(memory[static_cast<size_t>(block)],
                  std::vector<TokenId>(one.tokens.begin(), one.tokens.begin() + end));
      }
    }
    ASSERT_EQ(cache.charged().count, charged);
    ASSERT_EQ(cache.in_use().count, static_cast<int64_t>(seen.size()));
    ASSERT_LE(cache.in_use(), cache.charged());
    ASSERT_LE(cache.in_use().count + cache.cached().count, 40);
  }
  EXPECT_GT(n_shared, 1000);
}

TEST(KvCache, workers_of_one_model_share_it) {
  KvCache cache(Blocks{64}, 4, true);
  std::vector<int> memory(64, 0);  // written without a lock: the sanitizer watches the hand-over
  {
    std::vector<Thread> threads;
    for (int worker = 0; worker < 4; ++worker) {
      threads.emplace_back(Thread::Options{"kv", 0}, [&cache, &memory, worker] {
        for (int i = 0; i < 500; ++i) {
          BlockTable table = cache.reserve(Blocks{16}, {});
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
