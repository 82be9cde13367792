// Webhooks of batches of files: when an end is to be told, to whom it is given, and what becomes of
// each attempt.
#include "tests/store/conformance/store_conformance.h"

namespace parkd {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr const char* kUrl = "https://example.org/hooks/1?a=b";

BatchSpec with_webhook(const std::string& tenant = "default") {
  BatchSpec spec;
  spec.tenant = tenant;
  spec.retention = hours(2);
  spec.file = FileBatchSpec{"file-1", std::string(kEndpoints[0].path), "24h"};
  spec.file->webhook_url = kUrl;
  return spec;
}

FileProgress at_stage(FileStage stage) {
  FileProgress progress;
  progress.stage = stage;
  progress.model = "m";
  progress.lines = 1;
  return progress;
}

WebhookAttempt failed(int32_t number, milliseconds pause, const std::string& error = "HTTP 500") {
  return {number, WebhookStatus::pending, pause, error};
}

class Webhooks {
 public:
  explicit Webhooks(StoreDriver& driver) : driver_(driver) {}

  std::string next(WebhookRequest request = {"a"}) {
    const auto due = driver_.next_webhook(std::move(request));
    EXPECT_TRUE(due.ok()) << due.status().to_string();
    return due.ok() && *due ? (*due)->id : "";
  }
  Batch note(const std::string& id, const WebhookAttempt& attempt) {
    auto batch = driver_.note_webhook(id, attempt);
    EXPECT_TRUE(batch.ok()) << batch.status().to_string();
    return batch.ok() ? *std::move(batch) : Batch();
  }
  int64_t n_pending() { return driver_.stats().value().webhooks_pending; }

 private:
  StoreDriver& driver_;
};

TEST_P(StoreConformance, a_webhook_is_due_from_the_commit_that_ends_its_batch) {
  Webhooks webhooks(*driver_);
  const std::string id = open_one(with_webhook());
  EXPECT_EQ(batch(id).spec.file->webhook_url, kUrl);
  EXPECT_EQ(batch(id).webhook, WebhookState());
  for (const FileStage stage : {FileStage::expanding, FileStage::running}) {
    EXPECT_EQ(must(driver_->advance_batch(id, at_stage(stage))).webhook, WebhookState());
    EXPECT_EQ(webhooks.next(), "");
  }
  clock_.advance(seconds(5));
  WebhookState armed;
  armed.next_attempt_at = clock_.now();
  EXPECT_EQ(must(driver_->advance_batch(id, at_stage(FileStage::ended))).webhook, armed);
  EXPECT_EQ(batch(id).webhook, armed);
  EXPECT_EQ(webhooks.next(), id);
  EXPECT_EQ(webhooks.n_pending(), 1);

  FileProgress deleted = at_stage(FileStage::ended);
  deleted.output.deleted = true;
  clock_.advance(seconds(5));
  EXPECT_EQ(must(driver_->advance_batch(id, deleted)).webhook, armed) << "it ended but once";
}

TEST_P(StoreConformance, a_webhook_is_due_when_the_file_of_its_batch_is_refused) {
  Webhooks webhooks(*driver_);
  const std::string id = open_one(with_webhook());
  FileProgress bad = at_stage(FileStage::failed);
  bad.faults = {{"empty_file", "empty", "", 0}};
  EXPECT_EQ(must(driver_->advance_batch(id, bad)).webhook.next_attempt_at, clock_.now());
  EXPECT_EQ(webhooks.next(), id);
}

TEST_P(StoreConformance, a_batch_without_a_webhook_tells_nobody) {
  Webhooks webhooks(*driver_);
  BatchSpec spec = with_webhook();
  spec.file->webhook_url.clear();
  const std::string id = open_one(spec);
  must(driver_->advance_batch(id, at_stage(FileStage::running)));
  EXPECT_EQ(must(driver_->advance_batch(id, at_stage(FileStage::ended))).webhook, WebhookState());
  EXPECT_EQ(webhooks.next(), "");
  EXPECT_EQ(webhooks.n_pending(), 0);
  EXPECT_EQ(webhooks.note(id, {}).webhook, WebhookState());
  EXPECT_EQ(driver_->note_webhook(open_one(), {}).status().code(), StatusCode::not_found);
  EXPECT_EQ(driver_->note_webhook("batch_none", {}).status().code(), StatusCode::not_found);
}

TEST_P(StoreConformance, a_webhook_that_failed_is_due_again_after_its_pause) {
  Webhooks webhooks(*driver_);
  const std::string id = open_one(with_webhook());
  must(driver_->advance_batch(id, at_stage(FileStage::failed)));
  const Batch once = webhooks.note(id, failed(1, milliseconds(4500)));
  EXPECT_EQ(once.webhook.status, WebhookStatus::pending);
  EXPECT_EQ(once.webhook.attempts, 1);
  EXPECT_EQ(once.webhook.last_error, "HTTP 500");
  EXPECT_EQ(once.webhook.next_attempt_at, clock_.now() + milliseconds(4500));
  EXPECT_EQ(batch(id).webhook, once.webhook);
  clock_.advance(milliseconds(4499));
  EXPECT_EQ(webhooks.next(), "");
  clock_.advance(milliseconds(1));
  EXPECT_EQ(webhooks.next(), id);

  const Batch done = webhooks.note(id, {2, WebhookStatus::delivered, {}, ""});
  EXPECT_EQ(done.webhook.status, WebhookStatus::delivered);
  EXPECT_EQ(done.webhook.attempts, 2);
  EXPECT_EQ(done.webhook.delivered_at, clock_.now());
  EXPECT_EQ(done.webhook.next_attempt_at, std::nullopt);
  EXPECT_EQ(done.webhook.last_error, "HTTP 500") << "of the attempt before";
  EXPECT_EQ(batch(id).webhook, done.webhook);
  EXPECT_EQ(webhooks.next(), "");
  EXPECT_EQ(webhooks.n_pending(), 0);
  EXPECT_EQ(webhooks.note(id, failed(3, seconds(1))).webhook, done.webhook);
}

TEST_P(StoreConformance, a_webhook_that_is_given_up_is_never_due_again) {
  Webhooks webhooks(*driver_);
  const std::string id = open_one(with_webhook());
  must(driver_->advance_batch(id, at_stage(FileStage::failed)));
  const std::string error(kWebhookErrorBytesMax + 9, 'e');
  const Batch over = webhooks.note(id, {1, WebhookStatus::given_up, {}, error});
  EXPECT_EQ(over.webhook.status, WebhookStatus::given_up);
  EXPECT_EQ(over.webhook.last_error.size(), kWebhookErrorBytesMax);
  EXPECT_EQ(over.webhook.next_attempt_at, std::nullopt);
  EXPECT_EQ(over.webhook.delivered_at, std::nullopt);
  clock_.advance(hours(1));
  EXPECT_EQ(webhooks.next(), "");
  EXPECT_EQ(webhooks.note(id, {2, WebhookStatus::delivered, {}, ""}).webhook, over.webhook);
}

TEST_P(StoreConformance,
       of_a_webhook_that_two_daemons_sent_the_first_failure_counts_and_any_success) {
  Webhooks webhooks(*driver_);
  const std::string id = open_one(with_webhook());
  must(driver_->advance_batch(id, at_stage(FileStage::failed)));
  const Batch once = webhooks.note(id, failed(1, seconds(5)));
  clock_.advance(seconds(1));
  EXPECT_EQ(webhooks.note(id, failed(1, seconds(50), "late")).webhook, once.webhook);
  EXPECT_EQ(webhooks.note(id, {1, WebhookStatus::given_up, {}, "late"}).webhook, once.webhook);
  EXPECT_EQ(webhooks.note(id, failed(3, seconds(5), "early")).webhook, once.webhook);
  const Batch done = webhooks.note(id, {1, WebhookStatus::delivered, {}, ""});
  EXPECT_EQ(done.webhook.status, WebhookStatus::delivered);
  EXPECT_EQ(done.webhook.attempts, 1);
}

TEST_P(StoreConformance, of_webhooks_that_are_due_the_one_that_waited_longest_is_next) {
  Webhooks webhooks(*driver_);
  std::vector<std::string> ids;
  for (const char* tenant : {"alice", "bob", "alice"}) {
    ids.push_back(open_one(with_webhook(tenant)));
    clock_.advance(seconds(1));
  }
  for (const size_t i : {2u, 0u, 1u}) {
    must(driver_->advance_batch(ids[i], at_stage(FileStage::failed)));
    clock_.advance(seconds(1));
  }
  EXPECT_EQ(webhooks.next(), ids[2]);
  EXPECT_EQ(webhooks.next({"a", seconds(60), {ids[2]}}), ids[0]);
  EXPECT_EQ(webhooks.next({"a", seconds(60), {ids[2], ids[0]}}), ids[1]);
  EXPECT_EQ(webhooks.next({"a", seconds(60), ids}), "");
  EXPECT_EQ(webhooks.next({"a", seconds(60), {}, {"alice"}}), ids[1]);
  EXPECT_EQ(webhooks.next({"a", seconds(60), {}, {"alice", "bob"}}), "");
  EXPECT_EQ(webhooks.n_pending(), 3);
  webhooks.note(ids[2], failed(1, seconds(0)));  // at once, but behind the others
  EXPECT_EQ(webhooks.next(), ids[0]);
}

TEST_P(StoreConformance, a_webhook_is_forgotten_with_its_batch) {
  Webhooks webhooks(*driver_);
  const std::string id = open_one(with_webhook());
  must(driver_->advance_batch(id, at_stage(FileStage::failed)));
  clock_.advance(hours(24 * 40));
  must(driver_->purge());
  EXPECT_EQ(webhooks.next(), "");
  EXPECT_EQ(driver_->note_webhook(id, {}).status().code(), StatusCode::not_found);
}

TEST_P(StoreConformance, a_webhook_is_part_of_the_content_behind_a_batchs_key) {
  BatchSpec keyed = with_webhook();
  keyed.idempotency_key = "k";
  const std::string id = open_one(keyed);
  const OpenedBatch again = must(driver_->open_batch(keyed));
  EXPECT_TRUE(again.existed);
  EXPECT_EQ(again.batch.spec.file->webhook_url, kUrl);
  for (const char* other : {"", "https://example.org/hooks/2"}) {
    keyed.file->webhook_url = other;
    EXPECT_EQ(driver_->open_batch(keyed).status().code(), StatusCode::conflict) << other;
  }
  BatchSpec plain = with_webhook();
  plain.file->webhook_url = std::string("https://") + std::string(kWebhookUrlBytesMax, 'a');
  const Status refused = driver_->open_batch(plain).status();
  EXPECT_EQ(refused.code(), StatusCode::invalid) << refused.to_string();
  EXPECT_EQ(refused.param(), "webhook_url");
}

TEST_P(DurableStoreConformance, webhooks_are_due_when_the_store_is_opened_again) {
  Webhooks webhooks(*driver_);
  const std::string id = open_one(with_webhook());
  must(driver_->advance_batch(id, at_stage(FileStage::failed)));
  const Batch once = webhooks.note(id, failed(1, seconds(5), "no \"answer\" \u00e4 \\"));
  const std::string other = open_one(with_webhook());
  must(driver_->advance_batch(other, at_stage(FileStage::failed)));
  reopen();
  Webhooks again(*driver_);
  EXPECT_EQ(batch(id).webhook, once.webhook);
  EXPECT_EQ(batch(id).spec.file->webhook_url, kUrl);
  EXPECT_EQ(again.next(), other);
  clock_.advance(seconds(5));
  EXPECT_EQ(again.next({"a", seconds(60), {other}}), id);
}

}  // namespace
}  // namespace parkd
