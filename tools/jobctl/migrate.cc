// jobctl migrate up|down|status|sql|check|lockdown: the schema of the database.
#include <CLI/CLI.hpp>
#include <iostream>
#include <utility>

#include "lib/store/postgres/dsn.h"
#include "lib/store/postgres/lockdown.h"
#include "lib/store/postgres/migrator.h"
#include "tools/jobctl/commands.h"
#include "tools/jobctl/table.h"

namespace parkd::jobctl {
namespace {

struct MigrateOptions {
  int to = -1;  // left out
  bool yes = false;
  bool dry_run = false;
};

int newest_applied(const std::vector<MigrationState>& states) {
  int version = 0;
  for (const MigrationState& state : states) {
    if (!state.applied_at.empty()) version = std::max(version, state.version);
  }
  return version;
}

// Prints where the schema is now.
int say_version(Migrator& migrator, const std::string& dsn) {
  const auto states = migrator.status();
  if (!states.ok()) return report(with_target(states.status(), dsn));
  std::cout << "the parkd schema is at version " << newest_applied(*states) << "\n";
  return kExitOk;
}

int up(const std::string& dsn, const MigrateOptions& options) {
  if (options.to == 0)
    return report(invalid("--to 0 is not a version to go up to: they start at 1"));
  Migrator migrator(dsn);
  if (const Status status = migrator.up(std::max(options.to, 0)); !status.ok()) {
    return report(with_target(status, dsn));
  }
  return say_version(migrator, dsn);
}

int down(const std::string& dsn, const MigrateOptions& options) {
  if (options.to < 0) return report(invalid("give --to N, the version that stays (0: none)"));
  Migrator migrator(dsn);
  const auto states = migrator.status();
  if (!states.ok()) return report(with_target(states.status(), dsn));
  if (newest_applied(*states) <= options.to) return say_version(migrator, dsn);
  if (!options.yes) {
    std::cerr
        << "jobctl: this would undo, with all that their tables hold (models, limits, tenants "
           "and such; never jobs or results):\n";
    for (const MigrationState& state : *states) {
      if (!state.applied_at.empty() && state.version > options.to) {
        std::cerr << "  " << state.version << " " << state.name << "\n";
      }
    }
    std::cerr << "Nothing was undone. Say it again with --yes.\n";
    return kExitUsage;
  }
  if (const Status status = migrator.down(options.to); !status.ok()) {
    return report(with_target(status, dsn));
  }
  return say_version(migrator, dsn);
}

std::string state_word(const MigrationState& state) {
  if (state.unknown) return "unknown (of a newer parkd)";
  if (state.changed) return "changed (applied with another text)";
  return state.applied_at.empty() ? "pending" : "applied";
}

int status(const std::string& dsn) {
  const auto states = Migrator(dsn).status();
  if (!states.ok()) return report(with_target(states.status(), dsn));
  std::vector<std::vector<std::string>> rows = {{"VERSION", "NAME", "STATE", "APPLIED AT"}};
  for (const MigrationState& state : *states) {
    rows.push_back({std::to_string(state.version), state.name, state_word(state),
                    state.applied_at.empty() ? "-" : state.applied_at});
  }
  print_table(rows);
  return kExitOk;
}

int check(const std::string& dsn) {
  Migrator migrator(dsn);
  if (const Status status = migrator.check(); !status.ok()) return report(with_target(status, dsn));
  return say_version(migrator, dsn);
}

int lockdown(const std::string& dsn, bool dry_run) {
  const auto found = look_at_lockdown(dsn);
  if (!found.ok()) return report(with_target(found.status(), dsn));
  for (const std::string& statement : found->statements) std::cout << statement << ";\n";
  if (!found->shut_out.empty()) {
    std::cout << "-- may not connect then:";
    for (const std::string& login : found->shut_out) std::cout << " " << login;
    std::cout << "\n";
  }
  if (dry_run) return kExitOk;
  if (const Status status = lock_down(dsn); !status.ok()) return report(with_target(status, dsn));
  std::cout << "-- done\n";
  return kExitOk;
}

}  // namespace

void add_migrate(CLI::App& app, const GlobalOptions& globals, Chosen& chosen) {
  auto options = std::make_shared<MigrateOptions>();
  CLI::App* migrate = app.add_subcommand(
      "migrate",
      "The schema of the PostgreSQL database (--dsn, $PARKD_DSN, or libpq's own PGHOST "
      "and so on)");
  migrate->require_subcommand(1);
  using Command = std::function<int(const std::string& dsn)>;
  const auto add = [&](const char* name, const char* what, Command run) {
    CLI::App* command = migrate->add_subcommand(name, what);
    command->callback([&globals, &chosen, run = std::move(run)] {
      chosen = [&globals, run] {
        const auto dsn = database_dsn(globals);
        return dsn.ok() ? run(*dsn) : report(dsn.status());
      };
    });
    return command;
  };
  add("up", "Apply what is missing", [options](const std::string& dsn) {
    return up(dsn, *options);
  })->add_option("--to", options->to, "No further than this version");
  CLI::App* undo = add("down", "Undo what loses no job and no result",
                       [options](const std::string& dsn) { return down(dsn, *options); });
  undo->add_option("--to", options->to, "The version that stays; 0: none");
  undo->add_flag("--yes", options->yes, "Do it");
  add("status", "What is applied, and when", status);
  CLI::App* shut =
      add("lockdown", "Take from PUBLIC what it may in a database that is parkd's alone",
          [options](const std::string& dsn) { return lockdown(dsn, options->dry_run); });
  shut->add_flag("--dry-run", options->dry_run, "Print the statements and run none");
  add("check", "Whether this parkd can work with the database; exits 4 when not", check);
  migrate->add_subcommand("sql", "Print what up runs on an empty database, for psql")
      ->callback([&chosen] {
        chosen = [] {
          std::cout << Migrator("").sql();
          return kExitOk;
        };
      });
}

}  // namespace parkd::jobctl
