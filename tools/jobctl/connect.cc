// Which parkd a command talks to, and how its errors are told.
#include <chrono>
#include <cstdlib>
#include <iostream>
#include <thread>

#include "tools/jobctl/commands.h"
#include "tools/jobctl/daemon_client.h"
#include "tools/jobctl/table.h"
#ifdef PARKD_HAVE_POSTGRES
#include "lib/store/postgres/dsn.h"
#include "tools/jobctl/database_client.h"
#endif

namespace parkd::jobctl {
namespace {

enum class DsnSource { option, environment };

Status check_dsn(const std::string& dsn, DsnSource source) {
#ifdef PARKD_HAVE_POSTGRES
  PARKD_ASSIGN_OR_RETURN(const DsnTarget target, parse_dsn(dsn));
  if (!target.has_password || source == DsnSource::environment) return {};
  return invalid(
      "--dsn: a password on the command line can be read by every user of this machine: put it "
      "into PGPASSFILE, PGPASSWORD or PARKD_DSN");
#else
  (void)dsn, (void)source;
  return invalid("--dsn: this jobctl was built without libpqxx");
#endif
}

std::optional<std::string> environment(const char* name) {
  const char* value = std::getenv(name);
  if (value == nullptr) return std::nullopt;
  return value;
}

}  // namespace

Result<std::optional<std::string>> chosen_dsn(const GlobalOptions& globals) {
  if (globals.socket && globals.dsn) {
    return invalid(
        "give --socket (through the daemon) or --dsn (straight to the database), not both");
  }
  if (globals.socket) return std::optional<std::string>();
  if (!globals.dsn && environment("PARKD_DSN") && environment("PARKD_SOCKET")) {
    return invalid("PARKD_SOCKET and PARKD_DSN are both set: give --socket or --dsn");
  }
  if (!globals.dsn && !environment("PARKD_DSN")) return std::optional<std::string>();
  PARKD_ASSIGN_OR_RETURN(std::string dsn, database_dsn(globals));
  return std::optional(std::move(dsn));
}

std::string chosen_socket(const GlobalOptions& globals) {
  if (globals.socket) return *globals.socket;
  return environment("PARKD_SOCKET").value_or("/run/parkd/parkd.sock");
}

Result<std::string> database_dsn(const GlobalOptions& globals) {
  const DsnSource source = globals.dsn ? DsnSource::option : DsnSource::environment;
  const std::string dsn = globals.dsn ? *globals.dsn : environment("PARKD_DSN").value_or("");
  PARKD_RETURN_IF_ERROR(check_dsn(dsn, source));
  return dsn;
}

int report(const Status& status) {
  std::cerr << "jobctl: " << for_reader(status.message(), STDERR_FILENO);
  if (!status.param().empty())
    std::cerr << " (" << for_reader(status.param(), STDERR_FILENO) << ")";
  std::cerr << "\n";
  switch (status.code()) {
    case StatusCode::ok:
      return kExitOk;
    case StatusCode::invalid:
      return kExitUsage;
    case StatusCode::unavailable:
      return kExitUnreachable;
    default:
      return kExitRefused;
  }
}

Result<std::unique_ptr<Client>> connect(const GlobalOptions& globals) {
  PARKD_ASSIGN_OR_RETURN(const std::optional<std::string> dsn, chosen_dsn(globals));
  std::unique_ptr<Client> client;
#ifdef PARKD_HAVE_POSTGRES
  if (dsn) client = std::make_unique<DatabaseClient>(*dsn, globals.tenant);
#endif
  if (!client) client = std::make_unique<DaemonClient>(chosen_socket(globals), globals.tenant);
  return client;
}

Result<Answer> repeating(const std::function<Result<Answer>()>& call) {
  constexpr int kRepeats = 5;
  constexpr auto kRepeatAfter = std::chrono::milliseconds(200);
  Result<Answer> answer = call();
  const auto is_lost = [&answer] {
    return answer.status().code() == StatusCode::unavailable && answer.status().param().empty();
  };
  for (int repeat = 0; is_lost() && repeat < kRepeats; ++repeat) {
    std::this_thread::sleep_for(kRepeatAfter);
    answer = call();
  }
  return answer;
}

int show(const GlobalOptions& globals, const Result<Answer>& answer,
         const std::function<void(const boost::json::value&)>& print) {
  if (!answer.ok()) return report(answer.status());
  if (globals.json) {
    std::cout << answer->text << "\n";
  } else {
    print(answer->json);
  }
  return kExitOk;
}

}  // namespace parkd::jobctl
