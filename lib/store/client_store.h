// ClientStore: a store as those see it who submit jobs and take results. By job_store.h's rules.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "lib/job/job.h"
#include "lib/store/completion.h"
#include "lib/store/store_stats.h"

namespace parkd {

// -------------------------------------------------------------------------------------------------
// submit

struct SubmittedJob {
  JobId id = 0;
  std::string mailbox_key;
  bool existed = false;   // the idempotency key named a job already accepted with the same content
  bool finished = false;  // ... which has finished since
};

// -------------------------------------------------------------------------------------------------
// cancel

enum class CancelAnswer {
  cancelled,         // it was waiting; its cancelled message is stored
  cancel_requested,  // it is claimed: the claimer is told and will finish it as cancelled
  already_finished,
  not_found,
  cancelling,  // it was waiting and never runs: a daemon ends it (PostgresClient alone)
};

// -------------------------------------------------------------------------------------------------
// requeue

// Finished jobs that did not complete and whose message is still there: those of `ids`, or all with
// one of these error codes, or all members of a batch; of what is given, all must hold (ids and a
// batch are not given together).
struct RequeueRequest {
  std::string tenant;  // empty: any tenant's (the caller is privileged)
  std::vector<JobId> ids;
  std::vector<std::string> error_codes;  // "run_timeout", "cancelled" ...; empty: any
  std::string model;                     // empty: any
  int32_t limit = 10'000;
  std::string batch_id{};  // empty: any
};

// -------------------------------------------------------------------------------------------------
// reading

// Where a job is now: live, a message, a history row, or nothing.
using JobRecord = std::variant<std::monostate, Job, Message, HistoryRow>;

struct ListFilter {
  std::optional<std::string> tenant;
  std::optional<std::string> model;
  std::optional<JobState> state;
  JobId after = 0;  // ids greater than this, ascending
  int32_t limit = 100;
  std::optional<std::string> batch_id{};
  std::optional<std::string> mailbox_key{};
  std::optional<std::string> custom_id{};
};

struct ListAnswer {
  std::vector<Job> jobs;  // at most `limit`
  // Where the list goes on; empty: there is no more. What no index finds is looked for among so
  // many jobs a page (lib/store/README.md), so a page may have fewer than `limit`, or none, and not
  // be the last.
  std::optional<JobId> next_after{};
};

struct FetchRequest {
  std::string tenant;
  std::string mailbox_key;
  uint64_t after_sequence = 0;  // the cursor: messages later than this
  int32_t limit = 100;
  bool skip_damaged = false;  // go on behind messages whose bytes are damaged
  // Of bodies and metadata: a page has no more of them, but one message at least.
  int64_t bytes_max = INT64_MAX;
};

// Messages later than `after`, up to `through`, that cannot all be read: their bytes are damaged.
struct DamagedRange {
  uint64_t after = 0;
  uint64_t through = 0;
};

struct FetchAnswer {
  std::vector<Message> messages;  // ascending by sequence, expired ones left out
  // Cursor for the next fetch; the request's when nothing came. It does not pass damage, and no
  // message behind it is in the page, unless the request says skip_damaged.
  uint64_t next_sequence = 0;
  std::optional<DamagedRange> damaged{};
  bool is_full = false;  // it came to its limit, or to bytes_max: there may be more behind it
};

// -------------------------------------------------------------------------------------------------
// the verbs

class ClientStore {
 public:
  // Accepts all of `jobs` or none. Errors: invalid (param = "jobs[i].field"), conflict (idempotency
  // key of another content, a batch that takes no more), exhausted (depth.h: all jobs count,
  // members of batches and those with a label included). A batch_id that names a batch of the
  // tenant makes a member of it; any other is a label of the submitter's own, without an account.
  virtual void submit(std::vector<JobSpec> jobs, Completion<std::vector<SubmittedJob>> done) = 0;

  // `tenant` empty: any tenant's job (the caller is privileged).
  virtual void cancel(JobId id, std::string tenant, Completion<CancelAnswer> done) = 0;

  // Makes a new job of each finished one the request names, under the same mailbox key; the old
  // message stays. A job is requeued once: asked for again, by id, it answers what it became. The
  // order is that of the old jobs' ends. All or none. Errors: invalid (no ids, codes or batch),
  // exhausted (as submit's).
  virtual void requeue(RequeueRequest request, Completion<std::vector<RequeuedJob>> done) = 0;

  virtual void get(JobId id, std::string tenant, Completion<JobRecord> done) = 0;
  virtual void list(ListFilter filter, Completion<ListAnswer> done) = 0;

  virtual void fetch(FetchRequest request, Completion<FetchAnswer> done) = 0;
  // Removes the named messages of a key and returns those that were still there: of two takers, one
  // gets a message. History rows stay. Not to be repeated blindly: after unavailable the messages
  // are where they were or gone, so a taker that must not lose any fetches them first, and takes
  // what it has stored.
  virtual void take(std::string tenant, std::string mailbox_key, std::vector<uint64_t> sequences,
                    Completion<std::vector<Message>> done) = 0;

  virtual void stats(Completion<StoreStats> done) = 0;

 protected:
  ~ClientStore() = default;
};

}  // namespace parkd
