// jobctl's subcommands: each takes its options and answers with the process's exit code.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "lib/base/status.h"
#include "tools/jobctl/client.h"

namespace CLI {
class App;
}

namespace parkd::jobctl {

// Exit codes, the same for every subcommand (README.md).
inline constexpr int kExitOk = 0;
inline constexpr int kExitFailedOutcome = 1;  // the job, or a line of the batch, did not complete
inline constexpr int kExitUsage = 2;          // bad option or input; nothing was accepted
inline constexpr int kExitUnreachable = 3;    // no daemon, or no database, or it is stopping
inline constexpr int kExitRefused = 4;        // refused: a limit, a conflict, not found
inline constexpr int kExitInterrupted = 5;    // Ctrl-C; the same command continues
inline constexpr int kExitTimedOut = 124;     // --wait-timeout passed; the job goes on

// Options before the subcommand.
struct GlobalOptions {
  std::optional<std::string> socket;  // as given; connect.cc asks the environment too
  std::optional<std::string> dsn;
  std::string tenant;
  bool json = false;
};

// Prints "jobctl: ..." and gives the exit code that fits.
int report(const Status& status);

// The database that the options or the environment name; empty: the daemon. Errors: invalid.
Result<std::optional<std::string>> chosen_dsn(const GlobalOptions& globals);
std::string chosen_socket(const GlobalOptions& globals);
// The database's DSN, whatever --socket says; "" leaves it to libpq. Errors: invalid.
Result<std::string> database_dsn(const GlobalOptions& globals);

// The parkd that the options or the environment name. Errors: invalid.
Result<std::unique_ptr<Client>> connect(const GlobalOptions& globals);
// `call`, again where its answer was lost; for calls that a key makes the same when repeated.
Result<Answer> repeating(const std::function<Result<Answer>()>& call);
// `answer` as JSON where --json was given, else by `print`; or its error. Gives the exit code.
int show(const GlobalOptions& globals, const Result<Answer>& answer,
         const std::function<void(const boost::json::value&)>& print);

// Each adds its subcommand to `app`; when it is the one that was given, `chosen` becomes its body.
using Chosen = std::function<int()>;
void add_submit(CLI::App& app, const GlobalOptions& globals, Chosen& chosen);
void add_status(CLI::App& app, const GlobalOptions& globals, Chosen& chosen);
void add_list(CLI::App& app, const GlobalOptions& globals, Chosen& chosen);
void add_cancel(CLI::App& app, const GlobalOptions& globals, Chosen& chosen);
void add_requeue(CLI::App& app, const GlobalOptions& globals, Chosen& chosen);
void add_mailbox(CLI::App& app, const GlobalOptions& globals, Chosen& chosen);
void add_pool(CLI::App& app, const GlobalOptions& globals, Chosen& chosen);
void add_models_add(CLI::App& models, const GlobalOptions& globals, Chosen& chosen);
void add_models_check(CLI::App& models, const GlobalOptions& globals, Chosen& chosen);
void add_models(CLI::App& app, const GlobalOptions& globals, Chosen& chosen);
void add_migrate(CLI::App& app, const GlobalOptions& globals, Chosen& chosen);
void add_doctor(CLI::App& app, const GlobalOptions& globals, Chosen& chosen);
void add_store(CLI::App& app, Chosen& chosen);
void add_token(CLI::App& app, Chosen& chosen);
void add_batch_run(CLI::App& batch, const GlobalOptions& globals, Chosen& chosen);
void add_batch(CLI::App& app, const GlobalOptions& globals, Chosen& chosen);

}  // namespace parkd::jobctl
