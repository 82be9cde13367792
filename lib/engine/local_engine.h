// LocalEngine: the Engine that runs a model in this process: one KvCache, one Model, and workers
// on one Backend. make_engine() builds it from a ModelCard; tests build it on a fake Backend.
#pragma once

#include <memory>
#include <vector>

#include "lib/engine/backend.h"
#include "lib/engine/engine.h"
#include "lib/engine/engine_worker.h"
#include "lib/engine/kv_cache.h"
#include "lib/engine/model.h"

namespace parkd {

// A loaded model: its weights lie in `backend`, which has its KV memory too.
struct LoadedModel {
  ModelShape shape;
  ModelWeights weights;
  std::unique_ptr<Backend> backend;
  TokenBytes token_bytes;
};

class LocalEngine final : public Engine {
 public:
  // Starts the workers. Requires checked options. Errors: those of Backend::make_lane.
  static Result<std::unique_ptr<LocalEngine>> make(LoadedModel model, const EngineOptions& options);
  ~LocalEngine() override { stop(); }

  // To the worker with the fewest tokens ahead of it; the first of equals.
  void start(GenerationRequest request) override;
  void cancel(RequestId id) override;
  EngineStats stats() const override;
  void stop() override;

 private:
  LocalEngine(LoadedModel model, const EngineOptions& options,
              std::vector<std::unique_ptr<Lane>> lanes);

  const std::unique_ptr<Backend> backend_;  // outlives the lanes of the workers
  KvCache kv_cache_;
  const Model model_;
  std::vector<std::unique_ptr<EngineWorker>> workers_;  // constant after construction
};

}  // namespace parkd
