#include "tests/store/postgres/fault_host.h"

#include <signal.h>

#include <chrono>
#include <thread>
#include <utility>

#include "lib/store/postgres/postgres_store.h"

namespace parkd {
namespace {

volatile sig_atomic_t stop = 0;

}  // namespace

std::string FaultHost::next_id(const std::string& kind) {
  std::string id = name + "-" + std::to_string(n_ids++) + kind;
  journal.write("try " + id);
  return id;
}

void FaultHost::say(const std::string& word, const std::vector<std::string>& ids) const {
  std::string lines;
  for (const std::string& id : ids) lines += (lines.empty() ? "" : "\n") + word + " " + id;
  if (!lines.empty()) journal.write(lines);
}

bool certainly_not_stored(const std::string& sqlstate) {
  for (const char* group : {"22", "23", "25", "40", "53", "55"}) {
    if (sqlstate.substr(0, 2) == group) return true;
  }
  return sqlstate == "XX000" || sqlstate == "58030";  // cannot write: EFBIG, EIO
}

bool told_to_stop() {
  static const bool listening = [] {
    struct sigaction action = {};
    action.sa_handler = [](int) { stop = 1; };
    return ::sigaction(SIGTERM, &action, nullptr) == 0;
  }();
  return listening && stop != 0;
}

std::unique_ptr<JobStore> open_impatient_store(const std::string& dsn) {
  using std::chrono::milliseconds;
  PostgresOptions options;
  options.dsn = dsn;
  options.ttl = milliseconds(5000);
  options.beat = milliseconds(500);
  options.verb_limit = milliseconds(1000);
  options.statement_limit = milliseconds(1000);
  while (!told_to_stop()) {
    auto opened = open_postgres_store(options, {});
    if (opened.ok()) return std::move(opened).value();
    std::this_thread::sleep_for(milliseconds(50));
  }
  return nullptr;
}

}  // namespace parkd
