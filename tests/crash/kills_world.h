// KillWorld: daemons that are killed at random moments while clients use them, and the table of
// what was lost, doubled, skipped and leaked. One world for both stores: the embedded one has one
// daemon, a database any number.
//
// The moments are random, and the seed is printed; nothing that is asserted depends on time.
// PARKD_LONG=1: 1,000 kills (PARKD_KILLS=N: so many). Tests alone, one thread.
#pragma once

#include <string>
#include <vector>

#include "tests/crash/kills_clients.h"
#include "tests/support/daemon_process.h"

namespace parkd::testing {

class KillWorld {
 public:
  // The daemons have been started. `options` without seed and sockets.
  KillWorld(std::vector<DaemonProcess*> daemons, Clients::Options options);

  Account& account() { return account_; }
  uint64_t seed() const { return seed_; }

  // Load, and kills; then no more load, all jobs end, all readers read to the end. Adds a gtest
  // failure, and returns false, where something hangs.
  bool run();
  // Reads everything anew, judges, and finds what a daemon at rest still holds.
  void judge();
  // The table; a gtest failure for each finding and for a load that was none.
  void report(const std::string& store) const;

  // Waits for minutes before it gives up, and says what for.
  static bool wait_until(const std::string& what, const std::function<bool()>& holds);

 private:
  bool progress(int64_t n_ended);
  bool kill_some();
  bool wait_until_all_has_ended();
  Truth read_everything();

  const uint64_t seed_;
  std::mt19937_64 random_;
  const std::vector<DaemonProcess*> daemons_;
  Account account_;
  Clients clients_;
  int kills_ = 0;
  int under_load_ = 0;  // jobs had not ended
  int at_start_ = 0;    // before it had answered
  int of_two_ = 0;      // two daemons at a time
};

}  // namespace parkd::testing
