// A batch, and requeued jobs, as HTTP and jobctl show them. Pure, any thread.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "lib/job/batch.h"

namespace parkd {

struct RequeuedJob;

// {"id", "name", "tenant", "status": open | in_progress | cancelling | finished, "total",
//   "completed", "failed", "cancelled", "deadline_missed", "quarantined", "truncated",
//   "unfinished", "created_at", "sealed_at", "cancel_at", "finished_at", "deadline",
//   "retention_s", "metadata"}, and of one asked for alone "scheduled", "queued", "claimed",
//   "cancelling": where its live members are.
// One of a file as OpenAI's Batches have it, with times in Unix seconds: {"id", "object": "batch",
//   "endpoint", "model", "errors", "input_file_id", "completion_window", "status": validating |
//   failed | in_progress | finalizing | completed | expired | cancelling | cancelled,
//   "output_file_id", "error_file_id", ten times, "request_counts", "usage", "metadata"} and of
//   ours "tenant", "retried_from", "output_expires_at" and "webhook": null, or {"url", "status":
//   pending | delivered | given_up, "attempts", "next_attempt_at", "delivered_at", "last_error"}.
std::string render_batch(const Batch& batch);
// The status of one of a file, as it is shown.
std::string_view file_batch_status(const Batch& batch);
// {"object": "list", "data": [...], "first_id", "last_id", "has_more"}
std::string render_batches(const std::vector<Batch>& batches, bool has_more);

// {"jobs": [{"requeued_from", "id", "mailbox_key", "existed"}]}
std::string render_requeued(const std::vector<RequeuedJob>& jobs);

}  // namespace parkd
