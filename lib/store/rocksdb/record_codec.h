// The bytes of the embedded store: keys that sort, and versioned records.
//
// Pure functions, any thread. Decoding never trusts its input: any bytes give a record or a corrupt
// Status. Records carry no checksum of their own, because RocksDB verifies one over every WAL
// record and every block it reads; the decoder's strictness is for programs of another version.
//
// Key integers are big-endian, so that they sort as numbers; strings in keys carry their length
// (u32), so that no key is another's prefix. Record integers are little-endian. A record starts
// with its version byte; a version this program does not know is corrupt, never guessed at.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "lib/base/status.h"
#include "lib/job/batch.h"
#include "lib/job/job.h"
#include "lib/store/content.h"

namespace parkd::record {

// corrupt: what is stored as a `what` is none that this program knows.
Status damaged(std::string_view what);

// --- keys (record_keys.cc)

std::string id_key(JobId id);
Result<JobId> decode_id_key(std::string_view key);

std::string idempotency_key(std::string_view tenant, std::string_view key);

// Messages of one mailbox key sort by sequence: mailbox_prefix(tenant, key) + sequence.
std::string mailbox_prefix(std::string_view tenant, std::string_view mailbox_key);
std::string message_key(std::string_view tenant, std::string_view mailbox_key, uint64_t sequence);

// Requests of failed jobs lie beside the messages, by failure code and sequence; no message key
// begins as they do.
std::string request_prefix(std::string_view error_code);
std::string request_key(std::string_view error_code, uint64_t sequence);
Result<std::string> error_code_of_request_key(std::string_view key);

// And which they are of a batch, by sequence; what it says may be gone.
struct BatchRequest {
  JobId job_id = 0;
  std::string error_code;
};
std::string batch_request_prefix(std::string_view batch_id);
std::string batch_request_key(std::string_view batch_id, uint64_t sequence);
bool is_batch_request_key(std::string_view key);
Result<uint64_t> decode_batch_request_sequence(std::string_view key);
std::string encode(const BatchRequest& request);
Result<BatchRequest> decode_batch_request(std::string_view bytes);

// What expires when: the sweep reads these from the front. `target` is an id_key of a history row
// or an idempotency_key.
enum class DueKind : uint8_t { history = 1, idempotency = 2 };
struct Due {
  WallTime at{};
  DueKind kind = DueKind::history;
  std::string target;
};
std::string due_key(const Due& due);
std::string due_bound(WallTime at);  // all keys below it are due at `at`
Result<Due> decode_due_key(std::string_view key);

// --- records

// A live job without its body (which has its own column family) and without what only RAM knows
// (state, lease).
struct StoredJob {
  Job job;
  ContentFingerprint fingerprint;  // of the spec as it came, where it has an idempotency key
  bool cancel_requested = false;   // asked for while it was claimed: it must not run again
  std::optional<std::chrono::seconds> caller_grace{};  // it is attached (lib/store/caller_store.h)
};
std::string encode(const StoredJob& stored);
Result<StoredJob> decode_job(std::string_view bytes);

std::string encode(const Message& message);
Result<Message> decode_message(std::string_view bytes);

// History row, and the fence of repeated finishes: which run ended the job, where its message is.
struct StoredHistory {
  HistoryRow row;
  RunLease lease;
  uint64_t sequence = 0;
  std::string mailbox_key;
  WallTime message_expires_at{};
  std::string period;  // column family of the message
  WallTime expires_at{};
  JobId requeued_as = 0;  // the job it became; 0: none yet
};
std::string encode(const StoredHistory& history);
Result<StoredHistory> decode_history(std::string_view bytes);

struct StoredKey {
  JobId id = 0;
  ContentFingerprint fingerprint;
  std::string mailbox_key;
  WallTime expires_at{};  // 1970 while the job lives
};
std::string encode(const StoredKey& key);
Result<StoredKey> decode_key(std::string_view bytes);

// What a job that did not complete was, for requeue: as long as its message is there and it was not
// requeued.
struct StoredRequest {
  JobId job_id = 0;
  uint64_t sequence = 0;  // of its message
  WallTime message_expires_at{};
  JobSpec spec;  // whole, with the body
};
std::string encode(const StoredRequest& request);
Result<StoredRequest> decode_request(std::string_view bytes);

struct StoredBatch {
  Batch batch;                     // without live
  ContentFingerprint fingerprint;  // of its spec as it came
};
std::string encode(const StoredBatch& batch);
Result<StoredBatch> decode_batch(std::string_view bytes);

// Where a message lies that waits in the outbox, under id_key(sequence).
struct StoredUndelivered {
  std::string period;  // column family of the message
  std::string message_key;
};
std::string encode(const StoredUndelivered& undelivered);
Result<StoredUndelivered> decode_undelivered(std::string_view bytes);

// Counters of the meta column family.
std::string encode_count(uint64_t value);
Result<uint64_t> decode_count(std::string_view bytes);

}  // namespace parkd::record
