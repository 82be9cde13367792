#include "tests/e2e/postgres_world.h"

#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <sstream>
#include <stdexcept>

#include <pqxx/pqxx>

namespace parkd::testing {

PostgresWorld::PostgresWorld() {
  // Roles are the cluster's: an earlier test may have made it.
  run("DO $$ BEGIN CREATE ROLE parkd_worker LOGIN IN ROLE parkd_daemon; "
      "EXCEPTION WHEN duplicate_object THEN NULL; END $$");
}

Access PostgresWorld::access() const {
  return {
      "postgresql:///" + database_.name() + "?host=" + std::getenv("PGHOST") + "&user=parkd_worker",
      "beat_ms: 300, ttl_ms: 2000, poll_ms: 300, verb_limit_ms: 500"};
}

std::string PostgresWorld::dsn_as(const std::string& login) const {
  return database_.dsn_as(login) + " host=" + std::getenv("PGHOST");
}

DaemonProcess& PostgresWorld::add_daemon(const DaemonSetup& setup) {
  return add_daemon(setup, access());
}

DaemonProcess& PostgresWorld::add_daemon(DaemonSetup setup, const Access& access) {
  setup.more_daemon += "  postgres: {" + access.keys + "}\n";
  setup.more_lot += "  queue:\n    backend: postgres\n    postgres_url: " + access.url + "\n";
  daemons_.push_back(std::make_unique<DaemonProcess>(setup));
  return *daemons_.back();
}

DaemonProcess& PostgresWorld::start_daemon(const DaemonSetup& setup) {
  return start_daemon(setup, access());
}

DaemonProcess& PostgresWorld::start_daemon(const DaemonSetup& setup, const Access& access) {
  DaemonProcess& daemon = add_daemon(setup, access);
  EXPECT_TRUE(daemon.start()) << daemon.log();
  daemon.wait_for_model();
  return daemon;
}

void PostgresWorld::run(const std::string& sql) const {
  pqxx::connection connection(database_.dsn());
  pqxx::nontransaction tx(connection);
  tx.exec(sql);
}

std::string PostgresWorld::value(const std::string& sql) const {
  pqxx::connection connection(database_.dsn());
  pqxx::nontransaction tx(connection);
  const pqxx::result rows = tx.exec(sql);
  return rows.empty() || rows[0][0].is_null() ? "" : rows[0][0].c_str();
}

int64_t PostgresWorld::number(const std::string& sql) const {
  return std::stoll(value(sql));
}

bool PostgresWorld::lets_in(const std::string& login) const {
  try {
    pqxx::connection connection(database_.dsn_as(login));
    return connection.is_open();
  } catch (const pqxx::failure&) {
    return false;
  }
}

void PostgresWorld::insert_jobs(int count, int max_tokens, const std::string& key, int n) const {
  run("INSERT INTO parkd.jobs (model, body, custom_id, mailbox_key) SELECT 'tiny', "
      "json_build_object('messages', json_build_array(json_build_object('role', 'user', 'content', "
      "'Job ' || i)), 'max_tokens', " +
      std::to_string(max_tokens) + ", 'n', " + std::to_string(n) + "), 'job-' || i, '" + key +
      "' FROM generate_series(1, " + std::to_string(count) + ") i");
}

int64_t PostgresWorld::stop_at_work(DaemonProcess& daemon, int count, int max_tokens) const {
  const std::string held =
      "SELECT count(*) FROM parkd.jobs JOIN parkd.daemons d ON d.id = daemon_id WHERE d.pid = " +
      std::to_string(daemon.pid());
  int64_t inserted = 0;
  wait_until([&] {
    if (number("SELECT count(*) FROM parkd.jobs") == 0) {
      insert_jobs(count, max_tokens);
      inserted += count;
    }
    if (number(held) == 0) return false;
    daemon.signal(SIGSTOP);
    ::usleep(20'000);  // the server does what it had sent
    if (number(held) > 0) return true;
    daemon.signal(SIGCONT);
    return false;
  });
  return inserted;
}

void PostgresWorld::wait_until(const std::function<bool()>& condition) {
  const auto give_up = std::chrono::steady_clock::now() + std::chrono::minutes(5);
  while (std::chrono::steady_clock::now() < give_up) {
    try {
      if (condition()) return;
    } catch (const pqxx::failure&) {  // the server is away
    }
    ::usleep(20'000);
  }
  throw std::runtime_error("waited five minutes in vain");
}

void PostgresWorld::wait_for_messages(int64_t count) const {
  wait_until([&] { return number("SELECT count(*) FROM parkd.mailbox") >= count; });
}

void PostgresWorld::expect_each_job_answered_once(int64_t count) const {
  EXPECT_EQ(number("SELECT count(*) FROM parkd.mailbox WHERE outcome = 'completed'"), count);
  EXPECT_EQ(number("SELECT count(*) FROM parkd.mailbox"), count);
  EXPECT_EQ(number("SELECT count(DISTINCT job_id) FROM parkd.mailbox"), count)
      << "a job has two messages";
  EXPECT_EQ(number("SELECT count(*) FROM parkd.history"), count);
  EXPECT_EQ(number("SELECT count(*) FROM parkd.jobs"), 0) << "finished and live at once";
}

void PostgresWorld::server(const std::string& verb) {
  const std::string command =
      std::string(std::getenv("PG_SANDBOX_CTL")) + " " + verb + " >/dev/null 2>&1";
  if (std::system(command.c_str()) != 0) throw std::runtime_error("pg_ctl " + verb);
}

double completed_by(const DaemonProcess& daemon) {
  return metric(daemon,
                "parkd_jobs_finished_total{model=\"tiny\",outcome=\"completed\",code=\"\"}");
}

HttpAnswer ready_of(const DaemonProcess& daemon) {
  return must(daemon.client()->get("/readyz"));
}

}  // namespace parkd::testing
