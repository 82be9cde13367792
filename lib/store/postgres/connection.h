// Connection: one session with the database, opened when it is needed, and never silently again.
//
// Owner: one thread (a session of PostgresStore); interrupt() alone may be called from any. libpqxx
// and its exceptions stop here: callers get a Result and the SQLSTATE.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <pqxx/result>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/status.h"
#include "lib/base/thread_safety.h"

namespace pqxx {
class notification_receiver;
class transaction_base;
}  // namespace pqxx

namespace parkd {

// A named statement of statements.h.
struct Statement {
  const char* name;
  const char* sql;
};

// Parameters of a statement, as text.
class Params {
 public:
  Params& add(std::string value) {
    values_.emplace_back(std::move(value));
    return *this;
  }
  Params& add(int64_t value) { return add(std::to_string(value)); }
  Params& add_null() {
    values_.emplace_back(std::nullopt);
    return *this;
  }
  Params& add(const std::optional<int64_t>& value) { return value ? add(*value) : add_null(); }
  const std::vector<std::optional<std::string>>& values() const { return values_; }

 private:
  std::vector<std::optional<std::string>> values_;
};

// SQLSTATE of a statement that waited for a lock for lock_limit.
inline constexpr char kLockNotAvailable[] = "55P03";

class Connection {
 public:
  struct Options {
    std::string dsn;
    std::string application_name;
    bool prepare = true;  // false behind a pooler that shares sessions between transactions
    std::chrono::milliseconds statement_limit{30'000};
    std::chrono::milliseconds lock_limit{0};  // of waiting for others' locks; 0: none of its own
    // A daemon's: failures are told in parkd's words, for they reach its peers; what the server or
    // libpq said goes to the log. Otherwise in the server's, to the owner of the login.
    bool own_words = false;
  };

  explicit Connection(Options options);
  ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  // Opens the session if there is none. Errors: unavailable; invalid when the DSN cannot be read.
  Status connect();
  bool connected() const;
  void close();
  int64_t opened() const { return n_opened_; }  // sessions so far; any thread

  // One statement, one transaction. Errors: unavailable (connection lost, server shutting down,
  // read only, out of space, lock or statement timeout), invalid (the data), internal. A session
  // that is refused a write is closed, for it would keep its read-only default for ever.
  Result<pqxx::result> run(const Statement& statement, const Params& params);
  // The same in a transaction whose commit is a message of its own, sent once `on_rows` has had the
  // rows: what throws there is rolled back, and after a commit whose answer was lost the caller
  // knows what is uncertain.
  using OnRows = std::function<void(const pqxx::result&)>;
  Result<pqxx::result> run_then_commit(const Statement& statement, const Params& params,
                                       const OnRows& on_rows);
  // One statement as it is: BEGIN, what is in that transaction, COMMIT, or what cannot be in any
  // (VACUUM). So it has no limits behind a pooler.
  Result<pqxx::result> run_alone(const Statement& statement, const Params& params);
  // SQL text with several statements (a migration), in one transaction.
  Status run_script(const std::string& sql);

  // Asks the session why it takes no writes and closes it. Requires a session. Returns unavailable.
  Status leave_read_only();

  // Of the last failure: "" when the server did not say.
  const std::string& sqlstate() const { return sqlstate_; }
  const std::string& hint() const { return hint_; }  // what the server said to do about it
  // Whether the last failure leaves it open if the statement was committed.
  bool uncertain() const { return uncertain_; }

  // Notifications. listen() must be repeated after every connect(). wait() returns after `timeout`
  // or the first notification; unavailable when the session is gone.
  Status listen(const std::string& channel, std::function<void(const std::string&)> on_payload);
  Status wait(std::chrono::milliseconds timeout);

  // Any thread: cuts the session if its present statement runs for longer than statement_limit.
  void interrupt_if_overdue();
  // Any thread: cuts the session if a statement runs.
  void interrupt();

 private:
  class Session;
  Status failed() noexcept;  // from inside a catch block, as the two that it is made of
  Status logged_failure();
  Status raw_failure();
  std::string target() const;
  pqxx::result execute(pqxx::transaction_base& tx, const Statement& statement,
                       const Params& params);
  template <class Transaction, class Work>
  Result<pqxx::result> in_transaction(const Statement& statement, bool limited, Work work);
  // The limits that the server keeps, as SQL; LOCAL where the session is not ours.
  std::string limits(const char* set) const;
  std::string own_settings() const;  // of a session that is ours, besides
  void mark_busy(bool busy);

  const Options options_;
  std::unique_ptr<Session> session_;
  std::set<std::string> prepared_;
  std::string sqlstate_;
  std::string last_raw_;  // the last failure that was logged, until a statement succeeds
  std::string hint_;
  bool uncertain_ = false;

  std::mutex socket_mutex_;  // socket_ must not be closed while it is being cut
  int socket_ PARKD_GUARDED_BY(socket_mutex_) = -1;
  std::atomic<int64_t> n_opened_{0};
  std::atomic<int64_t> busy_since_ms_{0};  // steady clock; 0 = idle
};

}  // namespace parkd
