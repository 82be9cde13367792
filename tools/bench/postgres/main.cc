// parkd_postgres_bench: the PostgreSQL store through its C++ verbs.
//
//   tools/pg_sandbox.sh build/release/tools/bench/postgres/parkd_postgres_bench cycle [JOBS]
//   tools/pg_sandbox.sh build/release/tools/bench/postgres/parkd_postgres_bench depth [SHALLOW DEEP
//   CLAIMS]
//
// Migrates the database "postgres" of the server that PGHOST names: for throwaway clusters.
#include <cstdio>
#include <cstdlib>
#include <string>

#include "lib/base/log.h"
#include "lib/store/postgres/migrator.h"
#include "tools/bench/postgres/bench_store.h"

int main(int argc, char** argv) {
  const std::string what = argc > 1 ? argv[1] : "";
  const auto argument = [&](int i, int64_t otherwise) {
    return argc > i ? std::atoll(argv[i]) : otherwise;
  };
  if (what != "cycle" && what != "depth") {
    std::fprintf(stderr, "usage: %s cycle [JOBS] | depth [SHALLOW DEEP CLAIMS]\n", argv[0]);
    return 2;
  }
  parkd::configure_log(parkd::LogLevel::error, parkd::LogFormat::text);
  const std::string dsn = "dbname=postgres";
  const parkd::Status migrated = parkd::Migrator(dsn).up(0);
  if (!migrated.ok()) parkd::bench::give_up(migrated);
  if (what == "cycle") {
    parkd::bench::run_store_cycle(dsn, static_cast<int>(argument(2, 64'000)));
    return 0;
  }
  parkd::bench::ClaimDepth settings;
  settings.shallow = argument(2, settings.shallow);
  settings.deep = argument(3, settings.deep);
  settings.n_claims = static_cast<int>(argument(4, settings.n_claims));
  parkd::bench::run_claim_depth(dsn, settings);
  return 0;
}
