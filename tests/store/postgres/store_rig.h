// What the tests of the PostgreSQL store share: a database, daemons' stores on it, a session that
// idles in a transaction.
#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <future>
#include <memory>
#include <pqxx/pqxx>
#include <string>
#include <thread>
#include <utility>

#include "tests/store/postgres/test_database.h"
#include "tests/support/store_driver.h"

namespace parkd {

// Another process or thread has to act first; the bound only keeps a failure from hanging.
inline bool eventually(const std::function<bool()>& condition) {
  const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  while (!condition()) {
    if (std::chrono::steady_clock::now() > give_up) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  return true;
}

inline JobSpec spec(const std::string& tenant = "default") {
  JobSpec spec;
  spec.model = "m";
  spec.tenant = tenant;
  spec.mailbox_key = "box";
  spec.body = R"({"messages":[]})";
  spec.prompt_tokens = 10;
  return spec;
}

inline Ending ending(const std::string& body) {
  Ending ending;
  ending.body = body;
  return ending;
}

struct StoreRig {
  std::atomic<int> n_lost{0};
  std::unique_ptr<JobStore> store;
  std::unique_ptr<StoreDriver> driver;

  explicit StoreRig(PostgresOptions options, StoreOptions store_options = {}) {
    options.ownership_lost = [this] { ++n_lost; };
    auto opened = open_postgres_store(std::move(options), store_options);
    EXPECT_TRUE(opened.ok()) << opened.status().to_string();
    store = std::move(opened).value();
    driver = std::make_unique<StoreDriver>(*store);
  }
  ~StoreRig() {
    if (store) store->stop();
  }
};

class PostgresStoreTest : public testing::Test {
 protected:
  TestDatabase database_;
};

// Its session; what it did is neither committed nor rolled back.
class Idler {
 public:
  Idler(TestDatabase& database, const std::string& sql)
      : session_(database.connect()), tx_(*session_) {
    tx_.exec(sql);
  }
  void commit() { tx_.commit(); }

 private:
  std::unique_ptr<pqxx::connection> session_;
  pqxx::work tx_;
};

template <class T>
bool is_ready(std::future<T>& answer) {
  return answer.wait_for(std::chrono::seconds(0)) == std::future_status::ready;
}

}  // namespace parkd
