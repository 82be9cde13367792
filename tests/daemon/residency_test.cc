// Residency: cases by hand, and random arrivals by a clock of the test's: what fits is loaded, no
// model starves, and switches are bounded.
#include "daemon/models/residency.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <string>
#include <vector>

namespace parkd {
namespace {

using std::chrono::seconds;

SteadyTime at(int64_t s) {
  return SteadyTime{} + seconds(1000 + s);
}

ResidencyRules rules_of(int64_t budget) {
  ResidencyRules rules;
  rules.budget_bytes = budget;
  rules.switch_wait = seconds(600);
  rules.idle_grace = seconds(5);
  return rules;
}

// Loads what is planned at once, which takes `load_s`.
void load(Residency& residency, const std::string& model, int64_t from_s, int64_t load_s) {
  ASSERT_EQ(residency.plan(at(from_s)).load, model);
  residency.load_began(model, at(from_s));
  EXPECT_EQ(residency.plan(at(from_s)).load, std::nullopt) << "one at a time";
  residency.load_ended(model, at(from_s + load_s));
}

TEST(Residency, what_fits_is_loaded_at_the_start_by_name_and_what_has_work_first) {
  Residency residency(rules_of(100));
  residency.add("a", 40, true);
  residency.add("b", 40, true);
  residency.add("c", 40, true);
  residency.saw("c", true, at(0));
  load(residency, "c", 0, 1);
  load(residency, "a", 1, 1);
  EXPECT_EQ(residency.plan(at(2)), Residency::Plan{}) << "b has no room and no work";
  EXPECT_EQ(residency.used_bytes(), 80);
}

TEST(Residency, an_idle_model_makes_room_after_its_grace_and_ten_times_its_load) {
  Residency residency(rules_of(50));
  residency.add("a", 40, true);
  residency.add("b", 30, false);
  load(residency, "a", 0, 2);  // loaded at 2
  residency.saw("b", true, at(10));
  EXPECT_TRUE(residency.plan(at(21)).leaving.empty()) << "loaded for 19 s, its load took 2";
  EXPECT_EQ(residency.plan(at(22)).leaving, std::set<std::string>{"a"});
  residency.left("a", at(23));
  const Residency::Plan plan = residency.plan(at(23));
  EXPECT_EQ(plan.load, "b");
  EXPECT_TRUE(plan.is_switch);
}

TEST(Residency, a_busy_model_leaves_when_another_has_waited_long_enough) {
  Residency residency(rules_of(50));
  residency.add("a", 40, true);
  residency.add("b", 30, false);
  load(residency, "a", 0, 2);
  residency.saw("a", true, at(3));
  residency.saw("b", true, at(10));
  EXPECT_TRUE(residency.plan(at(609)).leaving.empty());
  EXPECT_EQ(residency.waits_since("b"), at(10));
  EXPECT_EQ(residency.plan(at(610)).leaving, std::set<std::string>{"a"});
  residency.saw("b", false, at(611));
  EXPECT_TRUE(residency.plan(at(611)).leaving.empty()) << "nobody waits any more";
}

TEST(Residency, only_as_many_leave_as_must) {
  Residency residency(rules_of(100));
  residency.add("a", 10, true);
  residency.add("b", 80, true);
  residency.add("c", 60, false);
  load(residency, "a", 0, 1);
  load(residency, "b", 1, 1);
  residency.saw("c", true, at(2));
  EXPECT_EQ(residency.plan(at(100)).leaving, std::set<std::string>{"b"}) << "without a's 10";
}

TEST(Residency, who_came_later_passes_until_the_first_has_waited_long) {
  Residency residency(rules_of(100));
  residency.add("big", 100, false);
  residency.add("a", 40, true);
  residency.add("small", 40, false);
  residency.add("late", 20, false);
  load(residency, "a", 0, 1);
  residency.saw("a", true, at(1));
  residency.saw("big", true, at(10));
  residency.saw("small", true, at(20));
  load(residency, "small", 20, 1);
  residency.saw("late", true, at(610));
  EXPECT_EQ(residency.plan(at(610)).load, std::nullopt) << "big has waited for 600 s: it is next";
  EXPECT_EQ(residency.plan(at(610)).leaving, (std::set<std::string>{"a", "small"}));
  residency.left("small", at(611));
  EXPECT_EQ(residency.plan(at(611)).load, std::nullopt) << "the room is for big";
  residency.left("a", at(612));
  EXPECT_EQ(residency.plan(at(612)).load, "big");
}

TEST(Residency, an_idle_model_leaves_where_the_rules_say_so) {
  ResidencyRules rules = rules_of(100);
  rules.idle_unload = seconds(60);
  Residency residency(rules);
  residency.add("a", 40, true);
  load(residency, "a", 0, 1);
  EXPECT_TRUE(residency.plan(at(60)).leaving.empty());
  residency.saw("a", true, at(60));
  residency.saw("a", false, at(70));
  EXPECT_TRUE(residency.plan(at(129)).leaving.empty());
  EXPECT_EQ(residency.plan(at(130)).leaving, std::set<std::string>{"a"});
  residency.left("a", at(131));
  EXPECT_EQ(residency.plan(at(131)).load, std::nullopt) << "until there is work";
}

TEST(Residency, a_model_that_cannot_be_loaded_holds_up_nobody) {
  Residency residency(rules_of(50));
  residency.add("a", 40, true);
  residency.add("b", 40, true);
  residency.saw("a", true, at(0));
  residency.saw("b", true, at(1));
  residency.load_began("a", at(1));
  residency.remove("a");
  load(residency, "b", 2, 1);
}

// It was to run on a device, and runs on the CPU.
TEST(Residency, a_load_may_find_that_its_model_takes_more) {
  Residency residency(rules_of(100));
  residency.add("a", 0, true);
  residency.add("b", 60, true);
  residency.load_began("a", at(0));
  residency.takes("a", 70);
  residency.load_ended("a", at(1));
  EXPECT_EQ(residency.used_bytes(), 70);
  EXPECT_EQ(residency.plan(at(1)).load, std::nullopt) << "b has no room beside it";
  residency.saw("b", true, at(2));
  EXPECT_EQ(residency.plan(at(100)).leaving, std::set<std::string>{"a"});
}

// --- random arrivals

class Daemon {
 public:
  explicit Daemon(uint32_t seed) : random_(seed) {
    rules_.switch_wait = seconds(pick(5, 600));
    rules_.idle_grace = seconds(pick(1, 5));
    const auto n = pick(2, 6);
    int64_t largest = 0;
    for (int64_t i = 0; i < n; ++i) {
      Model model;
      model.bytes = pick(1, 100);
      model.load_s = pick(1, 30);
      model.arrival_every_s = pick(1, 2000);
      model.run_s = pick(1, 120);
      largest = std::max(largest, model.bytes);
      slowest_load_s_ = std::max(slowest_load_s_, model.load_s);
      longest_run_s_ = std::max(longest_run_s_, model.run_s);
      models_["m" + std::to_string(i)] = model;
    }
    rules_.budget_bytes = largest + pick(0, 100);
    residency_.emplace(rules_);
    for (const auto& [name, model] : models_) residency_->add(name, model.bytes, pick(0, 1) == 1);
  }

  void run(int64_t until_s) {
    for (now_s_ = 0; now_s_ < until_s; ++now_s_) {
      for (auto& [name, model] : models_) turn(name, model);
      carry_out(residency_->plan(at(now_s_)));
      check();
    }
    for (const auto& [name, model] : models_) {
      EXPECT_LE((model.loads - 1) * Residency::kStayFactor * model.load_s, until_s) << name;
    }
  }

  int64_t switches() const { return switches_; }
  int64_t longest_wait_s() const { return longest_wait_s_; }

 private:
  struct Model {
    int64_t bytes = 0, load_s = 0, arrival_every_s = 0, run_s = 0;
    enum class Place { out, loading, in } place = Place::out;
    int64_t queued = 0;
    int64_t since_s = 0;  // loading: begun; in: loaded
    int64_t busy_until_s = -1;
    bool leaving = false;
    int64_t loads = 0;
    int64_t waits_since_s = -1;
  };

  int64_t pick(int64_t from, int64_t to) {
    return std::uniform_int_distribution<int64_t>(from, to)(random_);
  }

  void turn(const std::string& name, Model& model) {
    if (pick(0, model.arrival_every_s) == 0) model.queued += pick(1, 20);
    if (model.place == Model::Place::loading && now_s_ >= model.since_s + model.load_s) {
      model.place = Model::Place::in;
      model.since_s = now_s_;
      residency_->load_ended(name, at(now_s_));
    }
    const bool busy = now_s_ < model.busy_until_s;
    if (model.place == Model::Place::in && !busy) {
      if (model.leaving) {
        model.place = Model::Place::out;
        model.leaving = false;
        residency_->left(name, at(now_s_));
      } else if (model.queued > 0) {
        --model.queued;
        model.busy_until_s = now_s_ + model.run_s;
      }
    }
    const bool has_work = model.queued > 0 || now_s_ < model.busy_until_s;
    residency_->saw(name, has_work, at(now_s_));
    if (model.place != Model::Place::out || !has_work) {
      model.waits_since_s = -1;
    } else if (model.waits_since_s < 0) {
      model.waits_since_s = now_s_;
    }
  }

  void carry_out(const Residency::Plan& plan) {
    if (plan.load) {
      Model& model = models_.at(*plan.load);
      ASSERT_EQ(model.place, Model::Place::out);
      model.place = Model::Place::loading;
      model.since_s = now_s_;
      ++model.loads;
      switches_ += plan.is_switch ? 1 : 0;
      residency_->load_began(*plan.load, at(now_s_));
    }
    int64_t longest_waiter_s = 0;
    for (const auto& [name, model] : models_) {
      if (model.waits_since_s >= 0) {
        longest_waiter_s = std::max(longest_waiter_s, now_s_ - model.waits_since_s);
      }
    }
    for (auto& [name, model] : models_) {
      const bool leaves = plan.leaving.contains(name);
      if (leaves && !model.leaving) {
        ASSERT_EQ(model.place, Model::Place::in);
        EXPECT_GE(now_s_, model.since_s + Residency::kStayFactor * model.load_s) << name;
        const bool has_work = model.queued > 0 || now_s_ < model.busy_until_s;
        if (has_work) {
          EXPECT_GE(seconds(longest_waiter_s), rules_.switch_wait) << name;
        }
      }
      model.leaving = leaves;
    }
  }

  void check() {
    int64_t used = 0;
    int n_loading = 0;
    const int64_t turn_s = std::chrono::duration_cast<seconds>(rules_.switch_wait).count() +
                           (Residency::kStayFactor + 2) * slowest_load_s_ + longest_run_s_ + 3;
    for (const auto& [name, model] : models_) {
      if (model.place != Model::Place::out) used += model.bytes;
      n_loading += model.place == Model::Place::loading ? 1 : 0;
      if (model.waits_since_s < 0) continue;
      const int64_t waited_s = now_s_ - model.waits_since_s;
      longest_wait_s_ = std::max(longest_wait_s_, waited_s);
      ASSERT_LE(waited_s, turn_s * static_cast<int64_t>(models_.size())) << name << " starves";
    }
    ASSERT_LE(used, rules_.budget_bytes);
    ASSERT_LE(n_loading, 1);
    ASSERT_EQ(used, residency_->used_bytes());
  }

  std::mt19937 random_;
  ResidencyRules rules_;
  std::optional<Residency> residency_;
  std::map<std::string, Model> models_;
  int64_t now_s_ = 0;
  int64_t slowest_load_s_ = 0;
  int64_t longest_run_s_ = 0;
  int64_t switches_ = 0;
  int64_t longest_wait_s_ = 0;
};

TEST(Residency, random_arrivals_starve_no_model_and_switch_with_bounds) {
  int64_t switches = 0;
  int64_t longest_wait_s = 0;
  for (uint32_t seed = 1; seed <= 100 && !::testing::Test::HasFatalFailure(); ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Daemon daemon(seed);
    daemon.run(4000);
    switches += daemon.switches();
    longest_wait_s = std::max(longest_wait_s, daemon.longest_wait_s());
  }
  EXPECT_GT(switches, 500) << "the test tests something";
  EXPECT_GT(longest_wait_s, 600);
}

}  // namespace
}  // namespace parkd
