// Whether a claim costs the same however long the queue is, and while nothing dead can be cleaned
// away.
#include <algorithm>

#include "lib/store/postgres/connection.h"
#include "lib/store/postgres/rows.h"
#include "tools/bench/postgres/bench_store.h"

namespace parkd::bench {
namespace {

using std::chrono::steady_clock;

constexpr int kPerClaim = 64;

Connection::Options session_options(const std::string& dsn) {
  Connection::Options options;
  options.dsn = dsn;
  options.application_name = "parkd-bench";
  options.prepare = false;
  options.statement_limit = std::chrono::hours(1);
  return options;
}

void run(Connection& connection, const char* sql) {
  const auto rows = connection.run_alone({"bench", sql}, {});
  if (!rows.ok()) give_up(rows.status());
}

int64_t number(Connection& connection, const char* sql) {
  const auto rows = connection.run_alone({"bench", sql}, {});
  if (!rows.ok()) give_up(rows.status());
  return only_field(*rows).integer();
}

// Jobs of `n_tenants` tenants until there are `depth`.
void fill(Connection& connection, int64_t depth, int n_tenants) {
  run(connection, "TRUNCATE parkd.jobs, parkd.mailbox, parkd.history");
  constexpr int64_t kStep = 500'000;
  for (int64_t first = 0; first < depth; first += kStep) {
    Params params;
    params.add(std::min(kStep, depth - first)).add(int64_t{n_tenants}).add(bench_job().body);
    const auto rows = connection.run_alone(
        {"fill",
         "INSERT INTO parkd.jobs (model, tenant, priority, mailbox_key, order_key, prompt_tokens, "
         "max_new_tokens, body, seed, retention, max_attempts, endpoint) SELECT 'm', 'tenant' || i "
         "% $2::int, 'normal', 'box', clock_timestamp() + interval '1 hour', 40, 48, $3::json, i, "
         "'7 days', 3, '/v1/chat/completions' FROM generate_series(1, $1::int) i"},
        params);
    if (!rows.ok()) give_up(rows.status());
  }
  run(connection, "VACUUM (ANALYZE) parkd.jobs");
  run(connection, "CHECKPOINT");
}

// Of parkd.jobs, by any way, a claimed job: counted by PostgreSQL inside one transaction, which is
// undone.
double tuples_a_claimed_job(Connection& connection) {
  constexpr int kClaims = 3;
  run(connection, "BEGIN");
  const int64_t daemon = number(
      connection, "SELECT daemon_id FROM parkd.register_v1('bench', 1, 'bench', interval '1 day')");
  int64_t n_jobs = 0;
  for (int i = 0; i < kClaims; ++i) {
    Params params;
    params.add(daemon).add(int64_t{kPerClaim});
    const auto rows = connection.run_alone(
        {"claims", "SELECT count(*) FROM parkd.claim_v1($1, 'm', $2)"}, params);
    if (!rows.ok()) give_up(rows.status());
    n_jobs += only_field(*rows).integer();
  }
  const int64_t n_tuples = number(connection,
                                  "SELECT (coalesce(idx_tup_fetch, 0) + seq_tup_read)::bigint FROM "
                                  "pg_stat_xact_user_tables WHERE relid = 'parkd.jobs'::regclass");
  run(connection, "ROLLBACK");
  return static_cast<double>(n_tuples) / static_cast<double>(std::max<int64_t>(n_jobs, 1));
}

struct Figures {
  double p50_ms = 0;
  double p99_ms = 0;
  double tuples_per_job = 0;
};

double percentile(std::vector<double> values, double q) {
  std::sort(values.begin(), values.end());
  return values[std::min(values.size() - 1,
                         static_cast<size_t>(q * static_cast<double>(values.size())))];
}

// Submits as many as it claims and finishes, so that the depth stays; then claims alone, to count
// what they read.
Figures claim_at_depth(const std::string& dsn, Connection& connection, int n_claims,
                       int n_tenants) {
  auto store = open_bench_store(dsn);
  std::vector<double> claims_ms;
  int n_submitted = 0;
  for (int i = 0; i < n_claims; ++i) {
    std::vector<JobSpec> jobs(kPerClaim, bench_job());
    for (JobSpec& job : jobs) job.tenant = "tenant" + std::to_string(n_submitted++ % n_tenants);
    wait<std::vector<SubmittedJob>>([&](auto done) { store->submit(jobs, std::move(done)); });
    const auto start = steady_clock::now();
    const auto claimed = wait<std::vector<Job>>([&](auto done) {
      store->claim({"m", kPerClaim}, std::move(done));
    });
    claims_ms.push_back(1e3 * seconds_since(start));
    wait<std::vector<FinishAnswer>>(
        [&](auto done) { store->finish(bench_results(claimed), std::move(done)); });
  }
  store->stop();
  return {percentile(claims_ms, 0.5), percentile(claims_ms, 0.99),
          tuples_a_claimed_job(connection)};
}

Figures report(const std::string& dsn, Connection& connection, const std::string& name,
               int64_t depth, int n_claims, int n_tenants) {
  fill(connection, depth, n_tenants);
  const Figures figures = claim_at_depth(dsn, connection, n_claims, n_tenants);
  std::printf(
      "%-28s %9lld queued %3d tenant(s)   p50 %7.2f ms   p99 %7.2f ms   %6.2f tuples a job\n",
      name.c_str(), static_cast<long long>(depth), n_tenants, figures.p50_ms, figures.p99_ms,
      figures.tuples_per_job);
  std::fflush(stdout);
  return figures;
}

}  // namespace

void run_claim_depth(const std::string& dsn, const ClaimDepth& settings) {
  Connection connection(session_options(dsn));
  for (const int n_tenants : {1, 20}) {
    const Figures shallow =
        report(dsn, connection, "claim 64", settings.shallow, settings.n_claims, n_tenants);
    const Figures deep =
        report(dsn, connection, "claim 64", settings.deep, settings.n_claims, n_tenants);
    std::printf("p99 deep / shallow: %.2f\n", deep.p99_ms / shallow.p99_ms);
  }
  Connection holder(session_options(dsn));
  fill(connection, settings.shallow, 1);
  run(holder, "BEGIN ISOLATION LEVEL REPEATABLE READ");
  run(holder, "SELECT count(*) FROM pg_class");
  const Figures pinned = claim_at_depth(dsn, connection, settings.n_claims, 1);
  std::printf(
      "%-28s %9lld queued   1 tenant(s)   p50 %7.2f ms   p99 %7.2f ms   %6.2f tuples a job\n",
      "the same, xmin pinned", static_cast<long long>(settings.shallow), pinned.p50_ms,
      pinned.p99_ms, pinned.tuples_per_job);
}

}  // namespace parkd::bench
