// Listener: this process's row in parkd.daemons, and what the database tells it.
//
// Owner: PostgresStore. Its own two threads: "pg-beat" registers, beats, listens and polls on one
// connection and opens it again when it is lost; "pg-watch" cuts statements that hang and, when no
// beat came through for two thirds of the ttl, declares the claims of this process lost before
// others may take them. Events are called on these threads and must only push.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "lib/base/clock.h"
#include "lib/base/thread.h"
#include "lib/job/job_id.h"
#include "lib/store/postgres/connection.h"
#include "lib/store/postgres/postgres_store.h"

namespace parkd {

class Listener {
 public:
  struct Events {
    std::function<void(const std::string& model)> work;
    std::function<void()> reconnected;  // to a server that may have crashed, or be a restored one
    std::function<void()> look;  // reconnected, or the poll's turn: there may be work of any model
    std::function<void(JobId, RunLease)> cancel;
    std::function<void()> cancelled;  // a client says that jobs without an owner are to be ended
    std::function<void(const std::string& payload)> results;  // results_payload_v1 of a key
    std::function<void()> lost;
  };

  Listener(const PostgresOptions& options, Events events);
  ~Listener() { stop(); }

  // One try to connect, check and register; then the threads. Errors: conflict (the schema). A
  // database that is away is not an error: the threads go on trying.
  Status start(std::vector<Connection*> watched);
  // Unregisters, so that what is claimed goes back at once.
  void stop();

  // 0 while not registered.
  int64_t daemon_id() const { return daemon_id_; }
  uint64_t epoch() const { return static_cast<uint64_t>(last_daemon_id_.load()); }
  int64_t fence_epoch() const { return fence_epoch_; }  // of the last registration
  int64_t opened() const { return connection_.opened(); }
  // The database said that this daemon is not registered any more.
  void was_declared_gone(int64_t daemon_id);
  // For checks before the database is asked. Its time, from its last answer to a heartbeat and the
  // steady clock since: this machine's wall clock may be wrong, or jump. Before the first answer
  // the beginning of time: no deadline has passed.
  WallTime about_now() const;
  // Why there is no registration; empty when there is.
  std::string trouble() const;

 private:
  void beat_loop();
  void watch_loop();
  Status ensure_registered();
  Status beat();
  Status listen_all();
  void lose(int64_t daemon_id);
  void set_trouble(const Status& status);
  void set_database_now(int64_t unix_us);
  std::optional<int64_t> now() const;
  // Sleeps; false when stopping.
  bool pause(std::chrono::milliseconds time);

  const PostgresOptions& options_;
  const Events events_;
  Connection connection_;  // pg-beat's, and start()'s and stop()'s before and after it
  std::vector<Connection*> watched_;
  bool listening_ = false;       // pg-beat
  bool beat_hinted_ = false;     // pg-beat: a client says that a cancel was asked for
  bool cancels_hinted_ = false;  // pg-beat: the same, of jobs without an owner
  std::atomic<int64_t> daemon_id_{0};
  std::atomic<int64_t> last_daemon_id_{0};
  std::atomic<int64_t> fence_epoch_{0};
  std::atomic<int64_t> abandoned_{0};  // a lost registration to be ended once the database is there
  std::atomic<int> losing_{0};         // lose() is at work: no new registration before it has told
  std::atomic<int64_t> last_beat_ms_{0};
  std::atomic<int64_t> database_ahead_us_{0};  // of the steady clock; 0 = not known yet

  mutable std::mutex mutex_;  // guards trouble_, stopping_, unwatched_
  std::condition_variable woken_;
  std::string trouble_;
  bool stopping_ = false;
  bool unwatched_ = false;             // nothing is left that the watchdog would have to cut
  std::atomic<bool> watching_{false};  // start() has succeeded
  Thread beat_thread_;
  Thread watch_thread_;
};

}  // namespace parkd
