// Loading one configured model: its file, its price list, its weights, its workers.
//
// load() runs on a blocking thread and takes from tens of milliseconds to minutes; it reports each
// step it gets to, so that jobs are accepted (and their tokens counted) long before the weights are
// there. The result is owned by the Daemon.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <string>

#include "daemon/models/model_device.h"
#include "daemon/models/model_table.h"
#include "lib/base/status.h"
#include "lib/config/config.h"
#include "lib/dispatch/model_port.h"
#include "lib/engine/engine.h"
#include "lib/store/daemon_store.h"

namespace parkd {

struct LoadedModel {
  std::unique_ptr<Engine> engine;
  ModelPort port;  // points to engine
  ModelRegistration registration;
};

class ModelLoader {
 public:
  struct Reports {
    // The file was read: submits can be tokenised and priced. Again as its weights are loaded, and
    // with another backend and price list when the device had no room and the CPU is taken. Any
    // thread.
    std::function<void(ModelEntry)> card_ready;
    std::function<void(GenerationResult)> on_result;  // the engine's results; a worker thread
  };

  // `device_memory` is held from a look at what is free on CUDA devices until the model has taken
  // its part, so that no two models count on the same bytes: all loaders of a process share it. A
  // mutex, because the bytes are the driver's and they have no owner here.
  ModelLoader(const Config& config, const ModelConfig& model, std::mutex& device_memory,
              Reports reports)
      : config_(config),
        model_(model),
        device_memory_(device_memory),
        reports_(std::move(reports)) {}

  // Errors: not_found (no such file), invalid (a model or device we cannot run), corrupt.
  Result<LoadedModel> load();

 private:
  Result<LoadedModel> load_on(const std::shared_ptr<const ModelCard>& card,
                              ModelDevice& device) const;

  const Config& config_;
  const ModelConfig& model_;
  std::mutex& device_memory_;
  const Reports reports_;
};

}  // namespace parkd
