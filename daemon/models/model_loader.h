// Loading one configured model, in two steps: open() reads what stays for as long as the daemon
// runs (its file, tokenizer, template, price list), load() brings its weights into memory and
// starts its workers, each time it is wanted there.
//
// Both run on blocking threads: open() takes tens of milliseconds, load() up to minutes. The
// results are owned by the ModelKeeper.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>

#include "daemon/models/model_device.h"
#include "daemon/models/model_table.h"
#include "lib/backend/cpu/cpu_memory.h"
#include "lib/base/status.h"
#include "lib/config/config.h"
#include "lib/dispatch/model_port.h"
#include "lib/engine/engine.h"
#include "lib/store/model_registration.h"

namespace parkd {

struct OpenedModel {
  std::shared_ptr<const ModelCard> card;
  bool surely_on_cpu = false;  // else a device is tried, and the CPU is taken where none will do
  CpuMemory memory;            // that it takes of main memory where it runs on the CPU
  // What the faces show: with an endpoint where it is sure what it will be.
  ModelEntry entry;
};

struct LoadedModel {
  std::unique_ptr<Engine> engine;  // null: it has to run on the CPU, and has no room there yet
  ModelPort port;                  // points to engine
  int64_t main_memory_bytes = 0;   // that it takes: none where it runs on a device
  ModelRegistration registration;
};

class ModelLoader {
 public:
  struct Reports {
    // The device was chosen: submits can be priced. Again as the weights are loaded, and with
    // another backend and price list when the device had no room and the CPU is taken. Any thread.
    std::function<void(const ModelEntry&)> loading;
    std::function<bool()> stopping;  // it is not wanted any more: the load ends soon. Any thread
    std::function<void(GenerationResult)> on_result;  // the engine's results; a worker thread
    std::function<void(std::span<const TokenEvent>)> on_tokens;  // EngineOptions'
  };

  ModelLoader(const Config& config, const ModelConfig& model, Reports reports)
      : config_(config), model_(model), reports_(std::move(reports)) {}

  // Errors: not_found (no such file), invalid (a model or device we cannot run), corrupt.
  Result<OpenedModel> open() const;

  // `room_bytes`: what the model may take of main memory if it is found to run on the CPU. Errors:
  // as open(); exhausted; unavailable (it was stopped). One at a time in a process: it counts on
  // what it finds to be free on CUDA devices.
  Result<LoadedModel> load(const OpenedModel& opened, int64_t room_bytes) const;

 private:
  Result<LoadedModel> load_on(const OpenedModel& opened, ModelDevice& device) const;
  ModelEntry entry_of(const std::shared_ptr<const ModelCard>& card,
                      const ModelDevice& device) const;

  const Config& config_;
  const ModelConfig& model_;
  const Reports reports_;
};

}  // namespace parkd
