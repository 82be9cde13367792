// A submitting host, for the fault tests: submits until SIGTERM and writes a journal for the oracle
// (fault_oracle.h).
//   postgres_fault_submitter DSN JOURNAL NAME sql|keyed BATCH
// sql: plain INSERTs, singly, many rows a statement, in transactions that commit or roll back;
// half go into the batch. keyed: through the store, every job with an idempotency key and a
// deadline ten minutes ahead, each repeated until it is answered.
#include <signal.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <memory>
#include <pqxx/pqxx>
#include <thread>

#include "lib/store/postgres/postgres_store.h"
#include "tests/store/postgres/fault_clock.h"
#include "tests/store/postgres/fault_oracle.h"
#include "tests/support/store_driver.h"

namespace {

using std::chrono::milliseconds;

std::atomic<bool> stop{false};

struct Host {
  std::string dsn;
  parkd::Journal journal;
  std::string name;
  std::string batch;
  int64_t n_ids = 0;

  std::string next_id() {
    std::string id = name + "-" + std::to_string(n_ids++);
    journal.write("try " + id);
    return id;
  }
  void say(const char* word, const std::vector<std::string>& ids) const {
    std::string lines;
    for (const std::string& id : ids) {
      if (!lines.empty()) lines += "\n";
      lines += std::string(word) + " " + id;
    }
    journal.write(lines);
  }
};

std::string insert_of(const Host& host, const std::vector<std::string>& ids, bool into_batch) {
  std::string sql =
      "INSERT INTO parkd.jobs (model, body, custom_id, mailbox_key, priority, batch_id) VALUES ";
  for (size_t i = 0; i < ids.size(); ++i) {
    sql += (i == 0 ? "" : ", ") + std::string("('m', '{}', '") + ids[i] + "', 'box', 'normal', " +
           (into_batch ? "'" + host.batch + "'" : "NULL") + ")";
  }
  return sql;
}

// Whether the server itself said that nothing was stored. An answer of class 57 (shutdown) can come
// after the commit.
bool certainly_not_stored(const std::string& sqlstate) {
  for (const char* group : {"22", "23", "25", "40", "53", "55"}) {
    if (sqlstate.substr(0, 2) == group) return true;
  }
  return sqlstate == "XX000" || sqlstate == "58030";  // cannot write: EFBIG, EIO
}

void submit_by_sql(Host& host) {
  std::unique_ptr<pqxx::connection> session;
  for (uint64_t round = 0; !stop; ++round) {
    const size_t n_rows = round % 4 == 0 ? 5 : 1;
    const bool in_transaction = round % 4 < 2;
    const bool roll_back = round % 8 == 0;
    std::vector<std::string> ids;
    try {
      if (!session || !session->is_open()) session = std::make_unique<pqxx::connection>(host.dsn);
      for (size_t i = 0; i < n_rows; ++i) ids.push_back(host.next_id());
      const std::string sql = insert_of(host, ids, round % 2 == 0);
      pqxx::nontransaction tx(*session);
      if (in_transaction) tx.exec("BEGIN");
      tx.exec(sql);
      if (in_transaction) tx.exec(roll_back ? "ROLLBACK" : "COMMIT");
      host.say(roll_back ? "never" : "ack", ids);
    } catch (const pqxx::sql_error& error) {
      if (certainly_not_stored(error.sqlstate())) host.say("never", ids);
      session.reset();
      std::this_thread::sleep_for(milliseconds(20));
    } catch (const std::exception&) {
      session.reset();
      std::this_thread::sleep_for(milliseconds(20));
    }
    std::this_thread::sleep_for(milliseconds(2));
  }
}

void submit_keyed(Host& host) {
  parkd::PostgresOptions options;
  options.dsn = host.dsn;
  options.ttl = milliseconds(5000);
  options.beat = milliseconds(500);
  options.verb_limit = milliseconds(1000);
  options.statement_limit = milliseconds(1000);
  std::unique_ptr<parkd::JobStore> store;
  while (!stop && !store) {
    auto opened = parkd::open_postgres_store(options, {});
    if (opened.ok()) store = std::move(opened).value();
    if (!store) std::this_thread::sleep_for(milliseconds(50));
  }
  if (!store) return;
  parkd::StoreDriver driver(*store);
  while (!stop) {
    parkd::JobSpec job;
    job.custom_id = host.next_id();
    job.idempotency_key = job.custom_id;
    job.model = "m";
    job.mailbox_key = "box";
    job.body = "{}";
    job.deadline = parkd::from_unix_us(parkd::true_unix_us() + int64_t{600'000'000});
    for (bool answered = false; !answered && !stop;) {
      const auto accepted = driver.submit({job});
      answered = accepted.ok() || accepted.status().code() != parkd::StatusCode::unavailable;
      if (accepted.ok()) {
        host.say("ack", {job.custom_id});
      } else if (answered) {
        host.journal.write("refused " + job.custom_id + " " + accepted.status().to_string());
      }
    }
    std::this_thread::sleep_for(milliseconds(2));
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 6) return 2;
  struct sigaction action = {};
  action.sa_handler = [](int) { stop = true; };
  ::sigaction(SIGTERM, &action, nullptr);
  parkd::jump_clock_on_signals();
  Host host{argv[1], parkd::Journal(argv[2]), argv[3], argv[5]};
  std::string(argv[4]) == "keyed" ? submit_keyed(host) : submit_by_sql(host);
  return 0;
}
