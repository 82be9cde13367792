// ApiWorld: the API on a socket of its own, in this process: a real server, the memory store, no
// model. The control thread is a thread of the world, so that tests can watch what it does.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <functional>
#include <future>
#include <memory>
#include <string>

#include "daemon/api/api.h"
#include "daemon/batches/file_batches.h"
#include "lib/base/clock.h"
#include "lib/base/thread.h"
#include "lib/http/http_server.h"
#include "lib/store/folder/folder_files.h"
#include "lib/store/memory/memory_store.h"
#include "tests/support/raw_peer.h"
#include "tests/support/store_driver.h"
#include "tests/support/temp_dir.h"

namespace parkd::testing {

struct ApiWorldOptions {
  size_t parse_bytes_max = 512u << 20;
  size_t answer_bytes_max = 512u << 20;
  int64_t request_bytes_max = 64 << 20;
  bool has_files = true;
  FilesConfig files;
  std::vector<WebhookConfig> webhooks;  // of whoever runs the test
  StoreOptions store;
  CallerStore* callers = nullptr;  // instead of the store; outlives the world
  HttpServer::Options server;
  std::function<void()> on_control_start;  // called on the control thread
};

class ApiWorld {
 public:
  explicit ApiWorld(const ApiWorldOptions& options = {})
      : bodies_("requests that are being read", options.parse_bytes_max),
        answers_("answers that nobody has read yet", options.answer_bytes_max),
        store_(make_memory_store(options.store, clock_)) {
    config_.daemon.max_request_bytes = options.request_bytes_max;
    config_.queue.backend = StoreBackend::memory;
    config_.default_model = "m";
    config_.daemon.files = options.files;
    config_.daemon.webhooks = options.webhooks;
    for (WebhookConfig& webhook : config_.daemon.webhooks) webhook.tenant = own_tenant();
    if (options.has_files) {
      FileLimits limits;
      limits.file_bytes_max = options.files.max_file_mb << 20;
      limits.tenant_uploads_max = options.files.max_uploads;
      files_ = open_folder_files({files_dir(), limits}, clock_).value();
      batches_ = std::make_unique<FileBatches>(config_, *store_, *files_, clock_);
    }
    DispatcherOptions dispatcher;
    dispatcher.models = {"m"};
    dispatcher_ = std::make_unique<Dispatcher>(
        dispatcher, *store_, clock_, [this](auto task) { return blocking_.run(std::move(task)); });
    CallerStore& callers = options.callers == nullptr ? *store_ : *options.callers;
    api_ = std::make_unique<Api>(Api::Parts{io_, config_, *store_, *store_, callers, *dispatcher_,
                                            tokens_, blocking_, 2, clock_, health_, bodies_,
                                            answers_, files_, batches_.get(), ""});
    ModelTable models;
    models["m"].retention = std::chrono::hours(1);
    set_models(models);
    if (batches_ != nullptr) batches_->start();
    HttpServer::Options server = options.server;
    server.socket_path = socket();
    server_ = std::make_unique<HttpServer>(
        io_, server, bodies_, answers_,
        [this](const HttpRequest& request) { return api_->admit(request); });
    api_->set_server(*server_);
    const Status listening = server_->listen();
    PARKD_CHECK(listening.ok(), listening.to_string());
    control_ = Thread({"control", 0}, [this, start = options.on_control_start] {
      if (start) start();
      io_.run();
    });
  }

  ~ApiWorld() {
    io_.stop();
    control_.join();
    blocking_.stop();
    api_->stop();
    if (batches_ != nullptr) batches_->begin_stop();
    if (files_ != nullptr) files_->stop();
    store_->stop();
    batches_.reset();
  }

  std::string socket() const { return directory_.path() + "/s"; }
  std::string files_dir() const { return directory_.path() + "/files"; }
  RawPeer peer() const { return RawPeer(socket()); }
  StoreDriver& store() { return driver_; }
  ByteBudget::Figures parsing() const { return bodies_.figures(); }

  // The file of model "m" has been read; before, it is loading.
  void model_was_read(std::shared_ptr<const ModelEndpoint> endpoint) {
    std::promise<void> done;
    boost::asio::post(io_, [&] {
      ModelTable models;
      models["m"].state = ModelState::ready;
      models["m"].endpoint = std::move(endpoint);
      models["m"].retention = std::chrono::hours(1);
      set_models(models);
      done.set_value();
    });
    done.get_future().wait();
  }

  // What /metrics says of a sample; -1: nothing.
  int64_t metric(const std::string& name) {
    const std::string page = peer().call("GET", "/metrics").body;
    const size_t at = page.find("\n" + name + " ");
    return at == page.npos ? -1 : std::atoll(page.c_str() + at + name.size() + 2);
  }

  // What a store's observer makes the daemon do when a message came.
  void wake(const std::string& key) {
    boost::asio::post(io_, [this, key] { api_->message_stored(own_tenant(), key); });
  }

  JobId submit_a_job(const std::string& key) {
    JobSpec spec;
    spec.model = "m";
    spec.tenant = own_tenant();
    spec.mailbox_key = key;
    spec.body = "{}";
    const auto jobs = driver_.submit({spec});
    PARKD_CHECK(jobs.ok(), "submit");
    return jobs->front().id;
  }
  // Ends one job of `key` as completed with this body.
  void complete_a_job(const std::string& key, const std::string& body) {
    submit_a_job(key);
    const auto jobs = driver_.claim("m", 1);
    FinishItem item;
    item.id = jobs->at(0).id;
    item.lease = jobs->at(0).lease;
    item.ending.body = body;
    PARKD_CHECK(driver_.finish({item}).ok(), "finish");
  }

 private:
  void set_models(const ModelTable& models) {
    const auto table = std::make_shared<const ModelTable>(models);
    if (batches_ != nullptr) batches_->set_models(table);
    api_->set_models(table);
  }
  std::string own_tenant() {
    return Tenants(config_.daemon).act_as(unix_peer(::getuid()), "")->tenant;
  }

  TempDir directory_;
  Config config_;
  SystemClock clock_;
  ByteBudget bodies_;
  ByteBudget answers_;
  boost::asio::io_context io_;
  TokenFeed tokens_{[this] { boost::asio::post(io_, [this] { tokens_.drain(); }); }};
  HealthBoard health_;
  std::unique_ptr<JobStore> store_;
  StoreDriver driver_{*store_};
  std::shared_ptr<FileStore> files_;
  std::unique_ptr<FileBatches> batches_;
  BlockingPool blocking_{2, 0};
  std::unique_ptr<Dispatcher> dispatcher_;
  std::unique_ptr<Api> api_;
  std::unique_ptr<HttpServer> server_;
  Thread control_;
};

}  // namespace parkd::testing
