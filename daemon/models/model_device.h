// Which device a model runs on, and its backend: CUDA where a usable device is there and answers as
// the CPU does, by the fastest way in which it does (device_ladder), else the CPU. Called on a
// blocking thread while the model is opened or loaded.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "lib/base/status.h"
#include "lib/base/units.h"
#include "lib/config/config.h"
#include "lib/engine/engine.h"
#include "lib/model/backend.h"
#include "lib/model/model_card.h"
#include "lib/pool/resource_pool.h"

namespace parkd {

struct ModelDevice {
  std::vector<EngineDevice> devices;  // weights are not loaded yet
  std::vector<PoolPart> parts;        // what the devices have, as planned and then as loaded
  std::string description;            // "cpu avx512 bf16"
  std::string why;                    // "no CUDA device: using cpu (...)"
  int32_t n_workers = 1;              // of each
  int32_t step_tokens = 0;            // of a worker's step
  bool derived = false;               // what the devices run at once was not configured
  bool is_cuda = false;               // the devices are CUDA's
  bool refused = false;               // a CUDA device was there and did not answer as the CPU does
  std::string degraded;  // why a device that is there is used less well than configured, or not

  void add(EngineDevice device) {
    parts.push_back({device.kv_blocks, device.max_num_seqs});
    devices.push_back(std::move(device));
  }
};

// KV memory that the configuration does not say is a part of what is free on the device: the caller
// sees to it that no other model is between this and taking its memory.
// Errors: invalid or unavailable when `device: cuda` cannot be honoured (param params.device), or
// when the KV memory holds no block.
Result<ModelDevice> choose_device(const Config& config, const ModelConfig& model,
                                  const ModelCard& card);

// The CPU after all: the weights or the KV memory could not be put on the `failed` device. Errors:
// unavailable when `device: cuda` asks for it.
Result<ModelDevice> choose_cpu_instead(const Config& config, const ModelConfig& model,
                                       const ModelCard& card, const ModelDevice& failed,
                                       const Status& why);

}  // namespace parkd
