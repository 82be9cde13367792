#include "tests/crash/kills_sql_door.h"

#include <boost/json.hpp>

namespace parkd::testing {
namespace {

namespace json = boost::json;

constexpr const char* kFields =
    "job_id, sequence, tenant, mailbox_key, custom_id, batch_id, outcome, body #>> "
    "'{choices,0,message,content}', body #>> '{choices,0,finish_reason}'";

std::vector<Shown> shown(const pqxx::result& rows) {
  std::vector<Shown> all;
  for (const auto& row : rows) {
    Shown shown;
    shown.id = row[0].as<int64_t>();
    shown.sequence = row[1].as<uint64_t>();
    shown.tenant = row[2].c_str();
    shown.mailbox_key = row[3].c_str();
    shown.custom_id = row[4].c_str();
    shown.batch = row[5].c_str();
    shown.outcome = row[6].c_str();
    shown.text = row[7].c_str();
    shown.truncated = std::string(row[8].c_str()) == "length";
    all.push_back(std::move(shown));
  }
  return all;
}

json::object sql_job_of(const Order& order) {
  json::object job = job_of(order);
  job["retention"] = std::to_string(order.retention_s) + " s";
  return job;
}

}  // namespace

// The server is never killed here: what it says is certain.
template <class T, class Act>
Told<T> SqlDoor::tell(Act act) {
  try {
    if (!session_ || !session_->is_open()) session_ = std::make_unique<pqxx::connection>(dsn_);
    return {Said::done, act(*session_), ""};
  } catch (const pqxx::sql_error& error) {
    session_.reset();
    const std::string state = error.sqlstate();
    // Of class 40 (serialization, deadlock), and limits of time: to be tried again.
    const bool again = state.rfind("40", 0) == 0 || state.rfind("55", 0) == 0 || state == "57014";
    return {again ? Said::nobody_knows : Said::refused, {}, error.what()};
  } catch (const std::exception& error) {
    session_.reset();
    return {Said::nobody_knows, {}, error.what()};
  }
}

Told<Account::Ids> SqlDoor::submit(const std::vector<Order>& orders) {
  json::array jobs;
  for (const Order& order : orders) jobs.push_back(sql_job_of(order));
  const std::string text = json::serialize(jobs);
  // Plain jobs by INSERT, as most people would.
  const std::string sql =
      orders.front().keyed
          ? "SELECT id FROM parkd.submit($1)"
          : "INSERT INTO parkd.jobs (model, body, custom_id, mailbox_key, retention, batch_id, "
            "deadline) SELECT j ->> 'model', j -> 'body', j ->> 'custom_id', j ->> 'mailbox_key', "
            "(j ->> 'retention')::interval, j ->> 'batch_id', (j ->> 'deadline')::timestamptz FROM "
            "json_array_elements($1::json) j RETURNING id";
  return tell<Account::Ids>([&](pqxx::connection& session) {
    pqxx::work tx(session);
    Account::Ids ids;
    for (const auto& row : tx.exec_params(sql, text)) ids.push_back(row[0].as<int64_t>());
    tx.commit();
    return ids;
  });
}

Told<ShownPage> SqlDoor::fetch(const std::string& key, uint64_t after, int limit, int) {
  return tell<ShownPage>([&](pqxx::connection& session) {
    pqxx::nontransaction tx(session);
    ShownPage page;
    page.messages = shown(tx.exec_params(
        "SELECT " + std::string(kFields) + " FROM parkd.fetch($1, $2, $3)", key, after, limit));
    page.next = page.messages.empty() ? after : page.messages.back().sequence;
    return page;
  });
}

// What it has got stays in doubt until the commit has been answered.
Told<std::vector<Shown>> SqlDoor::take(const std::string& key, int limit) {
  std::vector<Shown> got;
  auto told = tell<std::vector<Shown>>([&](pqxx::connection& session) {
    pqxx::work tx(session);
    got = shown(
        tx.exec_params("SELECT " + std::string(kFields) + " FROM parkd.take($1, $2)", key, limit));
    tx.commit();
    return got;
  });
  if (told.said == Said::nobody_knows) told.value = got;
  return told;
}

Told<std::string> SqlDoor::cancel(int64_t id) {
  return tell<std::string>([&](pqxx::connection& session) {
    pqxx::nontransaction tx(session);
    return tx.exec_params1("SELECT parkd.cancel($1)", id)[0].as<std::string>();
  });
}

Told<std::map<int64_t, int64_t>> SqlDoor::requeue(int64_t id) {
  return tell<std::map<int64_t, int64_t>>([&](pqxx::connection& session) {
    pqxx::nontransaction tx(session);
    std::map<int64_t, int64_t> became;
    for (const auto& row :
         tx.exec_params("SELECT requeued_from, id FROM parkd.requeue(ARRAY[$1::bigint])", id)) {
      became[row[0].as<int64_t>()] = row[1].as<int64_t>();
    }
    return became;
  });
}

Told<std::string> SqlDoor::open_batch(const std::string& key, const std::string& deadline) {
  return tell<std::string>([&](pqxx::connection& session) {
    pqxx::nontransaction tx(session);
    return tx
        .exec_params1(
            "SELECT parkd.open_batch(p_deadline => nullif($1, '')::timestamptz, "
            "p_retention => $2::interval, p_idempotency_key => $3)",
            deadline, std::to_string(kBatchRetention_s) + " s", key)[0]
        .as<std::string>();
  });
}

Told<bool> SqlDoor::seal(const std::string& batch) {
  return tell<bool>([&](pqxx::connection& session) {
    pqxx::nontransaction(session).exec_params("SELECT parkd.seal_batch($1)", batch);
    return true;
  });
}

Told<bool> SqlDoor::cancel_batch(const std::string& batch) {
  return tell<bool>([&](pqxx::connection& session) {
    pqxx::nontransaction(session).exec_params("SELECT parkd.cancel_batch($1)", batch);
    return true;
  });
}

}  // namespace parkd::testing
