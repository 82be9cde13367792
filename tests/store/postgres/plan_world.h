// PlanWorld: a database with many rows of every kind, and what a statement reads in it: counted by
// PostgreSQL itself, so functions, triggers and row-level security are seen through.
//
// Tests alone, inside tools/pg_sandbox.sh, one thread.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>

#include "lib/store/postgres/connection.h"
#include "tests/store/postgres/test_database.h"

namespace parkd {

// Which statistics the planner sees; or it has made its plans already, when the tables were empty.
enum class Statistics { none, of_the_empty_tables, fresh, plans_of_the_empty_tables };

// Rows of each kind: queued jobs of a tenant alone and of twenty that share, messages, history,
// keys; half as many scheduled jobs, members of batches and files, a tenth as many batches.
int plan_rows();

struct Reads {
  int64_t tuples = 0;   // of the tables that grow
  int64_t entries = 0;  // of indexes, also those whose row is dead or not looked at
  int64_t pages = 0;    // of tables and indexes, and of what the planner looked up
};

class PlanWorld {
 public:
  // Queued jobs of a tenant that stand in front of those of another; nothing else.
  struct Crowd {
    int n_jobs = 0;
  };

  // Before anything is there: sessions make their plans in `rehearse`.
  PlanWorld(Statistics statistics, const std::function<void(PlanWorld&)>& rehearse);

  // Models `crowded`, `urgent` (critical) and `alone` (without the others): the tenant `crowd` has
  // so many jobs of 1000 tokens in the first and a tenth of it in each other one; behind it `late`
  // and `later` have 20 of 20 tokens.
  explicit PlanWorld(Crowd crowd);

  TestDatabase& database() { return database_; }

  // `statement` with `arguments` as SQL, {names} in them replaced by value(): what it reads once
  // its plans are cached, with plans for these arguments or for any, whichever reads more. What it
  // did is undone.
  Reads cost(const Statement& statement, const std::string& arguments,
             const std::string& login = "postgres");
  // How many rows it answers; what it did is undone too.
  int64_t rows(const Statement& statement, const std::string& arguments);
  // daemon: it holds 64 claims, ids and leases; others as fill() names them.
  const std::string& value(const std::string& name) const { return values_.at(name); }
  std::string with_values(std::string sql) const;

 private:
  void fill_jobs();
  void fill_messages();
  void fill_batches();
  void fill_files();
  void remember_values();
  void make_user();
  void invent_values();
  pqxx::connection& session(const std::string& login);

  TestDatabase database_;
  std::map<std::string, std::unique_ptr<pqxx::connection>> sessions_;
  std::map<std::string, std::string> values_;
  std::set<std::string> prepared_;  // login and name
};

}  // namespace parkd
