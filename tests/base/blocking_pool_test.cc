#include "lib/base/blocking_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <new>
#include <vector>

#include "lib/base/inbox.h"

namespace parkd {
namespace {

TEST(BlockingPool, one_thread_does_tasks_in_the_order_they_came) {
  std::vector<int> order;
  BlockingPool pool(1, 0);
  for (int i = 0; i < 100; ++i) EXPECT_TRUE(pool.run([&order, i] { order.push_back(i); }));
  pool.stop();
  ASSERT_EQ(order.size(), 100u);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(order[static_cast<size_t>(i)], i);
}

TEST(BlockingPool, a_task_that_waits_does_not_hold_up_another_thread) {
  Inbox<int> first;
  Inbox<int> second;
  BlockingPool pool(2, 256 * 1024);
  pool.run([&] { second.push(first.wait_all().at(0) + 1); });
  pool.run([&] { first.push(1); });
  EXPECT_EQ(second.wait_all().at(0), 2);
}

TEST(BlockingPool, stop_ends_what_was_accepted_and_refuses_what_comes_later) {
  std::atomic<int> done{0};
  BlockingPool pool(3, 0);
  int accepted = 0;
  for (int i = 0; i < 1000; ++i) accepted += pool.run([&] { ++done; }) ? 1 : 0;
  pool.stop();
  EXPECT_EQ(accepted, 1000);
  EXPECT_EQ(done, 1000);
  EXPECT_FALSE(pool.run([&] { ++done; }));
  pool.stop();
  EXPECT_EQ(done, 1000);
}

TEST(BlockingPool, a_task_that_throws_ends_alone) {
  Inbox<int> behind;
  BlockingPool pool(1, 0);
  pool.run([] { throw std::bad_alloc(); });
  pool.run([&] { behind.push(1); });
  EXPECT_EQ(behind.wait_all().at(0), 1);
}

}  // namespace
}  // namespace parkd
