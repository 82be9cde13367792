#include "tests/store/conformance/store_conformance.h"

namespace parkd {
namespace {

using std::chrono::hours;
using std::chrono::minutes;

TEST_P(DurableStoreConformance, an_acknowledged_job_is_there_after_a_restart) {
  JobSpec given = spec();
  given.seed = 5;
  const JobId id = submit_one(given);
  reopen();
  const Job job = claim_one();
  EXPECT_EQ(job.id, id);
  EXPECT_EQ(job.spec.body, given.body);
  EXPECT_EQ(job.spec.seed, 5u);
}

TEST_P(DurableStoreConformance, a_claim_does_not_survive_and_its_finish_is_lease_lost) {
  submit_one(spec());
  const Job before = claim_one();
  reopen();
  const Job after = claim_one();
  EXPECT_EQ(after.id, before.id);
  EXPECT_GT(after.lease, before.lease);
  EXPECT_EQ(after.attempts, 0) << "the death of a process spends no attempt";
  EXPECT_EQ(finish_one(before, "old"), FinishAnswer::lease_lost);
  EXPECT_EQ(finish_one(after, "new"), FinishAnswer::finished_now);
  EXPECT_EQ(messages("box").size(), 1u);
}

TEST_P(DurableStoreConformance, a_finish_is_remembered_across_restarts) {
  submit_one(spec());
  const Job job = claim_one();
  finish_one(job);
  reopen();
  EXPECT_EQ(finish_one(job), FinishAnswer::already_by_this_lease);
  EXPECT_EQ(messages("box").size(), 1u);
  EXPECT_EQ(driver_->stats()->messages, 1);
}

TEST_P(DurableStoreConformance, ids_sequences_and_epochs_go_on_growing) {
  const JobId first = submit_one(spec());
  finish_one(claim_one());
  const uint64_t sequence = messages("box").at(0).sequence;
  const uint64_t epoch = driver_->stats()->open_epoch;
  reopen();
  EXPECT_EQ(driver_->stats()->open_epoch, epoch + 1);
  EXPECT_GT(submit_one(spec()), first);
  finish_one(claim_one());
  EXPECT_GT(messages("box").at(1).sequence, sequence);
}

TEST_P(DurableStoreConformance, order_attempts_and_run_at_survive) {
  JobSpec low = spec();
  low.priority = Priority::low;
  const JobId last = submit_one(low);
  const JobId middle = submit_one(spec());
  JobSpec critical = spec();
  critical.priority = Priority::critical;
  const JobId first = submit_one(critical);
  Job job = claim_one();
  ASSERT_EQ(job.id, first);
  must(driver_->release({{first, job.lease, true, clock_.now() + minutes(10)}}));
  reopen();
  EXPECT_EQ(std::get<Job>(get(first)).state, JobState::scheduled);
  EXPECT_EQ(claim_one().id, middle);
  clock_.advance(minutes(10));
  job = claim_one();
  EXPECT_EQ(job.id, first);
  EXPECT_EQ(job.attempts, 1);
  EXPECT_EQ(claim_one().id, last);
}

TEST_P(DurableStoreConformance, a_cancel_that_was_asked_for_survives_its_claimer) {
  const JobId id = submit_one(spec());
  const Job job = claim_one();
  EXPECT_EQ(*driver_->cancel(id, ""), CancelAnswer::cancel_requested);
  reopen();
  EXPECT_TRUE(driver_->claim("m", 1)->empty()) << "it must not run again";
  EXPECT_EQ(finish_one(job), FinishAnswer::lease_lost);
  const auto box = messages("box");
  ASSERT_EQ(box.size(), 1u);
  EXPECT_EQ(box[0].ending.outcome, Outcome::cancelled);
}

TEST_P(DurableStoreConformance, keys_takes_and_history_survive) {
  JobSpec keyed = spec();
  keyed.idempotency_key = "k";
  const JobId done = submit_one(keyed);
  finish_one(claim_one());
  ASSERT_EQ(driver_->take("default", "box", {messages("box").at(0).sequence})->size(), 1u);
  JobSpec live = spec();
  live.idempotency_key = "live";
  const JobId waiting = submit_one(live);
  reopen();
  EXPECT_TRUE(messages("box").empty());
  EXPECT_TRUE(std::holds_alternative<HistoryRow>(get(done)));
  const auto again = driver_->submit({keyed, live});
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(again->at(0).id, done);
  EXPECT_TRUE(again->at(0).finished);
  EXPECT_EQ(again->at(1).id, waiting);
  EXPECT_FALSE(again->at(1).finished);
}

TEST_P(DurableStoreConformance, messages_of_every_retention_survive_and_expire) {
  for (const int n_hours : {1, 20, 100, 24 * 30}) {
    JobSpec job = spec();
    job.retention = hours(n_hours);
    submit_one(job);
  }
  const auto jobs = driver_->claim("m", 4);
  for (const Job& job : *jobs) finish_one(job);
  reopen();
  EXPECT_EQ(messages("box").size(), 4u);
  clock_.advance(hours(99));
  must(driver_->purge());
  reopen();
  EXPECT_EQ(messages("box").size(), 2u);
  clock_.advance(hours(24 * 40));
  must(driver_->purge());
  reopen();
  EXPECT_EQ(driver_->stats()->messages, 0);
  EXPECT_TRUE(messages("box").empty());
}

TEST_P(DurableStoreConformance, submits_under_way_share_a_sync) {
  std::vector<std::future<bool>> futures;
  for (int i = 0; i < 500; ++i) {
    auto promise = std::make_shared<std::promise<bool>>();
    futures.push_back(promise->get_future());
    store_->submit({spec()}, [promise](Result<std::vector<SubmittedJob>> submitted) {
      promise->set_value(submitted.ok());
    });
  }
  for (auto& future : futures) EXPECT_TRUE(future.get());
  const auto stats = driver_->stats();
  EXPECT_GT(stats->syncs, 0);
  // While one commit is synced the others gather: 500 pushes take about as long as a few syncs.
  EXPECT_LT(stats->syncs, 250);
}

TEST_P(DurableStoreConformance, claims_and_reads_sync_nothing) {
  submit_one(spec());
  const int64_t before = driver_->stats()->syncs;
  const Job job = claim_one();
  get(job.id);
  must(driver_->list({}));
  messages("box");
  EXPECT_EQ(driver_->stats()->syncs, before);
  finish_one(job);
  EXPECT_EQ(driver_->stats()->syncs, before + 1);
}

}  // namespace
}  // namespace parkd
