// DaemonStore: a store as a daemon sees it that runs its jobs: it claims them, ends or releases
// each, tells of deaths, and keeps house. By job_store.h's rules.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "lib/base/clock.h"
#include "lib/job/job.h"
#include "lib/store/client_store.h"
#include "lib/store/completion.h"
#include "lib/store/model_registration.h"

namespace parkd {

// -------------------------------------------------------------------------------------------------
// claim

// Limits beside max_jobs do not change the order: what they leave behind is passed over and keeps
// its place. A tenant that is passed over keeps its turn: it comes next when it fits, and is owed
// one largest job at most, so that a newcomer waits for no more. Room counts critical jobs too.
struct ClaimRequest {
  std::string model;
  int32_t max_jobs = 0;  // in all

  // At most so many jobs of a tenant: of one that is named, and of each that is not. Empty: no
  // limit.
  std::map<std::string, int32_t> tenant_room{};
  std::optional<int32_t> others_room{};

  // Only jobs of at most this need_tokens. A claim looks past larger ones, but not without bound:
  // what the stores promise at any depth stands in lib/store/README.md. In the embedded store a
  // limit of 2^k - 1 finds every job that fits.
  std::optional<int64_t> need_tokens_max{};

  // Only these jobs, wherever they stand, up to max_jobs of them; empty: any. The limits above are
  // for the order alone. They are charged as ever; whose turn it is, it stays.
  std::vector<JobId> only{};

  // How many jobs of this tenant the claim may hand out.
  int32_t room_of(const std::string& tenant) const {
    const auto named = tenant_room.find(tenant);
    const int32_t room =
        named != tenant_room.end() ? named->second : others_room.value_or(max_jobs);
    return std::clamp(room, 0, std::max(max_jobs, 0));
  }
  bool fits(int64_t need_tokens) const {
    return !need_tokens_max || need_tokens <= *need_tokens_max;
  }
};

// A job that was submitted, and claimed in the same commit if it could be.
struct SubmittedAndClaimed {
  SubmittedJob submitted;
  std::optional<Job> claimed;  // empty: it is where submit() would have left it
};

// -------------------------------------------------------------------------------------------------
// finish

struct FinishItem {
  JobId id = 0;
  RunLease lease;
  Ending ending;
};

enum class FinishAnswer {
  finished_now,
  already_by_this_lease,  // an earlier finish of this very run was committed: not an error
  lease_lost,             // another run, or a cancel, ended or owns the job: drop the result
  finished_late,  // as one of the first two, but what was written is late_ending() of the item's
};

// -------------------------------------------------------------------------------------------------
// release

// Gives a claimed job back to the queue. A spent attempt clears its poison notes: it ran, and the
// process lived.
struct ReleaseItem {
  JobId id = 0;
  RunLease lease;
  bool spend_attempt = false;      // an execution failed with a retryable code
  std::optional<WallTime> run_at;  // back-off: not before this
};

enum class ReleaseAnswer { released, lease_lost };

// -------------------------------------------------------------------------------------------------
// deaths

// A job that was in the engine when a process died, and the run it was.
struct DeathNote {
  JobId id = 0;
  RunLease lease;
};

// The death of one process of this queue's. Noted: it crashed on an engine thread, or lost its
// device; else it was killed, or the power went.
struct DeathReport {
  bool noted = false;
  std::vector<DeathNote> present;  // all that was in the engine
};

struct DeathsAnswer {
  int64_t suspects = 0;     // jobs of this report that are suspects now
  int64_t quarantined = 0;  // ended by it
};

// -------------------------------------------------------------------------------------------------
// purge

struct PurgeAnswer {
  int64_t messages = 0;
  int64_t history_rows = 0;
  int64_t deadlines_missed = 0;  // queued jobs ended because their deadline passed
};

// -------------------------------------------------------------------------------------------------
// the verbs

class DaemonStore {
 public:
  // Says that this daemon is about to claim jobs of a model. Where daemons share the store, the
  // files of the first one count: the others claim only if theirs are the same. Idempotent. An
  // embedded store has one daemon, which no other contradicts: it keeps nothing.
  virtual void register_model(ModelRegistration model, Completion<ModelRegistered> done) = 0;

  // Up to max_jobs queued jobs of the model, in order: critical first; then tenants by fair share
  // of need_tokens (start-time fair queueing); in a tenant by order_key, then id, among the jobs
  // that fit need_tokens_max. Priorities order inside a tenant only, but for critical, which is
  // not charged. Each gets a new lease. Jobs whose deadline has passed are not handed out;
  // purge() ends them.
  virtual void claim(ClaimRequest request, Completion<std::vector<Job>> done) = 0;

  // submit() of a job that this daemon would start at once, and its claim by name
  // (ClaimRequest::only) in one commit: where daemons share the store no other comes between.
  // Whatever stands against the claim, the job is submitted; a store of one daemon leaves it in the
  // queue. Errors: submit's.
  virtual void submit_and_claim(JobSpec job, Completion<SubmittedAndClaimed> done) = 0;

  // Ends claimed jobs: each leaves the queue and its message and history row enter, in one commit;
  // answers in the order of `items`. A bad item never fails its neighbours.
  virtual void finish(std::vector<FinishItem> items,
                      Completion<std::vector<FinishAnswer>> done) = 0;

  // A job that comes back without a spent attempt is charged to its tenant once, when it is claimed
  // again: the tenant is then as one that was passed over.
  virtual void release(std::vector<ReleaseItem> items,
                       Completion<std::vector<ReleaseAnswer>> done) = 0;

  // Writes down which jobs were in the engine at a death, makes suspects of them and ends those
  // that killed twice alone as quarantined: judge_death in lib/store/rules.h. Told again, a run's
  // death changes nothing; jobs that have ended are passed over.
  virtual void note_deaths(DeathReport report, Completion<DeathsAnswer> done) = 0;

  // Housekeeping, called every few seconds: wakes scheduled jobs that are due, ends waiting jobs
  // past their deadline (the earliest first), seals batches past theirs, drops expired messages,
  // history rows, idempotency keys and batches. Bounded work a call, but for the overdue jobs of an
  // embedded store: all end, in commits of bounded size between those of other verbs.
  virtual void purge(Completion<PurgeAnswer> done) = 0;

 protected:
  ~DaemonStore() = default;
};

}  // namespace parkd
