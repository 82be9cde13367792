// A process to be killed: submits, claims and finishes on the pair until it is, and says on stdout
// what was acknowledged ("submitted KEY ID", "finished KEY"), one line each, at once.
//   outbox_child DIR DSN PREFIX
#include <unistd.h>

#include <iostream>
#include <string>

#include "tests/store/outbox/outbox_home.h"
#include "tests/support/store_driver.h"

namespace parkd {
namespace {

void say(const std::string& line) {
  const std::string text = line + "\n";
  if (::write(STDOUT_FILENO, text.data(), text.size()) < 0) ::_exit(3);  // the parent is gone
}

int work(const std::string& dir, const std::string& dsn, const std::string& prefix) {
  SystemClock clock;
  const auto opened = open_outbox_store(outbox_options(dir, dsn), clock);
  if (!opened.ok()) {
    std::cerr << opened.status().to_string() << std::endl;
    return 2;
  }
  StoreDriver driver(**opened);
  for (int i = 0;; ++i) {
    JobSpec spec;
    spec.model = "m";
    spec.mailbox_key = prefix + std::to_string(i);
    spec.body = "{}";
    const auto submitted = driver.submit({spec});
    if (!submitted.ok()) return 2;
    say("submitted " + spec.mailbox_key + " " + std::to_string(submitted->at(0).id));
    if (i % 3 == 0) continue;  // two of three jobs are run
    const auto jobs = driver.claim("m", 1);
    if (!jobs.ok() || jobs->empty()) return 2;
    const Job& job = jobs->at(0);
    const auto answers = driver.finish({{job.id, job.lease, {}}});
    if (!answers.ok() || answers->at(0) != FinishAnswer::finished_now) return 2;
    say("finished " + job.spec.mailbox_key);
  }
}

}  // namespace
}  // namespace parkd

int main(int argc, char** argv) {
  return argc == 4 ? parkd::work(argv[1], argv[2], argv[3]) : 1;
}
