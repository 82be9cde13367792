// The rules that every store keeps about a batch (lib/job/batch.h).
//
// Members take their deadline from it, and its retention where they bring none; they count as queue
// depth, too. Pure functions, any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "lib/base/clock.h"
#include "lib/base/status.h"
#include "lib/job/batch.h"
#include "lib/job/job.h"

namespace parkd {

struct BatchFilter;
struct BatchWorkRequest;
struct StoreOptions;
struct WebhookAttempt;
struct WebhookRequest;

// The first thing wrong with it, with param = the field; ok when nothing is.
Status check_batch(const BatchSpec& spec, WallTime now);
Batch new_batch(BatchSpec spec, WallTime now, const StoreOptions& options);

// The idempotency key of the line that begins at a byte of the batch's file.
std::string line_key(std::string_view batch_id, int64_t offset);
// Whether a job of the batch that it names can be a line of that one's file; a batch of a file
// takes no others.
bool is_line(const JobSpec& spec);

// Whether the batch takes this job, jobs[index] of a submit that brings `n_new` members in all.
Status check_member(const Batch& batch, const JobSpec& spec, size_t index, int64_t n_new,
                    const StoreOptions& options, WallTime now);
// The refusals of check_member, for a store that decides elsewhere.
Status batch_is_sealed(size_t index, std::string_view batch_id);
Status batch_is_over(size_t index, std::string_view batch_id, WallTime deadline);
Status batch_is_full(size_t index, std::string_view batch_id, int64_t total, int64_t n_new,
                     int64_t limit);
Status deadline_is_its_batchs(size_t index, std::string_view batch_id);
Status member_never_runs(size_t index, std::string_view batch_id, WallTime run_at,
                         WallTime deadline);
Status batch_is_of_a_file(size_t index, std::string_view batch_id, std::string_view file_id);
Status no_such_batch(std::string_view batch_id);
Status no_batch_to_list_after(std::string_view batch_id);
Status batch_key_has_other_content(std::string_view idempotency_key, std::string_view batch_id);

// Deadline and retention of a job the batch takes.
void become_member(JobSpec& spec, const Batch& batch);

// The counters after one more member ended.
void count_end(Batch& batch, const Ending& ending, WallTime now);
// No more members. A batch that is sealed already stays as it is.
void seal(Batch& batch, WallTime now);

// How far a batch of a file has come: by `to`, unless that is behind where it is (a daemon that
// died, or was slow). A stage that needs no more members seals it; one that was sealed meanwhile
// gets none, whatever its file has. It fails only while it is validated, ends only when its members
// have, and from then on its result files can be deleted and nothing else changes. When it has
// ended or failed its webhook, if it has one, is due. Times are the store's.
void advance(Batch& batch, FileProgress to, WallTime now);
Status not_of_a_file(std::string_view batch_id);
// The refusal of a take from the mailbox key of a batch's results.
Status results_are_kept(const Batch& batch);
// Whether next_batch_work may answer with it: it needs a daemon, and is not passed over.
bool is_wanted(const Batch& batch, const BatchWorkRequest& request);
// The order of next_batch_work.
bool is_older(const Batch& a, const Batch& b);

// Whether next_webhook may answer with it.
bool is_due(const Batch& batch, const WebhookRequest& request, WallTime now);
// The order of next_webhook. Requires that both are due.
bool is_due_before(const Batch& a, const Batch& b);
// What became of an attempt to tell its end; nothing where that has come to an end. One that failed
// counts as the next alone, for a daemon that was slow may have sent one that another has sent
// again. One that was delivered was, whichever it is.
void note_attempt(Batch& batch, const WebhookAttempt& attempt, WallTime now);
// What is kept of why one failed.
std::string_view kept_error(const WebhookAttempt& attempt);

// Whether list_batches shows it, but for `after` and `limit`.
bool is_listed(const Batch& batch, const BatchFilter& filter);
// The order of list_batches.
bool is_newer(const Batch& a, const Batch& b);

// When the batch is forgotten: with the history rows of its last messages. Empty: not finished yet.
std::optional<WallTime> batch_expires_at(const Batch& batch, const StoreOptions& options);

}  // namespace parkd
