// Claims with limits: how many jobs of a tenant, how large a job; and what a job that comes back
// costs its tenant.
#include <algorithm>
#include <array>
#include <map>
#include <random>

#include "tests/store/conformance/store_conformance.h"

namespace parkd {
namespace {

using std::chrono::hours;

JobSpec job_of(const std::string& tenant, int32_t need = 100,
               Priority priority = Priority::normal) {
  JobSpec made;
  made.model = "m";
  made.mailbox_key = "box";
  made.body = R"({"messages":[]})";
  made.tenant = tenant;
  made.priority = priority;
  made.prompt_tokens = need - 1;
  made.max_new_tokens = 1;
  made.tokens_are_exact = true;
  return made;
}

std::string tenants_of(const std::vector<Job>& jobs) {
  std::string text;
  for (const Job& job : jobs) text += (text.empty() ? "" : " ") + job.spec.tenant;
  return text;
}

std::map<std::string, int> count_of(const std::vector<Job>& jobs) {
  std::map<std::string, int> n;
  for (const Job& job : jobs) ++n[job.spec.tenant];
  return n;
}

std::vector<JobId> ids_of(const std::vector<Job>& jobs) {
  std::vector<JobId> ids;
  for (const Job& job : jobs) ids.push_back(job.id);
  return ids;
}

void submit_many(StoreDriver& driver, const std::string& tenant, size_t n, int32_t need = 100,
                 Priority priority = Priority::normal) {
  const auto submitted = driver.submit(std::vector<JobSpec>(n, job_of(tenant, need, priority)));
  EXPECT_TRUE(submitted.ok()) << submitted.status().to_string();
}

void give_back(StoreDriver& driver, const std::vector<Job>& jobs, bool spend_attempt = false) {
  std::vector<ReleaseItem> items;
  for (const Job& job : jobs) items.push_back({job.id, job.lease, spend_attempt, std::nullopt});
  const auto answers = driver.release(std::move(items));
  ASSERT_TRUE(answers.ok()) << answers.status().to_string();
  for (const ReleaseAnswer answer : *answers) EXPECT_EQ(answer, ReleaseAnswer::released);
}

// --- room

TEST_P(StoreConformance, a_claim_gives_no_tenant_more_than_its_room) {
  submit_many(*driver_, "a", 20);
  submit_many(*driver_, "b", 20);
  submit_many(*driver_, "c", 20);
  const auto n = count_of(must(driver_->claim(ClaimRequest{"m", 12, {{"a", 1}, {"b", 0}}, 4})));
  EXPECT_EQ(n, (std::map<std::string, int>{{"a", 1}, {"c", 4}})) << "no more, and no less";
  EXPECT_EQ(count_of(must(driver_->claim(ClaimRequest{"m", 12, {{"c", 5}}, 0}))),
            (std::map<std::string, int>{{"c", 5}}));
  EXPECT_EQ(count_of(must(driver_->claim(ClaimRequest{"m", 6, {{"a", 1}}, std::nullopt}))).at("a"),
            1);
  EXPECT_EQ(must(driver_->claim(ClaimRequest{"m", 3, {{"a", 100}, {"b", 100}}, 100})).size(), 3u)
      << "max_jobs is in all";
  EXPECT_TRUE(must(driver_->claim(ClaimRequest{"m", 12, {{"a", -1}}, 0})).empty());
}

TEST_P(StoreConformance, room_limits_a_tenant_that_is_alone_too) {
  submit_many(*driver_, "a", 20);
  EXPECT_EQ(must(driver_->claim(ClaimRequest{"m", 12, {{"a", 3}}, 12})).size(), 3u);
  EXPECT_EQ(must(driver_->claim(ClaimRequest{"m", 12, {}, 2})).size(), 2u);
  EXPECT_TRUE(must(driver_->claim(ClaimRequest{"m", 12, {}, 0})).empty());
  EXPECT_EQ(must(driver_->claim(ClaimRequest{"m", 12})).size(), 12u);
}

TEST_P(StoreConformance, within_its_room_a_tenants_jobs_keep_their_order) {
  std::vector<JobId> of_a;
  for (int i = 0; i < 6; ++i) of_a.push_back(submit_one(job_of("a")));
  submit_many(*driver_, "b", 6);
  const JobId high = submit_one(job_of("a", 100, Priority::high));
  const auto of = [](const std::vector<Job>& jobs, const std::string& tenant) {
    std::vector<JobId> ids;
    for (const Job& job : jobs) {
      if (job.spec.tenant == tenant) ids.push_back(job.id);
    }
    return ids;
  };
  EXPECT_EQ(of(must(driver_->claim(ClaimRequest{"m", 8, {{"a", 2}}, {}})), "a"),
            (std::vector<JobId>{high, of_a[0]}));
  EXPECT_EQ(of(must(driver_->claim(ClaimRequest{"m", 8, {{"a", 3}}, {}})), "a"),
            (std::vector<JobId>{of_a[1], of_a[2], of_a[3]}));
}

TEST_P(StoreConformance, critical_jobs_come_first_and_take_their_tenants_room) {
  submit_many(*driver_, "a", 5);
  submit_many(*driver_, "b", 5);
  std::vector<JobId> critical;
  for (int i = 0; i < 3; ++i) critical.push_back(submit_one(job_of("a", 100, Priority::critical)));
  clock_.advance(hours(1));
  const JobId of_c = submit_one(job_of("c", 100, Priority::critical));
  const auto first = must(driver_->claim(ClaimRequest{"m", 4, {{"a", 2}}, {}}));
  ASSERT_EQ(first.size(), 4u);
  EXPECT_EQ(first[0].id, critical[0]);
  EXPECT_EQ(first[1].id, critical[1]);
  EXPECT_EQ(first[2].id, of_c) << "one without room is passed over";
  EXPECT_EQ(first[3].spec.tenant, "b") << "its room is used up";
  const auto second = must(driver_->claim(ClaimRequest{"m", 2, {{"a", 2}}, {}}));
  EXPECT_EQ(second.at(0).id, critical[2]);
}

TEST_P(StoreConformance, a_tenant_without_room_keeps_its_turn) {
  submit_many(*driver_, "a", 20);
  submit_many(*driver_, "b", 20);
  must(driver_->claim(ClaimRequest{"m", 2}));
  for (int i = 0; i < 4; ++i) {
    EXPECT_EQ(tenants_of(must(driver_->claim(ClaimRequest{"m", 2, {{"a", 0}}, {}}))), "b b");
  }
  EXPECT_EQ(tenants_of(must(driver_->claim(ClaimRequest{"m", 1}))), "a") << "it comes next";
  const auto n = count_of(must(driver_->claim(ClaimRequest{"m", 8})));
  EXPECT_GE(n.at("b"), 3) << "but what was not given to it is not owed";
}

TEST_P(StoreConformance, who_is_passed_over_delays_a_newcomer_by_one_job) {
  submit_many(*driver_, "a", 30);
  submit_many(*driver_, "b", 30);
  must(driver_->claim(ClaimRequest{"m", 2}));
  must(driver_->claim(ClaimRequest{"m", 20, {{"a", 0}}, {}}));
  submit_many(*driver_, "newcomer", 5);
  EXPECT_GE(count_of(must(driver_->claim(ClaimRequest{"m", 4})))["newcomer"], 1);
}

// Over any time in which both wait with room, what two tenants were given differs by their largest
// jobs at most.
TEST_P(StoreConformance, two_and_ten_tenants_share_within_their_largest_jobs_while_they_have_room) {
  for (const size_t n_tenants : {2u, 10u}) {
    const std::string model = std::to_string(n_tenants) + " tenants";
    std::mt19937 random(static_cast<uint32_t>(n_tenants));
    std::map<std::string, int64_t> largest;
    for (size_t t = 0; t < n_tenants; ++t) {
      const std::string tenant = "t" + std::to_string(t);
      std::vector<JobSpec> jobs;
      for (size_t i = 0; i < 640 / n_tenants; ++i) {
        const auto need = static_cast<int32_t>(100 + random() % (t % 2 == 0 ? 50 : 200));
        largest[tenant] = std::max<int64_t>(largest[tenant], need);
        jobs.push_back(job_of(tenant, need));
        jobs.back().model = model;
      }
      must(driver_->submit(jobs));
    }
    std::map<std::string, int64_t> given;
    const auto check = [&](const std::string& when) {
      for (const auto& [one, n] : largest) {
        for (const auto& [other, m] : largest) {
          EXPECT_LE(std::abs(given[one] - given[other]), n + m) << one << " and " << other << when;
        }
      }
    };
    for (size_t i = 0; i < 24; ++i) {
      // A place or a few: room for two is now more and now less than a tenant's share of them.
      const int32_t places = std::array{4, 1, 2, 3}.at(i % 4);
      const auto jobs = must(driver_->claim(ClaimRequest{model, places, {}, 2}));
      ASSERT_EQ(static_cast<int32_t>(jobs.size()), places);
      for (const Job& job : jobs) given[job.spec.tenant] += job.spec.need_tokens();
      check(" after claim " + std::to_string(i));
    }
  }
}

// --- need

TEST_P(StoreConformance, a_small_job_is_claimed_past_larger_ones_and_charged_as_ever) {
  const JobId large = submit_one(job_of("a", 1000));
  const JobId small = submit_one(job_of("a", 10));
  const JobId exact = submit_one(job_of("a", 64));
  submit_one(job_of("b", 1000));
  EXPECT_EQ(ids_of(must(driver_->claim(ClaimRequest{"m", 10, {}, {}, 64}))),
            (std::vector<JobId>{small, exact}));
  EXPECT_TRUE(must(driver_->claim(ClaimRequest{"m", 10, {}, {}, 64})).empty());
  EXPECT_TRUE(must(driver_->claim(ClaimRequest{"m", 10, {}, {}, -1})).empty());
  EXPECT_EQ(must(driver_->claim(ClaimRequest{"m", 1})).at(0).spec.tenant, "b")
      << "a has paid for 74 tokens";
  EXPECT_EQ(must(driver_->claim(ClaimRequest{"m", 1, {}, {}, 1000})).at(0).id, large);
}

TEST_P(StoreConformance, among_jobs_that_fit_the_order_holds) {
  submit_one(job_of("a", 500, Priority::high));
  const JobId second = submit_one(job_of("a", 70));
  const JobId third = submit_one(job_of("a", 3));
  const JobId first = submit_one(job_of("a", 99, Priority::high));
  submit_one(job_of("a", 101, Priority::high));
  const JobId critical = submit_one(job_of("a", 40, Priority::critical));
  submit_one(job_of("a", 400, Priority::critical));
  EXPECT_EQ(ids_of(must(driver_->claim(ClaimRequest{"m", 10, {}, {}, 100}))),
            (std::vector<JobId>{critical, first, second, third}));
}

TEST_P(StoreConformance, a_tenant_of_large_jobs_keeps_its_turn_while_small_ones_pass) {
  submit_many(*driver_, "large", 10, 1000);
  submit_many(*driver_, "small", 40, 10);
  must(driver_->claim(ClaimRequest{"m", 2}));
  EXPECT_EQ(count_of(must(driver_->claim(ClaimRequest{"m", 20, {}, {}, 10}))).at("small"), 20);
  // 1000 tokens to 210: its turn is where it was.
  EXPECT_EQ(tenants_of(must(driver_->claim(ClaimRequest{"m", 3}))), "small small small");
}

TEST_P(StoreConformance, room_and_need_hold_together) {
  submit_many(*driver_, "a", 5, 1000);
  submit_many(*driver_, "a", 5, 10);
  submit_many(*driver_, "b", 5, 10);
  EXPECT_EQ(count_of(must(driver_->claim(ClaimRequest{"m", 10, {{"a", 2}}, 3, 10}))),
            (std::map<std::string, int>{{"a", 2}, {"b", 3}}));
}

// --- by name

ClaimRequest named(std::vector<JobId> ids, int32_t max_jobs = 10) {
  ClaimRequest request{"m", max_jobs};
  request.only = std::move(ids);
  return request;
}

TEST_P(StoreConformance, a_claim_by_name_finds_its_jobs_wherever_they_stand) {
  submit_many(*driver_, "a", 20);
  const JobId last = submit_one(job_of("a", 100, Priority::low));
  submit_many(*driver_, "b", 5);
  const JobId critical = submit_one(job_of("b", 100, Priority::critical));
  EXPECT_EQ(ids_of(must(driver_->claim(named({last, 999'999, critical})))),
            (std::vector<JobId>{last, critical}))
      << "in the order of their names";
  EXPECT_TRUE(must(driver_->claim(named({last}))).empty()) << "it is claimed already";
  EXPECT_EQ(must(driver_->claim("m", 100)).size(), 25u) << "the others are where they were";
}

TEST_P(StoreConformance, a_claim_by_name_takes_no_more_than_max_jobs_and_only_what_may_run) {
  JobSpec other = job_of("a");
  other.model = "other";
  const JobId of_another_model = submit_one(other);
  JobSpec scheduled = job_of("a");
  scheduled.run_at = clock_.now() + hours(1);
  const JobId later = submit_one(scheduled);
  JobSpec late = job_of("a");
  late.deadline = clock_.now() + std::chrono::minutes(1);
  const JobId overdue = submit_one(late);
  const JobId cancelled = submit_one(job_of("a"));
  must(driver_->cancel(cancelled, ""));
  clock_.advance(std::chrono::minutes(2));
  const JobId one = submit_one(job_of("a"));
  const JobId two = submit_one(job_of("a"));
  EXPECT_EQ(ids_of(must(
                driver_->claim(named({of_another_model, later, overdue, cancelled, two, one}, 1)))),
            (std::vector<JobId>{two}));
  EXPECT_EQ(ids_of(must(driver_->claim(named({of_another_model, later, overdue, one})))),
            (std::vector<JobId>{one}));
}

TEST_P(StoreConformance, a_job_claimed_by_name_is_charged_and_turns_stay) {
  submit_many(*driver_, "a", 30);
  submit_many(*driver_, "b", 30);
  const JobId last = submit_one(job_of("a", 300, Priority::low));
  must(driver_->claim(ClaimRequest{"m", 2}));
  const auto named_one = must(driver_->claim(named({last})));
  ASSERT_EQ(ids_of(named_one), (std::vector<JobId>{last}));
  EXPECT_EQ(tenants_of(must(driver_->claim(ClaimRequest{"m", 3}))), "b b b") << "a has had its";
  submit_many(*driver_, "newcomer", 1);
  EXPECT_EQ(tenants_of(must(driver_->claim(ClaimRequest{"m", 1}))), "newcomer")
      << "the virtual time has not leapt to a's tag";
}

TEST_P(StoreConformance, a_job_claimed_by_name_and_given_back_is_charged_once) {
  submit_many(*driver_, "a", 30);
  submit_many(*driver_, "b", 30);
  const JobId last = submit_one(job_of("a", 300, Priority::low));
  must(driver_->claim(ClaimRequest{"m", 2}));
  give_back(*driver_, must(driver_->claim(named({last}))));
  EXPECT_EQ(count_of(must(driver_->claim(ClaimRequest{"m", 8}))).at("a"), 4);
}

// --- what comes back

TEST_P(StoreConformance, a_job_that_is_given_back_and_claimed_again_is_charged_once) {
  submit_many(*driver_, "large", 5, 1000);
  submit_many(*driver_, "small", 400, 10);
  EXPECT_EQ(count_of(must(driver_->claim("m", 2)))["large"], 1);
  for (int i = 0; i < 5; ++i) {
    const auto again = must(driver_->claim(ClaimRequest{"m", 1, {{"small", 0}}, {}}));
    ASSERT_EQ(tenants_of(again), "large");
    give_back(*driver_, again);
  }
  // It has paid for one job: after as much of the other's it comes again.
  EXPECT_EQ(count_of(must(driver_->claim("m", 98)))["large"], 0);
  EXPECT_EQ(count_of(must(driver_->claim("m", 4)))["large"], 1);
}

TEST_P(StoreConformance, what_is_given_back_puts_nobody_before_a_newcomer) {
  submit_many(*driver_, "a", 40);
  const auto many = must(driver_->claim(ClaimRequest{"m", 20}));
  submit_many(*driver_, "newcomer", 10);
  give_back(*driver_, {many.begin() + 5, many.end()});
  EXPECT_GE(count_of(must(driver_->claim(ClaimRequest{"m", 3})))["newcomer"], 1);
  EXPECT_GE(count_of(must(driver_->claim(ClaimRequest{"m", 6})))["newcomer"], 2);
}

TEST_P(StoreConformance, a_job_that_ran_and_failed_stays_charged) {
  submit_many(*driver_, "a", 30);
  submit_many(*driver_, "b", 30);
  must(driver_->claim(ClaimRequest{"m", 2}));
  for (int i = 0; i < 2; ++i) {
    const auto again = must(driver_->claim(ClaimRequest{"m", 1, {{"b", 0}}, {}}));
    ASSERT_EQ(tenants_of(again), "a");
    give_back(*driver_, again, true);
  }
  EXPECT_EQ(tenants_of(must(driver_->claim(ClaimRequest{"m", 1}))), "b");
}

// --- weight

TEST_P(StoreConformance, a_claimed_job_brings_the_weight_of_its_tenant) {
  const bool weighted = home_->set_weight("heavy", 2.5);
  submit_many(*driver_, "heavy", 2);
  submit_many(*driver_, "plain", 1);
  submit_many(*driver_, "heavy", 1, 100, Priority::critical);
  const auto jobs = must(driver_->claim("m", 10));
  ASSERT_EQ(jobs.size(), 4u);
  for (const Job& job : jobs) {
    EXPECT_EQ(job.weight, weighted && job.spec.tenant == "heavy" ? 2.5 : 1) << job.spec.tenant;
  }
  give_back(*driver_, jobs);
  if (!home_->set_weight("heavy", 0.5)) return;
  for (const Job& job : must(driver_->claim("m", 10))) {
    EXPECT_EQ(job.weight, job.spec.tenant == "heavy" ? 0.5 : 1) << "as it is at the claim";
  }
}

TEST_P(StoreConformance, tenants_share_by_their_weight) {
  const double weight = home_->set_weight("heavy", 3) ? 3 : 1;
  submit_many(*driver_, "heavy", 60);
  submit_many(*driver_, "plain", 60);
  std::map<std::string, int> n;
  for (int i = 0; i < 10; ++i) {
    for (const Job& job : must(driver_->claim("m", 4))) ++n[job.spec.tenant];
  }
  EXPECT_LE(std::abs(n["heavy"] / weight - n["plain"]), 1 / weight + 1);
}

// --- priorities

TEST_P(StoreConformance, a_high_job_overtakes_in_its_tenant_only_and_is_charged) {
  submit_many(*driver_, "b", 20);
  std::vector<JobSpec> high(20, job_of("a", 100, Priority::high));
  must(driver_->submit(std::move(high)));
  must(driver_->claim(ClaimRequest{"m", 2}));
  std::map<std::string, int> n;
  for (int i = 0; i < 10; ++i) {
    ++n[must(driver_->claim(ClaimRequest{"m", 1})).at(0).spec.tenant];
    EXPECT_LE(std::abs(n["a"] - n["b"]), 1) << "after " << i + 1 << " claims";
  }
  EXPECT_LE(std::abs(count_of(must(driver_->claim(ClaimRequest{"m", 8}))).at("a") - 4), 1);
}

TEST_P(StoreConformance, a_critical_job_is_charged_to_nobody) {
  submit_many(*driver_, "a", 20);
  submit_many(*driver_, "b", 20);
  for (int i = 0; i < 4; ++i) submit_one(job_of("a", 1000, Priority::critical));
  EXPECT_EQ(tenants_of(must(driver_->claim(ClaimRequest{"m", 4}))), "a a a a");
  const auto n = count_of(must(driver_->claim(ClaimRequest{"m", 8})));
  EXPECT_LE(std::abs(n.at("a") - n.at("b")), 1);
}

}  // namespace
}  // namespace parkd
