#include "lib/store/rocksdb/record_codec.h"

#include <gtest/gtest.h>

#include <iostream>
#include <random>

namespace parkd {
namespace {

WallTime at(int64_t us) {
  return from_unix_us(us);
}

record::StoredJob full_job() {
  record::StoredJob stored;
  Job& job = stored.job;
  job.id = 0x0102030405060708;
  job.spec.model = "m";
  job.spec.tenant = std::string("t\0u", 3);
  job.spec.mailbox_key = "box";
  job.spec.custom_id = "c";
  job.spec.batch_id = "b";
  job.spec.metadata = "{}";
  job.spec.idempotency_key = "k";
  job.spec.priority = Priority::low;
  job.spec.seed = ~uint64_t{0};
  job.spec.run_at = at(5);
  job.spec.deadline = at(6);
  job.spec.run_timeout = std::chrono::seconds(7);
  job.spec.retention = std::chrono::seconds(8);
  job.spec.max_attempts = 9;
  job.spec.n_choices = 10;
  job.spec.prompt_tokens = 11;
  job.spec.max_new_tokens = 12;
  job.spec.tokens_are_exact = true;
  job.created_at = at(13);
  job.order_key = at(14);
  job.attempts = 15;
  job.interruptions = 16;
  job.deaths_alone = 18;
  job.suspect_group = 19;
  job.noted_lease = {20, 21};
  stored.fingerprint = {17, ContentRule::value};
  stored.cancel_requested = true;
  stored.caller_grace = std::chrono::seconds(22);
  return stored;
}

Message full_message() {
  Message message;
  message.sequence = 1;
  message.job_id = 2;
  message.lease = {3, 4};
  message.tenant = "t";
  message.mailbox_key = "k";
  message.model = "m";
  message.custom_id = "c";
  message.batch_id = "b";
  message.metadata = "{}";
  message.ending.outcome = Outcome::failed;
  message.ending.error_code = "internal";
  message.ending.error_message = "why";
  message.ending.error_param = "messages";
  message.ending.status_code = 500;
  message.ending.body = std::string(1000, 'b');
  message.ending.queue_us = -1;
  message.attempts = 2;
  message.expires_at = at(99);
  return message;
}

record::StoredHistory full_history() {
  record::StoredHistory history;
  history.row.job_id = 1;
  history.row.tenant = "t";
  history.row.outcome = Outcome::quarantined;
  history.row.error_code = "e";
  history.lease = {1, 2};
  history.sequence = 3;
  history.mailbox_key = "k";
  history.period = "box_h1";
  history.expires_at = at(7);
  return history;
}

record::StoredRequest full_request() {
  record::StoredRequest request;
  request.job_id = 1;
  request.sequence = 2;
  request.message_expires_at = at(3);
  request.spec = full_job().job.spec;
  request.spec.body = "{}";
  return request;
}

record::StoredBatch full_batch() {
  record::StoredBatch stored;
  Batch& batch = stored.batch;
  batch.id = "batch_1";
  batch.spec = {"t", "n", "{}", "k", at(1), std::chrono::seconds(2), std::nullopt};
  batch.total = 3;
  batch.truncated = 7;
  batch.created_at = at(8);
  batch.sealed_at = at(8);
  batch.cancel_at = at(9);
  stored.fingerprint = {10, ContentRule::value};
  return stored;
}

record::StoredBatch full_file_batch() {
  record::StoredBatch stored = full_batch();
  stored.batch.spec.file = FileBatchSpec{"file-1", "/v1/x", "24h", "batch_0", 12};
  FileProgress& progress = stored.batch.progress;
  progress = {
      FileStage::ended, "m", 3,           400, {{"c", "m", "p", 2}, {"d", "", "", 0}}, at(5), at(6),
      {1, 70, true},    {},  {4, 3, 2, 1}};
  progress.errors.lines = 9;
  stored.batch.spec.file->webhook_url = "https://h/p";
  stored.batch.webhook = {WebhookStatus::pending, 3, at(7), at(8), "e"};
  return stored;
}

TEST(RecordCodec, records_come_back_as_they_were) {
  const std::string job = record::encode(full_job());
  const auto job_back = record::decode_job(job);
  ASSERT_TRUE(job_back.ok());
  EXPECT_EQ(record::encode(*job_back), job);
  EXPECT_EQ(job_back->job.spec.tenant, full_job().job.spec.tenant);
  EXPECT_EQ(job_back->job.spec.deadline, at(6));
  EXPECT_EQ(job_back->job.spec.seed, ~uint64_t{0});
  EXPECT_TRUE(job_back->cancel_requested);
  EXPECT_EQ(job_back->caller_grace, std::chrono::seconds(22));

  const std::string message = record::encode(full_message());
  const auto message_back = record::decode_message(message);
  ASSERT_TRUE(message_back.ok());
  EXPECT_EQ(record::encode(*message_back), message);
  EXPECT_EQ(message_back->ending.queue_us, -1);
  EXPECT_EQ(message_back->lease, (RunLease{3, 4}));

  const std::string history = record::encode(full_history());
  const auto history_back = record::decode_history(history);
  ASSERT_TRUE(history_back.ok());
  EXPECT_EQ(record::encode(*history_back), history);
  EXPECT_EQ(history_back->period, "box_h1");

  const std::string request = record::encode(full_request());
  const auto request_back = record::decode_request(request);
  ASSERT_TRUE(request_back.ok());
  EXPECT_EQ(record::encode(*request_back), request);
  EXPECT_EQ(request_back->spec.body, "{}");

  const std::string batch = record::encode(full_batch());
  const auto batch_back = record::decode_batch(batch);
  ASSERT_TRUE(batch_back.ok());
  EXPECT_EQ(record::encode(*batch_back), batch);
  EXPECT_EQ(batch_back->batch.truncated, 7);
  EXPECT_EQ(batch_back->batch.cancel_at, at(9));
  EXPECT_EQ(batch_back->batch.finished_at, std::nullopt);
  EXPECT_EQ(batch_back->batch.spec.file, std::nullopt);
  const auto file_back = record::decode_batch(record::encode(full_file_batch()));
  ASSERT_TRUE(file_back.ok());
  EXPECT_EQ(file_back->batch.spec.file, full_file_batch().batch.spec.file);
  EXPECT_EQ(file_back->batch.progress, full_file_batch().batch.progress);

  const record::StoredKey key{1, {2, ContentRule::value}, "k", at(3)};
  const auto key_back = record::decode_key(record::encode(key));
  ASSERT_TRUE(key_back.ok());
  EXPECT_EQ(key_back->expires_at, at(3));

  const record::StoredUndelivered undelivered{"box_h1", std::string("k\0y", 3)};
  const auto undelivered_back = record::decode_undelivered(record::encode(undelivered));
  ASSERT_TRUE(undelivered_back.ok());
  EXPECT_EQ(undelivered_back->period, undelivered.period);
  EXPECT_EQ(undelivered_back->message_key, undelivered.message_key);
}

TEST(RecordCodec, the_bytes_of_a_version_stay_as_they_are) {
  // A store written by an earlier program must open: change these only together with the version.
  const record::StoredKey key{0x0102, {0x03, ContentRule::value}, "k", at(4)};
  const std::string bytes = record::encode(key);
  EXPECT_EQ(bytes, std::string("\x02"
                               "\x02\x01\0\0\0\0\0\0"
                               "\x03\0\0\0\0\0\0\0"
                               "\x01\0\0\0k"
                               "\x04\0\0\0\0\0\0\0"
                               "\x01",
                               1 + 8 + 8 + 5 + 8 + 1));
  EXPECT_EQ(record::id_key(0x0102), std::string("\0\0\0\0\0\0\1\2", 8));
}

template <class Decode>
void expect_only_the_whole(const std::string& whole, Decode decode) {
  EXPECT_TRUE(decode(whole).ok());
  EXPECT_FALSE(decode(whole + "x").ok());
  for (size_t size = 0; size < whole.size(); ++size) {
    EXPECT_EQ(decode(std::string_view(whole).substr(0, size)).status().code(), StatusCode::corrupt);
  }
}

TEST(RecordCodec, a_record_cut_short_or_too_long_is_corrupt) {
  expect_only_the_whole(record::encode(full_job()), record::decode_job);
  expect_only_the_whole(record::encode(full_message()), record::decode_message);
  expect_only_the_whole(record::encode(full_history()), record::decode_history);
  expect_only_the_whole(record::encode(full_request()), record::decode_request);
  expect_only_the_whole(record::encode(full_batch()), record::decode_batch);
  expect_only_the_whole(record::encode(full_file_batch()), record::decode_batch);
  expect_only_the_whole(record::encode(record::StoredKey{1, {2, ContentRule::value}, "k", at(3)}),
                        record::decode_key);
  expect_only_the_whole(record::encode(record::StoredUndelivered{"box_h1", "key"}),
                        record::decode_undelivered);
  expect_only_the_whole(record::encode_count(7), record::decode_count);
}

TEST(RecordCodec, another_version_is_corrupt_and_never_guessed_at) {
  for (const char version : {'\0', '\5', '\x7f'}) {
    std::string bytes = record::encode(full_job());
    bytes[0] = version;
    EXPECT_EQ(record::decode_job(bytes).status().code(), StatusCode::corrupt) << int{version};
  }
}

TEST(RecordCodec, records_of_earlier_versions_are_read) {
  std::string job = record::encode(full_job());
  // The grace of callers came with version 4, the rule of the fingerprint with 3, poison notes and
  // requeued_from with 2.
  job.resize(job.size() - sizeof(bool) - sizeof(int64_t));
  job[0] = 3;
  const auto of_version_3 = record::decode_job(job);
  ASSERT_TRUE(of_version_3.ok());
  EXPECT_EQ(of_version_3->fingerprint, full_job().fingerprint);
  EXPECT_EQ(of_version_3->caller_grace, std::nullopt);
  job.resize(job.size() - sizeof(ContentRule));
  job[0] = 2;
  const auto of_version_2 = record::decode_job(job);
  ASSERT_TRUE(of_version_2.ok());
  EXPECT_EQ(of_version_2->fingerprint, (ContentFingerprint{17, ContentRule::bytes}));
  EXPECT_EQ(of_version_2->job.requeued_from, full_job().job.requeued_from);
  job.resize(job.size() - sizeof(int32_t) - sizeof(uint64_t) - 2 * sizeof(uint64_t) -
             sizeof(JobId));
  job[0] = 1;
  const auto job_back = record::decode_job(job);
  ASSERT_TRUE(job_back.ok());
  EXPECT_EQ(job_back->fingerprint, (ContentFingerprint{17, ContentRule::bytes}));
  EXPECT_EQ(job_back->job.requeued_from, 0u);
  EXPECT_EQ(job_back->job.deaths_alone, 0);
  EXPECT_EQ(job_back->job.suspect_group, 0u);
  std::string history = record::encode(full_history());
  history.resize(history.size() - sizeof(JobId));
  history[0] = 1;
  const auto history_back = record::decode_history(history);
  ASSERT_TRUE(history_back.ok());
  EXPECT_EQ(history_back->period, "box_h1");
  EXPECT_EQ(history_back->requeued_as, 0u);
  std::string key = record::encode(record::StoredKey{1, {2, ContentRule::value}, "k", at(3)});
  key.pop_back();
  key[0] = 1;
  EXPECT_EQ(record::decode_key(key)->fingerprint, (ContentFingerprint{2, ContentRule::bytes}));
  // A webhook came with version 4, what a batch has of a file with 3, the rule with 2.
  record::StoredBatch of_a_file = full_file_batch();
  of_a_file.batch.spec.file->webhook_url.clear();
  of_a_file.batch.webhook = {};
  std::string file_batch = record::encode(of_a_file);
  file_batch.resize(file_batch.size() - sizeof(uint32_t) - 1 - sizeof(int32_t) - 2 -
                    sizeof(uint32_t));
  file_batch[0] = 3;
  const auto file_back = record::decode_batch(file_batch);
  ASSERT_TRUE(file_back.ok());
  EXPECT_EQ(file_back->batch.spec.file, of_a_file.batch.spec.file);
  EXPECT_EQ(file_back->batch.progress, of_a_file.batch.progress);
  EXPECT_EQ(file_back->batch.webhook, WebhookState());
  std::string batch = record::encode(full_batch());
  batch.pop_back();
  batch[0] = 2;
  EXPECT_EQ(record::decode_batch(batch)->fingerprint, full_batch().fingerprint);
  EXPECT_EQ(record::decode_batch(batch)->batch.spec.file, std::nullopt);
  batch.pop_back();
  batch[0] = 1;
  EXPECT_EQ(record::decode_batch(batch)->fingerprint.rule, ContentRule::bytes);
}

TEST(RecordCodec, flipped_bytes_never_crash_it) {
  const uint64_t seed = std::random_device()();
  std::cout << "seed " << seed << std::endl;
  std::mt19937_64 random(seed);
  for (int i = 0; i < 20'000; ++i) {
    std::string bytes = i % 3 == 0   ? record::encode(full_job())
                        : i % 3 == 1 ? record::encode(full_message())
                                     : record::encode(full_file_batch());
    for (uint64_t n = 1 + random() % 4; n > 0; --n) {
      bytes[random() % bytes.size()] = static_cast<char>(random());
    }
    const auto job = record::decode_job(bytes);
    if (job.ok() && bytes[0] == 4) {  // earlier versions are read and never written
      EXPECT_EQ(record::encode(*job), bytes) << "one value has one encoding";
    }
    const auto batch = record::decode_batch(bytes);
    if (batch.ok() && bytes[0] == 4) {
      EXPECT_EQ(record::encode(*batch), bytes);
    }
    const auto message = record::decode_message(bytes);
    if (message.ok()) {
      EXPECT_EQ(record::encode(*message), bytes);
    }
  }
}

TEST(RecordCodec, keys_sort_as_what_they_stand_for) {
  EXPECT_LT(record::id_key(255), record::id_key(256));
  EXPECT_LT(record::message_key("t", "k", 255), record::message_key("t", "k", 256));
  EXPECT_NE(record::mailbox_prefix("a", "bc"), record::mailbox_prefix("ab", "c"));
  const record::Due early{at(255), record::DueKind::idempotency, "z"};
  const record::Due late{at(256), record::DueKind::history, record::id_key(1)};
  EXPECT_LT(record::due_key(early), record::due_key(late));
  EXPECT_LT(record::due_key(early), record::due_bound(at(255)));
  EXPECT_GT(record::due_key(late), record::due_bound(at(255)));
  const auto back = record::decode_due_key(record::due_key(late));
  ASSERT_TRUE(back.ok());
  EXPECT_EQ(back->at, at(256));
  EXPECT_EQ(back->target, record::id_key(1));
  EXPECT_FALSE(record::decode_due_key("short").ok());
  EXPECT_FALSE(record::decode_due_key(std::string(9, '\x7f')).ok());
  EXPECT_EQ(*record::decode_id_key(record::id_key(77)), 77u);
  EXPECT_FALSE(record::decode_id_key("").ok());
}

}  // namespace
}  // namespace parkd
