// Job: a durable unit of work, and Message: the one outcome it ends in.
//
// Plain values shared by stores, dispatcher and faces. Words: README.md, "Words".
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "lib/base/clock.h"
#include "lib/job/bounds.h"
#include "lib/job/ending_codes.h"
#include "lib/job/endpoints.h"
#include "lib/job/job_id.h"

namespace parkd {

enum class Priority : uint8_t { critical, high, normal, low };
std::string_view to_string(Priority priority);
std::optional<Priority> priority_from_string(std::string_view word);

// A live job's state. parked and running are what the daemon shows of a claimed job. cancelling: it
// waited when a client of the database cancelled it; it never runs, a daemon ends it. In the other
// stores a cancel ends such a job at once.
enum class JobState : uint8_t { scheduled, queued, claimed, cancelling };
std::string_view to_string(JobState state);

// What a submitter gives, within bounds.h. Text fields are as they came; the door that read the
// body has checked it.
struct JobSpec {
  std::string endpoint{kEndpoints[0].path};
  std::string model;
  std::string tenant = "default";
  Priority priority = Priority::normal;
  std::string mailbox_key;  // empty: the store generates one
  std::string custom_id;
  std::string batch_id;
  std::string metadata;          // a JSON object, or empty
  std::string idempotency_key;   // empty: none. Unique per tenant
  std::string body;              // the OpenAI request body, JSON, verbatim
  std::optional<uint64_t> seed;  // drawn and stored at submit when the body has none
  std::optional<WallTime> run_at;
  std::optional<WallTime> deadline;
  std::optional<std::chrono::seconds> run_timeout;  // empty: the daemon's default
  std::optional<std::chrono::seconds> retention;    // empty: the store's default
  int32_t max_attempts = 3;
  int32_t n_choices = 1;      // of all its prompts; what follows is each one's, on average
  int32_t prompt_tokens = 0;  // counted, or an estimate when !tokens_are_exact
  int32_t max_new_tokens = 0;
  bool tokens_are_exact = false;

  // What fairness counts, in tokens: n * (prompt + max_new). Means are rounded up.
  int64_t need_tokens() const {
    return static_cast<int64_t>(n_choices) * (int64_t{prompt_tokens} + max_new_tokens);
  }
};

// A live job as a store keeps it.
struct Job {
  JobId id = 0;
  JobSpec spec;  // mailbox_key, seed and retention are filled in
  JobState state = JobState::queued;
  WallTime created_at{};
  WallTime order_key{};  // created_at (or run_at) + the delay of its class; claim order in a tenant
  int32_t attempts = 0;  // executions that failed with a retryable code
  // Process deaths in a row with it in the engine, whatever they were; evidence, never an attempt.
  int32_t interruptions = 0;
  // Poison notes: the rule is judge_death's (lib/store/rules.h).
  int32_t deaths_alone = 0;    // noted deaths at which nothing else was in the engine
  uint64_t suspect_group = 0;  // it runs in no other company than this group's; 0: no suspect
  RunLease noted_lease;        // the last run whose death was noted
  JobId requeued_from = 0;     // the finished job this one was made from; 0: none
  RunLease lease;
  WallTime claimed_at{};
  double weight = 1;  // claimed: of its tenant then, > 0; what the store's own fair share used
};

// What a finished job leaves behind, as the dispatcher writes it.
struct Ending {
  Outcome outcome = Outcome::completed;
  std::string error_code;     // of kEndingCodes; empty when completed
  std::string error_message;  // for people
  std::string error_param;    // the field at fault, if one is
  int32_t status_code = 200;  // the HTTP status of an OpenAI batch result line
  std::string body;           // OpenAI response body, JSON; may hold partial text when failed
  bool truncated = false;     // a choice ended at its token limit; counted by its batch, not kept
  int32_t prompt_tokens = 0;
  int32_t completion_tokens = 0;
  int64_t units = 0;     // blocks that were charged
  int64_t queue_us = 0;  // created (or run_at) to the start in the engine
  int64_t run_us = 0;    // in the engine
};

// An ending of this code, with its outcome and status. Requires: a code of kEndingCodes.
Ending ended_as(std::string_view code, std::string message);

// A mailbox message: the outcome under (tenant, mailbox_key) until taken or expired.
struct Message {
  uint64_t sequence = 0;  // position in the store's order of commits; what cursors are made of
  JobId job_id = 0;
  RunLease lease;  // of the run that ended the job; (0,0) when it never ran
  std::string tenant;
  std::string mailbox_key;
  std::string model;
  std::string custom_id;
  std::string batch_id;
  std::string metadata;
  Ending ending;
  int32_t attempts = 0;
  WallTime created_at{};
  WallTime finished_at{};
  WallTime expires_at{};
};

// What stays 30 days after the message is gone: "done" differs from "never existed".
struct HistoryRow {
  JobId job_id = 0;
  std::string tenant;
  std::string custom_id;
  std::string model;
  Outcome outcome = Outcome::completed;
  std::string error_code;
  int32_t prompt_tokens = 0;
  int32_t completion_tokens = 0;
  WallTime created_at{};
  WallTime finished_at{};
};

// What became of a finished job that was queued again.
struct RequeuedJob {
  JobId requeued_from = 0;
  JobId id = 0;  // the new one
  std::string mailbox_key;
  bool existed = false;  // requeued before: what it became then, as long as its message could live
};

// Delay of a class in the order: one static key that is priority and ageing in one.
std::chrono::seconds priority_delay(Priority priority);

// The claim order key of a new job.
WallTime order_key_of(const JobSpec& spec, WallTime created_at);

}  // namespace parkd
