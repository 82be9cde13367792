// The daemon's JSON: submits in, jobs and messages out. One schema for HTTP, jobctl and result
// lines.
//
// A submitted job: {"body": {...}, "model", "endpoint", "mailbox_key", "custom_id", "metadata":
// {...},
//   "batch_id", "priority", "run_at", "deadline" (RFC 3339), "run_timeout_s", "retention_s",
//   "max_attempts", "idempotency_key", "tenant"}; only body is required. A job with a batch_id is
//   of priority low where none is given. An OpenAI batch line
//   ({"custom_id", "method", "url", "body"}) is one too: url is its endpoint, and where both stand
//   they must be the same. body and metadata are stored as the bytes that came. mailbox_key,
//   custom_id, batch_id, idempotency_key and tenant are left out by "", too, as in SQL; a time is
//   not.
// A message: {"id", "custom_id", "mailbox_key", "batch_id", "tenant", "model", "outcome",
//   "response": {"status_code", "request_id", "body"} | null, "error": {"code", "message", "param"}
//   | null, "prompt_tokens", "completion_tokens", "units", "queue_ms", "run_ms", "attempts",
//   "metadata", "created_at", "finished_at", "expires_at", "cursor"}. As OpenAI's batch output has
//   it, a refused request is a response of status 4xx with the error inside its body; "error" is
//   for what is not an answer to a request (cancelled, deadline_missed, internal). A failed run's
//   partial text is in response.body.
// Pure functions, any thread; whatever the bytes are, the answer is a value or a Status.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lib/base/status.h"
#include "lib/job/job.h"

namespace parkd {

struct SubmitLimits {
  size_t jobs_max = kSubmitJobsMax;
  size_t body_bytes_max = 1u << 20;  // of one job's body
  // Asked before reading takes so many bytes more than the text has; empty: granted. Besides, no
  // text may take more than kJsonMemoryFactor times its own bytes (json_memory.h).
  std::function<Status(size_t bytes)> grow{};
};

struct ParsedSubmit {
  std::vector<JobSpec> jobs;  // tenant empty where none was named
  bool many = false;          // {"jobs": [...]} rather than one job
};

// Errors: invalid, param = the field ("jobs[3].priority"; of a single job just "priority");
// unavailable where memory was not granted.
Result<ParsedSubmit> parse_submit(std::string_view json, const SubmitLimits& limits);

// Cursors (after, through) between which messages' bytes are damaged: a page says them as
// "damaged".
using DamagedCursors = std::optional<std::pair<uint64_t, uint64_t>>;

std::string render_message(const Message& message);
// {"messages":[...]}, and the same with "next_cursor".
std::string render_messages(const std::vector<Message>& messages);
std::string render_page(const std::vector<Message>& messages, uint64_t next_sequence,
                        const DamagedCursors& damaged);
// An accepted job: {"id", "mailbox_key", "existed", "finished"}.
std::string render_submitted(JobId id, std::string_view mailbox_key, bool existed, bool finished);
// What became of a cancel: {"id", "cancel": its word}.
std::string render_cancel(JobId id, std::string_view word);
// A live job. `state` is what the daemon shows: scheduled, queued, parked, running ...; units < 0:
// not priced yet.
std::string render_job(const Job& job, std::string_view state, int64_t units,
                       std::string_view waits_for);
std::string render_history(const HistoryRow& row);

// Opaque to readers: a sequence of the store.
std::string render_cursor(uint64_t sequence);
std::optional<uint64_t> parse_cursor(std::string_view cursor);

// A live job's state as clients name it. Errors: invalid (param "state"), with the words there are.
Result<JobState> parse_job_state(std::string_view word);

// "2026-11-23T12:00:00Z", fractions and offsets allowed (RFC 3339).
std::optional<WallTime> parse_rfc3339(std::string_view text);
// Why a field of that text is refused, behind the field's name.
std::string not_a_time(std::string_view text);

}  // namespace parkd
