#include <set>

#include "tests/store/conformance/store_conformance.h"
#include "tests/support/whole_job.h"

namespace parkd {
namespace {

using std::chrono::hours;
using std::chrono::seconds;

TEST_P(StoreConformance, every_field_of_a_job_is_kept_and_comes_back) {
  JobSpec given = whole_spec(clock_.now());
  const JobId id = submit_one(given);
  expect_same(std::get<Job>(get(id, "alice")).spec, given);
  EXPECT_TRUE(must(driver_->submit({given})).at(0).existed);

  clock_.advance(std::chrono::minutes(1));
  const Job claimed = claim_one();
  expect_same(claimed.spec, given);
  finish_as(claimed, Outcome::failed, "run_timeout");
  const auto requeued = must(driver_->requeue({"alice", {id}, {}, "", 10}));
  given.batch_id.clear();
  given.idempotency_key.clear();
  given.run_at.reset();
  given.deadline.reset();
  expect_same(std::get<Job>(get(requeued.at(0).id, "alice")).spec, given);
}

TEST_P(StoreConformance, a_submitted_job_is_there_as_it_was_given) {
  JobSpec given = spec();
  given.tenant = "alice";
  given.custom_id = "line-1";
  given.metadata = R"({"a":"b"})";
  given.seed = 42;
  given.run_timeout = seconds(77);
  given.deadline = clock_.now() + hours(8);
  given.priority = Priority::high;
  given.n_choices = 2;
  const JobId id = submit_one(given);

  const JobRecord record = get(id, "alice");
  ASSERT_TRUE(std::holds_alternative<Job>(record));
  const Job& job = std::get<Job>(record);
  EXPECT_EQ(job.id, id);
  EXPECT_EQ(job.state, JobState::queued);
  EXPECT_EQ(job.spec.body, given.body);
  EXPECT_EQ(job.spec.endpoint, "/v1/chat/completions");
  EXPECT_EQ(job.spec.mailbox_key, "box");
  EXPECT_EQ(job.spec.custom_id, "line-1");
  EXPECT_EQ(job.spec.metadata, given.metadata);
  EXPECT_EQ(job.spec.seed, 42u);
  EXPECT_EQ(job.spec.run_timeout, seconds(77));
  EXPECT_EQ(job.spec.deadline, given.deadline);
  EXPECT_EQ(job.spec.need_tokens(), 2 * 128);
  EXPECT_EQ(job.spec.retention, kRetention) << "the default is filled in";
  EXPECT_EQ(job.created_at, clock_.now());
  EXPECT_EQ(job.order_key, clock_.now() + std::chrono::minutes(10));
  EXPECT_EQ(job.attempts, 0);
  EXPECT_EQ(job.lease, RunLease());
}

TEST_P(StoreConformance, seeds_and_mailbox_keys_left_out_are_drawn_and_stored) {
  JobSpec bare = spec();
  bare.mailbox_key.clear();
  const auto submitted = driver_->submit({bare, bare});
  ASSERT_TRUE(submitted.ok());
  std::set<std::string> keys;
  for (const SubmittedJob& job : *submitted) {
    EXPECT_EQ(job.mailbox_key.substr(0, 3), "mb-");
    EXPECT_EQ(job.mailbox_key.size(), 3u + 24u);
    keys.insert(job.mailbox_key);
    const JobRecord record = get(job.id);
    EXPECT_TRUE(std::get<Job>(record).spec.seed.has_value());
    EXPECT_EQ(std::get<Job>(record).spec.mailbox_key, job.mailbox_key);
  }
  EXPECT_EQ(keys.size(), 2u);
}

// Stores that daemons share claim it in the commit that accepts it; the others leave it to be
// claimed.
TEST_P(StoreConformance, a_job_that_is_submitted_to_be_claimed_can_be_run_once) {
  JobSpec given = spec();
  given.custom_id = "now";
  const auto answer = must(driver_->submit_and_claim(given));
  EXPECT_FALSE(answer.submitted.existed);
  EXPECT_EQ(answer.submitted.mailbox_key, "box");
  const Job job = answer.claimed ? *answer.claimed : claim_one();
  EXPECT_EQ(job.id, answer.submitted.id);
  EXPECT_EQ(job.state, JobState::claimed);
  EXPECT_EQ(job.spec.custom_id, "now");
  EXPECT_EQ(job.spec.body, given.body);
  EXPECT_EQ(job.weight, 1);
  EXPECT_TRUE(must(driver_->claim("m", 10)).empty());
  EXPECT_EQ(finish_one(job, R"({"a":1})"), FinishAnswer::finished_now);
  ASSERT_EQ(messages("box").size(), 1u);
  EXPECT_EQ(messages("box")[0].job_id, job.id);
}

TEST_P(StoreConformance, what_submit_refuses_is_not_claimed_either) {
  JobSpec bad = spec();
  bad.n_choices = 0;
  const auto refused = driver_->submit_and_claim(bad);
  EXPECT_EQ(refused.status().code(), StatusCode::invalid);
  EXPECT_EQ(refused.status().to_string(), driver_->submit({bad}).status().to_string());
  JobSpec keyed = spec();
  keyed.idempotency_key = "k";
  must(driver_->submit_and_claim(keyed));
  keyed.body = R"({"messages":[],"n":2})";
  EXPECT_EQ(driver_->submit_and_claim(keyed).status().code(), StatusCode::conflict);
  EXPECT_EQ(must(driver_->list({})).size(), 1u);
}

TEST_P(StoreConformance, a_key_of_a_job_that_was_accepted_before_makes_no_second_run) {
  JobSpec keyed = spec();
  keyed.idempotency_key = "k";
  const JobId id = submit_one(keyed);
  const auto waiting = must(driver_->submit_and_claim(keyed));
  EXPECT_TRUE(waiting.submitted.existed);
  EXPECT_EQ(waiting.submitted.id, id);
  const Job job = waiting.claimed ? *waiting.claimed : claim_one();
  EXPECT_FALSE(must(driver_->submit_and_claim(keyed)).claimed) << "it is claimed";
  EXPECT_EQ(finish_one(job), FinishAnswer::finished_now);
  const auto finished = must(driver_->submit_and_claim(keyed));
  EXPECT_TRUE(finished.submitted.finished);
  EXPECT_FALSE(finished.claimed);
  EXPECT_EQ(messages("box").size(), 1u);
}

TEST_P(StoreConformance, job_ids_increase_in_the_order_of_submission) {
  const auto first = driver_->submit({spec(), spec(), spec()});
  const auto second = driver_->submit({spec()});
  ASSERT_TRUE(first.ok() && second.ok());
  EXPECT_LT(first->at(0).id, first->at(1).id);
  EXPECT_LT(first->at(1).id, first->at(2).id);
  EXPECT_LT(first->at(2).id, second->at(0).id);
}

TEST_P(StoreConformance, submit_tells_that_work_is_available_unless_it_is_scheduled) {
  JobSpec later = spec("later");
  later.run_at = clock_.now() + hours(1);
  submit_one(later);
  EXPECT_TRUE(driver_->told().work.empty());
  submit_one(spec("now"));
  EXPECT_EQ(driver_->told().work, std::vector<std::string>{"now"});
}

TEST_P(StoreConformance, all_jobs_of_a_submission_are_accepted_or_none) {
  JobSpec bad = spec();
  bad.deadline = clock_.now() - seconds(1);
  const auto refused = driver_->submit({spec(), spec(), bad});
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.status().code(), StatusCode::invalid);
  EXPECT_EQ(refused.status().param(), "jobs[2].deadline");
  EXPECT_TRUE(driver_->list({})->empty());
}

TEST_P(StoreConformance, a_job_that_could_start_only_after_its_deadline_is_refused) {
  JobSpec never = spec();
  never.deadline = clock_.now() + hours(1);
  never.run_at = never.deadline;
  const auto refused = driver_->submit({spec(), never});
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.status().param(), "jobs[1].run_at") << refused.status().message();
  never.run_at = *never.deadline - seconds(1);
  EXPECT_TRUE(driver_->submit({never}).ok());
}

TEST_P(StoreConformance, a_deadline_of_this_very_moment_is_refused) {
  JobSpec bad = spec();
  bad.deadline = clock_.now();
  const auto refused = driver_->submit({bad});
  EXPECT_EQ(refused.status().param(), "jobs[0].deadline");
}

TEST_P(StoreConformance, a_submission_sent_again_finds_its_jobs_whatever_has_passed_since) {
  options_.limits.queued_max = 2;
  options_.limits.queued_per_tenant_max = 2;
  reopen();
  JobSpec first = spec();
  first.idempotency_key = "first";
  first.deadline = clock_.now() + hours(1);
  JobSpec second = spec();
  second.idempotency_key = "second";
  const auto sent = must(driver_->submit({first, second}));  // the queue is full now
  clock_.advance(hours(1));
  const auto again = must(driver_->submit({first, second}));
  ASSERT_EQ(again.size(), 2u);
  for (size_t i = 0; i < 2; ++i) {
    EXPECT_TRUE(again[i].existed);
    EXPECT_EQ(again[i].id, sent[i].id);
  }

  // One that is new is held to the present, beside one that exists and is not.
  JobSpec late = spec();
  late.idempotency_key = "late";
  late.deadline = clock_.now();
  const auto refused = driver_->submit({first, late});
  EXPECT_EQ(refused.status().code(), StatusCode::invalid);
  EXPECT_EQ(refused.status().param(), "jobs[1].deadline");
  JobSpec other = first;
  other.body = R"({"other":1})";
  EXPECT_EQ(driver_->submit({other}).status().code(), StatusCode::conflict);
  must(driver_->purge());  // and once it has ended
  const auto ended = must(driver_->submit({first}));
  EXPECT_EQ(ended[0].id, sent[0].id);
  EXPECT_TRUE(ended[0].finished);
}

TEST_P(StoreConformance, bad_fields_are_refused_by_name) {
  const auto param_of = [&](const std::function<void(JobSpec&)>& change) {
    JobSpec bad = spec();
    change(bad);
    const auto refused = driver_->submit({bad});
    return refused.ok() ? std::string("accepted") : refused.status().param();
  };
  EXPECT_EQ(param_of([](JobSpec& s) { s.model.clear(); }), "jobs[0].model");
  EXPECT_EQ(param_of([](JobSpec& s) { s.tenant.clear(); }), "jobs[0].tenant");
  EXPECT_EQ(param_of([](JobSpec& s) { s.retention = seconds(59); }), "jobs[0].retention");
  EXPECT_EQ(param_of([](JobSpec& s) { s.retention = hours(24 * 30) + seconds(1); }),
            "jobs[0].retention");
  EXPECT_EQ(param_of([](JobSpec& s) { s.max_attempts = 0; }), "jobs[0].max_attempts");
  EXPECT_EQ(param_of([](JobSpec& s) { s.n_choices = 0; }), "jobs[0].n_choices");
  EXPECT_EQ(param_of([](JobSpec& s) { s.prompt_tokens = -1; }), "jobs[0].prompt_tokens");
  EXPECT_EQ(param_of([](JobSpec& s) { s.run_timeout = seconds(0); }), "jobs[0].run_timeout");
  EXPECT_EQ(param_of([](JobSpec& s) { s.run_at = WallTime::max(); }), "jobs[0].run_at");
}

TEST_P(StoreConformance, a_submission_of_nothing_or_of_too_many_is_refused) {
  EXPECT_EQ(driver_->submit({}).status().param(), "jobs");
  options_.batch_jobs_max = 2;
  reopen();
  const auto refused = driver_->submit({spec(), spec(), spec()});
  EXPECT_EQ(refused.status().param(), "jobs");
  EXPECT_NE(refused.status().message().find("3"), std::string::npos);
  EXPECT_NE(refused.status().message().find("2"), std::string::npos);
}

// --- idempotency

TEST_P(StoreConformance, the_same_key_and_content_is_the_same_job) {
  JobSpec keyed = spec();
  keyed.idempotency_key = "k";
  const auto first = driver_->submit({keyed});
  clock_.advance(seconds(5));
  const auto again = driver_->submit({keyed});
  ASSERT_TRUE(first.ok() && again.ok());
  EXPECT_FALSE(first->at(0).existed);
  EXPECT_TRUE(again->at(0).existed);
  EXPECT_FALSE(again->at(0).finished);
  EXPECT_EQ(again->at(0).id, first->at(0).id);
  EXPECT_EQ(again->at(0).mailbox_key, first->at(0).mailbox_key);
  EXPECT_EQ(driver_->list({})->size(), 1u);
}

TEST_P(StoreConformance, the_same_key_with_a_generated_mailbox_key_names_the_first_one) {
  JobSpec keyed = spec();
  keyed.idempotency_key = "k";
  keyed.mailbox_key.clear();
  const auto first = driver_->submit({keyed});
  const auto again = driver_->submit({keyed});
  EXPECT_EQ(again->at(0).mailbox_key, first->at(0).mailbox_key);
}

TEST_P(StoreConformance, the_same_key_with_another_content_is_a_conflict) {
  JobSpec keyed = spec();
  keyed.idempotency_key = "k";
  submit_one(keyed);
  keyed.body = R"({"messages":[1]})";
  const auto refused = driver_->submit({spec(), keyed});
  EXPECT_EQ(refused.status().code(), StatusCode::conflict);
  EXPECT_EQ(refused.status().param(), "jobs[1].idempotency_key");
  EXPECT_EQ(driver_->list({})->size(), 1u) << "its neighbour was refused with it";
}

TEST_P(StoreConformance, json_is_compared_by_its_value_whatever_way_it_is_written) {
  JobSpec keyed = spec();
  keyed.idempotency_key = "k";
  keyed.body =
      R"({"model":"m","messages":[{"role":"user","content":"é 1.50 \"2.00, ok"}],"x":[4,0.25]})";
  keyed.metadata = R"({"a":"b","c":"d"})";
  const JobId id = submit_one(keyed);
  const auto answer = [&](const std::string& body, const std::string& metadata) {
    JobSpec again = keyed;
    again.body = body;
    again.metadata = metadata;
    const auto submitted = driver_->submit({again});
    if (!submitted.ok()) return std::string(submitted.status().to_string());
    return std::string(submitted->at(0).id == id ? "the same" : "a new job");
  };
  for (
      const char* same : {
          R"({"messages":[{"content":"é 1.50 \"2.00, ok","role":"user"}],"x":[4,0.25],"model":"m"})",
          R"({"x":[4.0,25e-2],"messages":[{"role":"user","content":"\u00e9 1.50 \u00222.00, ok"}]})",
          R"( { "x" : [ 40e-1 , 0.2500 ] , "messages" : [ { "role":"user", "content":"é 1.50 \"2.00\u002c ok" } ] } )",
          R"({"x":7,"messages":[{"role":"user","content":"é 1.50 \"2.00, ok"}],"x":[0.4e1,0.250]})",
      }) {
    EXPECT_EQ(answer(same, R"({ "c" : "\u0064", "a" : "b" })"), "the same") << same;
  }
  for (
      const char* other : {
          R"({"messages":[{"role":"user","content":"é 1.5 \"2.00, ok"}],"x":[4,0.25]})",
          R"({"messages":[{"role":"user","content":"é 1.50 \"2.0, ok"}],"x":[4,0.25]})",
          R"({"messages":[{"role":"user","content":"é 1.50 \"2.00, ok"}],"x":[0.25,4]})",
          R"({"messages":[{"role":"user","content":"é 1.50 \"2.00, ok"}],"x":["4",0.25]})",
          R"({"messages":[{"role":"user","content":"é 1.50 \"2.00, ok"}],"x":[40,0.25]})",
          R"({"messages":[{"role":"user","content":"é 1.50 \"2.00, ok"}],"x":[4,0.2500000000000000000001]})",
          R"({"messages":[{"role":"user","content":"é 1.50 \"2.00, ok"}],"x":[4,0.25],"seed":1})",
      }) {
    EXPECT_NE(answer(other, keyed.metadata).find("content differs"), std::string::npos) << other;
  }
  EXPECT_NE(answer(keyed.body, R"({"a":"b"})").find("content differs"), std::string::npos);
  EXPECT_NE(answer(keyed.body, "").find("content differs"), std::string::npos);
  EXPECT_EQ(std::get<Job>(get(id)).spec.body, keyed.body) << "stored as it came first";

  finish_one(claim_one());
  EXPECT_EQ(answer(R"({"x":[4.0,0.25],"messages":[{"role":"user","content":"é 1.50 \"2.00, ok"}]})",
                   keyed.metadata),
            "the same");
}

TEST_P(StoreConformance, a_seed_in_the_body_takes_the_place_of_the_columns) {
  JobSpec keyed = spec();
  keyed.idempotency_key = "k";
  keyed.body = R"({"messages":[],"seed":42})";
  const JobId id = submit_one(keyed);
  keyed.seed = 42;  // as the door has it that reads the body
  keyed.body = R"({"seed":42.0,"messages":[]})";
  EXPECT_EQ(submit_one(keyed), id);
  keyed.body = R"({"seed":43,"messages":[]})";
  EXPECT_EQ(driver_->submit({keyed}).status().code(), StatusCode::conflict);
  keyed.body = R"({"messages":[]})";
  EXPECT_EQ(driver_->submit({keyed}).status().code(), StatusCode::conflict);
}

TEST_P(StoreConformance, numbers_beyond_all_bounds_are_compared_by_their_bytes) {
  JobSpec keyed = spec();
  keyed.idempotency_key = "k";
  keyed.body = R"({"a":1e131071,"b":1e-16383})";
  const JobId id = submit_one(keyed);
  keyed.body = R"({"b":0.1e-16382,"a":10e131070})";
  EXPECT_EQ(submit_one(keyed), id) << "within them by value";

  keyed.idempotency_key = "beyond";
  keyed.body = R"({"a":1e131072})";
  const JobId beyond = submit_one(keyed);
  EXPECT_EQ(submit_one(keyed), beyond);
  keyed.body = R"({"a":10e131071})";
  EXPECT_EQ(driver_->submit({keyed}).status().code(), StatusCode::conflict);
}

TEST_P(StoreConformance, derived_token_counts_are_not_content) {
  JobSpec keyed = spec();
  keyed.idempotency_key = "k";
  submit_one(keyed);
  keyed.prompt_tokens += 1;
  keyed.tokens_are_exact = true;
  EXPECT_TRUE(driver_->submit({keyed}).ok());
}

TEST_P(StoreConformance, a_key_belongs_to_its_tenant) {
  JobSpec keyed = spec();
  keyed.idempotency_key = "k";
  const JobId first = submit_one(keyed);
  keyed.tenant = "other";
  EXPECT_NE(submit_one(keyed), first);
}

TEST_P(StoreConformance, a_key_twice_in_one_submission_is_one_job) {
  JobSpec keyed = spec();
  keyed.idempotency_key = "k";
  const auto submitted = driver_->submit({keyed, keyed});
  ASSERT_TRUE(submitted.ok());
  EXPECT_EQ(submitted->at(0).id, submitted->at(1).id);
  EXPECT_TRUE(submitted->at(1).existed);
  JobSpec other = keyed;
  other.idempotency_key = "k2";
  JobSpec differs = other;
  differs.body = "{}";
  EXPECT_EQ(driver_->submit({other, differs}).status().code(), StatusCode::conflict);
  EXPECT_EQ(driver_->list({})->size(), 1u);
}

TEST_P(StoreConformance, a_finished_job_keeps_its_key_for_a_day_or_its_retention) {
  JobSpec keyed = spec();
  keyed.idempotency_key = "k";
  const JobId first = submit_one(keyed);
  finish_one(claim_one());
  clock_.advance(hours(24) - Micros(1));
  must(driver_->purge());
  const auto again = driver_->submit({keyed});
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(again->at(0).id, first);
  EXPECT_TRUE(again->at(0).finished);
  clock_.advance(Micros(1));
  const auto anew = driver_->submit({keyed});
  ASSERT_TRUE(anew.ok());
  EXPECT_NE(anew->at(0).id, first);
  EXPECT_FALSE(anew->at(0).existed);
  must(driver_->purge());
  EXPECT_TRUE(driver_->submit({keyed})->at(0).existed) << "the purge spared the key's new life";
}

TEST_P(StoreConformance, a_long_retention_keeps_the_key_as_long) {
  JobSpec keyed = spec();
  keyed.idempotency_key = "k";
  keyed.retention = hours(72);
  const JobId first = submit_one(keyed);
  finish_one(claim_one());
  clock_.advance(hours(71));
  must(driver_->purge());
  EXPECT_EQ(driver_->submit({keyed})->at(0).id, first);
}

TEST_P(StoreConformance, an_expired_key_accepts_another_content_after_the_purge) {
  JobSpec keyed = spec();
  keyed.idempotency_key = "k";
  submit_one(keyed);
  finish_one(claim_one());
  clock_.advance(hours(25));
  ASSERT_TRUE(driver_->purge().ok());
  keyed.body = "{}";
  EXPECT_TRUE(driver_->submit({keyed}).ok());
}

}  // namespace
}  // namespace parkd
