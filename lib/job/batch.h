// Batch: a set of jobs with its own account.
//
// A batch is opened, takes jobs (submits whose batch_id names it), is sealed, and is finished when
// all its members have ended. Its counters always equal its members' rows. The rules that stores
// keep about one stand in lib/store/batch_rules.h. Plain values, any thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "lib/base/clock.h"
#include "lib/job/bounds.h"
#include "lib/job/file_batch.h"
#include "lib/job/webhook.h"

namespace parkd {

// What a caller gives to open a batch.
struct BatchSpec {
  std::string tenant = "default";
  std::string name;                  // for people; empty: none
  std::string metadata;              // a JSON object, or empty
  std::string idempotency_key;       // empty: none. Unique per tenant while the batch is remembered
  std::optional<WallTime> deadline;  // empty: 24 h after it is opened
  std::optional<std::chrono::seconds> retention;  // of members that bring none; empty: the store's
  std::optional<FileBatchSpec> file{};            // whose lines its members are; empty: none
};

enum class BatchState : uint8_t { open, in_progress, cancelling, finished };
std::string_view to_string(BatchState state);

// Where the members that have not ended are.
struct LiveMembers {
  int64_t scheduled = 0;
  int64_t queued = 0;
  int64_t claimed = 0;
  int64_t cancelling = 0;
  friend bool operator==(const LiveMembers&, const LiveMembers&) = default;
};

struct Batch {
  std::string id;         // "batch_" and 32 hexadecimal digits
  BatchSpec spec;         // deadline and retention are filled in
  int64_t total = 0;      // members ever taken
  int64_t completed = 0;  // ended, by outcome
  int64_t failed = 0;
  int64_t cancelled = 0;
  int64_t deadline_missed = 0;
  int64_t quarantined = 0;
  int64_t truncated = 0;  // of the completed: with a choice that ended at its token limit
  WallTime created_at{};
  std::optional<WallTime> sealed_at;
  std::optional<WallTime> cancel_at;    // when it was cancelled
  std::optional<WallTime> finished_at;  // sealed and every member ended
  std::optional<LiveMembers> live;      // counted from the members' rows; get_batch alone
  FileProgress progress{};              // where spec.file is
  WebhookState webhook{};               // where spec.file has a webhook_url

  int64_t ended() const { return completed + failed + cancelled + deadline_missed + quarantined; }
  int64_t unfinished() const { return total - ended(); }
  BatchState state() const;
  // Whether a daemon has something to do for it: its file to read, its results to count.
  bool needs_daemon() const;
  // Whether it has a file whose lines are not all members yet, and still takes them.
  bool reads_file() const {
    return spec.file.has_value() && progress.stage <= FileStage::expanding && !sealed_at;
  }
  // The mailbox key of the members of a file's batch. Their messages are not taken one by one, for
  // they are the lines of its results.
  const std::string& result_key() const { return id; }
  bool keeps_results() const {
    return spec.file.has_value() && !(progress.output.deleted && progress.errors.deleted);
  }
};

// Until when a file's batch has its result files: the messages of its members live no shorter.
std::optional<WallTime> results_expire_at(const Batch& batch);

struct OpenedBatch {
  Batch batch;
  bool existed = false;  // the idempotency key named a batch opened with the same content
};

}  // namespace parkd
