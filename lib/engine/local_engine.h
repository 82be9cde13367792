// LocalEngine: the Engine that runs a model in this process: for each device a KvCache, a Model and
// workers on its Backend. make_engine() builds it from a ModelCard; tests build it on a fake
// Backend.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "lib/engine/engine.h"
#include "lib/engine/engine_worker.h"
#include "lib/engine/kv_cache.h"
#include "lib/model/backend.h"
#include "lib/model/model.h"

namespace parkd {

struct LoadedDevice {
  EngineDevice device;
  ModelWeights weights;  // in its backend
};

struct EngineParts {
  ModelShape shape;
  std::vector<LoadedDevice> devices;  // at least one
  TokenBytes token_bytes;
};

class LocalEngine final : public Engine {
 public:
  // Allocates KV memory and starts the workers. Requires checked options. Errors: those of Backend
  // and Lane.
  static Result<std::unique_ptr<LocalEngine>> make(EngineParts parts, const EngineOptions& options);
  ~LocalEngine() override { stop(); }

  // To the device's worker with the fewest tokens ahead of it; the first of equals.
  void start(GenerationRequest request) override;
  void cancel(RequestId id) override;
  EngineStats stats() const override;
  std::vector<Blocks> kv_blocks() const override;
  void stop() override;

 private:
  // Destroyed from below: workers, then what they use.
  struct Device {
    Device(const ModelShape& shape, LoadedDevice loaded)
        : backend(std::move(loaded.device.backend)), model(shape, std::move(loaded.weights)) {}
    const std::unique_ptr<Backend> backend;
    const Model model;
    std::optional<KvCache> kv_cache;  // since the KV memory is there
    std::vector<std::unique_ptr<EngineWorker>> workers;
  };

  LocalEngine() = default;
  static Result<std::unique_ptr<Device>> make_device(LoadedDevice loaded, std::string name,
                                                     const EngineParts& parts,
                                                     const EngineOptions& options);
  template <class F>
  void for_each_worker(F f) const {
    for (const auto& device : devices_) {
      for (const auto& worker : device->workers) f(*worker);
    }
  }

  std::vector<std::unique_ptr<Device>> devices_;  // constant after make()
};

}  // namespace parkd
