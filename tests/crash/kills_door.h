// Door: how the clients of a kill loop reach the queue for one tenant: HTTP to daemons that may die
// at any moment, or SQL. Every call says whether it was done, refused, or nobody knows.
//
// Tests alone; a door belongs to one thread.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "tests/crash/kills_account.h"
#include "tools/jobctl/http_client.h"

namespace parkd::testing {

enum class Said { done, refused, nobody_knows };

template <class T>
struct Told {
  Said said = Said::nobody_knows;
  T value{};
  std::string why;
};

struct ShownPage {
  std::vector<Shown> messages;
  uint64_t next = 0;
};

// The chat request of a content, as JSON. Most are short; some run for many steps.
std::string body_of(int content);
constexpr int kContents = 24;
// The job that every door submits, but for its retention, which HTTP and SQL write differently.
boost::json::object job_of(const Order& order);
constexpr int kBatchRetention_s = 5 * 3600;

class Door {
 public:
  virtual ~Door() = default;
  virtual Told<Account::Ids> submit(const std::vector<Order>& orders) = 0;
  virtual Told<ShownPage> fetch(const std::string& key, uint64_t after, int limit, int wait_s) = 0;
  // The oldest messages. `value` of a take in doubt: what it was about to take.
  virtual Told<std::vector<Shown>> take(const std::string& key, int limit) = 0;
  // "cancelled" (by SQL "cancelling"), "cancel_requested", "already_finished" or "not_found".
  virtual Told<std::string> cancel(int64_t id) = 0;
  virtual Told<std::map<int64_t, int64_t>> requeue(int64_t id) = 0;
  virtual Told<std::string> open_batch(const std::string& key, const std::string& deadline) = 0;
  virtual Told<bool> seal(const std::string& batch) = 0;
  virtual Told<bool> cancel_batch(const std::string& batch) = 0;
};

// One of the daemons by chance, each time.
class HttpDoor final : public Door {
 public:
  HttpDoor(std::vector<std::string> sockets, std::string tenant, uint64_t seed);
  Told<Account::Ids> submit(const std::vector<Order>& orders) override;
  Told<ShownPage> fetch(const std::string& key, uint64_t after, int limit, int wait_s) override;
  Told<std::vector<Shown>> take(const std::string& key, int limit) override;
  Told<std::string> cancel(int64_t id) override;
  Told<std::map<int64_t, int64_t>> requeue(int64_t id) override;
  Told<std::string> open_batch(const std::string& key, const std::string& deadline) override;
  Told<bool> seal(const std::string& batch) override;
  Told<bool> cancel_batch(const std::string& batch) override;

  // Of a tenant, or with tenant "" of all.
  Told<std::string> outcome_of(int64_t id);  // "" while it is live; refused: there is no such job
  Told<BatchRow> batch(const std::string& id);

 private:
  jobctl::HttpClient& some_client();
  // A call that must not be sent twice is a client's first.
  Result<jobctl::HttpAnswer> once(const std::string& target, const boost::json::value& body);

  const std::vector<std::string> sockets_;
  const std::string tenant_;
  std::mt19937_64 random_;
  std::map<std::string, std::unique_ptr<jobctl::HttpClient>> clients_;
};

}  // namespace parkd::testing
