// FaultWorld: one database, several daemon processes, several submitting processes, and the checks
// that hold at any moment and at rest. Faults are functions on it (fault_test.cc and its
// neighbours).
//
// Tests alone, inside tools/pg_sandbox.sh, one thread.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <filesystem>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "tests/store/postgres/fault_oracle.h"
#include "tests/store/postgres/test_database.h"

namespace parkd {

// How often a fault is repeated: ten times as often with PARKD_LONG=1, thirty with PARKD_LONG=3.
int fault_rounds(int ci_rounds);

// A process that a fault may stop, kill and start again. Its stderr is appended to `log`.
class Child {
 public:
  Child(std::vector<std::string> command, std::string log);
  ~Child() { kill(); }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;
  void start();
  void signal(int number) const;
  void kill();                            // SIGKILL, and waits
  bool stop(std::chrono::seconds limit);  // SIGTERM, and waits; false: had to be killed
  const std::vector<std::string>& command() const { return command_; }

 private:
  std::vector<std::string> command_;  // execv wants it mutable
  const std::string log_;
  pid_t pid_ = 0;
};

class FaultWorld {
 public:
  struct Options {
    size_t n_daemons = 3;
    size_t n_sql_submitters = 2;
    size_t n_keyed_submitters = 1;
    size_t n_sql_users = 0;  // who also cancel, take, requeue and have batches (fault_user.cc)
    size_t n_verb_users = 0;
    bool into_a_batch = true;  // half of what is submitted by SQL
    std::string daemon_dsn;    // empty: straight to the database
    std::string submit_dsn;
    std::chrono::milliseconds daemon_ttl{2000};

    // Of each kind one.
    void with_users() { n_sql_submitters = n_sql_users = n_verb_users = 1; }
  };

  FaultWorld(TestDatabase& database, Options options);
  ~FaultWorld();

  TestDatabase& database() { return database_; }
  std::mt19937& random() { return random_; }
  unsigned seed() const { return seed_; }
  std::vector<std::unique_ptr<Child>>& daemons() { return daemons_; }
  std::vector<std::unique_ptr<Child>>& submitters() { return submitters_; }
  Child& some_daemon() { return *daemons_[random_() % daemons_.size()]; }
  // Kills a submitter and starts it under a new name.
  void replace_a_submitter();

  // Load goes on for this long.
  void run_for(std::chrono::milliseconds time) const;
  // Returns once `n` more jobs were acknowledged and as many finished, or the limit is over; false
  // then.
  bool progress(int64_t n, std::chrono::seconds limit = std::chrono::seconds(60));

  // What holds at any moment, under load: the oracle's count, batch counters = rows, each message
  // with its history, results of their own jobs. Adds gtest failures.
  Oracle::Tally check();
  // Stops the submitters, waits until nothing is left to do, checks that nothing leaked, checks
  // again. Adds gtest failures.
  Oracle::Tally settle(std::chrono::seconds limit = std::chrono::seconds(90));

  // Waits until users (with_users) have cancelled, failed, taken and requeued something. Adds a
  // gtest failure when they do not.
  void expect_users_did_everything();

  // Lines of the daemons' journals that begin with `word`, the numbers behind it summed up.
  int64_t reported(const std::string& word) const;
  // One line of the fault table.
  void report(const std::string& fault, int times, const Oracle::Tally& tally) const;

 private:
  void start_daemon();
  void start_submitter(const std::string& kind);
  std::string path(const std::string& name) const { return (dir_ / name).string(); }

  TestDatabase& database_;
  const Options options_;
  const unsigned seed_;
  std::mt19937 random_;
  const std::filesystem::path dir_;
  const std::chrono::steady_clock::time_point began_;
  Oracle oracle_;
  std::string batch_;
  int n_names_ = 0;
  std::vector<std::unique_ptr<Child>> daemons_;
  std::vector<std::unique_ptr<Child>> submitters_;
};

// Until `condition` holds; errors of a server that is coming back count as "not yet".
bool eventually(std::chrono::seconds limit, const std::function<bool()>& condition);

// pg_ctl of this sandbox with these arguments; throws when it fails.
void server_control(const std::string& arguments);

}  // namespace parkd
