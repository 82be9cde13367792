// jobctl: hands jobs to a parkd and reads what became of them.
#include "tools/jobctl/commands.h"

#include <CLI/CLI.hpp>
#include "tools/jobctl/mistyped.h"

int main(int argc, char** argv) {
  using namespace parkd::jobctl;
  CLI::App app("Submits jobs to parkd and reads their results.");
  app.require_subcommand(1);
  app.fallthrough();
  app.set_version_flag("--version", "jobctl " PARKD_VERSION);
  app.footer(
      "Exit codes: 0 done, 1 a job did not complete, 2 bad input, 3 parkd or its database not "
      "reachable (batch run waits for it), 4 refused, 5 interrupted (run the same command to "
      "continue), 124 --wait-timeout "
      "passed.");

  GlobalOptions globals;
  app.add_option("--socket", globals.socket,
                 "The daemon's Unix socket (default: $PARKD_SOCKET, /run/parkd/parkd.sock)");
  app.add_option("--dsn", globals.dsn,
                 "Straight to the PostgreSQL database, no daemon (default: $PARKD_DSN): libpq's "
                 "keywords or URI; \"\" for PGHOST and so on");
  app.add_option("--tenant", globals.tenant, "Act for this tenant (root and the daemon's user)");
  app.add_flag("--json", globals.json, "Print the daemon's JSON");

  Chosen chosen;
  add_submit(app, globals, chosen);
  add_status(app, globals, chosen);
  add_list(app, globals, chosen);
  add_cancel(app, globals, chosen);
  add_requeue(app, globals, chosen);
  add_mailbox(app, globals, chosen);
  add_pool(app, globals, chosen);
  add_models(app, globals, chosen);
  add_batch(app, globals, chosen);
  add_doctor(app, globals, chosen);
  add_store(app, chosen);
  add_token(app, chosen);
#ifdef PARKD_HAVE_POSTGRES
  add_migrate(app, globals, chosen);
#endif
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    const bool is_help = error.get_exit_code() == 0;
    const std::string unknown = is_help ? std::string() : explain_unknown(app);
    if (unknown.empty()) return app.exit(error) == 0 ? kExitOk : kExitUsage;
    return report(parkd::invalid(unknown));
  }
  return chosen();
}
