// A process to be killed: submits, claims and finishes on PowerCutFs until it is, and says on
// stdout what was acknowledged ("submitted KEY ID", "finished KEY"), one line each, at once.
#include <rocksdb/env.h>
#include <unistd.h>

#include <iostream>
#include <string>

#include "lib/store/rocksdb/rocksdb_testing.h"
#include "tests/store/power_cut_fs.h"
#include "tests/support/store_driver.h"

namespace parkd {
namespace {

void say(const std::string& line) {
  const std::string text = line + "\n";
  if (::write(STDOUT_FILENO, text.data(), text.size()) < 0) ::_exit(3);  // the parent is gone
}

int work(const std::string& dir, const std::string& prefix) {
  const auto file_system = std::make_shared<PowerCutFs>(dir + "/held");
  const std::unique_ptr<rocksdb::Env> env = rocksdb::NewCompositeEnv(file_system);
  SystemClock clock;
  RocksDbStoreOptions options;
  options.dir = dir + "/queue";
  const auto opened = open_rocksdb_store_for_test(options, {env.get(), true}, clock);
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
  return argc == 3 ? parkd::work(argv[1], argv[2]) : 1;
}
