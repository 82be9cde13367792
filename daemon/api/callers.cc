#include "daemon/api/callers.h"

#include <utility>

#include "daemon/control/after.h"
#include "daemon/control/on_control.h"
#include "lib/base/log.h"
#include "lib/store/client_store.h"

namespace parkd {
namespace {

bool may_pass(const Status& why) {
  return why.code() == StatusCode::unavailable || why.code() == StatusCode::exhausted;
}

}  // namespace

void Callers::came(JobId id, const Caller& caller) {
  Job& job = jobs_[id];
  ++job.callers;
  if (caller.streams) ++n_streaming_;
  job.grace_run = 0;
  if (job.is_kept) return;
  if (caller.by_id && !job.grace) {
    job.is_stored = true;
    attach(id);
  }
  if (!caller.grace) return;
  job.grace = caller.grace;
  job.is_stored = false;
  after(io_, kAttachAfter, [this, id] { attach_if_waiting(id); });
}

void Callers::attach_if_waiting(JobId id) {
  const auto job = jobs_.find(id);
  if (job == jobs_.end() || job->second.callers == 0 || !job->second.grace) return;
  if (!job->second.is_attached) attach(id);
}

void Callers::answered(JobId id, bool streams) {
  if (streams) --n_streaming_;
  const auto job = jobs_.find(id);
  if (--job->second.callers == 0) jobs_.erase(job);
}

void Callers::gone(JobId id, const std::string& tenant, bool streams) {
  if (streams) --n_streaming_;
  Job& job = jobs_.at(id);
  --job.callers;
  job.tenant = tenant;
  if (job.grace) {
    // Who comes to another daemon's door has to find it there.
    if (job.is_stored || *job.grace > std::chrono::seconds(0)) attach(id);
    if (job.callers == 0) begin_grace(id, *job.grace);
  }
  forget_if_idle(id);
}

void Callers::forget_if_idle(JobId id) {
  const auto job = jobs_.find(id);
  if (job->second.callers == 0 && job->second.grace_run == 0 && !job->second.is_due) {
    jobs_.erase(job);
  }
}

void Callers::keep(JobId id, std::function<void()> then) {
  Job& job = jobs_.at(id);
  if (!job.grace && !job.is_due && !job.is_kept) return then();
  job.is_kept = true;
  job.grace.reset();
  job.is_attached = job.is_due = false;
  store_.keep(id, on_control<bool>(io_, [id, then = std::move(then)](const Result<bool>& answer) {
                if (!answer.ok()) {
                  log_warn("job.not_kept", {{"id", id}, {"error", answer.status().to_string()}});
                }
                then();
              }));
}

// --- attaching

// Tells the store of the job's callers; asks it for the grace where that is the store's.
void Callers::attach(JobId id) {
  Job& job = jobs_.at(id);
  job.is_due = true;
  if (std::exchange(job.is_asked, true)) return;
  const CallerGrace grace = job.is_stored ? std::nullopt : job.grace;
  store_.attach(id, grace,
                on_control<CallerGrace>(io_, [this, id, registration = registration_](
                                                 const Result<CallerGrace>& answer) {
                  on_attached(id, registration, answer);
                }));
}

void Callers::on_attached(JobId id, uint64_t registration, const Result<CallerGrace>& answer) {
  const auto found = jobs_.find(id);
  if (found == jobs_.end()) return;
  Job& job = found->second;
  job.is_asked = false;
  if (job.is_kept) return;
  if (answer.ok()) attaching_fails_ = false;
  if (!answer.ok()) {
    not_attached(id, job, answer.status());
  } else if (registration != registration_) {
    attach_later();
  } else {
    take_grace(id, job, *answer);
  }
  forget_if_idle(id);
}

// Until then this daemon alone knows of its callers.
void Callers::not_attached(JobId id, Job& job, const Status& why) {
  if (!std::exchange(attaching_fails_, true)) {
    log_warn("job.callers_not_stored", {{"id", id}, {"error", why.to_string()}});
  }
  job.is_due = may_pass(why);
  if (job.is_due) attach_later();
}

void Callers::take_grace(JobId id, Job& job, CallerGrace grace) {
  job.is_due = false;
  job.is_attached = grace.has_value();
  if (!grace && !job.is_stored) return;  // it has ended
  job.is_stored = true;
  job.grace = grace;
  if (!grace) {
    job.grace_run = 0;
  } else if (job.callers == 0 && job.grace_run == 0) {
    begin_grace(id, *grace);
  }
}

void Callers::lost() {
  ++registration_;
  for (auto& [id, job] : jobs_) {
    if (std::exchange(job.is_attached, false)) job.is_due = true;
  }
  attach_later();
}

void Callers::attach_later() {
  if (std::exchange(attaches_later_, true)) return;
  after(io_, kAttachAgain, [this] {
    attaches_later_ = false;
    attach_due();
  });
}

void Callers::attach_due() {
  int n = 0;
  for (const auto& [id, job] : jobs_) {
    if (!job.is_due || job.is_asked) continue;
    if (++n > kAttachAtOnce) return attach_later();
    attach(id);
  }
}

// --- the grace

void Callers::begin_grace(JobId id, std::chrono::seconds grace) {
  const uint64_t run = ++n_graces_;
  jobs_.at(id).grace_run = run;
  after(io_, grace, [this, id, run] {
    if (runs(id, run)) end_grace(id, run);
  });
}

bool Callers::runs(JobId id, uint64_t run) const {
  const auto job = jobs_.find(id);
  return job != jobs_.end() && job->second.grace_run == run;
}

// The store may have been told meanwhile that the job goes on.
void Callers::end_grace(JobId id, uint64_t run) {
  if (!jobs_.at(id).is_stored) return detach(id);
  store_.attach(id, std::nullopt,
                on_control<CallerGrace>(io_, [this, id, run](const Result<CallerGrace>& answer) {
                  if (!runs(id, run)) return;
                  if (answer.ok() && *answer) return detach(id);
                  const Job job = jobs_.extract(id).mapped();
                  if (!answer.ok()) not_cancelled(id, job, answer.status());
                }));
}

void Callers::detach(JobId id) {
  const Job job = jobs_.extract(id).mapped();
  using Answer = Result<std::optional<CancelAnswer>>;
  store_.detach(id, job.tenant,
                on_control<std::optional<CancelAnswer>>(io_, [this, id, job](const Answer& answer) {
                  if (!answer.ok()) not_cancelled(id, job, answer.status());
                }));
}

void Callers::not_cancelled(JobId id, const Job& job, const Status& why) {
  log_warn("job.not_cancelled", {{"id", id}, {"error", why.to_string()}});
  if (!may_pass(why)) return;
  const auto [again, is_new] = jobs_.emplace(id, job);
  if (!is_new) return;
  again->second.is_asked = false;
  begin_grace(id, kCancelRetry);
}

// --- of daemons that are gone

void Callers::adopt() {
  store_.adopt(on_control<std::vector<AttachedJob>>(
      io_, [this, registration = registration_](const Result<std::vector<AttachedJob>>& jobs) {
        on_adopted(registration, jobs);
        after(io_, adopt_every_, [this] { adopt(); });
      }));
}

void Callers::on_adopted(uint64_t registration, const Result<std::vector<AttachedJob>>& jobs) {
  if (!jobs.ok()) {
    if (!std::exchange(adopting_fails_, true)) {
      log_warn("callers.not_adopted", {{"error", jobs.status().to_string()}});
    }
    return;
  }
  adopting_fails_ = false;
  for (const AttachedJob& adopted : *jobs) {
    Job& job = jobs_[adopted.id];
    if (job.is_kept) continue;
    job.tenant = adopted.tenant;
    job.grace = adopted.grace;
    job.is_stored = true;
    job.is_attached = registration == registration_;
    job.is_due = !job.is_attached;
    if (job.callers > 0 || job.grace_run != 0) continue;
    log_info("job.callers_adopted", {{"id", adopted.id}, {"grace_s", adopted.grace.count()}});
    begin_grace(adopted.id, adopted.grace);
  }
  if (registration != registration_) attach_later();
}

Callers::Figures Callers::figures() const {
  Figures figures;
  figures.streaming = n_streaming_;
  for (const auto& [id, job] : jobs_) {
    figures.waiting += job.callers;
    figures.attached += job.callers > 0 && job.is_attached ? 1 : 0;
    figures.in_grace += job.grace_run != 0 ? 1 : 0;
  }
  return figures;
}

}  // namespace parkd
