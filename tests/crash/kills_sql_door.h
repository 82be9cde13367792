// SqlDoor: a tenant's way by SQL, logged in as it: the functions and the table that clients have.
#pragma once

#include <memory>
#include <pqxx/pqxx>
#include <string>
#include <vector>

#include "tests/crash/kills_door.h"

namespace parkd::testing {

class SqlDoor final : public Door {
 public:
  explicit SqlDoor(std::string dsn) : dsn_(std::move(dsn)) {}
  Told<Account::Ids> submit(const std::vector<Order>& orders) override;
  Told<ShownPage> fetch(const std::string& key, uint64_t after, int limit, int wait_s) override;
  Told<std::vector<Shown>> take(const std::string& key, int limit) override;
  Told<std::string> cancel(int64_t id) override;
  Told<std::map<int64_t, int64_t>> requeue(int64_t id) override;
  Told<std::string> open_batch(const std::string& key, const std::string& deadline) override;
  Told<bool> seal(const std::string& batch) override;
  Told<bool> cancel_batch(const std::string& batch) override;

 private:
  // Runs `act` in a session, and says how it ended.
  template <class T, class Act>
  Told<T> tell(Act act);

  const std::string dsn_;
  std::unique_ptr<pqxx::connection> session_;
};

}  // namespace parkd::testing
