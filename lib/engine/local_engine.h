// LocalEngine: the Engine that runs a model in this process: for each device a KvCache, a Model and
// workers on its Backend. make_engine() builds it from a ModelCard; tests build it on a fake
// Backend.
#pragma once

#include <memory>
#include <vector>

#include "lib/engine/engine.h"
#include "lib/engine/engine_worker.h"
#include "lib/engine/kv_cache.h"
#include "lib/model/backend.h"
#include "lib/model/model.h"

namespace parkd {

// The weights lie in `backend`, which has KV memory of so many blocks too.
struct LoadedDevice {
  std::unique_ptr<Backend> backend;
  ModelWeights weights;
  Blocks kv_blocks;
  int32_t max_num_seqs = 0;  // as EngineDevice has it
};

struct EngineParts {
  ModelShape shape;
  std::vector<LoadedDevice> devices;  // at least one
  TokenBytes token_bytes;
};

class LocalEngine final : public Engine {
 public:
  // Starts the workers. Requires checked options. Errors: those of Backend::make_lane
  // and Lane::prepare.
  static Result<std::unique_ptr<LocalEngine>> make(EngineParts parts, const EngineOptions& options);
  ~LocalEngine() override { stop(); }

  // To the device's worker with the fewest tokens ahead of it; the first of equals.
  void start(GenerationRequest request) override;
  void cancel(RequestId id) override;
  EngineStats stats() const override;
  void stop() override;

 private:
  // Destroyed from below: workers, then what they use.
  struct Device {
    Device(LoadedDevice loaded, const ModelShape& shape, const EngineOptions& options);
    const std::unique_ptr<Backend> backend;
    KvCache kv_cache;
    const Model model;
    std::vector<std::unique_ptr<EngineWorker>> workers;
  };

  LocalEngine() = default;
  template <class F>
  void for_each_worker(F f) const {
    for (const auto& device : devices_) {
      for (const auto& worker : device->workers) f(*worker);
    }
  }

  std::vector<std::unique_ptr<Device>> devices_;  // constant after make()
};

}  // namespace parkd
