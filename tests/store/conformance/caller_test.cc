// Jobs that are cancelled when their last caller has gone (lib/store/caller_store.h).
#include <optional>

#include "tests/store/conformance/store_conformance.h"

namespace parkd {
namespace {

using std::chrono::seconds;

TEST_P(StoreConformance, callers_that_go_cancel_their_job) {
  const JobId id = submit_one(spec());
  EXPECT_EQ(must(driver_->attach(id, seconds(60))), seconds(60));
  EXPECT_EQ(must(driver_->attach(id, seconds(60))), seconds(60)) << "again";
  EXPECT_EQ(must(driver_->detach(id, "default")), CancelAnswer::cancelled);
  ASSERT_EQ(messages("box").size(), 1u);
  EXPECT_EQ(messages("box")[0].ending.outcome, Outcome::cancelled);
  EXPECT_EQ(must(driver_->detach(id, "default")), CancelAnswer::already_finished);
}

TEST_P(StoreConformance, callers_that_go_ask_for_the_end_of_what_runs) {
  const JobId id = submit_one(spec());
  must(driver_->attach(id, seconds(60)));
  const Job job = claim_one();
  EXPECT_EQ(must(driver_->detach(id, "default")), CancelAnswer::cancel_requested);
  EXPECT_EQ(driver_->told().cancels.size(), 1u);
  EXPECT_EQ(finish_one(job), FinishAnswer::finished_now);
}

// Who comes to a job by its id does not know how it came.
TEST_P(StoreConformance, callers_that_come_are_told_the_grace_if_there_is_one) {
  const JobId attached = submit_one(spec());
  const JobId other = submit_one(spec());
  must(driver_->attach(attached, seconds(7)));
  EXPECT_EQ(must(driver_->attach(attached)), seconds(7));
  EXPECT_EQ(must(driver_->attach(other)), std::nullopt);
  EXPECT_EQ(must(driver_->attach(other)), std::nullopt) << "that they came attaches nothing";
  EXPECT_EQ(must(driver_->attach(attached + 1000, seconds(7))), std::nullopt) << "no such job";
}

TEST_P(StoreConformance, a_job_that_has_ended_has_no_callers) {
  const JobId id = submit_one(spec());
  must(driver_->attach(id, seconds(7)));
  finish_one(claim_one());
  EXPECT_EQ(must(driver_->attach(id)), std::nullopt);
  EXPECT_EQ(must(driver_->attach(id, seconds(7))), std::nullopt);
  EXPECT_EQ(must(driver_->detach(id, "default")), CancelAnswer::already_finished);
  EXPECT_EQ(messages("box").size(), 1u);
}

TEST_P(StoreConformance, a_job_that_is_kept_outlives_its_callers) {
  const JobId id = submit_one(spec());
  EXPECT_FALSE(must(driver_->keep(id))) << "it was not attached";
  must(driver_->attach(id, seconds(7)));
  EXPECT_TRUE(must(driver_->keep(id)));
  EXPECT_EQ(must(driver_->attach(id)), std::nullopt);
  EXPECT_FALSE(must(driver_->keep(id + 1000)));
  EXPECT_EQ(claim_one().id, id);
}

TEST_P(StoreConformance, what_was_attached_is_run_like_any_other) {
  const JobId id = submit_one(spec());
  must(driver_->attach(id, seconds(7)));
  const Job job = claim_one();
  EXPECT_EQ(job.id, id);
  EXPECT_EQ(job.spec.body, spec().body);
  must(driver_->release({{job.id, job.lease, true, std::nullopt}}));
  EXPECT_EQ(must(driver_->attach(id)), seconds(7)) << "given back, it still has them";
  const Job again = claim_one();
  EXPECT_EQ(again.attempts, 1);
  EXPECT_EQ(finish_one(again), FinishAnswer::finished_now);
}

TEST_P(StoreConformance, no_daemon_adopts_its_own_jobs) {
  must(driver_->attach(submit_one(spec()), seconds(7)));
  EXPECT_TRUE(must(driver_->adopt()).empty());
}

TEST_P(DurableStoreConformance, attached_jobs_are_adopted_after_a_restart_once) {
  JobSpec of_alice = spec();
  of_alice.tenant = "alice";
  const JobId attached = submit_one(of_alice);
  const JobId ended = submit_one(spec("ended"));
  submit_one(spec());
  must(driver_->attach(attached, seconds(60)));
  must(driver_->attach(ended, seconds(60)));
  finish_one(claim_one("ended"));
  const JobId kept = submit_one(spec());
  must(driver_->attach(kept, seconds(60)));
  must(driver_->keep(kept));
  reopen();
  const auto adopted = must(driver_->adopt());
  ASSERT_EQ(adopted.size(), 1u);
  EXPECT_EQ(adopted[0].id, attached);
  EXPECT_EQ(adopted[0].tenant, "alice");
  EXPECT_EQ(adopted[0].grace, seconds(60));
  EXPECT_TRUE(must(driver_->adopt()).empty());
  EXPECT_EQ(must(driver_->attach(attached)), seconds(60)) << "its caller comes back";
  reopen();
  EXPECT_EQ(must(driver_->adopt()).size(), 1u) << "and after the next one";
  EXPECT_EQ(must(driver_->detach(attached, "alice")), CancelAnswer::cancelled);
  reopen();
  EXPECT_TRUE(must(driver_->adopt()).empty());
}

}  // namespace
}  // namespace parkd
