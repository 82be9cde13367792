// A batch, and requeued jobs, as HTTP and jobctl show them. Pure, any thread.
#pragma once

#include <string>
#include <vector>

#include "lib/job/batch.h"

namespace parkd {

struct RequeuedJob;

// {"id", "name", "tenant", "status": open | in_progress | cancelling | finished, "total",
//   "completed", "failed", "cancelled", "deadline_missed", "quarantined", "truncated",
//   "unfinished", "created_at", "sealed_at", "cancel_at", "finished_at", "deadline",
//   "retention_s", "metadata"}, and of one asked for alone "scheduled", "queued", "claimed",
//   "cancelling": where its live members are.
std::string render_batch(const Batch& batch);

// {"jobs": [{"requeued_from", "id", "mailbox_key", "existed"}]}
std::string render_requeued(const std::vector<RequeuedJob>& jobs);

}  // namespace parkd
