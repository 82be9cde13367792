#include "tests/store/postgres/test_database.h"

#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <stdexcept>

#include "lib/store/postgres/migrator.h"

namespace parkd {
namespace {

std::atomic<int> n_databases{0};

void administer(const std::string& sql) {
  pqxx::connection connection("dbname=postgres");
  pqxx::nontransaction tx(connection);
  tx.exec(sql);
}

const std::string& migrated_template() {
  static const std::string name = [] {
    std::string made = "template_" + std::to_string(::getpid());
    administer("CREATE DATABASE " + made);
    const Status status = Migrator("dbname=" + made).up(0);
    if (!status.ok()) throw std::runtime_error(status.to_string());
    return made;
  }();
  return name;
}

}  // namespace

TestDatabase::TestDatabase(Schema schema)
    : name_("t" + std::to_string(::getpid()) + "_" + std::to_string(++n_databases)) {
  if (std::getenv("PGHOST") == nullptr) {
    throw std::runtime_error("run this through tools/pg_sandbox.sh");
  }
  administer("CREATE DATABASE " + name_ +
             (schema == Schema::migrated ? " TEMPLATE " + migrated_template() : ""));
}

TestDatabase::~TestDatabase() {
  connection_.reset();
  try {
    administer("DROP DATABASE IF EXISTS " + name_ + " WITH (FORCE)");
  } catch (const std::exception&) {  // the sandbox goes anyway
  }
}

std::unique_ptr<pqxx::connection> TestDatabase::connect(const std::string& login) const {
  return std::make_unique<pqxx::connection>(dsn_as(login));
}

void TestDatabase::run(const std::string& sql) {
  if (!connection_ || !connection_->is_open()) connection_ = connect();
  pqxx::nontransaction tx(*connection_);
  tx.exec(sql);
}

void TestDatabase::empty() {
  connection_.reset();  // a test before may have stopped the server
  run("DELETE FROM parkd.jobs; DELETE FROM parkd.mailbox; DELETE FROM parkd.history; "
      "DELETE FROM parkd.idempotency; DELETE FROM parkd.shares; DELETE FROM parkd.waiters; "
      "DELETE FROM parkd.callers; "
      "DELETE FROM parkd.depth_samples; DELETE FROM parkd.batches; DELETE FROM parkd.daemons; "
      "DELETE FROM parkd.past_partitions; DELETE FROM parkd.tenants; DELETE FROM "
      "parkd.file_pieces; "
      "DELETE FROM parkd.files");
}

std::string TestDatabase::value(const std::string& sql) {
  if (!connection_ || !connection_->is_open()) connection_ = connect();
  pqxx::nontransaction tx(*connection_);
  const pqxx::result rows = tx.exec(sql);
  if (rows.empty() || rows[0][0].is_null()) return "";
  return rows[0][0].c_str();
}

PostgresOptions quiet_options(const std::string& dsn) {
  PostgresOptions options;
  options.dsn = dsn;
  options.listen = false;
  options.poll = std::chrono::milliseconds(0);
  options.depth_sample = std::chrono::milliseconds(0);
  return options;
}

std::string refusal(pqxx::connection& connection, const std::string& sql) {
  try {
    pqxx::nontransaction tx(connection);
    tx.exec(sql);
  } catch (const pqxx::sql_error& error) {
    return error.what();
  }
  return "";
}

}  // namespace parkd
