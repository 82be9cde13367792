#include "lib/store/postgres/migrator.h"

#include <algorithm>
#include <chrono>
#include <thread>

#include "lib/base/log.h"
#include "lib/base/text.h"
#include "lib/store/postgres/connection.h"
#include "lib/store/postgres/rows.h"

namespace parkd {
namespace {

constexpr Statement kVersions{"versions",
                              "SELECT version, checksum, name, to_char(applied_at AT TIME ZONE "
                              "'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') AS at, needs FROM "
                              "parkd.schema_version ORDER BY version"};

constexpr std::string_view kBootstrap =
    "CREATE SCHEMA IF NOT EXISTS parkd;\n"
    "CREATE TABLE IF NOT EXISTS parkd.schema_version (\n"
    "  version int PRIMARY KEY, name text NOT NULL, checksum text NOT NULL, needs int NOT NULL,\n"
    "  applied_at timestamptz NOT NULL DEFAULT clock_timestamp());\n";

// One migrator at a time, and none waits for long behind a reader's lock: it tries again. A mode
// that no login can take or stand in the way of that has not the table's rights; an advisory lock
// is anybody's.
constexpr std::string_view kStepStart =
    "SET LOCAL lock_timeout = '2s';\n"
    "SET LOCAL statement_timeout = 0;\n"
    "LOCK TABLE parkd.schema_version IN SHARE UPDATE EXCLUSIVE MODE;\n";

std::string checksum_of(const Migration& migration) {
  return to_hex(fnv1a64(migration.up_sql));
}

// The "-- needs: N" of the head comment.
int needs_of(const Migration& migration) {
  constexpr std::string_view kMark = "-- needs: ";
  const size_t at = migration.up_sql.substr(0, 2000).find(kMark);
  if (at == std::string_view::npos) return migration.version;
  return std::stoi(std::string(migration.up_sql.substr(at + kMark.size(), 9)));
}

std::string up_script(const Migration& migration) {
  std::string script(migration.up_sql);
  // The name comes from our own file name: letters, digits and underscores.
  script += "\nINSERT INTO parkd.schema_version (version, name, checksum, needs) VALUES (" +
            std::to_string(migration.version) + ", '" + std::string(migration.name) + "', '" +
            checksum_of(migration) + "', " + std::to_string(needs_of(migration)) + ");\n";
  return script;
}

struct Applied {
  int version = 0;
  std::string checksum;
  std::string name;
  std::string applied_at;
  int needs = 0;
};

Result<std::vector<Applied>> applied_versions(Connection& connection) {
  const auto rows = connection.run(kVersions, {});
  if (!rows.ok()) {
    // 42P01, 3F000: no such table or schema.
    if (connection.sqlstate() == "42P01" || connection.sqlstate() == "3F000") {
      return std::vector<Applied>();
    }
    return rows.status();
  }
  std::vector<Applied> applied;
  for (const auto& row : *rows) {
    applied.push_back({field(row, "version").small(), text(row, "checksum"), text(row, "name"),
                       text(row, "at"), field(row, "needs").small()});
  }
  return applied;
}

const Migration* find(std::span<const Migration> migrations, int version) {
  const auto found = std::find_if(migrations.begin(), migrations.end(),
                                  [&](const Migration& m) { return m.version == version; });
  return found == migrations.end() ? nullptr : &*found;
}

Connection::Options session(const std::string& dsn) {
  Connection::Options options;
  options.dsn = dsn;
  options.application_name = "parkd-migrate";
  options.statement_limit = std::chrono::hours(24);  // an index on a large table takes its time
  return options;
}

}  // namespace

Migrator::Migrator(std::string dsn, std::span<const Migration> migrations)
    : dsn_(std::move(dsn)), migrations_(migrations) {}

Status Migrator::run_step(Connection& connection, const std::string& script) {
  Status status;
  for (int attempt = 0; attempt < 10; ++attempt) {
    status = connection.run_script(std::string(kStepStart) + script);
    if (status.ok() || connection.sqlstate() != "55P03") return status;
    log_info("migrate.waits_for_a_lock", {{"attempt", attempt + 1}});
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
  }
  return status;
}

Status Migrator::up(int target) {
  Connection connection(session(dsn_));
  Status begun;
  for (int attempt = 0; attempt < 10; ++attempt) {
    begun = connection.run_script(std::string(kBootstrap));
    // Another migrator makes the same schema: IF NOT EXISTS does not see what is not committed.
    const std::string& why = connection.sqlstate();
    if (begun.ok() || (why != "23505" && why != "42P06" && why != "42P07")) break;
  }
  PARKD_RETURN_IF_ERROR(begun);
  for (const Migration& migration : migrations_) {
    if (target > 0 && migration.version > target) break;
    PARKD_ASSIGN_OR_RETURN(const std::vector<Applied> applied, applied_versions(connection));
    const auto found = std::find_if(applied.begin(), applied.end(), [&](const Applied& a) {
      return a.version == migration.version;
    });
    if (found != applied.end()) {
      if (found->checksum == checksum_of(migration)) continue;
      return conflict("migration " + std::to_string(migration.version) + " " +
                      std::string(migration.name) + " was applied with another text");
    }
    // Asked again under the lock: another migrator may have been faster since we looked.
    const Status status = run_step(
        connection, "DO $$ BEGIN IF EXISTS (SELECT FROM parkd.schema_version WHERE version = " +
                        std::to_string(migration.version) +
                        ") THEN RAISE EXCEPTION USING ERRCODE = 'PK002'; END IF; END $$;\n" +
                        up_script(migration));
    if (connection.sqlstate() == "PK002") continue;
    if (!status.ok()) {
      return Status(status.code(), "migration " + std::to_string(migration.version) + " " +
                                       std::string(migration.name) + ": " + status.message());
    }
    log_info("migrate.applied", {{"version", migration.version}, {"name", migration.name}});
  }
  return {};
}

Status Migrator::down(int target) {
  Connection connection(session(dsn_));
  PARKD_ASSIGN_OR_RETURN(std::vector<Applied> applied, applied_versions(connection));
  std::reverse(applied.begin(), applied.end());
  // One transaction for all of them: half a schema is of no use.
  std::string script;
  for (const Applied& step : applied) {
    if (step.version <= target) break;
    const Migration* migration = find(migrations_, step.version);
    if (migration == nullptr || migration->down_sql.empty()) {
      return conflict("migration " + std::to_string(step.version) + " " + step.name +
                      " cannot be undone by this parkd");
    }
    script += std::string(migration->down_sql) +
              "\nDELETE FROM parkd.schema_version WHERE version = " + std::to_string(step.version) +
              ";\n";
  }
  if (script.empty()) return {};
  if (const Status status = run_step(connection, script); !status.ok()) {
    const std::string hint = connection.hint().empty() ? "" : ". " + connection.hint();
    return conflict("nothing was undone: " + status.message() + hint);
  }
  log_info("migrate.undone", {{"from", applied.front().version}, {"to", target}});
  return {};
}

Result<std::vector<MigrationState>> Migrator::status() {
  Connection connection(session(dsn_));
  PARKD_ASSIGN_OR_RETURN(const std::vector<Applied> applied, applied_versions(connection));
  std::vector<MigrationState> states;
  for (const Migration& migration : migrations_) {
    MigrationState state;
    state.version = migration.version;
    state.name = std::string(migration.name);
    for (const Applied& a : applied) {
      if (a.version != migration.version) continue;
      state.applied_at = a.applied_at;
      state.changed = a.checksum != checksum_of(migration);
    }
    states.push_back(std::move(state));
  }
  for (const Applied& a : applied) {
    if (find(migrations_, a.version) == nullptr) {
      states.push_back({a.version, a.name, a.applied_at, false, true});
    }
  }
  return states;
}

Status Migrator::check() {
  Connection connection(session(dsn_));
  return check_schema(connection, migrations_);
}

Status check_schema(Connection& connection, std::span<const Migration> migrations) {
  PARKD_ASSIGN_OR_RETURN(const std::vector<Applied> applied, applied_versions(connection));
  const int ours = migrations.empty() ? 0 : migrations.back().version;
  for (const Migration& migration : migrations) {
    const auto found = std::find_if(applied.begin(), applied.end(), [&](const Applied& a) {
      return a.version == migration.version;
    });
    if (found == applied.end()) {
      return conflict("the database's parkd schema is at version " +
                      std::to_string(applied.empty() ? 0 : applied.back().version) +
                      ", this parkd needs " + std::to_string(ours) + ": run jobctl migrate up");
    }
    if (found->checksum != checksum_of(migration)) {
      return conflict("migration " + std::to_string(migration.version) + " " + found->name +
                      " was applied with another text: run jobctl migrate status");
    }
  }
  for (const Applied& a : applied) {
    if (a.version > ours && a.needs > ours) {
      return conflict("the database's parkd schema is at version " + std::to_string(a.version) +
                      ", which needs parkd of schema " + std::to_string(a.needs) +
                      "; this one knows " + std::to_string(ours) + ": upgrade parkd");
    }
  }
  return {};
}

std::string Migrator::sql() const {
  std::string script = "BEGIN;\n" + std::string(kBootstrap) + "COMMIT;\n";
  for (const Migration& migration : migrations_) {
    script += "BEGIN;\n" + up_script(migration) + "COMMIT;\n";
  }
  return script;
}

}  // namespace parkd
