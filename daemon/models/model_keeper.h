// ModelKeeper: the models of this daemon. Opens them all at the start, so that submits are priced
// and refused at once; has those loaded that fit into daemon.memory_mb and unloads them again, as a
// Residency plans it; registers them with the store, and tells the dispatcher and the faces of each
// change. Owns the engines.
//
// Control thread, but for work_available() and what its loaders do on blocking threads.
#pragma once

#include <atomic>
#include <boost/asio/io_context.hpp>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "daemon/models/model_loader.h"
#include "daemon/models/model_table.h"
#include "daemon/models/residency.h"
#include "daemon/models/work_signs.h"
#include "lib/base/blocking_pool.h"
#include "lib/base/clock.h"
#include "lib/config/config.h"
#include "lib/dispatch/dispatcher.h"
#include "lib/engine/engine.h"
#include "lib/store/model_registration.h"
#include "lib/store/store_stats.h"

namespace parkd {

class DaemonStore;

class ModelKeeper {
 public:
  // All references outlive the keeper.
  struct Parts {
    boost::asio::io_context& io;
    const Config& config;
    DaemonStore& store;
    Dispatcher& dispatcher;
    BlockingPool& blocking;
    TokenFeed& tokens;
    Clock& clock;
    int64_t budget_bytes;                                         // of main memory
    std::function<void(std::shared_ptr<const ModelTable>)> show;  // a table that has changed
  };
  explicit ModelKeeper(Parts parts);

  // Opens every configured model, and has them loaded. Once.
  void start();
  // Nothing is loaded, unloaded or registered any more: the daemon drains.
  void begin_stop() { stopping_ = true; }
  // Ends what runs. Once the dispatcher's loop has ended.
  void stop_engines();

  // The model has jobs that can be claimed. Any thread; costs a load of an atomic where all models
  // are loaded.
  void work_available(const std::string& model);
  // What waits, as the store has it, or that it cannot say. Nothing is loaded before the first, so
  // that what has jobs is loaded first.
  void saw_queue(const Result<StoreStats>& stats);
  // Whether what waits matters: some model is not loaded.
  bool wants_queue() const { return some_are_out_; }

  // Every loaded engine.
  void for_each_engine(const std::function<void(const std::string&, const Engine&)>& f) const;

 private:
  struct Kept {
    const ModelConfig* config = nullptr;
    std::optional<OpenedModel> opened;  // empty: it is being opened, or cannot be
    std::unique_ptr<Engine> engine;     // while it is loaded
    bool registered = false;            // ... and the store knows it
    bool unloading = false;             // the dispatcher is asked to let it go
    uint64_t generation = 0;            // counts its loads, for what comes late
    // Counts what the dispatcher was asked of its engine: that it has let it go answers the last,
    // or comes too late.
    uint64_t asked = 0;
    SteadyTime load_began{};
    std::optional<SteadyTime> load_again_at;  // failed, and it may come again
    WorkSigns work;
  };

  void open(const std::string& name, const ModelConfig& model);
  void opened(const std::string& name, Result<OpenedModel> opened);
  void say_turns();
  void fail(const std::string& name, const Status& why);
  void let_try_again(const std::string& name);

  void look();
  void look_again_soon();
  bool may_load() const;
  void carry_out(const Residency::Plan& plan);
  void load(const std::string& name, bool is_switch);
  void loaded(const std::string& name, Result<LoadedModel> loaded);
  void unload(const std::string& name);
  void keep(const std::string& name);
  void let_go(const std::string& name, uint64_t asked);
  void unloaded(const std::string& name);

  void register_model(uint64_t generation, const ModelRegistration& model, ModelPort port);
  void registered(const std::string& name, const ModelPort& port);
  void not_registered(const ModelRegistration& model, const Result<ModelRegistered>& answer);

  void show();
  void set(const std::string& name, ModelEntry entry);
  void set_state(const std::string& name, ModelState state);
  SteadyTime now() const { return parts_.clock.steady_now(); }

  Parts parts_;
  ModelTable models_;  // the latest; snapshots are shown
  std::map<std::string, Kept> kept_;
  Residency residency_;
  size_t n_to_open_ = 0;
  SteadyTime open_patience_ends_{};
  bool queue_seen_ = false;
  std::atomic<bool> stopping_{false};     // read by the loaders
  std::atomic<bool> some_are_out_{true};  // read by the store's threads
};

}  // namespace parkd
