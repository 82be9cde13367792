// Callers: when the store is told of a job's callers, and when their job is cancelled.
#include "daemon/api/callers.h"
#include "lib/store/client_store.h"

#include <gtest/gtest.h>

#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace parkd {
namespace {

using std::chrono::seconds;
using std::chrono::steady_clock;

// Notes what it is asked; adopt() hands out what the test lays down.
class NotingStore final : public CallerStore {
 public:
  void attach(JobId id, CallerGrace grace, Completion<CallerGrace> done) override {
    said.push_back("attach " + std::to_string(id) +
                   (grace ? " " + std::to_string(grace->count()) : ""));
    if (fails) return done(unavailable("away"));
    if (grace) graces[id] = *grace;
    const CallerGrace answer = graces.contains(id) ? CallerGrace(graces[id]) : std::nullopt;
    if (!holds) return done(answer);
    held.push_back([done, answer] { done(answer); });
  }
  void detach(JobId id, std::string tenant, Completion<std::optional<CancelAnswer>> done) override {
    said.push_back("detach " + std::to_string(id) + " " + tenant);
    if (!detach_fails.ok()) return done(std::exchange(detach_fails, Status()));
    done(std::optional(CancelAnswer::cancelled));
  }
  void keep(JobId id, Completion<bool> done) override {
    said.push_back("keep " + std::to_string(id));
    graces.erase(id);
    kept = std::move(done);
  }
  void adopt(Completion<std::vector<AttachedJob>> done) override {
    ++n_adopts;
    if (fails) return done(unavailable("away"));
    for (const AttachedJob& job : orphans) graces[job.id] = job.grace;
    done(std::exchange(orphans, {}));
  }

  std::vector<std::string> said;
  std::map<JobId, seconds> graces;  // of the jobs that are attached; a test is another daemon, too
  std::vector<AttachedJob> orphans;
  std::vector<std::function<void()>> held;  // answers of attach()
  Completion<bool> kept;
  int n_adopts = 0;
  bool fails = false;
  bool holds = false;   // what attach() answers
  Status detach_fails;  // once
};

class CallersTest : public ::testing::Test {
 protected:
  void run_until(const std::function<bool()>& holds) {
    io_.restart();
    while (!holds()) {
      ASSERT_GT(io_.run_one_for(std::chrono::minutes(2)), 0u) << "nothing more happens";
    }
  }
  void run_until_said(const std::string& what) {
    run_until([&] { return !store_.said.empty() && store_.said.back() == what; });
  }
  void run_what_is_due() {
    io_.restart();
    io_.poll();
  }
  void came(JobId id, CallerGrace grace, bool streams) {
    callers_.came(id, {.grace = grace, .streams = streams});
  }
  void came_by_id(JobId id) { callers_.came(id, {.grace = {}, .by_id = true, .streams = true}); }

  using Said = std::vector<std::string>;
  boost::asio::io_context io_;
  NotingStore store_;
  Callers callers_{io_, store_, std::chrono::milliseconds(20)};
};

TEST_F(CallersTest, who_is_answered_soon_costs_nothing) {
  came(1, seconds(60), true);
  EXPECT_EQ(callers_.figures().streaming, 1);
  callers_.answered(1, true);
  io_.run();  // until nothing is left to come
  EXPECT_EQ(store_.said, Said());
  EXPECT_EQ(callers_.figures().waiting, 0);
  EXPECT_EQ(callers_.figures().streaming, 0);
}

TEST_F(CallersTest, who_waits_for_a_second_is_stored) {
  const auto began = steady_clock::now();
  came(1, seconds(60), false);
  run_until_said("attach 1 60");
  EXPECT_GE(steady_clock::now() - began, Callers::kAttachAfter);
  run_what_is_due();
  EXPECT_EQ(callers_.figures().attached, 1);
  callers_.answered(1, false);
  EXPECT_EQ(callers_.figures().attached, 0);
  EXPECT_EQ(callers_.figures().in_grace, 0);
}

TEST_F(CallersTest, whose_going_ends_nothing_is_never_stored) {
  came(1, std::nullopt, false);
  callers_.gone(1, "t", false);
  io_.run();
  EXPECT_EQ(store_.said, Said());
}

TEST_F(CallersTest, the_last_one_that_goes_begins_the_grace) {
  came(1, seconds(1), true);
  came(1, seconds(1), false);
  callers_.gone(1, "t", true);
  EXPECT_EQ(callers_.figures().in_grace, 0);
  const auto last = steady_clock::now();
  callers_.gone(1, "t", false);
  EXPECT_EQ(callers_.figures().in_grace, 1);
  EXPECT_EQ(store_.said, Said{"attach 1 1"}) << "another daemon may be come to";
  run_until_said("detach 1 t");
  EXPECT_GE(steady_clock::now() - last, seconds(1));
  EXPECT_EQ(callers_.figures().in_grace, 0);
  io_.run();
  EXPECT_EQ(store_.said, (Said{"attach 1 1", "attach 1", "detach 1 t"})) << "once";
}

TEST_F(CallersTest, who_comes_back_and_goes_again_has_the_whole_grace_again) {
  came(1, seconds(1), true);
  callers_.gone(1, "t", true);
  bool is_half_over = false;
  boost::asio::steady_timer half(io_, std::chrono::milliseconds(500));
  half.async_wait([&](boost::system::error_code) { is_half_over = true; });
  run_until([&] { return is_half_over; });
  came(1, seconds(1), true);
  EXPECT_EQ(callers_.figures().in_grace, 0);
  callers_.gone(1, "t", true);
  const auto second = steady_clock::now();
  run_until_said("detach 1 t");
  EXPECT_GE(steady_clock::now() - second, seconds(1));
}

TEST_F(CallersTest, a_grace_of_nothing_cancels_at_once_and_is_not_stored_before) {
  came(1, seconds(0), false);
  callers_.gone(1, "t", false);
  run_until_said("detach 1 t");
  EXPECT_EQ(store_.said, Said{"detach 1 t"});
}

TEST_F(CallersTest, what_others_left_is_cancelled_unless_callers_wait_here) {
  store_.orphans = {{1, "a", seconds(0)}, {2, "b", seconds(0)}};
  came(2, std::nullopt, true);
  callers_.start();
  run_until_said("detach 1 a");
  EXPECT_EQ(store_.said, (Said{"attach 1", "detach 1 a"}));
  EXPECT_EQ(callers_.figures().in_grace, 0);
  callers_.gone(2, "b", true);
  run_until_said("detach 2 b");
}

// It is told again after a store has mended itself.
TEST_F(CallersTest, a_grace_that_runs_is_not_begun_anew_by_being_told_again) {
  came(1, seconds(60), true);
  callers_.gone(1, "t", true);
  store_.orphans = {{1, "t", seconds(0)}};
  callers_.start();
  run_until([&] { return store_.n_adopts == 3; });
  EXPECT_EQ(store_.said, Said{"attach 1 60"});
  EXPECT_EQ(callers_.figures().in_grace, 1);
}

TEST_F(CallersTest, a_store_that_is_away_is_asked_again) {
  store_.fails = true;
  came(1, seconds(1), true);
  callers_.gone(1, "t", true);
  callers_.start();
  run_until_said("detach 1 t");
  store_.fails = false;
  store_.orphans = {{2, "t", seconds(0)}};
  run_until_said("detach 2 t");
  EXPECT_GT(store_.n_adopts, 1);
}

TEST_F(CallersTest, a_job_that_could_not_be_cancelled_is_cancelled_later) {
  for (const Status& why : {unavailable("away"), exhausted("the disk is full")}) {
    store_.said.clear();
    store_.detach_fails = why;
    came(1, seconds(0), true);
    callers_.gone(1, "t", true);
    io_.restart();
    io_.run();
    EXPECT_EQ(store_.said, (Said{"detach 1 t", "detach 1 t"})) << why.to_string();
  }
  store_.said.clear();
  store_.detach_fails = corrupt("its record is damaged");
  came(1, seconds(0), true);
  callers_.gone(1, "t", true);
  io_.restart();
  io_.run();
  EXPECT_EQ(store_.said, Said{"detach 1 t"}) << "that would not pass";
}

TEST_F(CallersTest, that_a_job_goes_on_is_said_once_it_is_stored) {
  bool said = false;
  came(1, seconds(60), true);
  callers_.keep(1, [&] { said = true; });
  run_what_is_due();
  EXPECT_FALSE(said);
  store_.kept(unavailable("away"));
  run_what_is_due();
  EXPECT_TRUE(said) << "or cannot be";
  said = false;
  came(2, std::nullopt, true);
  callers_.keep(2, [&] { said = true; });
  EXPECT_TRUE(said) << "it always was";
  EXPECT_EQ(store_.said, Said{"keep 1"});
}

TEST_F(CallersTest, a_job_that_goes_on_is_not_cancelled_by_another_caller_that_goes) {
  came(1, seconds(0), true);
  came(1, seconds(0), true);
  callers_.keep(1, [] {});
  callers_.answered(1, true);
  io_.run();  // past the second after which it would be attached
  EXPECT_EQ(callers_.figures().waiting, 1);
  callers_.gone(1, "t", true);
  EXPECT_EQ(callers_.figures().in_grace, 0);
  EXPECT_EQ(store_.said, Said{"keep 1"});
}

// --- by the job's id: the grace is the store's

TEST_F(CallersTest, who_comes_by_id_has_the_grace_that_the_store_has) {
  store_.graces[1] = seconds(0);
  came_by_id(1);
  came_by_id(2);
  run_what_is_due();
  EXPECT_EQ(store_.said, (Said{"attach 1", "attach 2"}));
  EXPECT_EQ(callers_.figures().attached, 1);
  callers_.gone(2, "t", true);
  callers_.gone(1, "t", true);
  run_until_said("detach 1 t");
  EXPECT_EQ(callers_.figures().in_grace, 0);
  io_.run();
  EXPECT_EQ(store_.said.back(), "detach 1 t") << "nobody's going ends the other";
}

TEST_F(CallersTest, who_comes_by_id_and_goes_before_the_store_answers_begins_the_grace_as_well) {
  store_.graces[1] = seconds(0);
  store_.holds = true;
  came_by_id(1);
  callers_.gone(1, "t", true);
  run_what_is_due();
  EXPECT_EQ(callers_.figures().in_grace, 0);
  store_.holds = false;
  store_.held.front()();
  run_until_said("detach 1 t");
}

TEST_F(CallersTest, who_comes_by_id_while_the_store_is_away_is_asked_for_later) {
  store_.fails = true;
  store_.graces[1] = seconds(0);
  came_by_id(1);
  run_until([&] { return store_.said.size() == 2; });
  callers_.gone(1, "t", true);
  store_.fails = false;
  run_until_said("detach 1 t");
}

// Another daemon told a caller of it that it goes on.
TEST_F(CallersTest, a_job_that_was_kept_elsewhere_is_not_attached_again) {
  for (const bool by_id : {true, false}) {
    SCOPED_TRACE(by_id);
    store_.said.clear();
    store_.graces.clear();
    if (by_id) store_.graces[1] = seconds(1);
    by_id ? came_by_id(1) : came(1, seconds(1), true);
    run_until([&] { return callers_.figures().attached == 1; });
    store_.graces.clear();
    callers_.gone(1, "t", true);
    run_what_is_due();
    EXPECT_EQ(callers_.figures().in_grace, 0);
    io_.restart();
    io_.run();
    EXPECT_EQ(store_.said, (Said{by_id ? "attach 1" : "attach 1 1", "attach 1"}));
    EXPECT_TRUE(store_.graces.empty());
  }
}

TEST_F(CallersTest, a_job_that_is_kept_elsewhere_in_its_grace_is_not_cancelled) {
  store_.graces[1] = seconds(1);
  came_by_id(1);
  run_what_is_due();
  callers_.gone(1, "t", true);
  run_what_is_due();
  EXPECT_EQ(callers_.figures().in_grace, 1);
  store_.graces.clear();
  io_.restart();
  io_.run();
  EXPECT_EQ(store_.said, (Said{"attach 1", "attach 1", "attach 1"}));
  EXPECT_EQ(callers_.figures().in_grace, 0);
}

// --- another daemon took this one for gone

TEST_F(CallersTest, what_was_attached_is_attached_again_when_this_daemon_was_taken_for_gone) {
  came(1, seconds(60), true);
  came(2, seconds(60), true);
  came(3, std::nullopt, true);
  run_until([&] { return callers_.figures().attached == 2; });
  callers_.gone(2, "t", true);
  run_what_is_due();
  store_.said.clear();
  callers_.lost();
  EXPECT_EQ(callers_.figures().attached, 0);
  store_.fails = true;  // it is not registered yet
  run_until_said("attach 2");
  EXPECT_EQ(callers_.figures().attached, 0);
  store_.fails = false;
  run_until([&] { return callers_.figures().attached == 1; });
  EXPECT_EQ(callers_.figures().in_grace, 1);
  EXPECT_EQ(store_.said, (Said{"attach 1", "attach 2", "attach 1", "attach 2"}));
}

// What was written down as the daemon that is gone.
TEST_F(CallersTest, an_answer_from_before_counts_no_more) {
  store_.holds = true;
  came(1, seconds(60), true);
  run_until_said("attach 1 60");
  callers_.lost();
  store_.holds = false;
  store_.held.front()();
  run_what_is_due();
  EXPECT_EQ(callers_.figures().attached, 0);
  run_until([&] { return callers_.figures().attached == 1; });
  EXPECT_EQ(store_.said.size(), 2u);
}

TEST_F(CallersTest, many_are_attached_again_a_portion_at_a_time) {
  const int n = 2 * Callers::kAttachAtOnce + 1;
  for (int id = 1; id <= n; ++id) store_.graces[static_cast<JobId>(id)] = seconds(60);
  for (int id = 1; id <= n; ++id) came_by_id(static_cast<JobId>(id));
  run_what_is_due();
  EXPECT_EQ(callers_.figures().attached, n);
  store_.said.clear();
  callers_.lost();
  run_until([&] { return !store_.said.empty(); });
  EXPECT_EQ(store_.said.size(), static_cast<size_t>(Callers::kAttachAtOnce));
  run_until([&] { return callers_.figures().attached == n; });
  EXPECT_EQ(store_.said.size(), static_cast<size_t>(n)) << "each once";
}

}  // namespace
}  // namespace parkd
