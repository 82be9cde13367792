// Limits on what waits: in all, of one tenant, of scheduled jobs, of batches.
#include <algorithm>

#include "tests/store/conformance/store_conformance.h"

namespace parkd {
namespace {

using std::chrono::hours;
using std::chrono::seconds;

bool has(const Status& status, const std::string& part) {
  return status.message().find(part) != std::string::npos;
}

JobSpec of(const std::string& tenant, JobSpec spec) {
  spec.tenant = tenant;
  return spec;
}

}  // namespace

TEST_P(StoreConformance, a_full_queue_refuses_and_names_depth_and_limit) {
  open_with_limits(3, 3);
  ASSERT_TRUE(submitted(spec(), 2).ok());
  const Status refused = submitted(spec(), 2);
  EXPECT_EQ(refused.code(), StatusCode::exhausted);
  EXPECT_TRUE(has(refused, "2 of its jobs are waiting")) << refused.message();
  EXPECT_TRUE(has(refused, "limit is 3")) << refused.message();
  EXPECT_TRUE(submitted(spec()).ok());
  EXPECT_TRUE(submitted(spec("other")).ok()) << "each model has its own depth";
}

TEST_P(StoreConformance, a_model_may_have_its_own_limits_or_none) {
  options_.limits_of_model = {{"wide", {2, 2, 1}}, {"free", {}}};
  open_with_limits(1);
  EXPECT_FALSE(submitted(spec(), 2).ok());
  EXPECT_TRUE(submitted(spec("wide"), 2).ok());
  EXPECT_FALSE(submitted(spec("wide")).ok());
  EXPECT_TRUE(submitted(spec("free"), 3).ok());
}

TEST_P(StoreConformance, a_tenant_at_its_limit_refuses_no_other) {
  open_with_limits(5);  // of a tenant half, rounded up
  ASSERT_TRUE(submitted(of("ann", spec()), 3).ok());
  const Status refused = submitted(of("ann", spec()));
  EXPECT_EQ(refused.code(), StatusCode::exhausted);
  for (const char* part : {"model m", "tenant \"ann\"", "3 of its jobs", "limit is 3",
                           "limits.max_queued_per_tenant", "submit again"}) {
    EXPECT_TRUE(has(refused, part)) << part << ": " << refused.message();
  }
  EXPECT_TRUE(submitted(of("bob", spec()), 2).ok());
  const Status full = submitted(of("bob", spec()));
  EXPECT_EQ(full.code(), StatusCode::exhausted);
  for (const char* part : {"model m", "5 jobs", "limit is 5", "limits.max_queue_depth"}) {
    EXPECT_TRUE(has(full, part)) << part << ": " << full.message();
  }
}

TEST_P(StoreConformance, tenants_of_one_submission_are_counted_together) {
  open_with_limits(3, 2);
  EXPECT_FALSE(
      driver_->submit({of("ann", spec()), of("ann", spec()), of("bob", spec()), of("bob", spec())})
          .ok());
  EXPECT_TRUE(driver_->submit({of("ann", spec()), of("ann", spec()), of("bob", spec())}).ok());
}

TEST_P(StoreConformance, more_than_ever_fits_says_so) {
  open_with_limits(10, 4);
  const Status refused = submitted(spec(), 5);
  EXPECT_EQ(refused.code(), StatusCode::exhausted);
  EXPECT_TRUE(has(refused, "5 were submitted")) << refused.message();
  EXPECT_TRUE(has(refused, "in pieces")) << refused.message();
}

TEST_P(StoreConformance, neither_a_batch_nor_an_invented_batch_id_evades_the_limit) {
  open_with_limits(4, 2);
  JobSpec label = spec();
  label.batch_id = "invented";
  const std::string batch = open_one();
  EXPECT_FALSE(submitted(label, 3).ok());
  EXPECT_FALSE(submitted(member(batch), 3).ok());
  ASSERT_TRUE(submitted(label).ok());
  ASSERT_TRUE(submitted(member(batch)).ok());
  label.batch_id = "another";
  for (const JobSpec& one : {label, member(batch), member(open_one()), spec()}) {
    EXPECT_EQ(submitted(one).code(), StatusCode::exhausted);
  }
  EXPECT_EQ(this->batch(batch).total, 1) << "a refused member is none";
  EXPECT_TRUE(submitted(of("bob", spec()), 2).ok());
}

TEST_P(StoreConformance, scheduled_jobs_have_an_account_of_their_own) {
  open_with_limits(2, 2, 3);
  ASSERT_TRUE(submitted(later("ann"), 3).ok());
  const Status refused = submitted(later("ann"));
  EXPECT_EQ(refused.code(), StatusCode::exhausted);
  for (const char* part : {"tenant \"ann\"", "3 scheduled jobs", "model m", "limit is 3",
                           "limits.max_scheduled_per_tenant"}) {
    EXPECT_TRUE(has(refused, part)) << part << ": " << refused.message();
  }
  EXPECT_TRUE(submitted(later("bob"), 3).ok());
  EXPECT_TRUE(submitted(of("ann", spec())).ok()) << "they do not fill the queue, not even her own";
  EXPECT_TRUE(submitted(of("bob", spec())).ok());
  EXPECT_FALSE(submitted(of("bob", spec())).ok()) << "two wait";
  JobSpec past = of("ann", spec());
  past.run_at = clock_.now() - hours(1);
  EXPECT_FALSE(submitted(past).ok()) << "a time that has passed is none";
}

TEST_P(StoreConformance, a_scheduled_job_stays_in_its_account_until_it_is_claimed) {
  open_with_limits(2, 2, 2);
  ASSERT_TRUE(submitted(later("ann"), 2).ok());
  clock_.advance(hours(2));
  must(driver_->purge());  // they are queued now
  EXPECT_FALSE(submitted(later("ann")).ok()) << "a way past the limit would be to wait a moment";
  EXPECT_TRUE(submitted(of("bob", spec()), 2).ok()) << "what came due fills nobody's queue";
  ASSERT_EQ(must(driver_->claim("m", 4)).size(), 4u);
  EXPECT_TRUE(submitted(later("ann"), 2).ok());
}

TEST_P(StoreConformance, room_comes_back_as_jobs_are_claimed_end_or_are_cancelled) {
  open_with_limits(2, 2, 1);
  const JobId first = submit_one(spec());
  submit_one(spec());
  ASSERT_FALSE(submitted(spec()).ok());
  must(driver_->cancel(first, ""));
  EXPECT_TRUE(submitted(spec()).ok());
  ASSERT_FALSE(submitted(spec()).ok());
  const Job claimed = claim_one();
  EXPECT_TRUE(submitted(spec()).ok());
  must(driver_->release({{claimed.id, claimed.lease, false, {}}}));  // three wait
  EXPECT_FALSE(submitted(spec()).ok()) << "it waits again, whatever the limit";
  must(driver_->claim("m", 2));
  EXPECT_TRUE(submitted(spec()).ok());

  const JobId scheduled = submit_one(later());
  ASSERT_FALSE(submitted(later()).ok());
  must(driver_->cancel(scheduled, ""));
  EXPECT_TRUE(submitted(later()).ok());
}

TEST_P(StoreConformance, a_back_off_waits_in_the_account_of_scheduled_jobs) {
  open_with_limits(1, 1, 1);
  submit_one(spec());
  const Job claimed = claim_one();
  must(driver_->release({{claimed.id, claimed.lease, true, clock_.now() + hours(1)}}));
  EXPECT_FALSE(submitted(later()).ok());
  EXPECT_TRUE(submitted(spec()).ok());
}

TEST_P(StoreConformance, a_key_that_is_sent_again_needs_no_room) {
  open_with_limits(1, 1);
  JobSpec keyed = spec();
  keyed.idempotency_key = "k";
  const JobId id = submit_one(keyed);
  EXPECT_EQ(must(driver_->submit({keyed}))[0].id, id);
  EXPECT_FALSE(submitted(spec()).ok());
}

TEST_P(StoreConformance, a_tenant_has_so_many_unfinished_batches) {
  options_.open_batches_max = 2;
  reopen();
  BatchSpec keyed;
  keyed.idempotency_key = "k";
  const std::string first = open_one(keyed);
  const std::string second = open_one();
  must(driver_->submit({member(second)}));
  must(driver_->seal_batch(second, ""));
  const Status refused = driver_->open_batch({}).status();
  EXPECT_EQ(refused.code(), StatusCode::exhausted);
  for (const char* part : {"tenant \"default\"", "2 batches", "limit is 2", "seal or cancel"}) {
    EXPECT_TRUE(has(refused, part)) << part << ": " << refused.message();
  }
  EXPECT_EQ(must(driver_->open_batch(keyed)).batch.id, first) << "it is there already";
  BatchSpec bobs;
  bobs.tenant = "bob";
  EXPECT_TRUE(driver_->open_batch(bobs).ok());
  must(driver_->seal_batch(first, ""));  // without members it is finished
  EXPECT_TRUE(driver_->open_batch({}).ok());
}

TEST_P(StoreConformance, what_is_remembered_of_batches_is_bounded_in_bytes) {
  options_.batches_bytes_max = 40'000;
  reopen();
  BatchSpec large;
  large.metadata = R"({"x":")" + std::string(17'000, 'x') + R"("})";
  const std::string id = open_one(large);
  must(driver_->seal_batch(id, ""));  // finished, and remembered
  const Status refused = driver_->open_batch(large).status();
  EXPECT_EQ(refused.code(), StatusCode::exhausted);
  for (const char* part :
       {"tenant \"default\"", "limit is 20000", "daemon.max_batches_bytes", "forgotten"}) {
    EXPECT_TRUE(has(refused, part)) << part << ": " << refused.message();
  }
  large.tenant = "bob";
  must(driver_->open_batch(large));
  large.tenant = "eve";
  EXPECT_TRUE(has(driver_->open_batch(large).status(), "of all tenants"));
  clock_.advance(hours(24) + kRetention + options_.history_retention);
  must(driver_->purge());
  clock_.advance(hours(24));  // the wall leapt: what has expired is dropped a while later
  must(driver_->purge());
  large.tenant = "default";
  EXPECT_TRUE(driver_->open_batch(large).ok()) << "it was forgotten";
}

TEST_P(StoreConformance, a_requeue_that_finds_no_room_is_refused_whole) {
  open_with_limits(2, 2);
  for (int i = 0; i < 2; ++i) submit_one(spec());
  for (const Job& job : must(driver_->claim("m", 2))) {
    finish_as(job, Outcome::failed, "run_timeout");
  }
  submit_one(spec());
  RequeueRequest request;
  request.error_codes = {"run_timeout"};
  EXPECT_EQ(driver_->requeue(request).status().code(), StatusCode::exhausted);
  EXPECT_EQ(must(driver_->list({})).size(), 1u) << "none was made";
  request.limit = 1;
  EXPECT_EQ(must(driver_->requeue(request)).size(), 1u);
  EXPECT_FALSE(submitted(spec()).ok()) << "and it counts";
}

// --- what is kept

TEST_P(DurableStoreConformance, accounts_are_the_same_after_a_restart) {
  options_.open_batches_max = 1;
  open_with_limits(4, 3, 2);
  const std::string batch = open_one();
  JobSpec label = spec();
  label.batch_id = "invented";
  ASSERT_TRUE(driver_->submit({spec(), label, member(batch), later()}).ok());
  submit_one(later());
  clock_.advance(hours(2));
  must(driver_->purge());
  submit_one(of("bob", spec()));
  for (const bool restarted : {false, true}) {
    SCOPED_TRACE(restarted);
    if (restarted) reopen();
    EXPECT_TRUE(has(submitted(spec()), "3 of its jobs"));
    EXPECT_TRUE(has(submitted(of("bob", spec())), "4 jobs"));
    EXPECT_TRUE(has(submitted(later()), "2 scheduled jobs"));
    EXPECT_EQ(driver_->open_batch({}).status().code(), StatusCode::exhausted);
  }
}

}  // namespace parkd
