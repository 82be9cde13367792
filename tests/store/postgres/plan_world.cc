#include "tests/store/postgres/plan_world.h"

#include <algorithm>
#include <cstdlib>
#include <stdexcept>

namespace parkd {
namespace {

constexpr int kRows = 10'000;
constexpr int kRowsLong = 1'000'000;  // PARKD_LONG, as issue 3 asks

std::string numbers(int n) {
  return " FROM generate_series(1, " + std::to_string(n) + ") i";
}

// Of tables; those that are one page by nature do not count, nor do sequences and catalogs.
int64_t tuples_read(pqxx::transaction_base& tx) {
  return tx
      .exec(
          "SELECT coalesce(sum(seq_tup_read + coalesce(idx_tup_fetch, 0)), 0) FROM "
          "pg_stat_xact_user_tables WHERE schemaname = 'parkd' AND relname ~ "
          "'^(jobs|mailbox|history|idempotency|batches|file_batches|files|file_pieces)'")[0][0]
      .as<int64_t>();
}

int64_t entries_read(pqxx::transaction_base& tx) {
  return tx
      .exec(
          "SELECT coalesce(sum(pg_stat_get_xact_tuples_returned(c.oid)), 0)::bigint FROM pg_class "
          "c WHERE c.relkind = 'i' AND c.relnamespace = 'parkd'::regnamespace")[0][0]
      .as<int64_t>();
}

// The first of these numbers in a plan is that of its top node, all below it included.
int64_t first_number(const std::string& plan, const std::string& name) {
  const size_t at = plan.find("\"" + name + "\": ");
  if (at == std::string::npos) throw std::runtime_error("no " + name + " in " + plan);
  return std::atoll(plan.c_str() + at + name.size() + 4);
}

}  // namespace

int plan_rows() {
  return std::getenv("PARKD_LONG") != nullptr ? kRowsLong : kRows;
}

PlanWorld::PlanWorld(Statistics statistics, const std::function<void(PlanWorld&)>& rehearse) {
  database_.run("SELECT parkd.register_model_v1('m', '', 8192)");
  for (const char* table :
       {"jobs", "idempotency", "batches", "file_batches", "files", "file_pieces"}) {
    database_.run(std::string("ALTER TABLE parkd.") + table + " SET (autovacuum_enabled = off)");
  }
  database_.run("UPDATE parkd.settings SET max_scheduled_per_tenant = 10000000");
  // The beginning of all times below.
  values_["base"] = database_.value("SELECT parkd.us_v1(date_trunc('second', now()))");
  make_user();
  if (statistics == Statistics::plans_of_the_empty_tables) {
    invent_values();
    rehearse(*this);
  }
  if (statistics == Statistics::of_the_empty_tables) database_.run("ANALYZE");
  fill_batches();
  fill_jobs();
  fill_messages();
  fill_files();
  database_.run("SELECT parkd.sample_depth_v1()");
  if (statistics == Statistics::fresh) database_.run("ANALYZE");
  remember_values();
}

PlanWorld::PlanWorld(Crowd crowd) {
  values_["base"] = "0";
  const auto fill = [&](const std::string& model, const std::string& tenant,
                        const std::string& priority, int need, int n) {
    database_.run(
        "INSERT INTO parkd.jobs (model, tenant, priority, prompt_tokens, body, "
        "order_key, max_new_tokens, seed, retention, max_attempts, mailbox_key, "
        "endpoint) SELECT '" +
        model + "', '" + tenant + "', '" + priority + "', " + std::to_string(need - 10) +
        ", '{}', now() + i * interval '1 us', 10, i, '7 days', 3, 'box', "
        "'/v1/chat/completions'" +
        numbers(n));
  };
  database_.run("ALTER TABLE parkd.jobs DISABLE TRIGGER USER");
  const std::pair<const char*, const char*> kinds[] = {
      {"crowded", "normal"}, {"urgent", "critical"}, {"alone", "normal"}};
  for (const auto& [model, priority] : kinds) {
    fill(model, "crowd", priority, 1000, crowd.n_jobs / (model == std::string("crowded") ? 1 : 10));
    if (model == std::string("alone")) continue;
    fill(model, "late", priority, 20, 20);
    fill(model, "later", priority, 20, 20);
  }
  database_.run("ALTER TABLE parkd.jobs ENABLE TRIGGER USER");
  values_["daemon"] =
      database_.value("SELECT daemon_id FROM parkd.register_v1('h', 1, 'v', '1 day')");
}

int64_t PlanWorld::rows(const Statement& statement, const std::string& arguments) {
  pqxx::work tx(session("postgres"));
  return static_cast<int64_t>(
      tx.exec(std::string("EXECUTE \"") + statement.name + "\"(" + with_values(arguments) + ")")
          .size());
}

// Deadlines at base + 1 day + i us, run_at at base + 1 hour + i us; members in batches of a
// thousand whose deadline is base + 12 hours.
void PlanWorld::fill_jobs() {
  const auto fill = [&](int n, const std::string& columns, const std::string& values) {
    database_.run(
        with_values("INSERT INTO parkd.jobs (body, priority, order_key, prompt_tokens, "
                    "seed, retention, max_attempts, mailbox_key, endpoint, " +
                    columns +
                    ") SELECT '{}', 'normal', now() + i * interval '1 us', 10, i, '7 "
                    "days', 3, 'live' || i / 20, '/v1/chat/completions', " +
                    values + numbers(n)));
  };
  fill(plan_rows(), "model, tenant", "'m', 'one'");
  fill(plan_rows(), "model, tenant, deadline",
       "'shared', 'tenant' || i % 20, parkd.from_us_v1({base} + 86400000000 + i)");
  fill(plan_rows() / 2, "model, tenant, state, run_at",
       "'later', 'one', 'scheduled', parkd.from_us_v1({base} + 3600000000 + i)");
  fill(plan_rows() / 2, "model, tenant, batch_id, deadline",
       "'batched', 'one', 'members' || (i - 1) / 1000, parkd.from_us_v1({base} + 43200000000)");
}

// Of key 'boxI' twenty messages, and half of all of key 'big'; one in ten failed; as many history
// rows. Half as many messages of an embedded store, twenty a key. Keys to be looked at from base +
// 6 hours on.
void PlanWorld::fill_messages() {
  const std::string columns =
      "INSERT INTO parkd.mailbox (sequence, job_id, run_lease, created_at, finished_at, "
      "expires_at, queue_us, run_us, units, prompt_tokens, completion_tokens, status_code, "
      "attempts, tenant, mailbox_key, model, outcome, error_code, request, origin, "
      "origin_sequence, origin_job) SELECT nextval('parkd.message_sequence'), 1000000000 + i, 1, "
      "now(), now(), now() + i % 7 * interval '1 day' + interval '1 hour', 0, 0, 0, 0, 0, 200, 0, "
      "'one', ";
  database_.run(columns + "CASE WHEN i > " + std::to_string(plan_rows() / 2) +
                " THEN 'big' ELSE 'box' || i / 20 END, 'm', "
                "(CASE i % 10 WHEN 3 THEN 'failed' ELSE 'completed' "
                "END)::parkd.outcome, CASE i % 10 WHEN 3 THEN 'internal' END, CASE i % 10 WHEN 3 "
                "THEN '{\"endpoint\":\"/v1/chat/completions\",\"priority\":\"normal\",\"seed\":1,"
                "\"retention\":\"7 days\",\"max_attempts\":3,\"n_choices\":1,\"prompt_tokens\":1,"
                "\"max_new_tokens\":1,\"tokens_are_exact\":true,\"body\":{}}'::json END, NULL, "
                "NULL, NULL" +
                numbers(plan_rows()));
  database_.run(
      "INSERT INTO parkd.history (job_id, run_lease, sequence, created_at, finished_at, "
      "expires_at, run_us, units, prompt_tokens, completion_tokens, outcome, tenant, mailbox_key, "
      "model, error_code) SELECT job_id, run_lease, sequence, created_at, finished_at, expires_at, "
      "0, 0, 0, 0, outcome, tenant, mailbox_key, model, error_code FROM parkd.mailbox");
  // In today's partition (in the last hour of a day alone there), as many that have expired.
  database_.run(
      "INSERT INTO parkd.mailbox (sequence, job_id, run_lease, created_at, finished_at, "
      "expires_at, queue_us, run_us, units, prompt_tokens, completion_tokens, status_code, "
      "attempts, tenant, mailbox_key, model, outcome) SELECT "
      "nextval('parkd.message_sequence'), 2000000000 + i, 1, now(), now(), date_trunc('day', "
      "now(), 'UTC'), 0, 0, 0, 0, 0, 200, 0, 'one', 'expired' || i / 20, 'm', 'completed'" +
      numbers(plan_rows()));
  // A past week whose last message expires in a month, so it stays.
  database_.run(
      "SELECT parkd.ensure_partition_v1('history', date_trunc('week', now() - interval '35 days'), "
      "date_trunc('week', now() - interval '28 days'))");
  database_.run(
      "INSERT INTO parkd.history (job_id, run_lease, sequence, created_at, finished_at, "
      "expires_at, run_us, units, prompt_tokens, completion_tokens, outcome, tenant, mailbox_key, "
      "model) SELECT 3000000000 + i, 1, i, now(), date_trunc('week', now() - interval '35 days'), "
      "now(), 0, 0, 0, 0, 'completed', 'one', 'box', 'm'" +
      numbers(plan_rows()));
  database_.run(
      "INSERT INTO parkd.outboxes (store, epoch, process, host, opened_at) VALUES "
      "('00000000-0000-0000-0000-000000000001', 1, "
      "'00000000-0000-0000-0000-000000000002', 'h', now())");
  database_.run(columns +
                "'origin' || i / 20, 'm', 'completed', NULL, NULL, "
                "'00000000-0000-0000-0000-000000000001', i, i" +
                numbers(plan_rows() / 2));
  database_.run(
      with_values("INSERT INTO parkd.idempotency SELECT 'one', 'key' || i, i, "
                  "parkd.from_us_v1({base} + 21600000000 + i), 'h'" +
                  numbers(plan_rows())));
}

// Those of fill_jobs; many that finished 35 days ago and stay for 30 more; many open ones. As many
// of files, by age: three that a daemon works on, of-file4 that needs one, and others that run or
// have ended; ten of 'tenant7', which has others too, the rest of 'two'.
void PlanWorld::fill_batches() {
  database_.run(with_values(
      "INSERT INTO parkd.batches (id, tenant, retention, deadline) SELECT 'members' || i - 1, "
      "'one', '7 days', parkd.from_us_v1({base} + 43200000000)" +
      numbers(std::max(plan_rows() / 2000, 1))));
  database_.run(
      "INSERT INTO parkd.batches (id, tenant, retention, deadline, created_at, "
      "sealed_at, finished_at) SELECT 'old' || i, 'tenant' || i % 20, '30 days', t, t, "
      "t, t FROM (SELECT i, now() - interval '35 days' + i * interval '1 us' AS t" +
      numbers(plan_rows() / 20) + ") x");
  database_.run(
      "INSERT INTO parkd.batches (id, tenant, retention, deadline) SELECT 'open' || i, "
      "'tenant' || i % 20, '7 days', now() + interval '20 days'" +
      numbers(plan_rows() / 20));
  database_.run(
      "INSERT INTO parkd.batches (id, tenant, retention, created_at, deadline, finished_at, stage) "
      "SELECT 'of-file' || i, CASE WHEN i <= 10 THEN 'tenant7' ELSE 'two' END, '7 days', now() + i "
      "* "
      "interval '1 us', now() + interval '20 days', CASE WHEN i > 4 AND i % 2 = 0 THEN now() END, "
      "(CASE WHEN i < 4 THEN 'expanding' WHEN i = 4 THEN 'validating' WHEN i % 2 = 0 THEN 'ended' "
      "ELSE 'running' END)::parkd.file_stage" +
      numbers(plan_rows() / 20));
  database_.run(
      "INSERT INTO parkd.file_batches (batch_id, input_file_id, endpoint, completion_window, "
      "worker, hold, worked_until) SELECT id, 'f', 'e', '24h', x.worker, '1 day', now() + x.worked "
      "FROM parkd.batches LEFT JOIN (SELECT 'another' AS worker, interval '1 day' AS worked) x ON "
      "stage = 'expanding' WHERE stage IS NOT NULL");
  // The webhooks of all that ended are due; the first three are another daemon's for now.
  database_.run(
      "UPDATE parkd.file_batches f SET webhook_url = 'https://h', webhook_status = 'pending', "
      "webhook_at = b.created_at - interval '1 day', webhook_worker = x.worker, "
      "webhook_held_until = now() + x.held FROM parkd.batches b LEFT JOIN (SELECT 'another' AS "
      "worker, interval '1 day' AS held) x ON b.id IN ('of-file6', 'of-file8', 'of-file10') WHERE "
      "b.id = f.batch_id AND b.stage = 'ended'");
}

// Of tenant 'one' ten files, of 'two' all the others, twenty to expire in each second from base + 1
// day on; half as many that were removed and have not been deleted. Each has three pieces, and
// file-large, which was removed before all others, a hundred.
void PlanWorld::fill_files() {
  const auto fill = [&](const std::string& kind, const std::string& created_and_expires, int n) {
    database_.run(with_values(
        "INSERT INTO parkd.files (id, tenant, bytes, begun_at, seen_at, created_at, expires_at, "
        "filename, purpose) SELECT CASE i WHEN 1 THEN '" +
        kind + "' ELSE 'file-' || md5('" + kind +
        "' || i) END, CASE WHEN i <= 10 THEN 'one' ELSE 'two' END, 3, now(), now(), " +
        created_and_expires + ", 'a.jsonl', 'batch'" + numbers(n)));
  };
  fill("file-kept",
       "now() + i * interval '1 us', parkd.from_us_v1({base} + 86400000000 + i * 50000)",
       plan_rows() / 2);
  fill("file-large", "NULL::timestamptz, '-infinity'", plan_rows() / 4);
  database_.run(
      "INSERT INTO parkd.file_pieces SELECT f.id, n, 0, 'x' FROM parkd.files f, generate_series(0, "
      "CASE f.id WHEN 'file-large' THEN 99 ELSE 2 END) n");
  database_.run(
      "SELECT parkd.begin_upload_v1('file-begun', 'one', '1 day'), "
      "parkd.append_piece_v1('file-begun', 0, 0, 1, 'x')");
}

void PlanWorld::remember_values() {
  const auto remember = [&](const char* name, const std::string& sql) {
    values_[name] = database_.value(with_values(sql));
  };
  database_.run("SELECT parkd.drop_past_partition_v1('history', '30 days')");
  remember("daemon", "SELECT daemon_id FROM parkd.register_v1('h', 1, 'v', '1 day')");
  database_.run(with_values("SELECT * FROM parkd.claim_v1({daemon}, 'm', 64)"));
  remember("ids", "SELECT array_agg(id ORDER BY id) FROM parkd.jobs WHERE state = 'claimed'");
  remember("leases",
           "SELECT array_agg(run_lease ORDER BY id) FROM parkd.jobs WHERE state = 'claimed'");
  remember("claimed", "SELECT min(id) FROM parkd.jobs WHERE state = 'claimed'");
  remember("queued", "SELECT max(id) FROM parkd.jobs WHERE model = 'm'");
  remember("sequences", "SELECT array_agg(sequence) FROM parkd.mailbox WHERE mailbox_key = 'box8'");
  remember("sequence", "SELECT min(sequence) + 9 FROM parkd.mailbox WHERE mailbox_key = 'box8'");
  remember("big",
           "SELECT max(job_id) FROM parkd.mailbox WHERE mailbox_key = 'big' AND outcome = "
           "'failed'");
  remember("origin_sequences",
           "SELECT array_agg(origin_sequence) FROM parkd.mailbox WHERE mailbox_key = 'origin8'");
}

void PlanWorld::make_user() {
  database_.run(
      "DO $$ BEGIN CREATE ROLE plan_user LOGIN IN ROLE parkd_submitter, parkd_reader; "
      "EXCEPTION WHEN duplicate_object THEN NULL; END $$");
  database_.run("INSERT INTO parkd.tenant_logins VALUES ('plan_user', 'one')");
}

// Of rows that are not there.
void PlanWorld::invent_values() {
  values_["daemon"] =
      database_.value("SELECT daemon_id FROM parkd.register_v1('h', 1, 'v', '1 day')");
  std::string ids;
  for (int i = 1; i <= 64; ++i) ids += (ids.empty() ? "" : ",") + std::to_string(i);
  for (const char* list : {"ids", "leases", "sequences", "origin_sequences"}) {
    values_[list] = "{" + ids + "}";
  }
  for (const char* number : {"claimed", "queued", "sequence", "big"}) values_[number] = "1";
}

std::string PlanWorld::with_values(std::string sql) const {
  for (const auto& [name, value] : values_) {
    const std::string place = "{" + name + "}";
    for (size_t at = sql.find(place); at != std::string::npos; at = sql.find(place, at)) {
      sql.replace(at, place.size(), value);
      at += value.size();
    }
  }
  return sql;
}

pqxx::connection& PlanWorld::session(const std::string& login) {
  std::unique_ptr<pqxx::connection>& session = sessions_[login];
  if (session == nullptr) session = database_.connect(login);
  return *session;
}

Reads PlanWorld::cost(const Statement& statement, const std::string& arguments,
                      const std::string& login) {
  Reads most;
  for (const char* mode : {"force_custom_plan", "force_generic_plan"}) {
    for (const bool counted : {false, true}) {
      pqxx::work tx(session(login));
      tx.exec(std::string("SET LOCAL plan_cache_mode = ") + mode);
      // What the planner would give to parallel workers, and they would count for themselves, this
      // process reads.
      for (const char* setting : {"max_parallel_workers", "parallel_setup_cost",
                                  "min_parallel_table_scan_size", "min_parallel_index_scan_size"})
        tx.exec(std::string("SET LOCAL ") + setting + " = 0");
      if (prepared_.insert(login + " " + statement.name).second) {
        tx.exec(std::string("PREPARE \"") + statement.name + "\" AS " + statement.sql);
      }
      const int64_t tuples_before = tuples_read(tx);
      const int64_t entries_before = entries_read(tx);
      std::string plan;
      const std::string call = std::string("EXECUTE \"") + statement.name + "\"" +
                               (arguments.empty() ? "" : "(" + with_values(arguments) + ")");
      for (const auto& row : tx.exec("EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) " + call))
        plan += row[0].c_str();
      const int64_t tuples = tuples_read(tx) - tuples_before;
      const int64_t entries = entries_read(tx) - entries_before;
      tx.abort();
      if (!counted) continue;
      most.tuples = std::max(most.tuples, tuples);
      most.entries = std::max(most.entries, entries);
      most.pages = std::max(most.pages, first_number(plan, "Shared Hit Blocks") +
                                            first_number(plan, "Shared Read Blocks"));
    }
  }
  return most;
}

}  // namespace parkd
