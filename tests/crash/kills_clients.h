// Clients: threads that use the queue all the time while its daemons die: they submit (plain, and
// with keys and re-sends), open batches, cancel, requeue, read with cursors, take, and ask where
// jobs are. Whatever they are told goes into the Account.
//
// Tests alone. Made, stopped and gone on the test's thread.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "lib/base/thread.h"
#include "tests/crash/kills_door.h"

namespace parkd::testing {

class Clients {
 public:
  struct Options {
    uint64_t seed = 0;
    std::vector<std::string> tenants;
    std::vector<std::string> sockets;
    int64_t open_max = 0;  // jobs that have not ended; more are not submitted
    // Opens a door by SQL for a tenant; empty: there is none.
    std::function<std::unique_ptr<Door>(const std::string& tenant)> sql;
  };

  Clients(Account& account, Options options);
  ~Clients();
  void start();
  // All but the readers stop: each ends what it began, so at least one daemon has to live.
  void stop();
  // Nothing comes any more: the readers read to the end, and stop.
  void stop_readers();

  std::vector<Box> boxes() const;

 private:
  void run(const std::string& name, std::function<void(std::mt19937_64&)> body);
  bool wait_for_room() const;  // false: it is time to stop

  void submit_all_the_time(const std::string& tenant, int number, std::mt19937_64& random);
  void open_batches(const std::string& tenant, std::mt19937_64& random);
  void cancel_and_requeue(std::mt19937_64& random);
  void look_at_jobs(std::mt19937_64& random);
  void take(const std::string& tenant, std::mt19937_64& random);
  void read(int reader, const Box& box, Door& door, int limit_max, int wait_s,
            std::mt19937_64& random);
  void read_many(const std::string& name, std::mt19937_64& random, bool by_sql);

  Account& account_;
  const Options options_;
  std::atomic<bool> stopping_{false};
  std::atomic<bool> nothing_comes_{false};
  std::atomic<uint64_t> names_{0};
  std::vector<Thread> clients_;
  std::vector<Thread> readers_;
};

}  // namespace parkd::testing
