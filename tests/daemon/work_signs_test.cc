// WorkSigns: what counts as work of a model that is loaded, and of one that is not.
#include "daemon/models/work_signs.h"

#include <gtest/gtest.h>

namespace parkd {
namespace {

using std::chrono::seconds;

SteadyTime at(int64_t s) {
  return SteadyTime{} + seconds(1000 + s);
}

TEST(WorkSigns, a_job_that_came_is_work_at_once_and_news_once) {
  WorkSigns signs;
  EXPECT_FALSE(signs.has_work(at(0)));
  EXPECT_TRUE(signs.came(at(0)));
  EXPECT_TRUE(signs.has_work(at(0)));
  EXPECT_FALSE(signs.came(at(1))) << "known";
  signs.counted(0);
  EXPECT_TRUE(signs.has_work(at(10))) << "a count may be older than the job";
  EXPECT_FALSE(signs.has_work(at(11))) << "10 s after the last that came";
  EXPECT_TRUE(signs.came(at(11)));
}

TEST(WorkSigns, of_an_unloaded_model_what_the_store_counts_is_work) {
  WorkSigns signs;
  signs.counted(3);
  EXPECT_TRUE(signs.has_work(at(0)));
  signs.counted(0);
  EXPECT_FALSE(signs.has_work(at(0)));
}

TEST(WorkSigns, of_a_loaded_model_only_what_the_dispatcher_has_is_work) {
  WorkSigns signs;
  signs.came(at(0));
  signs.counted(3);
  signs.load_began();
  signs.loaded();
  EXPECT_FALSE(signs.has_work(at(0))) << "three wait, and none is claimed";
  signs.claimed(1, 1);
  EXPECT_TRUE(signs.has_work(at(0)));
  signs.claimed(2, 0);
  EXPECT_TRUE(signs.has_work(at(0))) << "one came and went between two looks";
  signs.claimed(2, 0);
  EXPECT_FALSE(signs.has_work(at(0)));
}

TEST(WorkSigns, jobs_it_was_loaded_for_in_vain_are_no_work_until_there_are_others) {
  WorkSigns signs;
  signs.claimed(7, 0);
  signs.counted(2);
  signs.load_began();
  signs.loaded();
  signs.claimed(7, 0);
  signs.unloaded();
  EXPECT_FALSE(signs.has_work(at(0)));
  signs.counted(2);
  EXPECT_FALSE(signs.has_work(at(0))) << "the same two";
  signs.counted(3);
  EXPECT_TRUE(signs.has_work(at(0)));
  signs.counted(2);
  EXPECT_TRUE(signs.has_work(at(0))) << "who knows which two";
}

TEST(WorkSigns, a_load_that_claimed_some_was_not_in_vain) {
  WorkSigns signs;
  signs.counted(5);
  signs.load_began();
  signs.loaded();
  signs.claimed(3, 3);
  signs.claimed(3, 0);
  signs.counted(2);
  signs.unloaded();
  EXPECT_TRUE(signs.has_work(at(0))) << "another model took its room; two still wait";
}

TEST(WorkSigns, a_job_that_comes_while_loads_were_in_vain_is_work) {
  WorkSigns signs;
  signs.counted(2);
  signs.load_began();
  signs.loaded();
  signs.unloaded();
  ASSERT_FALSE(signs.has_work(at(0)));
  EXPECT_TRUE(signs.came(at(0)));
  EXPECT_TRUE(signs.has_work(at(0)));
}

}  // namespace
}  // namespace parkd
