#include <map>
#include <set>

#include "lib/store/rules.h"
#include "tests/store/conformance/store_conformance.h"

namespace parkd {
namespace {

using std::chrono::hours;
using std::chrono::minutes;
using std::chrono::seconds;

std::vector<JobId> ids_of(const std::vector<Job>& jobs) {
  std::vector<JobId> ids;
  for (const Job& job : jobs) ids.push_back(job.id);
  return ids;
}

TEST_P(StoreConformance, a_model_registered_again_from_the_same_files_is_the_same) {
  for (int i = 0; i < 2; ++i) {
    const Result<ModelRegistered> answer = driver_->register_model({"m", "abc", 2048});
    ASSERT_TRUE(answer.ok()) << answer.status().to_string();
    EXPECT_TRUE(answer->same);
    EXPECT_EQ(answer->content_hash, "abc");
  }
}

TEST_P(StoreConformance, a_claimed_job_comes_whole_with_a_new_lease) {
  const JobId id = submit_one(spec());
  clock_.advance(seconds(3));
  const Job job = claim_one();
  EXPECT_EQ(job.id, id);
  EXPECT_EQ(job.state, JobState::claimed);
  EXPECT_EQ(job.spec.body, spec().body);
  EXPECT_NE(job.lease, RunLease());
  EXPECT_EQ(job.claimed_at, clock_.now());
  const JobRecord record = get(id);
  EXPECT_EQ(std::get<Job>(record).state, JobState::claimed);
  EXPECT_EQ(std::get<Job>(record).lease, job.lease);
  EXPECT_TRUE(driver_->claim("m", 10)->empty()) << "a claimed job is not handed out again";
}

TEST_P(StoreConformance, claims_are_of_one_model_and_at_most_as_many_as_asked) {
  for (int i = 0; i < 5; ++i) submit_one(spec("a"));
  submit_one(spec("b"));
  EXPECT_EQ(driver_->claim("a", 3)->size(), 3u);
  EXPECT_EQ(driver_->claim("a", 3)->size(), 2u);
  EXPECT_EQ(driver_->claim("b", 3)->size(), 1u);
  EXPECT_TRUE(driver_->claim("none", 3)->empty());
  EXPECT_TRUE(driver_->claim("a", 0)->empty());
}

TEST_P(StoreConformance, leases_grow_and_are_never_reused) {
  submit_one(spec());
  RunLease last;
  for (int i = 0; i < 4; ++i) {
    const Job job = claim_one();
    EXPECT_GT(job.lease, last);
    last = job.lease;
    must(driver_->release({{job.id, job.lease, false, std::nullopt}}));
  }
}

TEST_P(StoreConformance, within_a_tenant_jobs_come_by_order_key_then_id) {
  const auto with = [&](Priority priority) {
    JobSpec made = spec();
    made.priority = priority;
    return submit_one(made);
  };
  const JobId low = with(Priority::low);         // + 6 h
  const JobId normal = with(Priority::normal);   // + 1 h
  const JobId normal2 = with(Priority::normal);  // the same key: by id
  const JobId high = with(Priority::high);       // + 10 min
  clock_.advance(minutes(55));
  const JobId late_high = with(Priority::high);  // 55 + 10 > 60
  clock_.advance(hours(5));
  const JobId late_normal =
      with(Priority::normal);  // 5 h 55 + 1 h > 6 h: the low one has aged past
  const auto claimed = driver_->claim("m", 10);
  EXPECT_EQ(ids_of(*claimed),
            (std::vector<JobId>{high, normal, normal2, late_high, low, late_normal}));
}

TEST_P(StoreConformance, critical_jobs_come_first_of_all) {
  submit_one(spec());
  clock_.advance(hours(100));
  JobSpec critical = spec();
  critical.priority = Priority::critical;
  critical.tenant = "other";
  const JobId first = submit_one(critical);
  EXPECT_EQ(claim_one().id, first);
}

TEST_P(StoreConformance, tenants_share_by_need_tokens_within_one_largest_job) {
  // "small" submits many jobs of 100 tokens, "large" few of 1000, both far more than is claimed.
  for (int i = 0; i < 200; ++i) {
    JobSpec job = spec();
    job.prompt_tokens = 90;
    job.max_new_tokens = 10;
    job.tenant = "small";
    submit_one(job);
  }
  for (int i = 0; i < 20; ++i) {
    JobSpec job = spec();
    job.prompt_tokens = 900;
    job.max_new_tokens = 100;
    job.tenant = "large";
    submit_one(job);
  }
  std::map<std::string, int64_t> tokens;
  for (int i = 0; i < 100; ++i) {
    const Job job = claim_one();
    tokens[job.spec.tenant] += job.spec.need_tokens();
    EXPECT_LE(std::abs(tokens["small"] - tokens["large"]), 1000) << "after " << i + 1 << " claims";
  }
}

TEST_P(StoreConformance, a_flood_of_one_tenant_does_not_delay_another) {
  for (int i = 0; i < 50; ++i) {
    JobSpec job = spec();
    job.tenant = "flood";
    submit_one(job);
  }
  ASSERT_EQ(driver_->claim("m", 20)->size(), 20u);
  JobSpec job = spec();
  job.tenant = "guest";
  const JobId guest = submit_one(job);
  const auto next = driver_->claim("m", 2);
  EXPECT_TRUE(next->at(0).id == guest || next->at(1).id == guest);
}

TEST_P(StoreConformance, a_tenant_that_was_away_has_no_credit) {
  for (int i = 0; i < 40; ++i) {
    JobSpec job = spec();
    job.tenant = "busy";
    submit_one(job);
  }
  ASSERT_EQ(driver_->claim("m", 20)->size(), 20u);
  for (int i = 0; i < 10; ++i) {
    JobSpec job = spec();
    job.tenant = "back";
    submit_one(job);
  }
  const auto next = driver_->claim("m", 8);
  int n_busy = 0;
  for (const Job& job : *next) n_busy += job.spec.tenant == "busy" ? 1 : 0;
  EXPECT_GE(n_busy, 3) << "equal jobs alternate from now on";
}

// --- run_at

TEST_P(StoreConformance, a_scheduled_job_waits_until_its_time) {
  JobSpec later = spec();
  later.run_at = clock_.now() + minutes(10);
  const JobId id = submit_one(later);
  EXPECT_EQ(std::get<Job>(get(id)).state, JobState::scheduled);
  clock_.advance(minutes(10) - Micros(1));
  EXPECT_TRUE(driver_->claim("m", 1)->empty());
  driver_->told();
  clock_.advance(Micros(1));
  ASSERT_TRUE(driver_->purge().ok());
  EXPECT_EQ(driver_->told().work, std::vector<std::string>{"m"}) << "purge wakes what is due";
  EXPECT_EQ(std::get<Job>(get(id)).state, JobState::queued);
  EXPECT_EQ(claim_one().id, id);
}

TEST_P(StoreConformance, claim_itself_wakes_a_job_that_is_due) {
  JobSpec later = spec();
  later.run_at = clock_.now() + minutes(10);
  const JobId id = submit_one(later);
  clock_.advance(minutes(10));
  EXPECT_EQ(claim_one().id, id);
}

TEST_P(StoreConformance, a_scheduled_job_is_ordered_by_its_run_at) {
  JobSpec later = spec();
  later.run_at = clock_.now() + minutes(10);
  const JobId scheduled = submit_one(later);
  clock_.advance(minutes(5));
  const JobId before = submit_one(spec());
  clock_.advance(minutes(10));
  const JobId after = submit_one(spec());
  EXPECT_EQ(ids_of(*driver_->claim("m", 3)), (std::vector<JobId>{before, scheduled, after}));
}

TEST_P(StoreConformance, a_run_at_in_the_past_is_now) {
  JobSpec past = spec();
  past.run_at = clock_.now() - hours(1);
  const JobId id = submit_one(past);
  EXPECT_EQ(claim_one().id, id);
}

// --- deadline

TEST_P(StoreConformance, an_overdue_job_is_not_handed_out_and_purge_ends_it) {
  JobSpec urgent = spec();
  urgent.deadline = clock_.now() + minutes(1);
  const JobId overdue = submit_one(urgent);
  const JobId other = submit_one(spec());
  clock_.advance(minutes(1));
  EXPECT_EQ(claim_one().id, other);
  EXPECT_TRUE(messages("box").empty());
  const auto purged = driver_->purge();
  ASSERT_TRUE(purged.ok());
  EXPECT_EQ(purged->deadlines_missed, 1);
  const auto box = messages("box");
  ASSERT_EQ(box.size(), 1u);
  EXPECT_EQ(box[0].job_id, overdue);
  EXPECT_EQ(box[0].ending.outcome, Outcome::deadline_missed);
  EXPECT_EQ(box[0].lease, RunLease());
  EXPECT_EQ(driver_->purge()->deadlines_missed, 0);
}

TEST_P(StoreConformance, one_purge_ends_a_crowd_that_is_overdue) {
  JobSpec urgent = spec();
  urgent.deadline = clock_.now() + minutes(1);
  must(driver_->submit(std::vector<JobSpec>(600, urgent)));
  clock_.advance(minutes(1));
  EXPECT_EQ(driver_->purge()->deadlines_missed, 600);
  EXPECT_EQ(driver_->purge()->deadlines_missed, 0);
}

TEST_P(StoreConformance, an_overdue_scheduled_job_is_ended_too) {
  JobSpec job = spec();
  job.deadline = clock_.now() + hours(1);
  submit_one(job);
  const Job claimed = claim_one();
  must(driver_->release({{claimed.id, claimed.lease, true, clock_.now() + hours(2)}}));
  clock_.advance(hours(1));
  EXPECT_EQ(driver_->purge()->deadlines_missed, 1);
}

TEST_P(StoreConformance, the_deadline_of_a_claimed_job_is_left_to_its_claimer) {
  JobSpec job = spec();
  job.deadline = clock_.now() + minutes(1);
  submit_one(job);
  const Job claimed = claim_one();
  clock_.advance(hours(1));
  EXPECT_EQ(driver_->purge()->deadlines_missed, 0);
  EXPECT_EQ(finish_one(claimed), FinishAnswer::finished_late);
}

TEST_P(StoreConformance, a_run_that_ends_after_its_deadline_has_missed_it) {
  struct Case {
    Outcome outcome;
    std::string code;
    std::chrono::microseconds late;
    Outcome becomes;
  };
  const std::chrono::microseconds us{1};
  for (const Case& c : {Case{Outcome::completed, "", us, Outcome::deadline_missed},
                        Case{Outcome::completed, "", 0 * us, Outcome::completed},
                        Case{Outcome::failed, "internal", us, Outcome::deadline_missed},
                        Case{Outcome::failed, "internal", 0 * us, Outcome::failed},
                        Case{Outcome::cancelled, "cancelled", us, Outcome::cancelled}}) {
    JobSpec job = spec();
    job.deadline = clock_.now() + minutes(1);
    BatchSpec batch_spec;
    batch_spec.deadline = job.deadline;
    job.batch_id = open_one(batch_spec);
    const JobId id = submit_one(job);
    const Job claimed = claim_one();
    clock_.advance(minutes(1) + c.late);
    Ending given;
    given.outcome = c.outcome;
    given.error_code = c.code;
    given.body = R"({"text":"part"})";
    const bool is_late = c.becomes != c.outcome;
    EXPECT_EQ(must(driver_->finish({{claimed.id, claimed.lease, given}})).at(0),
              is_late ? FinishAnswer::finished_late : FinishAnswer::finished_now);
    // What was written is said to who sends it again, too: the first answer may have been lost.
    EXPECT_EQ(must(driver_->finish({{claimed.id, claimed.lease, given}})).at(0),
              is_late ? FinishAnswer::finished_late : FinishAnswer::already_by_this_lease);
    const auto box = messages("box");
    ASSERT_FALSE(box.empty());
    const Message& message = box.back();
    ASSERT_EQ(message.job_id, id);
    EXPECT_EQ(message.ending.outcome, c.becomes);
    EXPECT_EQ(message.ending.body, R"({"text":"part"})") << "what was generated is kept";
    EXPECT_EQ(batch(job.batch_id).deadline_missed, c.becomes == Outcome::deadline_missed ? 1 : 0);
    if (c.becomes != Outcome::deadline_missed) continue;
    const Ending rule = settled_ending({}, job.deadline, clock_.now());
    EXPECT_EQ(message.ending.error_code, rule.error_code);
    EXPECT_EQ(message.ending.error_message, rule.error_message);
    EXPECT_EQ(message.ending.status_code, rule.status_code);
    EXPECT_EQ(message.ending.error_param, "");
    EXPECT_EQ(message.attempts, 0);
    EXPECT_EQ(must(driver_->requeue({"default", {id}, {}, "", 10})).size(), 1u)
        << "it can be requeued, as what did not complete";
    finish_one(claim_one());
  }
}

TEST_P(StoreConformance, a_released_job_whose_deadline_has_passed_is_ended_by_purge) {
  JobSpec job = spec();
  job.deadline = clock_.now() + minutes(1);
  submit_one(job);
  const Job claimed = claim_one();
  clock_.advance(hours(1));
  must(driver_->release({{claimed.id, claimed.lease, false, std::nullopt}}));
  EXPECT_TRUE(driver_->claim("m", 1)->empty());
  EXPECT_EQ(driver_->purge()->deadlines_missed, 1);
}

// --- list and stats

TEST_P(StoreConformance, list_filters_and_pages_by_id) {
  std::vector<JobId> of_a;
  for (int i = 0; i < 5; ++i) {
    JobSpec job = spec(i % 2 == 0 ? "even" : "odd");
    job.tenant = "a";
    of_a.push_back(submit_one(job));
  }
  submit_one(spec("even"));
  const Job claimed = claim_one("odd");
  ListFilter filter;
  filter.tenant = "a";
  EXPECT_EQ(ids_of(*driver_->list(filter)), of_a);
  filter.limit = 2;
  filter.after = of_a[1];
  EXPECT_EQ(ids_of(*driver_->list(filter)), (std::vector<JobId>{of_a[2], of_a[3]}));
  filter = {};
  filter.model = "even";
  EXPECT_EQ(driver_->list(filter)->size(), 4u);
  filter = {};
  filter.state = JobState::claimed;
  const auto claimed_list = driver_->list(filter);
  ASSERT_EQ(claimed_list->size(), 1u);
  EXPECT_EQ(claimed_list->at(0).id, claimed.id);
  EXPECT_EQ(claimed_list->at(0).lease, claimed.lease);
  filter = {};
  filter.limit = 0;
  EXPECT_TRUE(driver_->list(filter)->empty());
}

TEST_P(StoreConformance, a_list_is_of_a_batch_a_mailbox_or_a_name) {
  BatchSpec opened;
  const std::string batch = must(driver_->open_batch(opened)).batch.id;
  std::map<std::string, std::vector<JobId>> of;
  for (int i = 0; i < 12; ++i) {
    JobSpec job = spec();
    if (i % 3 == 0) job.batch_id = batch;
    job.mailbox_key = i % 2 == 0 ? "even" : "odd";
    job.custom_id = "name" + std::to_string(i / 4);
    const JobId id = submit_one(job);
    of[job.mailbox_key].push_back(id);
    of[job.custom_id].push_back(id);
    if (i % 3 == 0) of["batch"].push_back(id);
  }
  ListFilter filter;
  filter.batch_id = batch;
  EXPECT_EQ(ids_of(*driver_->list(filter)), of["batch"]);
  filter.limit = 2;
  EXPECT_EQ(ids_of(*driver_->list(filter)), (std::vector<JobId>{of["batch"][0], of["batch"][1]}));
  filter.after = of["batch"][1];
  EXPECT_EQ(ids_of(*driver_->list(filter)), (std::vector<JobId>{of["batch"][2], of["batch"][3]}));
  filter = {};
  filter.mailbox_key = "odd";
  EXPECT_EQ(ids_of(*driver_->list(filter)), of["odd"]);
  filter.custom_id = "name1";
  EXPECT_EQ(driver_->list(filter)->size(), 2u) << "all that is given holds";
  filter.mailbox_key.reset();
  EXPECT_EQ(ids_of(*driver_->list(filter)), of["name1"]);
  filter.tenant = "bob";
  EXPECT_TRUE(driver_->list(filter)->empty());
  filter = {};
  filter.batch_id = "batch_0";
  EXPECT_TRUE(driver_->list(filter)->empty());
  filter.batch_id = batch;
  must(driver_->cancel_batch(batch, ""));
  EXPECT_TRUE(driver_->list(filter)->empty());
}

// However few of many jobs a page is about, it says where the list goes on, and comes to an end.
TEST_P(StoreConformance, a_list_of_few_among_many_goes_on_until_all_were_seen) {
  std::vector<JobSpec> many(2500, spec());
  many.front().custom_id = many[1200].custom_id = many.back().custom_id = "needle";
  const auto submitted = must(driver_->submit(many));
  ListFilter filter;
  filter.custom_id = "needle";
  std::vector<JobId> found;
  for (int pages = 0; pages < 1000; ++pages) {
    const ListAnswer page = must(driver_->list_page(filter));
    for (const Job& job : page.jobs) found.push_back(job.id);
    if (!page.next_after) break;
    ASSERT_GT(*page.next_after, filter.after) << "it goes on";
    filter.after = *page.next_after;
  }
  EXPECT_EQ(found,
            (std::vector<JobId>{submitted.front().id, submitted[1200].id, submitted.back().id}));
}

TEST_P(StoreConformance, stats_count_each_models_jobs_and_the_oldest) {
  const WallTime start = clock_.now();
  submit_one(spec());
  clock_.advance(seconds(10));
  submit_one(spec());
  submit_one(spec());
  JobSpec later = spec();
  later.run_at = clock_.now() + hours(1);
  submit_one(later);
  must(driver_->purge());  // where counting costs something, it is done in housekeeping
  const auto before = driver_->stats();
  ASSERT_EQ(before->models.size(), 1u);
  EXPECT_EQ(before->models[0].oldest_created_at, start);
  const Job claimed = claim_one();
  must(driver_->purge());
  const auto after = driver_->stats();
  ASSERT_TRUE(after.ok());
  EXPECT_TRUE(after->healthy);
  const ModelDepth& depth = after->models.at(0);
  EXPECT_EQ(depth.model, "m");
  EXPECT_EQ(depth.queued, 2);
  EXPECT_EQ(depth.claimed, 1);
  EXPECT_EQ(depth.scheduled, 1);
  EXPECT_EQ(depth.oldest_created_at, start + seconds(10));
  EXPECT_EQ(after->messages, 0);
  finish_one(claimed);
  EXPECT_EQ(driver_->stats()->messages, 1);
}

}  // namespace
}  // namespace parkd
