// Real daemons on one database of the sandbox (tools/pg_sandbox.sh), and what SQL sees of them.
//
// The daemons log in as a plain member of parkd_daemon, as in production; the test itself is the
// owner. One test thread.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

#include "tests/e2e/jobs.h"
#include "tests/store/postgres/test_database.h"
#include "tests/support/daemon_process.h"

namespace parkd::testing {

// How a daemon reaches its database.
struct Access {
  std::string url;   // postgres_url
  std::string keys;  // of daemon.postgres
};

class PostgresWorld {
 public:
  PostgresWorld();

  // Straight to the server. The ttl is two seconds, so that a takeover does not take longer.
  Access access() const;
  // As libpq's keywords, so that more can follow.
  std::string dsn_as(const std::string& login) const;

  // A daemon of this database, not started; owned by the world.
  DaemonProcess& add_daemon(const DaemonSetup& setup);
  DaemonProcess& add_daemon(DaemonSetup setup, const Access& access);
  DaemonProcess& start_daemon(const DaemonSetup& setup);  // started, its model ready
  DaemonProcess& start_daemon(const DaemonSetup& setup, const Access& access);
  const std::vector<std::unique_ptr<DaemonProcess>>& daemons() const { return daemons_; }

  // SQL as the owner, each in a session of its own: the server may have been restarted.
  void run(const std::string& sql) const;
  std::string value(const std::string& sql) const;
  int64_t number(const std::string& sql) const;
  bool lets_in(const std::string& login) const;  // without a password

  // INSERT of `count` jobs for mailbox key `key`, each of `max_tokens` tokens.
  void insert_jobs(int count, int max_tokens, const std::string& key = "sql", int n = 1) const;
  // The same for key "sql", and again whenever all have ended, until `daemon` holds some, by what
  // the database says, and is stopped (SIGSTOP): so it works however fast this machine is. Returns
  // how many jobs it inserted.
  int64_t stop_at_work(DaemonProcess& daemon, int count, int max_tokens) const;
  // Waits, five minutes at most; then it throws. A condition may throw while the server is away.
  static void wait_until(const std::function<bool()>& condition);
  void wait_for_messages(int64_t count) const;
  // Every one of `count` jobs has exactly one completed message and no live row is left.
  void expect_each_job_answered_once(int64_t count) const;

  // pg_ctl of the sandbox: "stop -m immediate", "start".
  static void server(const std::string& verb);

 private:
  TestDatabase database_;
  std::vector<std::unique_ptr<DaemonProcess>> daemons_;  // gone before the database is
};

// What the server logs from here on.
class ServerLog {
 public:
  ServerLog() { file_.seekg(0, std::ios::end); }
  std::string text() {
    file_.clear();
    read_.append(std::istreambuf_iterator<char>(file_), {});
    return read_;
  }
  bool has(const std::string& part) { return text().find(part) != std::string::npos; }

 private:
  std::ifstream file_{std::getenv("PG_SANDBOX_LOG")};
  std::string read_;
};

// Jobs this daemon has completed.
double completed_by(const DaemonProcess& daemon);
HttpAnswer ready_of(const DaemonProcess& daemon);

}  // namespace parkd::testing
