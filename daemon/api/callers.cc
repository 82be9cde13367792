#include "daemon/api/callers.h"

#include <utility>

#include "daemon/control/after.h"
#include "daemon/control/on_control.h"
#include "lib/base/log.h"
#include "lib/store/client_store.h"

namespace parkd {

void Callers::came(JobId id, CallerGrace grace, bool streams) {
  ++waiting_[id].callers;
  if (streams) ++n_streaming_;
  in_grace_.erase(id);
  if (!grace) return;
  after(io_, kAttachAfter, [this, id, grace = *grace] {
    const auto waiting = waiting_.find(id);
    if (waiting != waiting_.end() && !waiting->second.is_kept) attach(id, grace);
  });
}

void Callers::answered(JobId id, bool streams) {
  if (streams) --n_streaming_;
  const auto waiting = waiting_.find(id);
  if (--waiting->second.callers == 0) waiting_.erase(waiting);
}

void Callers::gone(JobId id, const std::string& tenant, CallerGrace grace, bool streams) {
  if (waiting_.at(id).is_kept) grace.reset();
  // Who comes to another daemon's door has to find it there.
  if (grace && *grace > std::chrono::seconds(0)) attach(id, *grace);
  answered(id, streams);
  if (grace && !waiting_.contains(id)) begin_grace(id, tenant, *grace);
}

void Callers::attach(JobId id, std::chrono::seconds grace) {
  store_.attach(id, grace,
                on_control<CallerGrace>(io_, [this, id](const Result<CallerGrace>& answer) {
                  on_attached(id, answer);
                }));
}

void Callers::on_attached(JobId id, const Result<CallerGrace>& answer) {
  if (!answer.ok()) {  // then this daemon alone knows of its callers
    return log_warn("job.callers_not_stored", {{"id", id}, {"error", answer.status().to_string()}});
  }
  const auto waiting = waiting_.find(id);
  if (waiting != waiting_.end()) waiting->second.is_attached = answer->has_value();
}

void Callers::keep(JobId id, CallerGrace grace, std::function<void()> then) {
  if (!grace) return then();
  waiting_.at(id).is_kept = true;
  store_.keep(id, on_control<bool>(io_, [id, then = std::move(then)](const Result<bool>& answer) {
                if (!answer.ok()) {
                  log_warn("job.not_kept", {{"id", id}, {"error", answer.status().to_string()}});
                }
                then();
              }));
}

void Callers::begin_grace(JobId id, const std::string& tenant, std::chrono::seconds grace) {
  const uint64_t count = ++n_graces_;
  in_grace_[id] = count;
  after(io_, grace, [this, id, tenant, count] {
    const auto present = in_grace_.find(id);
    if (present != in_grace_.end() && present->second == count) end_grace(id, tenant);
  });
}

void Callers::end_grace(JobId id, const std::string& tenant) {
  in_grace_.erase(id);
  using Answer = Result<std::optional<CancelAnswer>>;
  store_.detach(
      id, tenant,
      on_control<std::optional<CancelAnswer>>(io_, [this, id, tenant](const Answer& answer) {
        if (!answer.ok()) not_cancelled(id, tenant, answer.status());
      }));
}

void Callers::not_cancelled(JobId id, const std::string& tenant, const Status& why) {
  log_warn("job.not_cancelled", {{"id", id}, {"error", why.to_string()}});
  const bool may_pass =
      why.code() == StatusCode::unavailable || why.code() == StatusCode::exhausted;
  if (may_pass && !waiting_.contains(id) && !in_grace_.contains(id)) {
    begin_grace(id, tenant, kCancelRetry);
  }
}

void Callers::adopt() {
  store_.adopt(on_control<std::vector<AttachedJob>>(
      io_, [this](const Result<std::vector<AttachedJob>>& jobs) {
        on_adopted(jobs);
        after(io_, adopt_every_, [this] { adopt(); });
      }));
}

void Callers::on_adopted(const Result<std::vector<AttachedJob>>& jobs) {
  if (!jobs.ok()) {
    if (!std::exchange(adopting_fails_, true)) {
      log_warn("callers.not_adopted", {{"error", jobs.status().to_string()}});
    }
    return;
  }
  adopting_fails_ = false;
  for (const AttachedJob& job : *jobs) {
    if (waiting_.contains(job.id) || in_grace_.contains(job.id)) continue;
    log_info("job.callers_adopted", {{"id", job.id}, {"grace_s", job.grace.count()}});
    begin_grace(job.id, job.tenant, job.grace);
  }
}

Callers::Figures Callers::figures() const {
  Figures figures;
  figures.streaming = n_streaming_;
  figures.in_grace = static_cast<int64_t>(in_grace_.size());
  for (const auto& [id, waiting] : waiting_) {
    figures.waiting += waiting.callers;
    figures.attached += waiting.is_attached ? 1 : 0;
  }
  return figures;
}

}  // namespace parkd
