// The poison rule: what a store makes of a process that died with jobs in the engine.
#include <algorithm>
#include <iostream>
#include <map>
#include <random>
#include <set>

#include "lib/store/rules.h"
#include "tests/store/conformance/store_conformance.h"

namespace parkd {
namespace {

DeathReport death_of(const std::vector<Job>& present, bool noted = true) {
  DeathReport report;
  report.noted = noted;
  for (const Job& job : present) report.present.push_back({job.id, job.lease});
  return report;
}

template <class T>
T must(Result<T> result) {
  EXPECT_TRUE(result.ok()) << result.status().to_string();
  return std::move(result).value();
}

std::vector<Job> claim_all(StoreDriver& driver) {
  return must(driver.claim("m", 1000));
}

std::vector<Job> submit_and_claim(StoreDriver& driver, const JobSpec& spec, size_t n) {
  must(driver.submit(std::vector<JobSpec>(n, spec)));
  return claim_all(driver);
}

// Their daemon died: what it had claimed is queued again.
void give_back(StoreDriver& driver, const std::vector<Job>& claimed) {
  for (const Job& job : claimed) must(driver.release({{job.id, job.lease, false, {}}}));
}

DeathsAnswer die(StoreDriver& driver, const std::vector<Job>& present, bool noted = true) {
  const DeathsAnswer answer = must(driver.note_deaths(death_of(present, noted)));
  give_back(driver, present);
  return answer;
}

// The live jobs: by suspect group, its members.
std::map<uint64_t, std::vector<JobId>> groups_in(StoreDriver& driver) {
  ListFilter filter;
  filter.limit = 1000;
  std::map<uint64_t, std::vector<JobId>> groups;
  for (const Job& job : must(driver.list(filter))) groups[job.suspect_group].push_back(job.id);
  return groups;
}

TEST_P(StoreConformance, a_noted_death_makes_suspects_of_all_that_were_there_in_two_halves_by_id) {
  const auto present = submit_and_claim(*driver_, spec(), 5);
  const JobId bystander = submit_one(spec());
  const DeathsAnswer answer = die(*driver_, present);
  EXPECT_EQ(answer.suspects, 5);
  EXPECT_EQ(answer.quarantined, 0);
  auto by_group = groups_in(*driver_);
  EXPECT_EQ(by_group[0], std::vector<JobId>{bystander});
  by_group.erase(0);
  std::set<std::vector<JobId>> halves;
  for (const auto& [group, ids] : by_group) halves.insert(ids);
  EXPECT_EQ(halves, (std::set<std::vector<JobId>>{{present[0].id, present[1].id, present[2].id},
                                                  {present[3].id, present[4].id}}));
  for (const Job& job : claim_all(*driver_)) {
    EXPECT_EQ(job.suspect_group != 0, job.id != bystander) << "the claim hands out the notes";
    EXPECT_EQ(job.deaths_alone, 0);
    EXPECT_EQ(job.attempts, 0);
  }
}

TEST_P(StoreConformance, two_noted_deaths_alone_quarantine_a_job_and_leave_its_message) {
  const auto first = submit_and_claim(*driver_, spec(), 1);
  EXPECT_EQ(die(*driver_, first).suspects, 1);
  const auto second = claim_all(*driver_);
  ASSERT_EQ(second.size(), 1u);
  EXPECT_NE(second[0].suspect_group, 0u);
  EXPECT_EQ(second[0].deaths_alone, 1);
  clock_.advance(std::chrono::seconds(1));
  const DeathsAnswer answer = must(driver_->note_deaths(death_of(second)));
  EXPECT_EQ(answer.suspects, 0);
  EXPECT_EQ(answer.quarantined, 1);
  const auto stored = messages("box");
  ASSERT_EQ(stored.size(), 1u);
  EXPECT_EQ(stored[0].job_id, first[0].id);
  EXPECT_EQ(stored[0].ending.outcome, Outcome::quarantined);
  EXPECT_EQ(stored[0].ending.error_code, "quarantined");
  EXPECT_EQ(stored[0].ending.status_code, 500);
  EXPECT_EQ(stored[0].ending.error_message, quarantined_ending().error_message);
  EXPECT_EQ(stored[0].attempts, 0) << "a death of the process spends none";
  EXPECT_EQ(stored[0].lease, RunLease());
  EXPECT_EQ(finish_one(second[0]), FinishAnswer::lease_lost) << "whoever held it does no longer";
  EXPECT_TRUE(claim_all(*driver_).empty());
  EXPECT_EQ(messages("box").size(), 1u);
}

TEST_P(StoreConformance, a_death_that_is_told_again_changes_nothing) {
  const auto present = submit_and_claim(*driver_, spec(), 1);
  must(driver_->note_deaths(death_of(present)));
  const DeathsAnswer again = must(driver_->note_deaths(death_of(present)));
  EXPECT_EQ(again.suspects, 0);
  EXPECT_EQ(again.quarantined, 0);
  must(driver_->release({{present[0].id, present[0].lease, false, {}}}));
  const Job job = claim_one();
  EXPECT_EQ(job.deaths_alone, 1);
  must(driver_->note_deaths(death_of(present)));
  EXPECT_EQ(std::get<Job>(get(job.id)).deaths_alone, 1) << "nor that of an earlier run";
}

TEST_P(StoreConformance, a_job_whose_neighbours_have_ended_was_still_not_alone) {
  const auto present = submit_and_claim(*driver_, spec(), 2);
  EXPECT_EQ(finish_one(present[0]), FinishAnswer::finished_now);
  EXPECT_EQ(must(driver_->note_deaths(death_of(present))).suspects, 1);
  const Job left = std::get<Job>(get(present[1].id));
  EXPECT_NE(left.suspect_group, 0u);
  EXPECT_EQ(left.deaths_alone, 0);
}

TEST_P(StoreConformance, unknown_and_finished_jobs_are_passed_over) {
  const auto present = submit_and_claim(*driver_, spec(), 1);
  finish_one(present[0]);
  DeathReport report = death_of(present);
  report.present.push_back({987'654, {1, 1}});
  const DeathsAnswer answer = must(driver_->note_deaths(report));
  EXPECT_EQ(answer.suspects + answer.quarantined, 0);
  EXPECT_EQ(messages("box").size(), 1u);
  EXPECT_EQ(must(driver_->note_deaths({})).suspects, 0) << "and a report of nothing is nothing";
}

TEST_P(StoreConformance, a_spent_attempt_clears_a_suspect_and_a_mere_release_does_not) {
  const auto present = submit_and_claim(*driver_, spec(), 1);
  die(*driver_, present);
  Job job = claim_one();
  must(driver_->release({{job.id, job.lease, false, {}}}));
  job = claim_one();
  EXPECT_NE(job.suspect_group, 0u);
  must(driver_->release({{job.id, job.lease, true, {}}}));
  job = claim_one();
  EXPECT_EQ(job.suspect_group, 0u) << "it ran, and the process lived";
  EXPECT_EQ(job.deaths_alone, 0);
  EXPECT_EQ(job.interruptions, 0);
}

TEST_P(StoreConformance, deaths_that_were_not_noted_make_no_suspects_until_the_twentieth_in_a_row) {
  for (int i = 0; i < 3; ++i) submit_one(spec());
  for (int death = 1; death < kSilentDeathsMax; ++death) {
    EXPECT_EQ(die(*driver_, claim_all(*driver_), false).suspects, 0) << "death " << death;
  }
  const JobId late = submit_one(spec());
  const auto present = claim_all(*driver_);
  ASSERT_EQ(present.size(), 4u);
  EXPECT_EQ(present[0].interruptions, kSilentDeathsMax - 1);
  EXPECT_EQ(die(*driver_, present, false).suspects, 3) << "those that were there every time";
  EXPECT_EQ(std::get<Job>(get(late)).suspect_group, 0u);
  EXPECT_TRUE(messages("box").empty()) << "none is quarantined for it";
}

TEST_P(StoreConformance,
       the_search_finds_one_poison_job_among_64_in_log2_and_two_deaths_and_harms_no_other) {
  const std::vector<Job> waiting = submit_and_claim(*driver_, spec(), 64);
  give_back(*driver_, waiting);
  const size_t place = std::random_device()() % 64;
  std::cout << "the poison job is number " << place << "\n";
  const JobId poison = waiting[place].id;
  // A dispatcher in short: suspect groups alone, each to its end or to the death of the process.
  int deaths = 0;
  int64_t quarantined = 0;
  while (quarantined == 0) {
    ASSERT_LT(deaths, 20) << "the search does not end";
    std::map<uint64_t, std::vector<Job>> company;
    for (const Job& job : claim_all(*driver_)) company[job.suspect_group].push_back(job);
    ASSERT_FALSE(company.empty());
    for (auto& [group, jobs] : company) {
      const bool dies =
          std::any_of(jobs.begin(), jobs.end(), [&](const Job& job) { return job.id == poison; });
      if (dies) {
        ++deaths;
        quarantined += must(driver_->note_deaths(death_of(jobs))).quarantined;
        give_back(*driver_, jobs);
      } else {
        for (const Job& job : jobs) EXPECT_EQ(finish_one(job), FinishAnswer::finished_now);
      }
    }
  }
  EXPECT_LE(deaths, 6 + 2);
  std::map<Outcome, int> outcomes;
  for (const Message& message : messages("box")) {
    ++outcomes[message.ending.outcome];
    EXPECT_EQ(message.ending.outcome == Outcome::quarantined, message.job_id == poison);
  }
  EXPECT_EQ(outcomes[Outcome::completed], 63);
  EXPECT_EQ(outcomes[Outcome::quarantined], 1);
}

TEST_P(DurableStoreConformance, poison_notes_survive_a_restart) {
  submit_one(spec());
  submit_one(spec());
  const auto present = must(driver_->claim("m", 2));
  EXPECT_EQ(must(driver_->note_deaths(death_of(present))).suspects, 2);
  reopen();
  const auto again = must(driver_->claim("m", 2));
  ASSERT_EQ(again.size(), 2u);
  EXPECT_NE(again[0].suspect_group, 0u);
  EXPECT_NE(again[1].suspect_group, 0u);
  EXPECT_NE(again[0].suspect_group, again[1].suspect_group);
  EXPECT_EQ(again[0].interruptions, 1);
  must(driver_->note_deaths(death_of(present)));
  EXPECT_EQ(std::get<Job>(get(again[0].id)).interruptions, 1) << "told again after a restart";
}

}  // namespace
}  // namespace parkd
