#include "daemon/daemon.h"

#include <signal.h>
#include <unistd.h>

#include <boost/asio/post.hpp>
#include <new>
#include <utility>

#include "daemon/control/after.h"
#include "daemon/control/on_control.h"
#include "daemon/live_status.h"
#include "daemon/models/unserved_models.h"
#include "daemon/open_store.h"
#include "daemon/private_files.h"
#include "daemon/sd_notify.h"
#include "lib/backend/cuda/cuda_backend.h"
#include "lib/backend/models_outlook.h"
#include "lib/base/log.h"
#include "lib/store/job_store.h"

namespace parkd {
namespace {

constexpr auto kPurgeEvery = std::chrono::milliseconds(2000);
constexpr auto kLookAroundEvery = std::chrono::milliseconds(1000);
constexpr auto kLookAtQueueEvery = std::chrono::milliseconds(10'000);
constexpr auto kLookAtQueueWhileSomeAreOut = std::chrono::milliseconds(1000);
constexpr auto kDrainLookEvery = std::chrono::milliseconds(20);
// What peers' requests, and what is read out of them, may hold at a time; and what they are
// answered until they have read it. parkd.service does the sum.
constexpr size_t kParseBytesMax = 512u << 20;
constexpr size_t kAnswerBytesMax = 512u << 20;
constexpr auto kStopNowPatience = std::chrono::seconds(2);  // after a second signal; for answers

DispatcherOptions dispatcher_options(const Config& config) {
  DispatcherOptions options;
  for (const ModelConfig& model : config.models) options.models.push_back(model.name);
  options.finish_delay = config.daemon.finish_batch;
  options.drain_timeout = config.daemon.drain_timeout;
  if (config.queue.backend == StoreBackend::postgres) {
    options.poll_interval = config.daemon.postgres.poll;
    options.claim_pause_per_job = std::chrono::milliseconds(1);  // a claim costs as much as 8 jobs
  }
  return options;
}

HttpServer::Options server_options(const Config& config) {
  HttpServer::Options options;
  options.socket_path = config.daemon.socket;
  options.socket_mode = config.daemon.socket_mode;
  options.socket_group = config.daemon.socket_group;
  options.tcp = config.daemon.listen;
  options.connections_max = connections_possible(config.daemon.connections_max);
  return options;
}

// What an operator should have meant.
void warn_of_tcp(const DaemonConfig& config) {
  if (config.listen.empty()) return;
  if (!config.listen_tenant.empty()) {
    log_warn("api.open_to_this_machine",
             {{"tenant", config.listen_tenant},
              {"why",
               "daemon.listen_tenant: any user of this machine who connects by TCP acts as "
               "this tenant; tokens_file tells them apart"}});
  }
  for (const TcpAddress& address : config.listen) {
    if (address.is_loopback()) continue;
    log_warn("api.not_encrypted",
             {{"address", address.to_string()},
              {"why",
               "tokens, prompts and answers pass the network as plain text: put a proxy with "
               "TLS in front, and let parkd listen on a loopback address"}});
  }
}

}  // namespace

Result<std::unique_ptr<Daemon>> Daemon::start(Config config, const std::string& config_path,
                                              bool strict) {
  PARKD_RETURN_IF_ERROR(make_state_directory(config.daemon.state_dir));
  PARKD_RETURN_IF_ERROR(report_open_places(open_places(config, config_path), strict));
  PARKD_ASSIGN_OR_RETURN(InstanceLock lock, InstanceLock::acquire(config.daemon.state_dir));
  std::unique_ptr<Daemon> daemon(new Daemon(std::move(config), std::move(lock)));
  PARKD_ASSIGN_OR_RETURN(daemon->store_,
                         open_store(daemon->config_, daemon->clock_, daemon->callbacks()));
  PARKD_ASSIGN_OR_RETURN(daemon->files_, open_files(daemon->config_, daemon->clock_));
  PARKD_ASSIGN_OR_RETURN(daemon->deaths_, DeathWatch::start(daemon->config_));
  PARKD_RETURN_IF_ERROR(daemon->wire());
  return daemon;
}

Daemon::Daemon(Config config, InstanceLock lock)
    : config_(std::move(config)),
      lock_(std::move(lock)),
      bodies_("requests that are being read", kParseBytesMax),
      answers_("answers that nobody has read yet", kAnswerBytesMax),
      tokens_([this] { boost::asio::post(io_, [this] { tokens_.drain(); }); }),
      signals_(io_, SIGTERM, SIGINT, SIGUSR1) {
  signals_.add(SIGHUP);
}

// Before there is a dispatcher nothing is claimed: nothing to show, nothing to lose.
SharedStoreCallbacks Daemon::callbacks() {
  SharedStoreCallbacks callbacks;
  callbacks.status = [this] {
    const Dispatcher* dispatcher = running_dispatcher_;
    return dispatcher == nullptr ? "{}" : render_live_status(*dispatcher->stats());
  };
  callbacks.draining = [this] {
    const Dispatcher* dispatcher = running_dispatcher_;
    return dispatcher != nullptr && dispatcher->stats()->draining;
  };
  callbacks.ownership_lost = [this] {
    Dispatcher* dispatcher = running_dispatcher_;
    if (dispatcher == nullptr) return;
    dispatcher->ownership_lost();
    boost::asio::post(io_, [this] { api_->ownership_lost(); });
  };
  return callbacks;
}

Status Daemon::wire() {
  set_cuda_libraries(config_.daemon.cuda_libraries);
  blocking_ = std::make_unique<BlockingPool>(blocking_threads(), 0);
  reloads_ = std::make_unique<Reloads>(io_, *blocking_, health_);
  const RunBlocking run_blocking = [this](std::function<void()> task) {
    return blocking_->run(std::move(task));
  };
  DispatcherOptions options = dispatcher_options(config_);
  options.running_ids = &deaths_->running_ids();
  options.token_feed = &tokens_;
  options.device_lost = [this] { boost::asio::post(io_, [this] { on_device_lost(); }); };
  dispatcher_ = std::make_unique<Dispatcher>(std::move(options), *store_, clock_, run_blocking);
  deaths_->report_to(*dispatcher_, run_blocking);
  if (!deaths_->running_ids().is_kept()) {
    health_.raise({"running_ids_not_kept",
                   deaths_->running_ids().why_not_kept() +
                       ": if this process dies, the next one will not know which jobs ran, so a "
                       "job that kills it is not found out. Make room and restart parkd",
                   false});
  }
  running_dispatcher_ = dispatcher_.get();
  if (files_ != nullptr) {
    batches_ = std::make_unique<FileBatches>(config_, *store_, *files_, clock_);
  }
  if (files_ != nullptr && !config_.daemon.webhooks.empty()) {
    PARKD_ASSIGN_OR_RETURN(WebhookSecrets secrets, load_webhook_secrets(config_.daemon.webhooks));
    webhooks_ =
        std::make_unique<Webhooks>(config_.daemon.webhooks, std::move(secrets), *store_, clock_);
    batches_->on_end([this] { webhooks_->look(); });
    reloads_->add<WebhookSecrets>(
        {"webhooks.secrets_not_read", "webhook_secrets_not_read",
         "webhooks are signed with what was read before"},
        [this] { return load_webhook_secrets(config_.daemon.webhooks); },
        [this](WebhookSecrets read) {
          log_info("webhooks.secrets_read", {{"files", read.size()}});
          webhooks_->set_secrets(std::move(read));
        });
  }
  api_ = std::make_unique<Api>(Api::Parts{io_, config_, *store_, *store_, *store_, *dispatcher_,
                                          tokens_, *blocking_, blocking_threads(), clock_, health_,
                                          bodies_, answers_, files_, batches_.get(),
                                          database_name(config_)});
  const int64_t budget_bytes = memory_budget_bytes(config_.daemon);
  api_->set_memory_budget(budget_bytes);
  models_ = std::make_unique<ModelKeeper>(ModelKeeper::Parts{
      io_, config_, *store_, *dispatcher_, *blocking_, tokens_, clock_, budget_bytes,
      [this](std::shared_ptr<const ModelTable> table) { set_models(std::move(table)); }});
  observe_store();
  server_ = std::make_unique<HttpServer>(
      io_, server_options(config_), bodies_, answers_,
      [this](const HttpRequest& request) { return api_->admit(request); });
  api_->set_server(*server_);
  if (webhooks_ != nullptr) api_->set_webhooks(*webhooks_);
  if (!config_.daemon.tokens_file.empty()) PARKD_RETURN_IF_ERROR(read_tokens());
  warn_of_tcp(config_.daemon);
  return server_->listen();
}

Status Daemon::read_tokens() {
  const auto load = [this] { return load_tokens(config_.daemon.tokens_file); };
  const auto take = [this](TokenTable read) {
    log_info("api.tokens_read",
             {{"file", config_.daemon.tokens_file}, {"tokens", read.entries().size()}});
    api_->set_tokens(std::move(read));
  };
  PARKD_ASSIGN_OR_RETURN(TokenTable tokens, load());
  take(std::move(tokens));
  reloads_->add<TokenTable>(
      {"api.tokens_not_read", "tokens_not_read", "the tokens that were read before count"}, load,
      take);
  return {};
}

void Daemon::set_models(std::shared_ptr<const ModelTable> table) {
  if (batches_ != nullptr) batches_->set_models(table);
  api_->set_models(std::move(table));
}

// Tokenising is what the pool mostly does: more threads than cores only help tasks that wait for
// files, and loads of several models.
int Daemon::blocking_threads() const {
  const int useful = usable_cores() + static_cast<int>(config_.models.size());
  return std::min(useful, config_.pool.max_blocking_threads);
}

Daemon::~Daemon() {
  shut_down();
}

void Daemon::observe_store() {
  StoreObserver observer;
  observer.work_available = [this](const std::string& model) {
    dispatcher_->work_available(model);
    models_->work_available(model);
  };
  observer.cancel_requested = [this](JobId id, RunLease lease) {
    dispatcher_->cancel_requested(id, lease);
  };
  observer.message_stored = [this](const std::string& tenant, const std::string& key) {
    boost::asio::post(io_, [this, tenant, key] { api_->message_stored(tenant, key); });
  };
  store_->set_observer(std::move(observer));
}

// --- life

Daemon::End Daemon::run() {
  dispatcher_thread_ = Thread({"dispatcher", 0}, [this] { dispatcher_->run(); });
  models_->start();
  if (batches_ != nullptr) batches_->start();
  if (webhooks_ != nullptr) webhooks_->start();
  api_->start();
  wait_for_signal();
  purge_soon();
  if (files_ != nullptr) look_after_files_soon();
  look_around_soon();
  look_at_queue_soon();
  if (config_.uses_postgres()) read_again_soon();
  feed_watchdog();
  log_info("daemon.started", {{"version", PARKD_VERSION},
                              {"pid", ::getpid()},
                              {"socket", config_.daemon.socket},
                              {"state_dir", config_.daemon.state_dir},
                              {"store", to_string(config_.queue.backend)},
                              {"database", database_name(config_)}});
  sd_notify("READY=1\nSTATUS=accepting jobs");
  serve();
  shut_down();
  return end_;
}

// Connections and requests answer for their own lack of memory; what else runs out of it here is
// done without.
void Daemon::serve() {
  for (;;) {
    try {
      io_.run();
      return;
    } catch (const std::bad_alloc&) {
      log_error("daemon.out_of_memory", {{"thread", "control"}});
    }
  }
}

void Daemon::wait_for_signal() {
  signals_.async_wait([this](boost::system::error_code error, int signal) {
    if (error) return;
    wait_for_signal();
    on_signal(signal);
  });
}

void Daemon::on_signal(int signal) {
  if (signal == SIGUSR1) return dump_state(*dispatcher_->stats());
  if (signal == SIGHUP) return reload();
  ++stop_signals_;
  log_info("daemon.signal", {{"signal", signal}, {"count", stop_signals_}});
  if (stop_signals_ == 1) return begin_stop();
  stop_not_after_ = clock_.steady_now() + kStopNowPatience;
  dispatcher_->stop_now();
}

void Daemon::reload() {
  if (reloads_->is_empty()) {
    return log_info("daemon.nothing_to_read_again",
                    {{"why",
                      "there is no daemon.tokens_file and no daemon.webhooks; what else is "
                      "configured is read at a start"}});
  }
  reloads_->read_again();
}

// A process that lost a device cannot have it back: it gives its jobs back and ends, to be started
// again. What the store does not take in time, the next start reports (running_ids).
void Daemon::on_device_lost() {
  log_error("daemon.device_lost", {{"action", "the process ends, to be started again"}});
  end_ = End::device_lost;
  if (stop_signals_++ == 0) begin_stop();
  stop_not_after_ = clock_.steady_now() + kStopNowPatience;
  dispatcher_->stop_now();
}

void Daemon::begin_stop() {
  sd_notify("STOPPING=1\nSTATUS=draining");
  api_->stop_accepting();
  models_->begin_stop();
  if (batches_ != nullptr) batches_->begin_stop();
  if (webhooks_ != nullptr) webhooks_->begin_stop();
  // Results that a store cannot take (a database that is away, a full disk) must not hold the
  // daemon for ever: their jobs run again, elsewhere or at the next start.
  stop_not_after_ = clock_.steady_now() + config_.daemon.drain_timeout + kStopNowPatience;
  dispatcher_->drain();
  wait_until_drained();
}

void Daemon::wait_until_drained() {
  const bool patience_over =
      stop_not_after_ != SteadyTime{} && clock_.steady_now() >= stop_not_after_;
  if (dispatcher_->drained() || patience_over) {
    if (patience_over) log_warn("drain.abandoned", {});
    api_->drained();
    server_->close();
    return wait_until_answered(clock_.steady_now() + kStopNowPatience);
  }
  after(io_, kDrainLookEvery, [this] { wait_until_drained(); });
}

// Readers that waited for a message, and submits on their way, still get their answer.
void Daemon::wait_until_answered(SteadyTime not_after) {
  if (server_->unanswered() == 0 || clock_.steady_now() >= not_after) return io_.stop();
  after(io_, kDrainLookEvery, [this, not_after] { wait_until_answered(not_after); });
}

// What is still claimed or unstored is queued again when an embedded store is opened: nothing is
// lost by stopping here, only work that will be done again.
void Daemon::shut_down() {
  if (dispatcher_ == nullptr) return;
  if (server_ != nullptr) server_->close();
  if (batches_ != nullptr) batches_->begin_stop();
  if (webhooks_ != nullptr) webhooks_->begin_stop();
  dispatcher_->close();
  dispatcher_thread_.join();
  models_->stop_engines();
  blocking_->stop();
  api_->stop();
  if (files_ != nullptr) files_->stop();
  store_->stop();
  batches_.reset();
  if (webhooks_ != nullptr) webhooks_->join();
  models_.reset();
  dispatcher_.reset();
  log_info("daemon.stopped", {{"pid", ::getpid()}});
}

void Daemon::purge_soon() {
  after(io_, kPurgeEvery, [this] {
    store_->purge([this](const Result<PurgeAnswer>& answer) {
      boost::asio::post(io_, [this, status = answer.status()] {
        // Once for as long as it goes wrong in the same way: a database may be away for hours.
        if (!status.ok() && status.message() != purge_error_) {
          log_warn("store.purge_failed", {{"error", status.to_string()}});
        }
        purge_error_ = status.message();
        purge_soon();
      });
    });
  });
}

void Daemon::look_after_files_soon() {
  files_->purge_files(on_control<int64_t>(io_, [this](const Result<int64_t>& purged) {
    const Status status = purged.status();
    if (!status.ok() && status.message() != files_error_) {
      log_warn("files.purge_failed", {{"error", status.to_string()}});
    }
    files_error_ = status.message();
    files_->file_figures(on_control<FileFigures>(io_, [this](const Result<FileFigures>& figures) {
      if (figures.ok()) saw_files(*figures);
      after(io_, kPurgeEvery, [this] { look_after_files_soon(); });
    }));
  }));
}

void Daemon::saw_files(const FileFigures& figures) {
  api_->set_file_figures(figures);
  if (figures.notices.empty()) health_.clear("file_damaged");
  for (const HealthNotice& notice : figures.notices) health_.raise(notice);
}

void Daemon::look_around_soon() {
  surroundings_.look();
  if (auto notice = server_->look_after_socket()) {
    health_.raise(std::move(*notice));
  } else {
    health_.clear("socket_gone");
  }
  after(io_, kLookAroundEvery, [this] { look_around_soon(); });
}

void Daemon::look_at_queue_soon() {
  store_->stats(on_control<StoreStats>(io_, [this](Result<StoreStats> stats) {
    models_->saw_queue(stats);
    if (stats.ok()) {
      if (auto notice = unserved_models_notice(config_, *stats)) {
        health_.raise(std::move(*notice));
      } else {
        health_.clear("model_not_served");
      }
    }
    const auto next = models_->wants_queue() ? kLookAtQueueWhileSomeAreOut : kLookAtQueueEvery;
    after(io_, next, [this] { look_at_queue_soon(); });
  }));
}

// Results of other daemons are announced only where parkd.settings.notify_results is on.
void Daemon::read_again_soon() {
  after(io_, config_.daemon.postgres.poll, [this] {
    api_->read_again();
    read_again_soon();
  });
}

// --- watching

void Daemon::feed_watchdog() {
  const auto interval = watchdog_interval();
  if (!interval) return;
  if (progress_.is_making_progress(*dispatcher_, *models_)) sd_notify("WATCHDOG=1");
  after(io_, std::chrono::duration_cast<std::chrono::milliseconds>(*interval / 3),
        [this] { feed_watchdog(); });
}

}  // namespace parkd
