#include "lib/store/rocksdb/record_codec.h"

#include <gtest/gtest.h>

#include <fstream>
#include <iomanip>
#include <iostream>
#include <map>
#include <random>
#include <sstream>
#include <string>

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
  job.requeued_from = 23;
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
  message.ending.body = "body";
  message.ending.prompt_tokens = 5;
  message.ending.completion_tokens = 6;
  message.ending.units = 7;
  message.ending.queue_us = -1;
  message.ending.run_us = 8;
  message.attempts = 2;
  message.created_at = at(97);
  message.finished_at = at(98);
  message.expires_at = at(99);
  return message;
}

record::StoredHistory full_history() {
  record::StoredHistory history;
  history.row.job_id = 1;
  history.row.tenant = "t";
  history.row.custom_id = "c";
  history.row.model = "m";
  history.row.outcome = Outcome::quarantined;
  history.row.prompt_tokens = 8;
  history.row.completion_tokens = 9;
  history.row.created_at = at(5);
  history.row.finished_at = at(6);
  history.row.error_code = "e";
  history.lease = {1, 2};
  history.sequence = 3;
  history.mailbox_key = "k";
  history.message_expires_at = at(10);
  history.period = "box_h1";
  history.expires_at = at(7);
  history.requeued_as = 11;
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
  batch.completed = 11;
  batch.failed = 12;
  batch.cancelled = 13;
  batch.deadline_missed = 14;
  batch.quarantined = 15;
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

const record::StoredKey kFullKey{1, {2, ContentRule::value}, "k", at(3)};
const record::StoredUndelivered kFullUndelivered{"box_h1", std::string("k\0y", 3)};

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

  const auto key_back = record::decode_key(record::encode(kFullKey));
  ASSERT_TRUE(key_back.ok());
  EXPECT_EQ(key_back->expires_at, at(3));

  const auto undelivered_back = record::decode_undelivered(record::encode(kFullUndelivered));
  ASSERT_TRUE(undelivered_back.ok());
  EXPECT_EQ(undelivered_back->period, kFullUndelivered.period);
  EXPECT_EQ(undelivered_back->message_key, kFullUndelivered.message_key);
}

// tests/store/released_records.txt: the bytes of these samples as programs of each version wrote
// them, by "kind version".
std::map<std::string, std::string> released_records() {
  std::map<std::string, std::string> records;
  std::ifstream file(PARKD_SOURCE_DIR "/tests/store/released_records.txt");
  for (std::string line; std::getline(file, line);) {
    if (line.empty() || line[0] == '#') continue;
    std::istringstream words(line);
    std::string kind, version, hex, bytes;
    words >> kind >> version >> hex;
    for (size_t i = 0; i + 1 < hex.size(); i += 2) {
      bytes.push_back(static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16)));
    }
    records[kind + " " + version] = bytes;
  }
  return records;
}

std::string released(const std::string& kind, int version) {
  return released_records()[kind + " " + std::to_string(version)];
}

TEST(RecordCodec, the_bytes_of_a_version_stay_as_they_are) {
  const std::map<std::string, std::string> records = released_records();
  const std::pair<std::string, std::string> now[] = {
      {"job", record::encode(full_job())},
      {"message", record::encode(full_message())},
      {"history", record::encode(full_history())},
      {"request", record::encode(full_request())},
      {"batch", record::encode(full_batch())},
      {"file_batch", record::encode(full_file_batch())},
      {"key", record::encode(kFullKey)},
      {"undelivered", record::encode(kFullUndelivered)}};
  for (const auto& [kind, bytes] : now) {
    const std::string name = kind + " " + std::to_string(int{bytes.at(0)});
    std::ostringstream line;
    line << name << " " << std::hex << std::setfill('0');
    for (const char byte : bytes) line << std::setw(2) << int{static_cast<uint8_t>(byte)};
    const auto known = records.find(name);
    ASSERT_NE(known, records.end()) << "a new version? Add the line\n" << line.str();
    EXPECT_EQ(known->second, bytes)
        << "stores that hold this version would be misread: give the record a new version, leave "
           "its line in released_records.txt as it is and add\n"
        << line.str();
  }
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
  expect_only_the_whole(record::encode(kFullKey), record::decode_key);
  expect_only_the_whole(record::encode(kFullUndelivered), record::decode_undelivered);
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
  // The grace of callers came with version 4, the rule of the fingerprint with 3, poison notes and
  // requeued_from with 2.
  const record::StoredJob job = full_job();
  const auto job_3 = record::decode_job(released("job", 3));
  ASSERT_TRUE(job_3.ok());
  EXPECT_EQ(job_3->fingerprint, job.fingerprint);
  EXPECT_EQ(job_3->caller_grace, std::nullopt);
  const auto job_2 = record::decode_job(released("job", 2));
  ASSERT_TRUE(job_2.ok());
  EXPECT_EQ(job_2->fingerprint, (ContentFingerprint{17, ContentRule::bytes}));
  EXPECT_EQ(job_2->job.suspect_group, job.job.suspect_group);
  const auto job_1 = record::decode_job(released("job", 1));
  ASSERT_TRUE(job_1.ok());
  EXPECT_EQ(job_1->fingerprint, (ContentFingerprint{17, ContentRule::bytes}));
  EXPECT_EQ(job_1->job.requeued_from, 0u);
  EXPECT_EQ(job_1->job.deaths_alone, 0);
  EXPECT_EQ(job_1->job.suspect_group, 0u);
  EXPECT_EQ(job_1->job.interruptions, job.job.interruptions);
  const auto history_1 = record::decode_history(released("history", 1));
  ASSERT_TRUE(history_1.ok());
  EXPECT_EQ(history_1->period, "box_h1");
  EXPECT_EQ(history_1->requeued_as, 0u);
  EXPECT_EQ(record::decode_key(released("key", 1))->fingerprint,
            (ContentFingerprint{2, ContentRule::bytes}));
  // A webhook came with version 4, what a batch has of a file with 3, the rule with 2.
  record::StoredBatch of_a_file = full_file_batch();
  of_a_file.batch.spec.file->webhook_url.clear();
  const auto file_3 = record::decode_batch(released("file_batch", 3));
  ASSERT_TRUE(file_3.ok());
  EXPECT_EQ(file_3->batch.spec.file, of_a_file.batch.spec.file);
  EXPECT_EQ(file_3->batch.progress, of_a_file.batch.progress);
  EXPECT_EQ(file_3->batch.webhook, WebhookState());
  const auto batch_2 = record::decode_batch(released("batch", 2));
  ASSERT_TRUE(batch_2.ok());
  EXPECT_EQ(batch_2->fingerprint, full_batch().fingerprint);
  EXPECT_EQ(batch_2->batch.spec.file, std::nullopt);
  const auto batch_1 = record::decode_batch(released("batch", 1));
  ASSERT_TRUE(batch_1.ok());
  EXPECT_EQ(batch_1->fingerprint.rule, ContentRule::bytes);
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
    // Earlier versions are read and never written.
    if (job.ok() && bytes[0] == record::encode(full_job())[0]) {
      EXPECT_EQ(record::encode(*job), bytes) << "one value has one encoding";
    }
    const auto batch = record::decode_batch(bytes);
    if (batch.ok() && bytes[0] == record::encode(full_batch())[0]) {
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
