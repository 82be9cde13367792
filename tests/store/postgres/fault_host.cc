#include "tests/store/postgres/fault_host.h"

#include <signal.h>

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

}  // namespace parkd
