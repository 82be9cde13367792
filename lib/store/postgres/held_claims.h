// HeldClaims: which jobs this process believes to hold, whether the database may believe in more,
// and which models would take work at once.
//
// Owner: PostgresStore. Thread-safe: the claim session adds, the finish session removes, the
// listener's threads clear it and mark it uncertain; a set under a mutex, because each of them
// needs the answer at once.
#pragma once

#include <atomic>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "lib/base/thread_safety.h"
#include "lib/job/job_id.h"

namespace parkd {

struct Job;

class HeldClaims {
 public:
  void claimed(const std::vector<Job>& jobs);
  void ended(JobId id);  // finished or released, or given up
  void lost();           // all of them: others may run them now
  std::vector<JobId> ids() const;

  // Held from a statement that claims to claimed(), by whoever is not the claim session; and by
  // that one while the database takes back what is not held here, so that no new claim is among it.
  std::mutex& claiming() { return claiming_; }

  // Models whose last claim, of any jobs, found less than it asked for.
  void note_waiting(const std::string& model, bool waiting);
  std::set<std::string> waiting_models() const;

  // Uncertain: the answer to a claim was lost, or the database may be a copy from before some of
  // our finishes.
  void mark_uncertain() { uncertain_ = true; }
  bool uncertain() const { return uncertain_; }
  // Before the database is asked: an uncertainty that comes meanwhile stays.
  void begin_clearing() { uncertain_ = false; }

 private:
  std::mutex claiming_;
  std::atomic<bool> uncertain_{false};
  mutable std::mutex mutex_;
  std::set<JobId> ids_ PARKD_GUARDED_BY(mutex_);
  std::set<std::string> waiting_ PARKD_GUARDED_BY(mutex_);
};

// Claims that the database may have and no run here has: until known(), it is asked for them before
// the next claim.
class UnknownClaims {
 public:
  explicit UnknownClaims(HeldClaims& held) : held_(held) {}
  ~UnknownClaims();
  UnknownClaims(const UnknownClaims&) = delete;
  UnknownClaims& operator=(const UnknownClaims&) = delete;

  void name(const std::vector<Job>& jobs);
  void known() { is_known_ = true; }

 private:
  HeldClaims& held_;
  std::vector<JobId> ids_;
  bool is_known_ = false;
};

}  // namespace parkd
