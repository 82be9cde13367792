// Batch: a set of jobs with its own account, and the rules every store keeps about one.
//
// A batch is opened, takes jobs (submits whose batch_id names it), is sealed, and is finished when
// all its members have ended. Its counters always equal its members' rows. Members take their
// deadline from it, and its retention where they bring none; they count as queue depth, too.
//
// Plain values and pure functions, any thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "lib/base/clock.h"
#include "lib/base/status.h"
#include "lib/job/job.h"

namespace parkd {

struct StoreOptions;

inline constexpr std::chrono::hours kBatchDeadlineDefault{24};
// So that no member's message outlives rules.h's kMessageLifeMax.
inline constexpr std::chrono::hours kBatchDeadlineMax{30 * 24};
inline constexpr size_t kBatchNameBytesMax = 512;
inline constexpr size_t kBatchMetadataBytesMax = 64 << 10;  // parkd.open_batch has the same

// What somebody who opens a batch gives.
struct BatchSpec {
  std::string tenant = "default";
  std::string name;                  // for people; empty: none
  std::string metadata;              // a JSON object, or empty
  std::string idempotency_key;       // empty: none. Unique per tenant while the batch is remembered
  std::optional<WallTime> deadline;  // empty: 24 h after it is opened
  std::optional<std::chrono::seconds> retention;  // of members that bring none; empty: the store's
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
  std::optional<WallTime> cancel_at;    // somebody cancelled it then
  std::optional<WallTime> finished_at;  // sealed and every member ended
  std::optional<LiveMembers> live;      // counted from the members' rows; get_batch alone

  int64_t ended() const { return completed + failed + cancelled + deadline_missed + quarantined; }
  int64_t unfinished() const { return total - ended(); }
  BatchState state() const;
};

struct OpenedBatch {
  Batch batch;
  bool existed = false;  // the idempotency key named a batch opened with the same content
};

// The first thing wrong with it, with param = the field; ok when nothing is.
Status check_batch(const BatchSpec& spec, WallTime now);
Batch new_batch(BatchSpec spec, WallTime now, const StoreOptions& options);

// Whether the batch takes this job, jobs[index] of a submit that brings `n_new` members in all.
Status check_member(const Batch& batch, const JobSpec& spec, size_t index, int64_t n_new,
                    const StoreOptions& options, WallTime now);
// The refusals of check_member, for a store that decides elsewhere.
Status batch_is_sealed(size_t index, std::string_view batch_id);
Status batch_is_over(size_t index, std::string_view batch_id, WallTime deadline);
Status batch_is_full(size_t index, std::string_view batch_id, int64_t total, int64_t n_new,
                     int64_t limit);
Status deadline_is_its_batchs(size_t index, std::string_view batch_id);
Status no_such_batch(std::string_view batch_id);
Status no_batch_to_list_after(std::string_view batch_id);
Status batch_key_has_other_content(std::string_view idempotency_key, std::string_view batch_id);

// Deadline and retention of a job the batch takes.
void become_member(JobSpec& spec, const Batch& batch);

// The counters after one more member ended.
void count_end(Batch& batch, const Ending& ending, WallTime now);
// No more members. A batch that is sealed already stays as it is.
void seal(Batch& batch, WallTime now);

// The order of list_batches.
bool is_newer(const Batch& a, const Batch& b);

// When the batch is forgotten: with the history rows of its last messages. Empty: not finished yet.
std::optional<WallTime> batch_expires_at(const Batch& batch, const StoreOptions& options);

}  // namespace parkd
