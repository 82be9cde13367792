// What every store decides alike about one job: which submissions are refused, what a submission
// becomes, what a finished job leaves behind.
//
// Pure functions, any thread (new_job also draws random bytes). Never anything about the order of
// claims: each store has its own, so that one can be the oracle of another.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "lib/base/status.h"
#include "lib/job/bounds.h"
#include "lib/job/job.h"
#include "lib/store/client_store.h"
#include "lib/store/daemon_store.h"
#include "lib/store/store_options.h"

namespace parkd {

// Whether a verb asked by a tenant may act on what is another's or its own. Empty: an
// administrator, who may act on all.
bool may_act(std::string_view asked_by, std::string_view tenant);

// What a message counts of a page's bytes_max.
int64_t page_bytes(const Message& message);
// Cuts the first messages behind a cursor, in order, to a page. Whether it is full. Requires: all
// messages that fit into a page, and one more where they are more than bytes_max.
bool cut_page(std::vector<Message>& messages, const FetchRequest& request);

// The first thing wrong with a submission, with param = "jobs[i].field"; ok when nothing is. Only
// what is wrong at any time: a submission that is sent again must find the jobs it became.
Status check_submission(const std::vector<JobSpec>& jobs, const StoreOptions& options);

// What is wrong with a checked spec now, if it is to become a job: its key has named none.
Status check_new(const JobSpec& spec, size_t index, WallTime now);

// The refusal of a key that names a job of another content.
Status key_has_other_content(size_t index, std::string_view idempotency_key, JobId id);

// The refusal of a retention outside of its bounds; `field` names it.
Status check_retention(const std::optional<std::chrono::seconds>& retention,
                       std::string_view field);

// Whether a list with this filter has the job, wherever it begins.
bool is_listed(const ListFilter& filter, const Job& job);

// The job a checked spec becomes: mailbox key, seed and retention filled in; queued, or scheduled
// when run_at lies ahead.
Job new_job(JobSpec spec, JobId id, WallTime now, const StoreOptions& options);

Status check_requeue(const RequeueRequest& request);

// What a finished job that did not complete is submitted as by requeue: the same, but for no one's
// batch, without its idempotency key, and without the times that have passed.
JobSpec requeued_spec(JobSpec spec);

// The message of a job that ends now, by the run `lease` or, when it never ran, by (0,0).
Message message_of(const Job& job, RunLease lease, Ending ending, uint64_t sequence, WallTime now);
HistoryRow history_of(const Message& message);

// What a run that ends at `now` ends as. Completed or failed after the deadline of its job is
// deadline_missed, and keeps its text and its counts like a run that the deadline stopped: decided
// here, by the clock of the store that commits it, for a daemon's clock and the way to the store
// are not part of what was promised. The rule in SQL: is_late_v1 and finish_v1.
Ending settled_ending(Ending ending, const std::optional<WallTime>& deadline, WallTime now);
// The ending of a run that its deadline has overtaken: deadline_missed, with what it generated.
Ending late_ending(Ending ending);
// `answer`, or finished_late where the run was `given` as one outcome and is `written` as late.
FinishAnswer finish_answer(FinishAnswer answer, Outcome given, Outcome written);

// A history row stays this long after its message is gone at the latest.
WallTime history_expires_at(const Message& message, const StoreOptions& options);
WallTime idempotency_expires_at(const Job& job, WallTime finished_at, const StoreOptions& options);

// Endings the store itself writes.
Ending cancelled_ending();
Ending deadline_missed_ending();
Ending quarantined_ending();

// --- poison: finding the job that kills the process, without harm to the others
//
// A noted death makes suspects of all jobs that were in the engine. They are split by id into two
// halves, each a suspect group of its own: the dispatcher runs a group with nothing else in the
// engine. A suspect that ends, or fails an attempt, is one no longer. When a group kills again,
// those of it that were in the engine are split again, the first half the larger one. So a poison
// job among n is alone after ceil(log2 n) deaths, and quarantined after two more: the search ends,
// for every death halves a group or counts against a job alone. Two poison jobs part at some split,
// and each half has its own search. Only a job that was twice the only one in the engine is
// quarantined.
//
// A death that was not noted (kill -9, a power cut, the kernel's out-of-memory killer) makes no
// suspects; but the kSilentDeathsMax-th in a row, and each after it, counts as noted for the jobs
// that were there every time.
inline constexpr int32_t kDeathsAloneMax = 2;
inline constexpr int32_t kSilentDeathsMax = 20;

struct DeathVerdict {
  std::vector<JobId> changed;      // their notes must be stored
  std::vector<JobId> suspects;     // of these
  std::vector<JobId> quarantined;  // of these; they are to end
};

// Writes the notes of a death into the live jobs it names, and into no others. `live`: in any
// order, each once. Draws random bytes for the names of groups.
DeathVerdict judge_death(const DeathReport& report, const std::vector<Job*>& live);

// A job that ran while the process lived.
void clear_poison_notes(Job& job);

}  // namespace parkd
