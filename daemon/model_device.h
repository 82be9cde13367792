// Which device a model runs on, and its backend: CUDA where a usable device is there and answers as
// the CPU does, else the CPU. Called on a blocking thread while the model is loaded; says which and
// why in one log line.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "lib/base/status.h"
#include "lib/base/units.h"
#include "lib/config/config.h"
#include "lib/engine/backend.h"
#include "lib/engine/engine.h"
#include "lib/engine/model_card.h"

namespace parkd {

struct ModelDevice {
  std::vector<EngineDevice> devices;  // weights are not loaded yet
  std::string description;            // "cpu avx512 bf16"
  std::string why;                    // "no CUDA device: using cpu (...)"
  int32_t n_workers = 1;              // of each
  bool refused = false;               // a CUDA device was there, and the self-check refused it

  // The most that one job may cost.
  Blocks largest() const {
    Blocks most;
    for (const EngineDevice& device : devices) most = std::max(most, device.kv_blocks);
    return most;
  }
};

// Errors: invalid or unavailable when `device: cuda` cannot be honoured, or when the KV memory
// holds no block.
Result<ModelDevice> choose_device(const Config& config, const ModelConfig& model,
                                  const ModelCard& card);

}  // namespace parkd
