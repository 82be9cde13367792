#include "lib/store/postgres/listener.h"

#include <unistd.h>

#include <algorithm>
#include <sstream>
#include <utility>

#include "lib/base/log.h"
#include "lib/base/text.h"
#include "lib/store/postgres/migrator.h"
#include "lib/store/postgres/pg_text.h"
#include "lib/store/postgres/rows.h"
#include "lib/store/postgres/statements.h"
#include "lib/store/postgres/upkeep_verbs.h"

namespace parkd {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kHintedBeatGap{200};  // however many notifications come

int64_t steady_us() {
  return std::chrono::duration_cast<Micros>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}
int64_t steady_ms() {
  return steady_us() / 1000;
}

Connection::Options session(const PostgresOptions& options) {
  Connection::Options session;
  session.own_words = true;
  session.dsn = options.listen_dsn.empty() ? options.dsn : options.listen_dsn;
  session.application_name = "parkd-beat";
  session.prepare = !options.transaction_pooling || !options.listen_dsn.empty();
  session.statement_limit = std::max(options.ttl / 6, milliseconds(500));
  session.statement_limit = std::min(session.statement_limit, milliseconds(30'000));
  return session;
}

}  // namespace

Listener::Listener(const PostgresOptions& options, Events events)
    : options_(options), events_(std::move(events)), connection_(session(options)) {}

std::optional<int64_t> Listener::now() const {
  if (options_.test_clock == nullptr) return std::nullopt;
  return to_unix_us(options_.test_clock->now());
}

void Listener::set_database_now(int64_t unix_us) {
  database_ahead_us_ = unix_us - steady_us();
}

WallTime Listener::about_now() const {
  if (options_.test_clock != nullptr) return options_.test_clock->now();
  const int64_t ahead_us = database_ahead_us_;
  if (ahead_us == 0) return WallTime();
  return from_unix_us(steady_us() + ahead_us);
}

Status Listener::start(std::vector<Connection*> watched) {
  watched_ = std::move(watched);
  watch_thread_ = Thread({"pg-watch", 0}, [this] { watch_loop(); });
  const Status status = ensure_registered();
  if (status.code() == StatusCode::conflict || status.code() == StatusCode::internal) return status;
  if (status.ok() && options_.listen) PARKD_RETURN_IF_ERROR(listen_all());
  watching_ = true;
  beat_thread_ = Thread({"pg-beat", 0}, [this] { beat_loop(); });
  return {};
}

void Listener::stop() {
  {
    const std::lock_guard lock(mutex_);
    if (stopping_) return;
    stopping_ = true;
  }
  woken_.notify_all();
  beat_thread_.join();
  const int64_t id = daemon_id_.exchange(0);
  if (id != 0) {
    Params params;
    params.add(id).add(now());
    Status status = connection_.run(sql::kUnregister, params).status();
    // A session that was cut in silence is noticed only now.
    if (!status.ok()) status = connection_.run(sql::kUnregister, params).status();
    if (!status.ok()) log_warn("postgres.not_unregistered", {{"error", status.message()}});
  }
  connection_.close();
  {
    const std::lock_guard lock(mutex_);
    unwatched_ = true;
  }
  woken_.notify_all();
  watch_thread_.join();
}

void Listener::set_trouble(const Status& status) {
  const std::string why = status.ok() ? "" : status.message();
  {
    const std::lock_guard lock(mutex_);
    if (why == trouble_) return;  // once for as long as it stays the same
    trouble_ = why;
  }
  if (why.empty()) {
    log_info("postgres.back", {});
  } else if (status.code() == StatusCode::unavailable) {
    log_warn("postgres.away", {{"error", why}});
  } else if (watching_) {  // before that, start() answers it
    log_error("postgres.refused", {{"error", why}});
  }
}

std::string Listener::trouble() const {
  const std::lock_guard lock(mutex_);
  return trouble_;
}

bool Listener::pause(milliseconds time) {
  std::unique_lock lock(mutex_);
  woken_.wait_for(lock, time, [this] { return stopping_; });
  return !stopping_;
}

// --- registration

Status Listener::ensure_registered() {
  if (daemon_id_ != 0 && connection_.connected()) return {};
  if (losing_ != 0) return unavailable("the heartbeat was lost");
  listening_ = listening_ && connection_.connected();
  const bool had_session = connection_.connected();
  Status status = connection_.connect();
  if (status.ok() && !had_session) status = check_writable(connection_);
  if (status.ok() && daemon_id_ == 0) {
    status = check_schema(connection_, embedded_migrations());
    if (status.ok()) status = check_server(connection_);
    if (status.ok()) {
      Params params;
      params.add(now());
      status = connection_.run(sql::kEnsurePartitions, params).status();
    }
    if (status.ok() && abandoned_ != 0) {
      Params params;
      params.add(abandoned_.load()).add(now());
      status = connection_.run(sql::kUnregister, params).status();
      if (status.ok()) abandoned_ = 0;
    }
    if (status.ok()) {
      Params params;
      params.add(options_.host)
          .add(int64_t{::getpid()})
          .add(options_.version)
          .add(std::to_string(static_cast<double>(options_.ttl.count()) / 1000.0))
          .add(now());
      const auto rows = connection_.run(sql::kRegister, params);
      status = rows.status();
      if (status.ok()) {
        last_beat_ms_ = steady_ms();
        set_database_now(integer((*rows)[0], "now_us"));
        last_daemon_id_ = integer((*rows)[0], "daemon_id");
        fence_epoch_ = integer((*rows)[0], "fence_epoch");
        daemon_id_ = integer((*rows)[0], "daemon_id");
        log_info("postgres.registered",
                 {{"daemon_id", daemon_id_.load()}, {"fence_epoch", fence_epoch_.load()}});
      }
    }
  }
  if (status.code() == StatusCode::unavailable) {
    set_trouble(unavailable(status.message() + "; tried again every second, results are kept"));
  } else {
    set_trouble(status);
  }
  return status;
}

void Listener::lose(int64_t daemon_id) {
  int64_t expected = daemon_id;
  if (daemon_id == 0) return;
  ++losing_;
  if (!daemon_id_.compare_exchange_strong(expected, 0)) {
    --losing_;
    return;
  }
  log_warn("postgres.ownership_lost", {{"daemon_id", daemon_id}});
  set_trouble(unavailable("the heartbeat was lost"));
  // Told before there can be a new registration: a claim that completes later is of the new one.
  events_.lost();
  abandoned_ = daemon_id;
  --losing_;
}

void Listener::was_declared_gone(int64_t daemon_id) {
  lose(daemon_id);
}

Status Listener::beat() {
  const int64_t id = daemon_id_;
  Params params;
  params.add(id);
  options_.status ? params.add(options_.status()) : params.add_null();
  params.add(std::string(options_.draining && options_.draining() ? "t" : "f")).add(now());
  const auto rows = connection_.run(sql::kHeartbeat, params);
  if (!rows.ok()) {
    if (connection_.sqlstate() == "PK001") lose(id);
    return rows.status();
  }
  last_beat_ms_ = steady_ms();
  for (const auto& row : *rows) {
    set_database_now(integer(row, "now_us"));
    if (is_null(row, "job_id")) continue;
    events_.cancel(field(row, "job_id").id(), field(row, "run_lease").lease());
  }
  return {};
}

// --- notifications

Status Listener::listen_all() {
  if (listening_) return {};
  PARKD_RETURN_IF_ERROR(connection_.listen(
      "parkd_work", [this](const std::string& model) { events_.work(decode_text(model)); }));
  PARKD_RETURN_IF_ERROR(connection_.listen("parkd_cancel", [this](const std::string& payload) {
    std::istringstream fields(payload);
    int64_t daemon_id = 0;
    // A hint, no more: any login of the database may send it. The heartbeat brings the truth.
    if (!(fields >> daemon_id)) return;
    if (daemon_id == 0) {
      cancels_hinted_ = true;
    } else if (daemon_id == daemon_id_) {
      beat_hinted_ = true;
    }
  }));
  PARKD_RETURN_IF_ERROR(connection_.listen(
      "parkd_results", [this](const std::string& payload) { events_.results(payload); }));
  listening_ = true;
  return {};
}

void Listener::beat_loop() {
  int64_t next_beat = steady_ms() + options_.beat.count();
  int64_t next_poll = 0;
  int64_t next_cancels = 0;
  milliseconds backoff{50};
  for (;;) {
    const bool had_connection = connection_.connected();
    Status status = ensure_registered();
    if (status.ok() && options_.listen) status = listen_all();
    if (!status.ok()) {
      if (!pause(backoff)) return;
      backoff = std::min(backoff * 2, milliseconds(1000));
      continue;
    }
    backoff = milliseconds(50);
    if (!had_connection) {  // what was announced meanwhile was not heard
      next_beat = 0;
      events_.reconnected();
      events_.look();
    }
    if (std::exchange(beat_hinted_, false)) {
      next_beat = std::min(next_beat, last_beat_ms_ + kHintedBeatGap.count());
    }
    if (cancels_hinted_ && steady_ms() >= next_cancels) {
      cancels_hinted_ = false;
      next_cancels = steady_ms() + kHintedBeatGap.count();
      events_.cancelled();
    }
    if (steady_ms() >= next_beat) {
      next_beat = steady_ms() + options_.beat.count();
      if (!beat().ok()) continue;
    }
    int64_t wait = next_beat - steady_ms();
    if (options_.poll.count() > 0) {
      if (steady_ms() >= next_poll) {
        events_.look();
        // Jitter: a hundred daemons that started together shall not ask together.
        const int64_t half = std::max<int64_t>(options_.poll.count() / 2, 1);
        next_poll = steady_ms() + half +
                    static_cast<int64_t>(random_u64() % static_cast<uint64_t>(2 * half));
      }
      wait = std::min(wait, next_poll - steady_ms());
    }
    // Short slices, for stop(): libpq's wait cannot be woken.
    const milliseconds slice(std::clamp<int64_t>(wait, 0, 100));
    if (options_.listen) {
      if (!connection_.wait(slice).ok()) continue;
      if (!pause(milliseconds(0))) return;
    } else if (!pause(slice)) {
      return;
    }
  }
}

void Listener::watch_loop() {
  for (;;) {
    {
      std::unique_lock lock(mutex_);
      if (woken_.wait_for(lock, milliseconds(100), [this] { return unwatched_; })) return;
    }
    for (Connection* connection : watched_) connection->interrupt_if_overdue();
    connection_.interrupt_if_overdue();
    const int64_t id = daemon_id_;
    if (id != 0 && steady_ms() - last_beat_ms_ > options_.ttl.count() * 2 / 3) lose(id);
  }
}

}  // namespace parkd
