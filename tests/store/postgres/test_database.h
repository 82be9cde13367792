// TestDatabase: a database of its own inside the sandbox of tools/pg_sandbox.sh, gone at the end.
//
// Tests alone, any thread. The server is found through PGHOST and PGUSER, as libpq does.
#pragma once

#include <memory>
#include <pqxx/pqxx>
#include <string>

#include "lib/store/postgres/postgres_store.h"

namespace parkd {

class TestDatabase {
 public:
  enum class Schema { migrated, none };
  // Migrated: a copy of a template that is migrated once a process.
  explicit TestDatabase(Schema schema = Schema::migrated);
  ~TestDatabase();
  TestDatabase(const TestDatabase&) = delete;
  TestDatabase& operator=(const TestDatabase&) = delete;

  const std::string& name() const { return name_; }
  std::string dsn() const { return "dbname=" + name_; }
  std::string dsn_as(const std::string& login) const { return dsn() + " user=" + login; }

  // As the owner. Statements without a result, or the first value of the first row as text.
  void run(const std::string& sql);
  std::string value(const std::string& sql);
  int64_t number(const std::string& sql) { return std::stoll(value(sql)); }
  // Deletes what tests leave in it; no store may be open.
  void empty();
  // A session of one's own.
  std::unique_ptr<pqxx::connection> connect(const std::string& login = "postgres") const;

 private:
  std::string name_;
  std::unique_ptr<pqxx::connection> connection_;
};

// Options for one daemon on `dsn`, without the threads' own initiative (no LISTEN, no poll).
PostgresOptions quiet_options(const std::string& dsn);

// The message the server refuses `sql` with; "" when it does not.
std::string refusal(pqxx::connection& connection, const std::string& sql);

}  // namespace parkd
