// The logins of the roles' tests: one of each role, in a database of each test's own.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <utility>

#include "tests/store/postgres/test_database.h"

namespace parkd {

class Roles : public testing::Test {
 protected:
  // Once a process: fixtures that are made of this one call it, too.
  static void SetUpTestSuite() {
    static bool is_done = false;
    if (std::exchange(is_done, true)) return;
    pqxx::connection connection("dbname=postgres");
    pqxx::nontransaction tx(connection);
    { const TestDatabase creates_the_roles; }
    for (const char* login : {"alice submitter", "bob submitter", "rita reader", "dora daemon",
                              "anna admin", "mona monitor"}) {
      const std::string pair = login;
      const size_t space = pair.find(' ');
      tx.exec("CREATE ROLE " + pair.substr(0, space) + " LOGIN IN ROLE parkd_" +
              pair.substr(space + 1));
    }
    tx.exec("CREATE ROLE nobody_in_particular LOGIN");
  }

  void SetUp() override {
    database_.run("INSERT INTO parkd.models (name) VALUES ('m')");
    database_.run("INSERT INTO parkd.tenant_logins VALUES ('rita', 'alice')");
    for (const char* login : {"alice", "bob"}) {
      insert(login,
             "INSERT INTO parkd.jobs (model, body, custom_id, mailbox_key) VALUES ('m', "
             "'{\"messages\":[]}', 'of " +
                 std::string(login) + "', 'box')");
    }
    finish_all();
  }

  // Everything queued, through the daemon's own verbs and login.
  void finish_all() {
    auto dora = database_.connect("dora");
    pqxx::nontransaction tx(*dora);
    const auto daemon =
        tx.exec("SELECT daemon_id FROM parkd.register_v1('h', 1, 'v', '1 hour')")[0][0]
            .as<int64_t>();
    for (const auto& row : tx.exec("SELECT id, run_lease FROM parkd.claim_v1(" +
                                   std::to_string(daemon) + ", 'm', 100)")) {
      tx.exec("SELECT * FROM parkd.finish_v1(ARRAY[" + std::string(row[0].c_str()) + "], ARRAY[" +
              row[1].c_str() +
              "], '{completed}', '{\"\"}', '{\"\"}', '{\"\"}', '{200}', "
              "ARRAY['{\"choices\":[{\"message\":{\"content\":\"Rhine\"},\"finish_reason\":"
              "\"stop\"}]}'], '{3}', '{2}', "
              "'{1}', '{0}', '{0}')");
    }
  }

  void insert(const std::string& login, const std::string& sql) {
    auto session = database_.connect(login);
    pqxx::nontransaction tx(*session);
    tx.exec(sql);
  }
  std::string refused(const std::string& login, const std::string& sql) {
    auto session = database_.connect(login);
    return refusal(*session, sql);
  }
  std::string value(const std::string& login, const std::string& sql) {
    auto session = database_.connect(login);
    pqxx::nontransaction tx(*session);
    const pqxx::result rows = tx.exec(sql);
    return rows.empty() || rows[0][0].is_null() ? "" : rows[0][0].c_str();
  }
  static bool has(const std::string& text, const std::string& part) {
    return text.find(part) != text.npos;
  }

  TestDatabase database_;
};

}  // namespace parkd
