// What a submit's JSON means. One schema for HTTP, jobctl and batch lines.
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
// Pure, any thread; whatever the bytes are, the answer is a value or a Status.
#pragma once

#include <cstddef>
#include <functional>
#include <string_view>
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

}  // namespace parkd
