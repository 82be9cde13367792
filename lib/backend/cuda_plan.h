// CudaPlan: what a model would have of the CUDA devices of this machine: which of them, KV blocks,
// sequences at once, lanes and the tokens of a step. The daemon loads a model by it; parkd
// --check-config and jobctl doctor show it. Asks devices for what is free now; allocates nothing.
// Any thread.
//
// Sequences that the configuration does not say are derived: each device runs what its KV memory
// holds of a typical length (sequences_held). Chosen by a model of devices and not measured.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "lib/backend/cuda/cuda_backend.h"
#include "lib/base/status.h"
#include "lib/base/units.h"
#include "lib/config/config.h"
#include "lib/model/model_card.h"

namespace parkd {

struct CudaShare {
  CudaDevice device;
  Blocks kv_blocks;
  // Not configured: what the device gets is measured when it is loaded, and at most so many.
  // Configured: 0.
  Blocks kv_blocks_max = {};
  int32_t max_num_seqs = 0;  // of its lanes together
  std::string warning;       // empty, or why limits.max_units was not honoured
};

struct CudaPlan {
  std::vector<CudaShare> devices;  // at least one
  int32_t n_lanes = 1;             // of each
  int32_t step_tokens = 0;         // of a lane's step
  bool derived = false;            // max_num_seqs was left out

  int32_t max_num_seqs() const;  // of all
};

// "CUDA device 0 (NVIDIA H100 80GB HBM3)"
std::string name_of(const CudaDevice& device);

// Those of device_ids, or the one with the most free memory; no other keeps a context of this
// process. Errors: unavailable.
Result<std::vector<CudaDevice>> find_devices(const ModelParams& params);

// KV memory that the configuration does not say is reckoned as a part of what `devices` said to be
// free. Errors: invalid, where a device holds no block.
Result<CudaPlan> plan_on(const std::vector<CudaDevice>& devices, const Config& config,
                         const ModelConfig& model, const ModelCard& card);

// For a person: "on CUDA device 0 (NAME) 4096 units and 256 sequences at once, 1 lane a device,
// ...".
std::string describe(const CudaPlan& plan);

}  // namespace parkd
