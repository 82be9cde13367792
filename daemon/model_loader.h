// Loading one configured model: its file, its price list, its weights, its workers.
//
// load() runs on a blocking thread and takes from tens of milliseconds to minutes; it reports each
// step it gets to, so that jobs are accepted (and their tokens counted) long before the weights are
// there. The result is owned by the Daemon.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "daemon/model_table.h"
#include "lib/base/status.h"
#include "lib/config/config.h"
#include "lib/dispatch/model_port.h"
#include "lib/engine/engine.h"
#include "lib/store/job_store.h"

namespace parkd {

struct LoadedModel {
  std::unique_ptr<Engine> engine;
  ModelPort port;  // points to engine
  ModelRegistration registration;
};

class ModelLoader {
 public:
  struct Reports {
    // The file was read: submits can be tokenised and priced. Any thread.
    std::function<void(ModelEntry)> card_ready;
    std::function<void(GenerationResult)> on_result;  // the engine's results; a worker thread
  };

  ModelLoader(const Config& config, const ModelConfig& model, Reports reports)
      : config_(config), model_(model), reports_(std::move(reports)) {}

  // Errors: not_found (no such file), invalid (a model or device we cannot run), corrupt.
  Result<LoadedModel> load();

 private:
  const Config& config_;
  const ModelConfig& model_;
  const Reports reports_;
};

// The weights' file: `local_path` itself, or the one GGUF file in that folder.
Result<std::string> find_weights(const ModelConfig& model);

}  // namespace parkd
