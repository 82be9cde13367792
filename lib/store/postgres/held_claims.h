// HeldClaims: which jobs this process believes to hold, whether the database may believe in more,
// and which models would take work at once.
//
// Owner: PostgresStore. Thread-safe: the claim lane adds, the finish lane removes, the listener's
// threads clear and doubt; a set under a mutex, because each of them needs the answer at once.
#pragma once

#include <atomic>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "lib/job/job.h"

namespace parkd {

class HeldClaims {
 public:
  void claimed(const std::vector<Job>& jobs);
  void ended(JobId id);  // finished or released, or given up
  void lost();           // all of them: others may run them now
  std::vector<JobId> ids() const;

  // Models whose last claim, of any jobs, found less than it asked for.
  void note_hunger(const std::string& model, bool hungry);
  std::set<std::string> hungry_models() const;

  // In doubt: the answer to a claim was lost, or the database may be a copy from before some of our
  // finishes.
  void doubt() { in_doubt_ = true; }
  bool in_doubt() const { return in_doubt_; }
  // Before the database is asked: a doubt that comes meanwhile stays.
  void begin_clearing() { in_doubt_ = false; }

 private:
  std::atomic<bool> in_doubt_{false};
  mutable std::mutex mutex_;  // guards all below
  std::set<JobId> ids_;
  std::set<std::string> hungry_;
};

}  // namespace parkd
