#include "tools/bench/postgres/bench_store.h"

namespace parkd::bench {

void give_up(const Status& status) {
  std::fprintf(stderr, "%s\n", status.to_string().c_str());
  std::exit(1);
}

std::unique_ptr<JobStore> open_bench_store(const std::string& dsn) {
  PostgresOptions options;
  options.dsn = dsn;
  auto store = open_postgres_store(options, {});
  if (!store.ok()) give_up(store.status());
  return std::move(store).value();
}

JobSpec bench_job() {
  JobSpec spec;
  spec.model = "m";
  spec.mailbox_key = "box";
  spec.body = R"({"messages":[{"role":"user","content":")" + std::string(140, 'x') +
              R"("}],"max_tokens":48})";
  spec.prompt_tokens = 40;
  spec.max_new_tokens = 48;
  return spec;
}

std::vector<FinishItem> bench_results(const std::vector<Job>& jobs) {
  std::vector<FinishItem> items;
  for (const Job& job : jobs) {
    FinishItem item{job.id, job.lease, {}};
    item.ending.body =
        R"({"id":"x","choices":[{"message":{"role":"assistant","content":"one two three four five"}}]})";
    items.push_back(std::move(item));
  }
  return items;
}

}  // namespace parkd::bench
