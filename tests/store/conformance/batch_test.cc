#include "tests/store/conformance/store_conformance.h"

namespace parkd {
namespace {

using std::chrono::hours;
using std::chrono::seconds;

TEST_P(StoreConformance, an_opened_batch_is_there_as_it_was_given) {
  BatchSpec given;
  given.tenant = "alice";
  given.name = "nightly";
  given.metadata = R"({"a":"b"})";
  given.deadline = clock_.now() + hours(30);
  given.retention = hours(2);
  const OpenedBatch opened = must(driver_->open_batch(given));
  EXPECT_FALSE(opened.existed);
  EXPECT_EQ(opened.batch.id.substr(0, 6), "batch_");
  EXPECT_EQ(opened.batch.id.size(), 6u + 32u);

  const Batch batch = must(driver_->get_batch(opened.batch.id, "alice"));
  EXPECT_EQ(batch.spec.tenant, "alice");
  EXPECT_EQ(batch.spec.name, "nightly");
  EXPECT_EQ(batch.spec.metadata, given.metadata);
  EXPECT_EQ(batch.spec.deadline, given.deadline);
  EXPECT_EQ(batch.spec.retention, given.retention);
  EXPECT_EQ(batch.created_at, clock_.now());
  EXPECT_EQ(batch.state(), BatchState::open);
  EXPECT_EQ(batch.total, 0);
  EXPECT_EQ(batch.live, LiveMembers());
}

TEST_P(StoreConformance, a_batch_left_bare_has_a_day_and_the_stores_retention) {
  const Batch bare = batch(open_one());
  EXPECT_EQ(bare.spec.deadline, clock_.now() + hours(24));
  EXPECT_EQ(bare.spec.retention, kRetention);
}

TEST_P(StoreConformance, bad_fields_of_a_batch_are_refused_by_name) {
  const auto param_of = [&](const std::function<void(BatchSpec&)>& change) {
    BatchSpec bad;
    change(bad);
    const auto refused = driver_->open_batch(bad);
    return refused.ok() ? std::string("accepted") : refused.status().param();
  };
  EXPECT_EQ(param_of([](BatchSpec& s) { s.tenant.clear(); }), "tenant");
  EXPECT_EQ(param_of([](BatchSpec& s) { s.name = std::string(513, 'x'); }), "name");
  const auto metadata_of = [](size_t bytes) {
    return "{\"k\":\"" + std::string(bytes - 8, 'x') + "\"}";
  };
  EXPECT_EQ(param_of([&](BatchSpec& s) { s.metadata = metadata_of(65537); }), "metadata");
  EXPECT_EQ(param_of([&](BatchSpec& s) { s.metadata = metadata_of(65536); }), "accepted");
  EXPECT_EQ(param_of([](BatchSpec& s) { s.idempotency_key = std::string(513, 'x'); }),
            "idempotency_key");
  EXPECT_EQ(param_of([&](BatchSpec& s) { s.deadline = clock_.now(); }), "deadline");
  EXPECT_EQ(param_of([&](BatchSpec& s) { s.deadline = clock_.now() + hours(24 * 30 + 1); }),
            "deadline");
  EXPECT_EQ(param_of([](BatchSpec& s) { s.retention = seconds(59); }), "retention");
}

TEST_P(StoreConformance, metadata_of_a_batch_is_compared_by_its_value) {
  BatchSpec keyed;
  keyed.idempotency_key = "k";
  keyed.metadata = R"({"a":4,"b":"c"})";
  const OpenedBatch first = must(driver_->open_batch(keyed));
  keyed.metadata = R"( { "b" : "\u0063", "a" : 40e-1 } )";
  EXPECT_EQ(must(driver_->open_batch(keyed)).batch.id, first.batch.id);
  keyed.metadata = R"({"a":4,"b":"d"})";
  EXPECT_EQ(driver_->open_batch(keyed).status().code(), StatusCode::conflict);
}

TEST_P(StoreConformance, the_same_key_and_content_is_the_same_batch) {
  BatchSpec keyed;
  keyed.idempotency_key = "k";
  keyed.name = "one";
  const OpenedBatch first = must(driver_->open_batch(keyed));
  clock_.advance(seconds(5));
  const OpenedBatch again = must(driver_->open_batch(keyed));
  EXPECT_TRUE(again.existed);
  EXPECT_EQ(again.batch.id, first.batch.id);
  EXPECT_EQ(again.batch.spec.deadline, first.batch.spec.deadline);

  clock_.advance(hours(25));
  keyed.deadline = first.batch.spec.deadline;  // as somebody who wrote it down would say it again
  EXPECT_EQ(driver_->open_batch(keyed).status().code(), StatusCode::conflict) << "left out before";
  keyed.deadline.reset();
  EXPECT_TRUE(must(driver_->open_batch(keyed)).existed) << "its deadline has passed";

  BatchSpec other = keyed;
  other.name = "two";
  EXPECT_EQ(driver_->open_batch(other).status().code(), StatusCode::conflict);
  BatchSpec others_tenant = keyed;
  others_tenant.tenant = "bob";
  EXPECT_FALSE(must(driver_->open_batch(others_tenant)).existed);
}

TEST_P(StoreConformance, members_are_counted_where_they_are) {
  const std::string id = open_one();
  JobSpec later = member(id);
  later.run_at = clock_.now() + hours(1);
  must(driver_->submit({member(id), member(id), later, spec()}));
  ASSERT_EQ(driver_->claim("m", 1)->size(), 1u);
  Batch counted = batch(id);
  EXPECT_EQ(counted.total, 3);
  EXPECT_EQ(counted.unfinished(), 3);
  // The single job is before them or behind them: priority decides, and all are of the same.
  EXPECT_EQ(counted.live->scheduled, 1);
  EXPECT_EQ(counted.live->queued + counted.live->claimed, 2);
}

TEST_P(StoreConformance, every_outcome_has_its_counter_and_they_equal_the_rows) {
  const std::string id = open_one();
  must(driver_->submit(std::vector<JobSpec>(7, member(id))));
  const std::vector<Job> jobs = must(driver_->claim("m", 6));
  ASSERT_EQ(jobs.size(), 6u);
  // The ending's flag says whether it was cut, whatever its body does.
  finish_as(jobs[0], Outcome::completed, "", R"({"choices":[{"finish_reason":"length"}]})", false);
  finish_as(jobs[1], Outcome::completed, "", R"({"choices":[{"finish_reason":"stop"}]})", true);
  finish_as(jobs[2], Outcome::failed, "run_timeout", R"({"choices":[{"finish_reason":"length"}]})",
            true);
  finish_as(jobs[3], Outcome::quarantined, "quarantined");
  finish_as(jobs[4], Outcome::cancelled, "cancelled");
  finish_as(jobs[5], Outcome::deadline_missed, "deadline_missed");
  const Batch counted = batch(id);
  EXPECT_EQ(counted.total, 7);
  EXPECT_EQ(counted.completed, 2);
  EXPECT_EQ(counted.truncated, 1) << "only what completed is called truncated";
  EXPECT_EQ(counted.failed, 1);
  EXPECT_EQ(counted.quarantined, 1);
  EXPECT_EQ(counted.cancelled, 1);
  EXPECT_EQ(counted.deadline_missed, 1);
  EXPECT_EQ(counted.unfinished(), 1);
  EXPECT_EQ(counted.live->queued, 1);
  // A repeated finish counts nothing.
  must(driver_->finish({finish_item(jobs[0])}));
  EXPECT_EQ(batch(id).completed, 2);
}

TEST_P(StoreConformance, a_sealed_batch_is_finished_when_its_last_member_ends) {
  const std::string id = open_one();
  must(driver_->submit({member(id)}));
  const Batch sealed = must(driver_->seal_batch(id, "default"));
  EXPECT_EQ(sealed.state(), BatchState::in_progress);
  EXPECT_EQ(sealed.sealed_at, clock_.now());
  EXPECT_EQ(sealed.total, 1);
  clock_.advance(seconds(3));
  EXPECT_EQ(must(driver_->seal_batch(id, "default")).sealed_at, sealed.sealed_at)
      << "sealing again changes nothing";
  finish_one(claim_one());
  EXPECT_EQ(batch(id).state(), BatchState::finished);
  EXPECT_EQ(batch(id).finished_at, clock_.now());
}

TEST_P(StoreConformance, an_open_batch_is_not_finished_by_its_members) {
  const std::string id = open_one();
  must(driver_->submit({member(id)}));
  finish_one(claim_one());
  EXPECT_EQ(batch(id).state(), BatchState::open);
  must(driver_->submit({member(id)}));
  EXPECT_EQ(must(driver_->seal_batch(id, "")).state(), BatchState::in_progress);
}

TEST_P(StoreConformance, a_batch_without_members_is_finished_by_its_seal) {
  EXPECT_EQ(must(driver_->seal_batch(open_one(), "")).state(), BatchState::finished);
}

TEST_P(StoreConformance, a_sealed_batch_takes_no_more_jobs) {
  const std::string id = open_one();
  JobSpec keyed = member(id);
  keyed.idempotency_key = "first";
  const JobId first = submit_one(keyed);
  must(driver_->seal_batch(id, ""));
  const auto refused = driver_->submit({spec(), member(id)});
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.status().code(), StatusCode::conflict);
  EXPECT_EQ(refused.status().param(), "jobs[1].batch_id");
  EXPECT_NE(refused.status().message().find("sealed"), std::string::npos);
  EXPECT_EQ(batch(id).total, 1);
  // A submit whose answer was lost may be sent again.
  const auto again = must(driver_->submit({keyed}));
  EXPECT_TRUE(again.at(0).existed);
  EXPECT_EQ(again.at(0).id, first);
}

TEST_P(StoreConformance, jobs_are_added_whole_or_not_at_all) {
  options_.batch_jobs_max = 4;
  reopen();
  const std::string id = open_one();
  must(driver_->submit(std::vector<JobSpec>(3, member(id))));
  const auto refused = driver_->submit({member(id), member(id)});
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.status().code(), StatusCode::invalid);
  EXPECT_EQ(refused.status().param(), "jobs[1].batch_id");
  for (const char* number : {"3", "2", "4"}) {
    EXPECT_NE(refused.status().message().find(number), std::string::npos) << number;
  }
  EXPECT_EQ(batch(id).total, 3);
  EXPECT_EQ(driver_->list({})->size(), 3u);
  must(driver_->submit({member(id)}));
  EXPECT_EQ(batch(id).total, 4);
}

TEST_P(StoreConformance, a_key_that_is_repeated_is_no_new_member) {
  const std::string id = open_one();
  JobSpec keyed = member(id);
  keyed.idempotency_key = "k";
  must(driver_->submit({keyed, keyed, member(id)}));
  must(driver_->submit({keyed}));
  EXPECT_EQ(batch(id).total, 2);
}

TEST_P(StoreConformance, members_have_the_deadline_and_the_retention_of_their_batch) {
  BatchSpec given;
  given.deadline = clock_.now() + hours(5);
  given.retention = hours(7);
  const std::string id = open_one(given);
  JobSpec own = member(id);
  own.retention = hours(9);
  JobSpec same = member(id);
  same.deadline = given.deadline;
  const auto ids = must(driver_->submit({member(id), own, same}));
  const Job plain = std::get<Job>(get(ids[0].id));
  EXPECT_EQ(plain.spec.deadline, given.deadline);
  EXPECT_EQ(plain.spec.retention, hours(7));
  EXPECT_EQ(std::get<Job>(get(ids[1].id)).spec.retention, hours(9));

  JobSpec other = member(id);
  other.deadline = clock_.now() + hours(1);
  const auto refused = driver_->submit({other});
  EXPECT_EQ(refused.status().code(), StatusCode::invalid);
  EXPECT_EQ(refused.status().param(), "jobs[0].deadline");
}

TEST_P(StoreConformance, a_member_that_could_start_only_after_its_batchs_deadline_is_refused) {
  BatchSpec given;
  given.deadline = clock_.now() + hours(5);
  const std::string id = open_one(given);
  JobSpec never = member(id);
  never.run_at = given.deadline;
  const auto refused = driver_->submit({member(id), never});
  EXPECT_EQ(refused.status().code(), StatusCode::invalid);
  EXPECT_EQ(refused.status().param(), "jobs[1].run_at");
  EXPECT_NE(refused.status().message().find("is not before the deadline of batch " + id),
            std::string::npos)
      << refused.status().message();
  EXPECT_EQ(batch(id).total, 0) << "refused whole";
  JobSpec other = member(id);
  other.deadline = clock_.now() + hours(1);
  JobSpec later = never;
  later.run_at = *given.deadline + hours(1);
  EXPECT_EQ(driver_->submit({later, other}).status().param(), "jobs[0].run_at");
  EXPECT_EQ(driver_->submit({other, later}).status().param(), "jobs[0].deadline");

  never.run_at = *given.deadline - seconds(1);
  never.idempotency_key = "k";
  EXPECT_TRUE(driver_->submit({never}).ok());
  EXPECT_TRUE(must(driver_->submit({never})).at(0).existed);
  EXPECT_EQ(batch(id).total, 1);
}

TEST_P(StoreConformance, a_members_message_lives_to_the_deadline_of_its_batch_and_its_retention) {
  BatchSpec given;
  given.deadline = clock_.now() + hours(10);
  given.retention = hours(1);
  const std::string id = open_one(given);
  must(driver_->submit({member(id)}));
  finish_one(claim_one());
  const auto box = messages("box");
  ASSERT_EQ(box.size(), 1u);
  EXPECT_EQ(box[0].batch_id, id);
  EXPECT_EQ(box[0].expires_at, *given.deadline + hours(1));
}

TEST_P(StoreConformance, cancelling_a_large_batch_ends_all_of_it) {
  const std::string id = open_one();
  must(driver_->submit(std::vector<JobSpec>(600, member(id))));
  const std::vector<Job> claimed = must(driver_->claim("m", 1));
  driver_->told();
  const Batch cancelling = must(driver_->cancel_batch(id, ""));
  EXPECT_EQ(cancelling.state(), BatchState::cancelling);
  EXPECT_EQ(cancelling.cancelled, 599);
  EXPECT_EQ(driver_->told().cancels.size(), 1u) << "it is asked once";
  EXPECT_TRUE(must(driver_->claim("m", 600)).empty());
  finish_as(claimed.at(0), Outcome::cancelled, "cancelled");
  EXPECT_EQ(batch(id).state(), BatchState::finished);
}

TEST_P(StoreConformance, cancelling_ends_those_that_wait_and_asks_those_that_run) {
  const std::string id = open_one();
  JobSpec later = member(id);
  later.run_at = clock_.now() + hours(1);
  must(driver_->submit({member(id), member(id), later}));
  const JobId other = submit_one(spec());
  const std::vector<Job> claimed = must(driver_->claim("m", 1));
  ASSERT_EQ(claimed.at(0).spec.batch_id, id);
  driver_->told();

  const Batch cancelling = must(driver_->cancel_batch(id, "default"));
  EXPECT_EQ(cancelling.state(), BatchState::cancelling);
  EXPECT_EQ(cancelling.cancelled, 2);
  EXPECT_EQ(cancelling.unfinished(), 1);
  EXPECT_EQ(cancelling.sealed_at, clock_.now());
  const auto told = driver_->told();
  ASSERT_EQ(told.cancels.size(), 1u);
  EXPECT_EQ(told.cancels[0].first, claimed[0].id);
  EXPECT_EQ(told.messages.size(), 2u);
  EXPECT_TRUE(std::holds_alternative<Job>(get(other))) << "no member";
  EXPECT_EQ(driver_->submit({member(id)}).status().code(), StatusCode::conflict);

  finish_as(claimed[0], Outcome::cancelled, "cancelled");
  EXPECT_EQ(batch(id).state(), BatchState::finished);
  EXPECT_EQ(batch(id).cancelled, 3);
  EXPECT_EQ(must(driver_->cancel_batch(id, "")).state(), BatchState::finished);
}

TEST_P(StoreConformance, another_tenants_batch_is_not_found_and_not_joined) {
  const std::string id = open_one();
  EXPECT_EQ(driver_->get_batch(id, "bob").status().code(), StatusCode::not_found);
  EXPECT_EQ(driver_->seal_batch(id, "bob").status().code(), StatusCode::not_found);
  EXPECT_EQ(driver_->cancel_batch(id, "bob").status().code(), StatusCode::not_found);
  EXPECT_EQ(driver_->get_batch("nope", "").status().code(), StatusCode::not_found);
  JobSpec bobs = member(id);
  bobs.tenant = "bob";
  must(driver_->submit({bobs}));
  EXPECT_EQ(batch(id).total, 0) << "to bob the id is a word of his own";
}

TEST_P(StoreConformance, batches_are_listed_newest_first_by_pages) {
  std::vector<std::string> ids;
  for (int i = 0; i < 5; ++i) {
    BatchSpec given;
    given.tenant = i == 2 ? "bob" : "default";
    ids.push_back(open_one(given));
    clock_.advance(seconds(1));
  }
  const auto ids_of = [](const std::vector<Batch>& batches) {
    std::vector<std::string> found;
    for (const Batch& one : batches) found.push_back(one.id);
    return found;
  };
  EXPECT_EQ(ids_of(must(driver_->list_batches({}))),
            (std::vector{ids[4], ids[3], ids[2], ids[1], ids[0]}));
  EXPECT_EQ(ids_of(must(driver_->list_batches({"default", "", 2}))), (std::vector{ids[4], ids[3]}));
  EXPECT_EQ(ids_of(must(driver_->list_batches({"default", ids[3], 2}))),
            (std::vector{ids[1], ids[0]}));
  EXPECT_EQ(driver_->list_batches({{}, "nope", 2}).status().param(), "after");
}

TEST_P(StoreConformance, a_list_of_batches_does_not_tell_whether_anothers_exists) {
  const std::string id = open_one();
  const auto never = driver_->list_batches({"bob", "nope", 2}).status();
  const auto anothers = driver_->list_batches({"bob", id, 2}).status();
  EXPECT_EQ(anothers.code(), never.code());
  EXPECT_EQ(anothers.param(), "after");
  std::string text = anothers.message();
  text.replace(text.find(id), id.size(), "nope");
  EXPECT_EQ(text, never.message());
  EXPECT_TRUE(driver_->list_batches({"default", id, 2}).ok());
  EXPECT_TRUE(driver_->list_batches({{}, id, 2}).ok()) << "who may act for any tenant";
}

TEST_P(StoreConformance, a_batch_past_its_deadline_is_sealed_and_ends) {
  BatchSpec given;
  given.deadline = clock_.now() + hours(1);
  const std::string id = open_one(given);
  must(driver_->submit({member(id)}));
  clock_.advance(hours(1));
  const auto refused = driver_->submit({member(id)});
  EXPECT_EQ(refused.status().code(), StatusCode::conflict);
  EXPECT_EQ(refused.status().param(), "jobs[0].batch_id");
  must(driver_->purge());
  EXPECT_EQ(batch(id).state(), BatchState::finished);
  EXPECT_EQ(batch(id).deadline_missed, 1);
}

TEST_P(StoreConformance, a_finished_batch_is_forgotten_with_its_history) {
  options_.history_retention = hours(10);
  reopen();
  BatchSpec given;
  given.deadline = clock_.now() + hours(1);
  given.retention = hours(2);
  const std::string id = open_one(given);
  must(driver_->seal_batch(id, ""));
  clock_.advance(hours(13) - seconds(1));
  must(driver_->purge());
  EXPECT_TRUE(driver_->get_batch(id, "").ok());
  clock_.advance(seconds(1));
  must(driver_->purge());
  EXPECT_EQ(driver_->get_batch(id, "").status().code(), StatusCode::not_found);
}

// --- requeue

TEST_P(StoreConformance, a_requeued_job_is_a_new_one_and_the_old_message_stays) {
  JobSpec given = spec();
  given.custom_id = "line-1";
  given.metadata = R"({"a":"b"})";
  given.priority = Priority::high;
  given.seed = 77;
  given.run_timeout = seconds(9);
  given.retention = hours(5);
  given.idempotency_key = "k";
  given.deadline = clock_.now() + hours(1);
  given.n_choices = 2;
  const JobId old_id = submit_one(given);
  finish_as(claim_one(), Outcome::failed, "run_timeout");
  clock_.advance(hours(2));
  driver_->told();

  const auto requeued = must(driver_->requeue({"default", {old_id}, {}, "", 10}));
  ASSERT_EQ(requeued.size(), 1u);
  EXPECT_EQ(requeued[0].requeued_from, old_id);
  EXPECT_EQ(requeued[0].mailbox_key, "box");
  EXPECT_FALSE(requeued[0].existed);
  EXPECT_EQ(driver_->told().work, std::vector<std::string>{"m"});
  ASSERT_EQ(messages("box").size(), 1u) << "the old message stays";

  const Job job = claim_one();
  EXPECT_EQ(job.id, requeued[0].id);
  EXPECT_GT(job.id, old_id);
  EXPECT_EQ(job.requeued_from, old_id);
  EXPECT_EQ(job.spec.body, given.body);
  EXPECT_EQ(job.spec.custom_id, "line-1");
  EXPECT_EQ(job.spec.metadata, given.metadata);
  EXPECT_EQ(job.spec.priority, Priority::high);
  EXPECT_EQ(job.spec.seed, 77u);
  EXPECT_EQ(job.spec.run_timeout, seconds(9));
  EXPECT_EQ(job.spec.retention, hours(5));
  EXPECT_EQ(job.spec.n_choices, 2);
  EXPECT_EQ(job.spec.need_tokens(), given.need_tokens());
  EXPECT_EQ(job.created_at, clock_.now());
  EXPECT_EQ(job.order_key, clock_.now() + std::chrono::minutes(10));
  EXPECT_FALSE(job.spec.deadline.has_value()) << "it has passed";
  EXPECT_EQ(job.spec.idempotency_key, "");
  EXPECT_EQ(job.attempts, 0);
  finish_one(job);
  EXPECT_EQ(messages("box").size(), 2u);
}

TEST_P(StoreConformance, a_job_is_requeued_once_and_the_repeated_call_says_what_it_became) {
  const JobId old_id = submit_one(spec());
  finish_as(claim_one(), Outcome::failed, "internal");
  const auto first = must(driver_->requeue({"", {old_id}, {}, "", 10}));
  const auto again = must(driver_->requeue({"", {old_id}, {}, "", 10}));
  ASSERT_EQ(again.size(), 1u);
  EXPECT_TRUE(again[0].existed);
  EXPECT_EQ(again[0].id, first.at(0).id);
  EXPECT_TRUE(must(driver_->requeue({"", {}, {"internal"}, "", 10})).empty());
  EXPECT_EQ(driver_->list({})->size(), 1u);
  // What it became may fail and be requeued in its turn.
  finish_as(claim_one(), Outcome::failed, "internal");
  EXPECT_EQ(must(driver_->requeue({"", {}, {"internal"}, "", 10})).at(0).requeued_from,
            first.at(0).id);
}

TEST_P(StoreConformance, requeue_by_failure_code_is_of_the_tenant_and_the_model_and_bounded) {
  std::vector<JobId> mine;
  for (int i = 0; i < 4; ++i) {
    JobSpec given = spec();
    given.tenant = i == 3 ? "bob" : "default";
    const JobId id = submit_one(given);
    finish_as(claim_one(), Outcome::failed, i == 0 ? "too_large" : "run_timeout");
    if (i < 3) mine.push_back(id);
  }
  EXPECT_TRUE(must(driver_->requeue({"default", {}, {"run_timeout"}, "other", 10})).empty());
  EXPECT_EQ(must(driver_->requeue({"default", {}, {"run_timeout"}, "m", 1})).at(0).requeued_from,
            mine[1])
      << "in the order of their ends";
  const auto rest = must(driver_->requeue({"default", {}, {"run_timeout"}, "", 10}));
  ASSERT_EQ(rest.size(), 1u) << "bob's is not mine";
  EXPECT_EQ(rest[0].requeued_from, mine[2]);
  EXPECT_EQ(must(driver_->requeue({"", mine, {"too_large"}, "", 10})).size(), 1u);
  EXPECT_EQ(driver_->requeue({"", {}, {}, "m", 10}).status().code(), StatusCode::invalid);
}

TEST_P(StoreConformance, what_completed_was_taken_or_has_expired_is_not_requeued) {
  const JobId completed = submit_one(spec());
  finish_one(claim_one());
  const JobId taken = submit_one(spec());
  finish_as(claim_one(), Outcome::failed, "internal");
  ASSERT_EQ(must(driver_->take("default", "box", {messages("box").at(1).sequence})).size(), 1u);
  const JobId expired = submit_one(spec());
  finish_as(claim_one(), Outcome::failed, "internal");
  const JobId live = submit_one(spec("other"));
  clock_.advance(kRetention);
  EXPECT_TRUE(
      must(driver_->requeue({"", {completed, taken, expired, live, 4711}, {}, "", 10})).empty());
}

TEST_P(StoreConformance, requeue_of_a_batch_takes_its_failed_members_by_code_or_all) {
  const std::string id = open_one();
  const std::string other = open_one();
  std::vector<JobId> failed;
  for (const char* code : {"run_timeout", "internal", "", "run_timeout", "too_large"}) {
    const JobId member_id = must(driver_->submit({member(id)})).at(0).id;
    const Job job = claim_one();
    if (*code == '\0') {
      finish_one(job);
      continue;
    }
    finish_as(job, Outcome::failed, code);
    failed.push_back(member_id);
  }
  must(driver_->submit({member(other)}));
  finish_as(claim_one(), Outcome::failed, "run_timeout");
  submit_one(spec());
  finish_as(claim_one(), Outcome::failed, "run_timeout");

  const auto requeue = [&](const std::string& batch_id, std::vector<std::string> codes, int limit,
                           const std::string& tenant = "default") {
    std::vector<JobId> from;
    for (const RequeuedJob& job :
         must(driver_->requeue({tenant, {}, std::move(codes), "", limit, batch_id}))) {
      EXPECT_FALSE(job.existed);
      from.push_back(job.requeued_from);
    }
    return from;
  };
  EXPECT_TRUE(requeue(id, {}, 10, "bob").empty()) << "another tenant's";
  EXPECT_TRUE(requeue("batch_0", {}, 10).empty());
  EXPECT_TRUE(requeue(id, {"quarantined"}, 10).empty());
  EXPECT_EQ(requeue(id, {"run_timeout", "internal"}, 2), (std::vector<JobId>{failed[0], failed[1]}))
      << "in the order of their ends";
  EXPECT_EQ(requeue(id, {"run_timeout", "internal"}, 10), std::vector<JobId>{failed[2]});
  EXPECT_EQ(requeue(id, {}, 10), std::vector<JobId>{failed[3]});
  EXPECT_TRUE(requeue(id, {}, 10).empty()) << "each once";
  EXPECT_EQ(requeue("", {"run_timeout", "internal", "run_timeout"}, 10).size(), 2u)
      << "the other batch's, and the one of none";
  EXPECT_EQ(driver_->requeue({"", {failed[0]}, {}, "", 10, id}).status().param(), "batch_id");
  EXPECT_EQ(driver_->requeue({"", {}, std::vector<std::string>(17, "a"), "", 10}).status().param(),
            "failed_with");
}

TEST_P(StoreConformance, a_taken_member_is_not_requeued_with_its_batch) {
  const std::string id = open_one();
  must(driver_->submit({member(id), member(id)}));
  for (const Job& job : must(driver_->claim("m", 2))) finish_as(job, Outcome::failed, "internal");
  const auto box = messages("box");
  ASSERT_EQ(must(driver_->take("default", "box", {box.at(0).sequence})).size(), 1u);
  const auto requeued = must(driver_->requeue({"", {}, {}, "", 10, id}));
  ASSERT_EQ(requeued.size(), 1u);
  EXPECT_EQ(requeued[0].requeued_from, box.at(1).job_id);
}

TEST_P(StoreConformance, cancelled_jobs_and_batch_members_can_be_requeued_as_single_jobs) {
  const std::string id = open_one();
  const auto ids = must(driver_->submit({member(id)}));
  must(driver_->cancel_batch(id, ""));
  const auto requeued = must(driver_->requeue({"", {}, {"cancelled"}, "", 10}));
  ASSERT_EQ(requeued.size(), 1u);
  const Job job = claim_one();
  EXPECT_EQ(job.requeued_from, ids.at(0).id);
  EXPECT_EQ(job.spec.batch_id, "");
  EXPECT_EQ(batch(id).total, 1);
}

}  // namespace

// Batches and requeued jobs survive.
TEST_P(DurableStoreConformance, a_batch_and_its_counters_survive_a_restart) {
  BatchSpec given;
  given.idempotency_key = "k";
  given.name = "n";
  const Batch opened = must(driver_->open_batch(given)).batch;
  JobSpec member = spec();
  member.batch_id = opened.id;
  must(driver_->submit({member, member, member}));
  finish_one(claim_one());
  must(driver_->seal_batch(opened.id, ""));
  reopen();
  const Batch found = must(driver_->get_batch(opened.id, "default"));
  EXPECT_EQ(found.total, 3);
  EXPECT_EQ(found.completed, 1);
  EXPECT_EQ(found.live->queued, 2);
  EXPECT_EQ(found.state(), BatchState::in_progress);
  EXPECT_EQ(found.spec.name, "n");
  EXPECT_TRUE(must(driver_->open_batch(given)).existed);
  must(driver_->cancel_batch(opened.id, ""));
  EXPECT_EQ(must(driver_->get_batch(opened.id, "")).state(), BatchState::finished);
}

TEST_P(DurableStoreConformance, a_failed_job_can_be_requeued_after_a_restart) {
  JobSpec given = spec();
  given.body = R"({"messages":["this"]})";
  const JobId old_id = submit_one(given);
  const Job job = claim_one();
  Ending failed = ending("");
  failed.outcome = Outcome::failed;
  failed.error_code = "internal";
  must(driver_->finish({{job.id, job.lease, failed}}));
  reopen();
  const auto requeued = must(driver_->requeue({"", {old_id}, {}, "", 10}));
  ASSERT_EQ(requeued.size(), 1u);
  reopen();
  EXPECT_TRUE(must(driver_->requeue({"", {old_id}, {}, "", 10})).at(0).existed);
  const Job again = claim_one();
  EXPECT_EQ(again.id, requeued[0].id);
  EXPECT_EQ(again.requeued_from, old_id);
  EXPECT_EQ(again.spec.body, given.body);
}

}  // namespace parkd
