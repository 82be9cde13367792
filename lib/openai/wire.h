// The daemon's JSON of jobs and messages, as HTTP and jobctl show them and result lines have them;
// submit.h has what comes in.
//
// A message: {"id", "custom_id", "mailbox_key", "batch_id", "tenant", "model", "outcome",
//   "response": {"status_code", "request_id", "body"} | null, "error": {"code", "message", "param"}
//   | null, "prompt_tokens", "completion_tokens", "units", "queue_ms", "run_ms", "attempts",
//   "metadata", "created_at", "finished_at", "expires_at", "cursor"}. As OpenAI's batch output has
//   it, a refused request is a response of status 4xx with the error inside its body; "error" is
//   for what is not an answer to a request (cancelled, deadline_missed, internal). A failed run's
//   partial text is in response.body.
// Pure functions, any thread.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lib/base/status.h"
#include "lib/job/job.h"

namespace parkd {

// Cursors (after, through) between which messages' bytes are damaged: a page says them as
// "damaged".
using DamagedCursors = std::optional<std::pair<uint64_t, uint64_t>>;

// Whether the job's end is an answer to its request: that it cannot be served. A run that was
// stopped at its run_timeout is none, though its status is 4xx, too.
bool is_refusal(const Ending& ending);
// Its error object. Requires: is_refusal.
std::string render_refusal(const Ending& ending);
// By which a response names the job.
std::string request_id_of(JobId id);

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
// not priced yet. prompt_tokens and max_new_tokens are of each choice, on average (JobSpec).
std::string render_job(const Job& job, std::string_view state, int64_t units,
                       std::string_view waits_for);
std::string render_history(const HistoryRow& row);

// Opaque to readers: a sequence of the store.
std::string render_cursor(uint64_t sequence);
std::optional<uint64_t> parse_cursor(std::string_view cursor);

// A live job's state as clients name it. Errors: invalid (param "state"), with the words there are.
Result<JobState> parse_job_state(std::string_view word);

}  // namespace parkd
