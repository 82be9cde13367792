#include "tests/store/conformance/store_conformance.h"

namespace parkd {
namespace {

using std::chrono::hours;
using std::chrono::minutes;
using std::chrono::seconds;

TEST_P(StoreConformance, a_finished_job_is_its_message) {
  JobSpec given = spec();
  given.tenant = "alice";
  given.custom_id = "line-7";
  given.metadata = R"({"k":"v"})";
  const WallTime created = clock_.now();
  const JobId id = submit_one(given);
  clock_.advance(seconds(2));
  const Job job = claim_one();
  clock_.advance(seconds(3));
  EXPECT_EQ(finish_one(job, R"({"choices":[]})"), FinishAnswer::finished_now);

  const auto box = messages("box", "alice");
  ASSERT_EQ(box.size(), 1u);
  const Message& message = box[0];
  EXPECT_EQ(message.job_id, id);
  EXPECT_EQ(message.lease, job.lease);
  EXPECT_EQ(message.tenant, "alice");
  EXPECT_EQ(message.mailbox_key, "box");
  EXPECT_EQ(message.model, "m");
  EXPECT_EQ(message.custom_id, "line-7");
  EXPECT_EQ(message.metadata, given.metadata);
  EXPECT_EQ(message.ending.outcome, Outcome::completed);
  EXPECT_EQ(message.ending.body, R"({"choices":[]})");
  EXPECT_EQ(message.ending.prompt_tokens, 7);
  EXPECT_EQ(message.ending.units, 2);
  EXPECT_EQ(message.created_at, created);
  EXPECT_EQ(message.finished_at, clock_.now());
  EXPECT_EQ(message.expires_at, clock_.now() + kRetention);
  EXPECT_TRUE(driver_->list({})->empty()) << "a finished job is live no more";
  EXPECT_TRUE(std::holds_alternative<Message>(get(id)));
  EXPECT_EQ(driver_->told().messages,
            (std::vector<std::pair<std::string, std::string>>{{"alice", "box"}}));
}

TEST_P(StoreConformance, a_live_job_has_no_message) {
  submit_one(spec());
  claim_one();
  EXPECT_TRUE(messages("box").empty());
}

TEST_P(StoreConformance, a_repeated_finish_of_the_same_run_is_not_an_error_and_stores_nothing) {
  submit_one(spec());
  const Job job = claim_one();
  EXPECT_EQ(finish_one(job, "1"), FinishAnswer::finished_now);
  EXPECT_EQ(finish_one(job, "2"), FinishAnswer::already_by_this_lease);
  const auto box = messages("box");
  ASSERT_EQ(box.size(), 1u);
  EXPECT_EQ(box[0].ending.body, "1");
}

TEST_P(StoreConformance, a_finish_is_remembered_after_its_message_was_taken) {
  const JobId id = submit_one(spec());
  const Job job = claim_one();
  finish_one(job);
  must(driver_->take("default", "box", {messages("box").at(0).sequence}));
  EXPECT_EQ(finish_one(job), FinishAnswer::already_by_this_lease);
  EXPECT_TRUE(messages("box").empty());
  EXPECT_TRUE(std::holds_alternative<HistoryRow>(get(id)));
}

TEST_P(StoreConformance, finish_after_lease_lost_is_rejected) {
  submit_one(spec());
  const Job first = claim_one();
  must(driver_->release({{first.id, first.lease, false, std::nullopt}}));
  EXPECT_EQ(finish_one(first, "old"), FinishAnswer::lease_lost) << "while the job is queued";
  const Job second = claim_one();
  EXPECT_EQ(finish_one(first, "old"), FinishAnswer::lease_lost) << "while another run owns it";
  EXPECT_EQ(finish_one(second, "new"), FinishAnswer::finished_now);
  EXPECT_EQ(finish_one(first, "old"), FinishAnswer::lease_lost) << "after another run ended it";
  const auto box = messages("box");
  ASSERT_EQ(box.size(), 1u);
  EXPECT_EQ(box[0].ending.body, "new");
}

TEST_P(StoreConformance, a_job_nobody_claimed_cannot_be_finished) {
  const JobId id = submit_one(spec());
  const auto answers = driver_->finish({{id, RunLease{}, ending("{}")}, {999, {1, 1}, ending("")}});
  EXPECT_EQ(*answers,
            (std::vector<FinishAnswer>{FinishAnswer::lease_lost, FinishAnswer::lease_lost}));
  EXPECT_TRUE(messages("box").empty());
}

TEST_P(StoreConformance, a_cancelled_job_cannot_be_finished_with_an_empty_lease) {
  const JobId id = submit_one(spec());
  must(driver_->cancel(id, ""));
  const auto answers = driver_->finish({{id, RunLease{}, ending("{}")}});
  EXPECT_EQ(answers->at(0), FinishAnswer::lease_lost);
}

TEST_P(StoreConformance, one_bad_item_does_not_fail_its_neighbours) {
  submit_one(spec());
  submit_one(spec());
  const auto jobs = driver_->claim("m", 2);
  FinishItem bad = finish_item(jobs->at(0));
  bad.lease.n += 100;
  const auto answers = driver_->finish({bad, finish_item(jobs->at(1))});
  ASSERT_TRUE(answers.ok());
  EXPECT_EQ(*answers,
            (std::vector<FinishAnswer>{FinishAnswer::lease_lost, FinishAnswer::finished_now}));
}

TEST_P(StoreConformance, the_same_job_twice_in_one_finish_has_one_message) {
  submit_one(spec());
  const Job job = claim_one();
  FinishItem stale = finish_item(job, "3");
  stale.lease.n += 1;
  const auto answers = driver_->finish({finish_item(job, "1"), finish_item(job, "2"), stale});
  EXPECT_EQ(*answers, (std::vector<FinishAnswer>{FinishAnswer::finished_now,
                                                 FinishAnswer::already_by_this_lease,
                                                 FinishAnswer::lease_lost}));
  EXPECT_EQ(messages("box").size(), 1u);
}

TEST_P(StoreConformance, two_finishes_under_way_at_once_have_one_message) {
  for (int i = 0; i < 20; ++i) {
    submit_one(spec());
    const Job job = claim_one();
    std::vector<std::future<FinishAnswer>> futures;
    for (int k = 0; k < 4; ++k) {
      auto promise = std::make_shared<std::promise<FinishAnswer>>();
      futures.push_back(promise->get_future());
      store_->finish({finish_item(job)}, [promise](Result<std::vector<FinishAnswer>> answers) {
        promise->set_value(answers.value().at(0));
      });
    }
    int n_finished = 0;
    for (auto& future : futures) {
      const FinishAnswer answer = future.get();
      n_finished += answer == FinishAnswer::finished_now ? 1 : 0;
      EXPECT_NE(answer, FinishAnswer::lease_lost);
    }
    EXPECT_EQ(n_finished, 1);
  }
  EXPECT_EQ(messages("box").size(), 20u);
}

TEST_P(StoreConformance, finishes_of_many_jobs_come_in_one_answer_in_order) {
  for (int i = 0; i < 50; ++i) submit_one(spec());
  const auto jobs = driver_->claim("m", 50);
  std::vector<FinishItem> items;
  for (const Job& job : *jobs) items.push_back(finish_item(job, std::to_string(job.id)));
  const auto answers = driver_->finish(items);
  EXPECT_EQ(answers->size(), 50u);
  const auto box = messages("box");
  ASSERT_EQ(box.size(), 50u);
  for (size_t i = 0; i < 50; ++i) {
    EXPECT_EQ(box[i].job_id, items[i].id);
    EXPECT_EQ(box[i].ending.body, std::to_string(items[i].id));
  }
}

// --- attempts

TEST_P(StoreConformance, attempts_are_counted_apart_from_the_lease) {
  const JobId id = submit_one(spec());
  for (int i = 0; i < 3; ++i) {
    const Job job = claim_one();
    EXPECT_EQ(job.attempts, 0) << "neither a claim nor a drain spends one";
    must(driver_->release({{id, job.lease, false, std::nullopt}}));
  }
  const Job failed = claim_one();
  must(driver_->release({{id, failed.lease, true, std::nullopt}}));
  const Job job = claim_one();
  EXPECT_EQ(job.attempts, 1);
  finish_one(job);
  EXPECT_EQ(messages("box").at(0).attempts, 1);
}

TEST_P(StoreConformance, the_last_retryable_failure_counts_as_an_attempt) {
  submit_one(spec());
  const Job first = claim_one();
  must(driver_->release({{first.id, first.lease, true, std::nullopt}}));
  const Job last = claim_one();
  FinishItem item = finish_item(last);
  item.ending.outcome = Outcome::failed;
  item.ending.error_code = std::string(failure::kInternal);
  must(driver_->finish({item}));
  EXPECT_EQ(messages("box").at(0).attempts, 2);
}

// --- release

TEST_P(StoreConformance, a_released_job_is_queued_again_at_its_old_place) {
  const JobId first = submit_one(spec());
  const Job job = claim_one();
  EXPECT_EQ(job.id, first);
  clock_.advance(seconds(1));
  submit_one(spec());
  driver_->told();
  const auto answers = driver_->release({{first, job.lease, false, std::nullopt}});
  EXPECT_EQ(answers->at(0), ReleaseAnswer::released);
  EXPECT_EQ(driver_->told().work, std::vector<std::string>{"m"});
  EXPECT_EQ(std::get<Job>(get(first)).state, JobState::queued);
  EXPECT_EQ(claim_one().id, first);
}

TEST_P(StoreConformance, a_release_with_run_at_waits_that_long) {
  const JobId id = submit_one(spec());
  const Job job = claim_one();
  must(driver_->release({{id, job.lease, true, clock_.now() + seconds(30)}}));
  EXPECT_EQ(std::get<Job>(get(id)).state, JobState::scheduled);
  EXPECT_TRUE(driver_->claim("m", 1)->empty());
  clock_.advance(seconds(30));
  EXPECT_EQ(claim_one().id, id);
}

TEST_P(StoreConformance, only_the_live_lease_can_release) {
  const JobId id = submit_one(spec());
  const Job first = claim_one();
  must(driver_->release({{id, first.lease, false, std::nullopt}}));
  const Job second = claim_one();
  const auto answers = driver_->release({{id, first.lease, true, std::nullopt},
                                         {id, second.lease, false, std::nullopt},
                                         {id, second.lease, false, std::nullopt},
                                         {id + 1, second.lease, false, std::nullopt}});
  EXPECT_EQ(*answers,
            (std::vector<ReleaseAnswer>{ReleaseAnswer::lease_lost, ReleaseAnswer::released,
                                        ReleaseAnswer::lease_lost, ReleaseAnswer::lease_lost}));
  EXPECT_EQ(claim_one().attempts, 0);
}

// --- cancel

TEST_P(StoreConformance, cancelling_a_waiting_job_leaves_its_message_at_once) {
  const JobId queued = submit_one(spec());
  JobSpec later = spec();
  later.run_at = clock_.now() + hours(1);
  const JobId scheduled = submit_one(later);
  EXPECT_EQ(*driver_->cancel(queued, "default"), CancelAnswer::cancelled);
  EXPECT_EQ(*driver_->cancel(scheduled, ""), CancelAnswer::cancelled);
  const auto box = messages("box");
  ASSERT_EQ(box.size(), 2u);
  EXPECT_EQ(box[0].ending.outcome, Outcome::cancelled);
  EXPECT_EQ(box[0].lease, RunLease());
  clock_.advance(hours(2));
  EXPECT_TRUE(driver_->claim("m", 2)->empty());
  EXPECT_EQ(*driver_->cancel(queued, "default"), CancelAnswer::already_finished);
}

TEST_P(StoreConformance, cancelling_a_claimed_job_tells_its_claimer) {
  const JobId id = submit_one(spec());
  const Job job = claim_one();
  driver_->told();
  EXPECT_EQ(*driver_->cancel(id, "default"), CancelAnswer::cancel_requested);
  EXPECT_EQ(driver_->told().cancels, (std::vector<std::pair<JobId, RunLease>>{{id, job.lease}}));
  EXPECT_TRUE(messages("box").empty());
  FinishItem item = finish_item(job);
  item.ending.outcome = Outcome::cancelled;
  EXPECT_EQ(driver_->finish({item})->at(0), FinishAnswer::finished_now);
  EXPECT_EQ(messages("box").at(0).ending.outcome, Outcome::cancelled);
}

TEST_P(StoreConformance, releasing_a_job_whose_cancel_was_asked_for_ends_it) {
  const JobId id = submit_one(spec());
  const Job job = claim_one();
  must(driver_->cancel(id, ""));
  const auto answers = driver_->release({{id, job.lease, false, std::nullopt}});
  EXPECT_EQ(answers->at(0), ReleaseAnswer::released);
  const auto box = messages("box");
  ASSERT_EQ(box.size(), 1u);
  EXPECT_EQ(box[0].ending.outcome, Outcome::cancelled);
  EXPECT_TRUE(driver_->claim("m", 1)->empty());
  EXPECT_EQ(finish_one(job), FinishAnswer::lease_lost);
}

TEST_P(StoreConformance, a_finish_that_overtook_the_cancel_stands) {
  const JobId id = submit_one(spec());
  const Job job = claim_one();
  finish_one(job, "done");
  EXPECT_EQ(*driver_->cancel(id, ""), CancelAnswer::already_finished);
  EXPECT_EQ(messages("box").at(0).ending.body, "done");
}

TEST_P(StoreConformance, another_tenants_job_is_not_found) {
  JobSpec job = spec();
  job.tenant = "alice";
  const JobId id = submit_one(job);
  EXPECT_EQ(*driver_->cancel(id, "bob"), CancelAnswer::not_found);
  EXPECT_EQ(*driver_->cancel(12345, ""), CancelAnswer::not_found);
  EXPECT_TRUE(std::holds_alternative<std::monostate>(get(id, "bob")));
  finish_one(claim_one());
  EXPECT_TRUE(std::holds_alternative<std::monostate>(get(id, "bob")));
  EXPECT_EQ(*driver_->cancel(id, "bob"), CancelAnswer::not_found);
  EXPECT_TRUE(messages("box", "bob").empty());
  EXPECT_TRUE(driver_->take("bob", "box", {messages("box", "alice").at(0).sequence})->empty());
}

// --- stop

TEST_P(StoreConformance, a_stopped_store_answers_unavailable) {
  submit_one(spec());
  store_->stop();
  store_->stop();
  EXPECT_EQ(driver_->submit({spec()}).status().code(), StatusCode::unavailable);
  EXPECT_EQ(driver_->register_model({"m", "abc", 2048}).status().code(), StatusCode::unavailable);
  EXPECT_EQ(driver_->claim("m", 1).status().code(), StatusCode::unavailable);
  EXPECT_EQ(driver_->finish({}).status().code(), StatusCode::unavailable);
  EXPECT_EQ(driver_->stats().status().code(), StatusCode::unavailable);
  EXPECT_EQ(driver_->purge().status().code(), StatusCode::unavailable);
}

TEST_P(StoreConformance, what_was_accepted_before_the_stop_is_completed) {
  std::vector<std::future<bool>> futures;
  for (int i = 0; i < 50; ++i) {
    auto promise = std::make_shared<std::promise<bool>>();
    futures.push_back(promise->get_future());
    store_->submit({spec()}, [promise](Result<std::vector<SubmittedJob>> submitted) {
      promise->set_value(submitted.ok());
    });
  }
  store_->stop();
  for (auto& future : futures) EXPECT_TRUE(future.get());
}

}  // namespace
}  // namespace parkd
