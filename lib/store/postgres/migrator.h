// The schema's versions: migrations/NNNN_name.{up,down}.sql, embedded by CMake.
//
// parkd.schema_version records what was applied, with a checksum, and which version of parkd a
// migration needs at least ("-- needs: N" in its first lines; its own number when it does not say),
// so that an older daemon keeps working beside a newer schema that says it may.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/status.h"

namespace parkd {

class Connection;

struct Migration {
  int version = 0;
  std::string_view name;
  std::string_view up_sql;
  std::string_view down_sql;  // empty: there is no way back
};

// Ascending, without gaps, from 1.
std::span<const Migration> embedded_migrations();

struct MigrationState {
  int version = 0;
  std::string name;
  std::string applied_at;  // RFC 3339, UTC; empty: pending
  bool changed = false;    // its text is not what was applied
  bool unknown = false;    // applied by a newer parkd
};

class Migrator {
 public:
  explicit Migrator(std::string dsn, std::span<const Migration> migrations = embedded_migrations());

  // Applies what is missing up to `target` (0: all), each version in a transaction of its own;
  // waits for a migrator that is at work. Errors: conflict when an applied one was changed.
  Status up(int target);
  // Undoes versions above `target`, last first, in one transaction. Errors: conflict when one
  // cannot be undone without loss; then all stay.
  Status down(int target);
  Result<std::vector<MigrationState>> status();
  // Whether this parkd can work with the database as it is; the message says what to run.
  Status check();
  // What up() would run on an empty database, for an administrator's psql.
  std::string sql() const;

 private:
  Status run_step(Connection& connection, const std::string& script);

  const std::string dsn_;
  const std::span<const Migration> migrations_;
};

// As Migrator::check, over an open connection.
Status check_schema(Connection& connection, std::span<const Migration> migrations);

}  // namespace parkd
