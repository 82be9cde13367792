// The crash test's world: clients that submit and cancel without pause, an account of what was
// acknowledged to them, and the checks that must hold after every death of the daemon.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "lib/base/thread.h"
#include "tests/support/daemon_process.h"

namespace parkd::testing {

struct Acknowledged {
  uint64_t id = 0;
  std::string mailbox_key;
};

// What the daemon said of itself a moment ago.
struct Load {
  int64_t running = 0;
  int64_t waiting = 0;  // queued or parked
};

class CrashWorld {
 public:
  explicit CrashWorld(uint64_t seed);
  ~CrashWorld();

  DaemonProcess& daemon() { return daemon_; }
  std::string log_path() const { return daemon_.directory() + "/parkd.log"; }

  // Clients run until stop_clients(); they outlive the daemon's deaths and send what was not
  // acknowledged again, with the same idempotency keys.
  void start_clients(int n_clients);
  void stop_clients();

  // Polls the daemon until something runs and something waits; false when it died first.
  bool wait_for_load();
  Load last_load() const;
  int64_t submits_in_doubt() const { return in_doubt_; }  // sent, and the answer was lost

  // After a restart: every acknowledged job is known (I5); a finished one has exactly one message,
  // a live one none (I1). Adds a failure for each that is not so.
  void check_after_restart();
  // Waits until all that was acknowledged has finished, then: exactly one message each, nothing
  // charged, nothing parked (I8).
  void check_at_the_end();

  size_t n_acknowledged() const;

 private:
  void run_client(int number);
  // Sends until it is acknowledged or the clients stop.
  void submit_until_acknowledged(jobctl::HttpClient& client, std::mt19937_64& random, int number);
  void cancel_newest(jobctl::HttpClient& client);  // the one that most likely still waits
  bool read_load(jobctl::HttpClient& client);
  std::map<std::string, Acknowledged> acknowledged() const;
  // Counts the messages that came since the last call.
  bool read_new_messages(jobctl::HttpClient& client);

  const uint64_t seed_;
  DaemonProcess daemon_;
  std::vector<Thread> clients_;
  std::atomic<bool> stopping_{false};
  std::atomic<int64_t> in_doubt_{0};
  std::atomic<int64_t> running_{0};
  std::atomic<int64_t> waiting_{0};
  std::map<int, std::string> cursors_;                // by mailbox key
  std::map<uint64_t, int> messages_;                  // of each job, as far as read
  std::set<uint64_t> settled_;                        // finished, and their message was seen
  mutable std::mutex mutex_;                          // the clients write, the test reads
  std::map<std::string, Acknowledged> acknowledged_;  // by idempotency key
};

}  // namespace parkd::testing
