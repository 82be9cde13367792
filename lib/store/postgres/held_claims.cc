#include "lib/store/postgres/held_claims.h"

#include "lib/job/job.h"

namespace parkd {

void HeldClaims::claimed(const std::vector<Job>& jobs) {
  const std::lock_guard lock(mutex_);
  for (const Job& job : jobs) ids_.insert(job.id);
}

void HeldClaims::note_waiting(const std::string& model, bool waiting) {
  const std::lock_guard lock(mutex_);
  if (waiting) {
    waiting_.insert(model);
  } else {
    waiting_.erase(model);
  }
}

void HeldClaims::ended(JobId id) {
  const std::lock_guard lock(mutex_);
  ids_.erase(id);
}

void HeldClaims::lost() {
  const std::lock_guard lock(mutex_);
  ids_.clear();
}

std::vector<JobId> HeldClaims::ids() const {
  const std::lock_guard lock(mutex_);
  return {ids_.begin(), ids_.end()};
}

std::set<std::string> HeldClaims::waiting_models() const {
  const std::lock_guard lock(mutex_);
  return waiting_;
}

UnknownClaims::~UnknownClaims() {
  if (is_known_) return;
  for (const JobId id : ids_) held_.ended(id);
  held_.mark_uncertain();
}

void UnknownClaims::name(const std::vector<Job>& jobs) {
  try {
    ids_.reserve(jobs.size());
  } catch (...) {
    for (const Job& job : jobs) held_.ended(job.id);
    throw;
  }
  for (const Job& job : jobs) ids_.push_back(job.id);
}

}  // namespace parkd
