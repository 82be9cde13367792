// A submitting host, for the fault tests: submits until SIGTERM and writes a journal for the oracle
// (fault_oracle.h).
//   postgres_fault_submitter DSN JOURNAL NAME sql|keyed BATCH
// sql: plain INSERTs, singly, many rows a statement, in transactions that commit or roll back;
// half go into the batch. keyed: through the store, every job with an idempotency key and a
// deadline ten minutes ahead, each repeated until it is answered.
#include <chrono>
#include <cstdio>
#include <memory>
#include <pqxx/pqxx>
#include <thread>

#include "tests/store/postgres/fault_clock.h"
#include "tests/store/postgres/fault_host.h"
#include "tests/support/store_driver.h"

namespace {

using parkd::FaultHost;
using parkd::told_to_stop;
using std::chrono::milliseconds;

// Into no batch: "".
std::string insert_of(const std::vector<std::string>& ids, const std::string& batch) {
  std::string sql =
      "INSERT INTO parkd.jobs (model, body, custom_id, mailbox_key, priority, batch_id) VALUES ";
  for (size_t i = 0; i < ids.size(); ++i) {
    sql += (i == 0 ? "" : ", ") + std::string("('m', '{}', '") + ids[i] + "', 'box', 'normal', " +
           (batch.empty() ? "NULL" : "'" + batch + "'") + ")";
  }
  return sql;
}

void submit_by_sql(FaultHost& host, const std::string& batch) {
  std::unique_ptr<pqxx::connection> session;
  for (uint64_t round = 0; !told_to_stop(); ++round) {
    const size_t n_rows = round % 4 == 0 ? 5 : 1;
    const bool in_transaction = round % 4 < 2;
    const bool roll_back = round % 8 == 0;
    std::vector<std::string> ids;
    try {
      if (!session || !session->is_open()) session = std::make_unique<pqxx::connection>(host.dsn);
      for (size_t i = 0; i < n_rows; ++i) ids.push_back(host.next_id());
      const std::string sql = insert_of(ids, round % 2 == 0 ? batch : "");
      pqxx::nontransaction tx(*session);
      if (in_transaction) tx.exec("BEGIN");
      tx.exec(sql);
      if (in_transaction) tx.exec(roll_back ? "ROLLBACK" : "COMMIT");
      host.say(roll_back ? "never" : "ack", ids);
    } catch (const pqxx::sql_error& error) {
      if (parkd::certainly_not_stored(error.sqlstate())) host.say("never", ids);
      session.reset();
      std::this_thread::sleep_for(milliseconds(20));
    } catch (const std::exception&) {
      session.reset();
      std::this_thread::sleep_for(milliseconds(20));
    }
    std::this_thread::sleep_for(milliseconds(2));
  }
}

void submit_keyed(FaultHost& host) {
  const auto store = parkd::open_impatient_store(host.dsn);
  if (!store) return;
  parkd::StoreDriver driver(*store);
  while (!told_to_stop()) {
    parkd::JobSpec job;
    job.custom_id = host.next_id();
    job.idempotency_key = job.custom_id;
    job.model = "m";
    job.mailbox_key = "box";
    job.body = "{}";
    job.deadline = parkd::from_unix_us(parkd::true_unix_us() + int64_t{600'000'000});
    for (bool answered = false; !answered && !told_to_stop();) {
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
  told_to_stop();  // from here on it listens
  parkd::jump_clock_on_signals();
  FaultHost host{argv[1], parkd::Journal(argv[2]), argv[3]};
  std::string(argv[4]) == "keyed" ? submit_keyed(host) : submit_by_sql(host, argv[5]);
  return 0;
}
