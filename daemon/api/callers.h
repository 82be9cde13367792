// Callers: who waits at this daemon's door for the end of a job, and what becomes of a job when the
// last of them has gone: it is cancelled after its grace, if nobody came back by then, here or at
// another daemon's door. Jobs whose callers' daemon died are seen to as well.
//
// Control thread. The store hears of a job with callers once one has waited for kAttachAfter or has
// gone: what is answered sooner costs no commit, and a daemon that dies sooner lets its job go on.
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

class Callers {
 public:
  static constexpr std::chrono::seconds kAttachAfter{1};
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
  void came(JobId id, CallerGrace grace, bool streams);
  void answered(JobId id, bool streams);
  void gone(JobId id, const std::string& tenant, CallerGrace grace, bool streams);

  // A caller of the job is told that it goes on: so it shall. `then` is called once the store has
  // that, or cannot take it.
  void keep(JobId id, CallerGrace grace, std::function<void()> then);

  Figures figures() const;

 private:
  struct Waiting {
    int64_t callers = 0;
    bool is_attached = false;  // the store has it
    bool is_kept = false;      // one of them was told that it goes on
  };

  void attach(JobId id, std::chrono::seconds grace);
  void on_attached(JobId id, const Result<CallerGrace>& answer);
  void begin_grace(JobId id, const std::string& tenant, std::chrono::seconds grace);
  void end_grace(JobId id, const std::string& tenant);
  void not_cancelled(JobId id, const std::string& tenant, const Status& why);
  void adopt();
  void on_adopted(const Result<std::vector<AttachedJob>>& jobs);

  boost::asio::io_context& io_;
  CallerStore& store_;
  const std::chrono::milliseconds adopt_every_;
  std::map<JobId, Waiting> waiting_;
  std::map<JobId, uint64_t> in_grace_;  // which count of it is the present one
  uint64_t n_graces_ = 0;
  int64_t n_streaming_ = 0;
  bool adopting_fails_ = false;  // it was logged
};

}  // namespace parkd
