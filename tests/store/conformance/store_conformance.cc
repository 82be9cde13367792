#include "tests/store/conformance/store_conformance.h"

namespace parkd {

GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(DurableStoreConformance);

void StoreConformance::SetUp() {
  std::string sentence = testing::UnitTest::GetInstance()->current_test_info()->name();
  sentence.resize(sentence.find('/'));
  const auto exempt = GetParam().exempt.find(sentence);
  if (exempt != GetParam().exempt.end()) GTEST_SKIP() << exempt->second;
  options_.retention_default = kRetention;
  home_ = GetParam().make_home();
  open();
}

void StoreConformance::TearDown() {
  driver_.reset();
  if (store_ != nullptr) store_->stop();
  store_.reset();
}

void StoreConformance::open() {
  store_ = home_->open(options_, clock_);
  ASSERT_NE(store_, nullptr);
  driver_ = std::make_unique<StoreDriver>(*store_);
}

void StoreConformance::reopen() {
  TearDown();
  open();
}

JobSpec StoreConformance::spec(const std::string& model) const {
  JobSpec spec;
  spec.model = model;
  spec.mailbox_key = "box";
  spec.body = R"({"messages":[]})";
  spec.prompt_tokens = 100;
  spec.max_new_tokens = 28;
  return spec;
}

JobId StoreConformance::submit_one(JobSpec spec) {
  const auto submitted = driver_->submit({std::move(spec)});
  EXPECT_TRUE(submitted.ok()) << submitted.status().to_string();
  return submitted.ok() ? submitted->at(0).id : 0;
}

Job StoreConformance::claim_one(const std::string& model) {
  const auto claimed = driver_->claim(model, 1);
  EXPECT_TRUE(claimed.ok()) << claimed.status().to_string();
  if (!claimed.ok() || claimed->size() != 1) {
    ADD_FAILURE() << "no job of " << model << " could be claimed";
    return {};
  }
  return claimed->at(0);
}

Ending StoreConformance::ending(const std::string& body) {
  Ending ending;
  ending.body = body;
  ending.prompt_tokens = 7;
  ending.completion_tokens = 5;
  ending.units = 2;
  return ending;
}

FinishItem StoreConformance::finish_item(const Job& job, const std::string& body) const {
  return {job.id, job.lease, ending(body)};
}

FinishAnswer StoreConformance::finish_one(const Job& job, const std::string& body) {
  const auto answers = driver_->finish({finish_item(job, body)});
  EXPECT_TRUE(answers.ok()) << answers.status().to_string();
  return answers->at(0);
}

void StoreConformance::finish_as(const Job& job, Outcome outcome, const std::string& code,
                                 const std::string& body, bool truncated) {
  Ending given = ending(body);
  given.outcome = outcome;
  given.error_code = code;
  given.truncated = truncated;
  EXPECT_EQ(must(driver_->finish({{job.id, job.lease, given}})),
            std::vector{FinishAnswer::finished_now});
}

std::string StoreConformance::open_one(BatchSpec spec) {
  return must(driver_->open_batch(std::move(spec))).batch.id;
}

JobSpec StoreConformance::member(const std::string& batch_id) const {
  JobSpec given = spec();
  given.batch_id = batch_id;
  return given;
}

Batch StoreConformance::batch(const std::string& id) {
  return must(driver_->get_batch(id, ""));
}

void StoreConformance::open_with_limits(std::optional<int64_t> queued,
                                        std::optional<int64_t> per_tenant, int64_t scheduled) {
  options_.limits = {queued, per_tenant, scheduled};
  reopen();
}

JobSpec StoreConformance::later(const std::string& tenant) {
  JobSpec given = spec();
  given.tenant = tenant;
  given.run_at = clock_.now() + std::chrono::hours(1);
  return given;
}

Status StoreConformance::submitted(const JobSpec& spec, size_t n) {
  return driver_->submit(std::vector<JobSpec>(n, spec)).status();
}

std::vector<Message> StoreConformance::messages(const std::string& key, const std::string& tenant) {
  auto fetched = driver_->fetch({tenant, key, 0, 1000});
  EXPECT_TRUE(fetched.ok()) << fetched.status().to_string();
  return fetched->messages;
}

JobRecord StoreConformance::get(JobId id, const std::string& tenant) {
  auto record = driver_->get(id, tenant);
  EXPECT_TRUE(record.ok()) << record.status().to_string();
  return *record;
}

}  // namespace parkd
