// Callers: who waits at this daemon's door for the end of a job, and what becomes of a job when the
// last of them has gone: it is cancelled after its grace, if nobody came back by then, here or at
// another daemon's door. Jobs whose callers' daemon died are seen to as well.
//
// Control thread. The store hears of a job with callers once one has waited for kAttachAfter or has
// gone: what is answered sooner costs no commit, and a daemon that dies sooner lets its job go on.
// From then on the grace is the store's, where another daemon may have ended it (keep): it is only
// asked for, and nothing is cancelled that has none any more.
#pragma once

#include <boost/asio/io_context.hpp>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "lib/base/status.h"
#include "lib/job/job_id.h"
#include "lib/store/caller_store.h"

namespace parkd {

// What becomes of a job whose caller goes away. nullopt: it goes on; else it is cancelled after so
// long, unless another waits by then.
using CallerGrace = std::optional<std::chrono::seconds>;

// A caller as it comes.
struct Caller {
  CallerGrace grace;   // of the request that made the job
  bool by_id = false;  // it came to a job that was there: the grace is the one that the job has
  bool streams = false;
};

class Callers {
 public:
  static constexpr std::chrono::seconds kAttachAfter{1};
  static constexpr std::chrono::seconds kAttachAgain{1};  // where the store could not
  static constexpr int kAttachAtOnce = 200;               // jobs, of many that are attached again
  static constexpr std::chrono::seconds kAdoptEvery{10};
  static constexpr std::chrono::seconds kCancelRetry{1};  // where the store could not

  struct Figures {
    int64_t waiting = 0;    // callers
    int64_t streaming = 0;  // of them, whose answer comes as it is written
    int64_t attached = 0;   // jobs with callers here that the store knows of
    int64_t in_grace = 0;   // jobs that are cancelled if nobody comes back
  };

  // Both outlive it.
  Callers(boost::asio::io_context& io, CallerStore& store,
          std::chrono::milliseconds adopt_every = kAdoptEvery)
      : io_(io), store_(store), adopt_every_(adopt_every) {}
  Callers(const Callers&) = delete;
  Callers& operator=(const Callers&) = delete;

  // Begins to look for jobs of daemons that are gone. Once.
  void start() { adopt(); }

  // A caller waits for the job, until it was answered or has gone away.
  void came(JobId id, const Caller& caller);
  void answered(JobId id, bool streams);
  void gone(JobId id, const std::string& tenant, bool streams);

  // A caller of the job is told that it goes on: so it shall. `then` is called once the store has
  // that, or cannot take it.
  void keep(JobId id, std::function<void()> then);

  // The daemons that share the store took this one for gone: what it had attached is theirs to
  // adopt. It is attached again.
  void lost();

  Figures figures() const;

 private:
  struct Job {
    int64_t callers = 0;
    CallerGrace grace;         // nullopt: no caller's going ends it, as far as is known
    bool is_stored = false;    // that is the store's word, or was told it
    bool is_kept = false;      // one of them was told that it goes on
    bool is_attached = false;  // the store has this daemon's callers of it
    bool is_due = false;       // it is to be attached: the store has not answered yet
    bool is_asked = false;     // just now
    std::string tenant;        // once one has gone
    uint64_t grace_run = 0;    // the count of the grace that runs; 0: none does
  };
  using Jobs = std::map<JobId, Job>;

  void attach_if_waiting(JobId id);
  void attach(JobId id);
  void on_attached(JobId id, uint64_t registration, const Result<CallerGrace>& answer);
  void not_attached(JobId id, Job& job, const Status& why);
  void take_grace(JobId id, Job& job, CallerGrace grace);
  void attach_later();
  void attach_due();
  bool runs(JobId id, uint64_t run) const;
  void begin_grace(JobId id, std::chrono::seconds grace);
  void end_grace(JobId id, uint64_t run);
  void detach(JobId id);
  void not_cancelled(JobId id, const Job& job, const Status& why);
  void forget_if_idle(JobId id);
  void adopt();
  void on_adopted(uint64_t registration, const Result<std::vector<AttachedJob>>& jobs);

  boost::asio::io_context& io_;
  CallerStore& store_;
  const std::chrono::milliseconds adopt_every_;
  Jobs jobs_;  // that have callers, or a grace that runs, or are due
  uint64_t n_graces_ = 0;
  uint64_t registration_ = 0;  // changes when it is lost: what was asked before counts no more
  int64_t n_streaming_ = 0;
  bool attaches_later_ = false;   // a timer runs
  bool attaching_fails_ = false;  // it was logged
  bool adopting_fails_ = false;   // it was logged
};

}  // namespace parkd
