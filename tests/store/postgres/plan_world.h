// PlanWorld: a database with many rows of every kind, and what a statement reads in it: counted by
// PostgreSQL itself, so functions, triggers and row-level security are seen through.
//
// Tests alone, inside tools/pg_sandbox.sh, one thread.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "lib/store/postgres/connection.h"
#include "tests/store/postgres/test_database.h"

namespace parkd {

// Which statistics the planner sees.
enum class Statistics { none, of_the_empty_tables, fresh };

// Rows of each kind: queued jobs of a tenant alone and of twenty that share, messages, history,
// keys; half as many scheduled jobs and members of batches, a tenth as many batches.
int plan_rows();

struct Reads {
  int64_t tuples = 0;   // of the tables that grow
  int64_t entries = 0;  // of indexes, also those whose row is dead or not looked at
  int64_t pages = 0;    // of tables and indexes, and of what the planner looked up
};

class PlanWorld {
 public:
  explicit PlanWorld(Statistics statistics);

  TestDatabase& database() { return database_; }

  // `statement` with `arguments` as SQL, {names} in them replaced by value(): what it reads once
  // its plans are cached, with plans for these arguments or for any, whichever reads more. What it
  // did is undone. `before` is done in the same transaction, uncounted.
  Reads cost(const Statement& statement, const std::string& arguments,
             const std::string& login = "postgres", const std::string& before = "");
  // daemon: it holds 64 claims, ids and leases; others as fill() names them.
  const std::string& value(const std::string& name) const { return values_.at(name); }
  std::string with_values(std::string sql) const;

 private:
  void fill_jobs();
  void fill_messages();
  void fill_batches();
  void remember_values();
  pqxx::connection& session(const std::string& login);

  TestDatabase database_;
  std::map<std::string, std::unique_ptr<pqxx::connection>> sessions_;
  std::map<std::string, std::string> values_;
};

}  // namespace parkd
