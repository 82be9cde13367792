#include "lib/store/postgres/connection.h"

#include <sys/socket.h>

#include <algorithm>
#include <new>
#include <pqxx/connection>
#include <pqxx/except>
#include <pqxx/nontransaction>
#include <pqxx/notification>
#include <pqxx/prepared_statement>
#include <pqxx/transaction>
#include <utility>

#include "lib/base/log.h"
#include "lib/store/answer_caught.h"
#include "lib/store/postgres/dsn.h"
#include "lib/store/postgres/session_words.h"

namespace parkd {
namespace {

int64_t steady_ms() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

// Ours first: libpq takes the last value of a keyword, so what the user wrote wins.
std::string full_dsn(const Connection::Options& options) {
  constexpr std::string_view kScheme = "://";
  std::string ours =
      "connect_timeout=5 keepalives_idle=10 keepalives_interval=5 keepalives_count=3 "
      "tcp_user_timeout=15000 client_encoding=UTF8 application_name=" +
      options.application_name + " ";
  const size_t scheme = options.dsn.find(kScheme);
  const bool is_uri = options.dsn.rfind("postgres", 0) == 0 && scheme != std::string::npos;
  if (!is_uri) return ours + options.dsn;
  std::replace(ours.begin(), ours.end(), ' ', '&');
  // The parameters' question mark comes after the host; a user name may hold one.
  size_t host = scheme + kScheme.size();
  const size_t end = options.dsn.find_first_of("@/", host);
  if (end != std::string::npos && options.dsn[end] == '@') host = end + 1;
  const size_t query = options.dsn.find('?', host);
  if (query != std::string::npos) return std::string(options.dsn).insert(query + 1, ours);
  ours.pop_back();
  return options.dsn + "?" + ours;
}

// What the caller does next, by the class of the SQLSTATE (PostgreSQL manual, appendix A).
StatusCode code_of(const std::string& sqlstate) {
  const std::string group = sqlstate.substr(0, 2);
  if (sqlstate == kReadOnly || sqlstate == "55P03" || sqlstate == "57014")
    return StatusCode::unavailable;
  if (sqlstate == "53400") return StatusCode::exhausted;  // a limit of ours: hold_limit_v1
  for (const char* away : {"08", "40", "53", "57", "58"}) {
    if (group == away) return StatusCode::unavailable;
  }
  if (group == "22" || group == "23" || group == "54") return StatusCode::invalid;
  if (group == "PK") return StatusCode::conflict;
  return StatusCode::internal;
}

// The first line: the rest quotes the statement and its data.
std::string first_line(const std::string& text) {
  return text.substr(0, text.find('\n'));
}

// What our own functions (and the server) say to do about it.
std::string hint_line(const std::string& text) {
  constexpr std::string_view kHint = "\nHINT:  ";
  const size_t at = text.find(kHint);
  return at == text.npos ? std::string() : first_line(text.substr(at + kHint.size()));
}

class Receiver final : public pqxx::notification_receiver {
 public:
  Receiver(pqxx::connection& connection, const std::string& channel,
           std::function<void(const std::string&)> on_payload)
      : pqxx::notification_receiver(connection, channel), on_payload_(std::move(on_payload)) {}
  void operator()(const std::string& payload, int) override { on_payload_(payload); }

 private:
  std::function<void(const std::string&)> on_payload_;
};

}  // namespace

class Connection::Session {
 public:
  explicit Session(const std::string& dsn) : connection(dsn) {}
  pqxx::connection connection;
  std::vector<std::unique_ptr<Receiver>> receivers;  // after connection: they leave it first
};

Connection::Connection(Options options) : options_(std::move(options)) {}

Connection::~Connection() {
  close();
}

bool Connection::connected() const {
  return session_ != nullptr && session_->connection.is_open();
}

void Connection::close() {
  prepared_.clear();
  try {
    if (session_) {
      mark_busy(true);  // the last receiver of a channel says UNLISTEN
      session_->receivers.clear();
    }
  } catch (const std::exception& error) {
    log_debug("postgres.unlisten_failed", {{"error", first_line(error.what())}});
  }
  mark_busy(false);
  {
    const std::lock_guard lock(socket_mutex_);
    socket_ = -1;
  }
  try {
    session_.reset();
  } catch (const std::exception& error) {
    log_debug("postgres.close_failed", {{"error", first_line(error.what())}});
  }
}

Status Connection::connect() {
  if (connected()) return {};
  close();
  // libpq would quote what it cannot read, and that may be a password.
  PARKD_RETURN_IF_ERROR(parse_dsn(options_.dsn).status());
  sqlstate_.clear();
  uncertain_ = false;
  try {
    // libpqxx opens a lost session again by itself only when a statement starts on one already
    // known to be lost; run() never does that.
    // connect_timeout bounds this, the watchdog what follows.
    session_ = std::make_unique<Session>(full_dsn(options_));
    {
      const std::lock_guard lock(socket_mutex_);
      socket_ = session_->connection.sock();
    }
    mark_busy(true);
    pqxx::nontransaction tx(session_->connection);
    if (options_.prepare) {
      // The planner's JIT costs more than our statements do. Not behind a pooler: it may give the
      // session to others.
      tx.exec("SET jit = off; " + limits("SET") + own_settings());
    }
    mark_busy(false);
    ++n_opened_;
  } catch (...) {
    Status status = failed();
    close();
    uncertain_ = false;  // no statement of the caller's was sent
    if (options_.own_words) return cannot_connect(last_raw_, target());
    return unavailable("cannot connect to PostgreSQL: " + status.message());
  }
  return {};
}

std::string Connection::limits(const char* set) const {
  // A process that is stopped between two messages shall not keep what its transaction has locked.
  const std::pair<const char*, int64_t> limits[] = {
      {"idle_in_transaction_session_timeout", 30'000},
      {"statement_timeout", options_.statement_limit.count()},
      {"lock_timeout", options_.lock_limit.count()},
  };
  std::string sql;
  for (const auto& [name, ms] : limits) {
    sql += (sql.empty() ? "" : "; ") + std::string(set) + " " + name + " = " + std::to_string(ms);
  }
  return sql;
}

// An administrator's defaults (ALTER ROLE, ALTER DATABASE, postgresql.conf) are for sessions that
// were forgotten: a session is idle for as long as there is nothing to do.
std::string Connection::own_settings() const {
  std::string sql = "; SET default_transaction_isolation = 'read committed'";
  const int version = session_->connection.server_version();
  if (version >= 140000) sql += "; SET idle_session_timeout = 0";
  if (version >= 170000) sql += "; SET transaction_timeout = 0";
  return sql;
}

void Connection::mark_busy(bool busy) {
  busy_since_ms_ = busy ? steady_ms() : 0;
}

void Connection::interrupt_if_overdue() {
  const int64_t since = busy_since_ms_;
  // Twice: the server's own statement_timeout has the first word.
  if (since == 0 || steady_ms() - since < 2 * options_.statement_limit.count()) return;
  const std::lock_guard lock(socket_mutex_);
  if (socket_ < 0) return;
  log_warn("postgres.statement_overdue", {{"ms", steady_ms() - since}});
  ::shutdown(socket_, SHUT_RDWR);
}

void Connection::interrupt() {
  if (busy_since_ms_ == 0) return;
  const std::lock_guard lock(socket_mutex_);
  if (socket_ >= 0) ::shutdown(socket_, SHUT_RDWR);
}

// Without memory for the words nothing is known of what failed.
Status Connection::failed() noexcept {
  try {
    return logged_failure();
  } catch (...) {
    uncertain_ = true;
    return caught_status("postgres");
  }
}

Status Connection::logged_failure() {
  const Status raw = raw_failure();
  if (!options_.own_words) return raw;
  if (raw.message() != last_raw_) {
    last_raw_ = raw.message();
    log_warn("postgres.error", {{"sqlstate", sqlstate_}, {"error", last_raw_}});
  }
  return in_own_words({raw, sqlstate_, connected(), target()});
}

std::string Connection::target() const {
  const auto target = parse_dsn(options_.dsn);
  return target.ok() ? to_string(*target) : "";
}

// What the session was told at its start (ALTER DATABASE, ALTER ROLE) it believes to its end, and a
// standby's may outlive the promotion that others were promised: the next one asks anew.
Status Connection::leave_read_only() {
  std::string why = "parkd could not ask it why";
  for (const char* first : {"", "ROLLBACK"}) {  // in a transaction that failed nothing is answered
    try {
      mark_busy(true);
      pqxx::nontransaction tx(session_->connection);
      if (*first != '\0') tx.exec(first);
      const pqxx::result rows = tx.exec(kAskReadOnly);
      const pqxx::row row = rows[0];
      why = why_read_only(
          {row[0].as<int>() != 0, row[1].c_str(), row[2].c_str(), row[3].c_str(), row[4].c_str()});
      break;
    } catch (const std::exception& error) {
      log_debug("postgres.read_only_unasked", {{"error", first_line(error.what())}});
    }
  }
  close();
  if (hint_.empty()) hint_ = why;
  return takes_no_writes(why, target());
}

Status Connection::raw_failure() {
  hint_.clear();
  try {
    throw;
  } catch (const pqxx::sql_error& error) {
    sqlstate_ = error.sqlstate();
    // libpqxx 6.4 keeps this one's to itself.
    if (dynamic_cast<const pqxx::insufficient_privilege*>(&error)) sqlstate_ = "42501";
    hint_ = hint_line(error.what());
    Status status(code_of(sqlstate_), first_line(error.what()));
    if (!connected()) {
      uncertain_ = true;
      status = unavailable(status.message());
    }
    return status;
  } catch (const pqxx::broken_connection& error) {
    uncertain_ = true;
    return unavailable(first_line(error.what()));
  } catch (const pqxx::in_doubt_error& error) {
    uncertain_ = true;
    return unavailable(first_line(error.what()));
  } catch (const std::bad_alloc&) {  // libpqxx's too, thrown at an unknown place
    uncertain_ = true;
    return unavailable("out of memory");
  } catch (const std::exception& error) {
    if (connected()) return internal_error(first_line(error.what()));
    uncertain_ = true;
    return unavailable(first_line(error.what()));
  }
}

// Requires a session. Throws what libpqxx throws.
pqxx::result Connection::execute(pqxx::transaction_base& tx, const Statement& statement,
                                 const Params& params) {
  std::vector<const char*> values;
  values.reserve(params.values().size());
  for (const auto& value : params.values()) values.push_back(value ? value->c_str() : nullptr);
  const auto arguments = pqxx::prepare::make_dynamic_params(values);
  return options_.prepare ? tx.exec_prepared(statement.name, arguments)
                          : tx.exec_params(statement.sql, arguments);
}

template <class Transaction, class Work>
Result<pqxx::result> Connection::in_transaction(const Statement& statement, bool limited,
                                                Work work) {
  PARKD_RETURN_IF_ERROR(connect());
  sqlstate_.clear();
  uncertain_ = false;
  mark_busy(true);
  Status status;
  try {
    if (options_.prepare && prepared_.insert(statement.name).second) {
      session_->connection.prepare(statement.name, statement.sql);
    }
    Transaction tx(session_->connection);
    if (!options_.prepare && limited) {
      tx.exec("SET TRANSACTION ISOLATION LEVEL READ COMMITTED; " + limits("SET LOCAL"));
    }
    pqxx::result rows = work(tx);
    mark_busy(false);
    last_raw_.clear();
    return rows;
  } catch (...) {
    status = failed();
  }
  mark_busy(false);
  if (!connected()) {
    close();
  } else if (sqlstate_ == kReadOnly) {
    const Status told = leave_read_only();
    if (options_.own_words) status = told;
  }
  return status;
}

Result<pqxx::result> Connection::run(const Statement& statement, const Params& params) {
  if (!options_.prepare) return run_then_commit(statement, params, [](const pqxx::result&) {});
  return in_transaction<pqxx::nontransaction>(
      statement, true, [&](pqxx::transaction_base& tx) { return execute(tx, statement, params); });
}

Result<pqxx::result> Connection::run_alone(const Statement& statement, const Params& params) {
  return in_transaction<pqxx::nontransaction>(
      statement, false, [&](pqxx::transaction_base& tx) { return execute(tx, statement, params); });
}

Result<pqxx::result> Connection::run_then_commit(const Statement& statement, const Params& params,
                                                 const OnRows& on_rows) {
  return in_transaction<pqxx::work>(statement, true, [&](pqxx::work& tx) {
    pqxx::result rows = execute(tx, statement, params);
    on_rows(rows);
    tx.commit();
    return rows;
  });
}

Status Connection::run_script(const std::string& sql) {
  PARKD_RETURN_IF_ERROR(connect());
  sqlstate_.clear();
  uncertain_ = false;
  Status status;
  try {
    pqxx::work tx(session_->connection);
    tx.exec(sql);
    tx.commit();
    return {};
  } catch (...) {
    status = failed();
  }
  if (!connected()) close();
  return status;
}

Status Connection::listen(const std::string& channel,
                          std::function<void(const std::string&)> on_payload) {
  PARKD_RETURN_IF_ERROR(connect());
  mark_busy(true);
  try {
    session_->receivers.push_back(
        std::make_unique<Receiver>(session_->connection, channel, std::move(on_payload)));
    mark_busy(false);
    return {};
  } catch (...) {
    Status status = failed();
    close();
    return status;
  }
}

Status Connection::wait(std::chrono::milliseconds timeout) {
  if (!connected()) return in_own_words({unavailable(""), "", false, target()});
  try {
    session_->connection.await_notification(timeout.count() / 1000, timeout.count() % 1000 * 1000);
    return {};
  } catch (...) {
    Status status = failed();
    close();
    return status;
  }
}

}  // namespace parkd
