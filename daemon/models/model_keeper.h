// ModelKeeper: the models of this daemon: has them loaded, registered with the store, and tells
// the dispatcher and the faces of each change. Owns the engines.
//
// Control thread, but for what its loaders do on blocking threads.
#pragma once

#include <boost/asio/io_context.hpp>
#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "daemon/models/model_loader.h"
#include "daemon/models/model_table.h"
#include "lib/base/blocking_pool.h"
#include "lib/config/config.h"
#include "lib/dispatch/dispatcher.h"
#include "lib/engine/engine.h"
#include "lib/store/daemon_store.h"

namespace parkd {

class ModelKeeper {
 public:
  // All references outlive the keeper.
  struct Parts {
    boost::asio::io_context& io;
    const Config& config;
    DaemonStore& store;
    Dispatcher& dispatcher;
    BlockingPool& blocking;
    std::function<void(std::shared_ptr<const ModelTable>)> show;  // a table that has changed
  };
  explicit ModelKeeper(Parts parts) : parts_(std::move(parts)) {}

  // Has every configured model loaded. Once.
  void load_all();
  // Nothing is registered any more: the daemon drains.
  void begin_stop() { stopping_ = true; }
  // Ends what runs. Once the dispatcher's loop has ended.
  void stop_engines();

  const std::map<std::string, std::unique_ptr<Engine>>& engines() const { return engines_; }

 private:
  void load(const ModelConfig& model);
  void set(const std::string& name, ModelEntry entry);
  void loaded(const std::string& name, Result<LoadedModel> loaded);
  void register_model(const ModelRegistration& model, ModelPort port);
  void registered(const std::string& name, const ModelPort& port);
  void not_registered(const ModelRegistration& model, const Result<ModelRegistered>& answer);

  Parts parts_;
  std::mutex device_memory_;                                // the loaders', one at a time
  ModelTable models_;                                       // the latest; snapshots are shown
  std::map<std::string, std::unique_ptr<Engine>> engines_;  // of loaded models
  bool stopping_ = false;
};

}  // namespace parkd
