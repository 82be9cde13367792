// The ladder down which the self-check takes a CUDA device: the fastest way of computing first, and
// where its answers are not the CPU's, or it cannot do it, the next plainer one. Which device a
// model gets, and that the CPU is below the last rung, is model_device's. On a blocking thread.
#pragma once

#include <memory>
#include <string>

#include "lib/backend/cuda/cuda_backend.h"
#include "lib/base/status.h"
#include "lib/config/config.h"
#include "lib/model/backend.h"
#include "lib/model/model_card.h"

namespace parkd {

struct CheckedDevice {
  std::unique_ptr<Backend> backend;  // of the first rung that passed, its weights not loaded; null:
                                     // it answers rightly on none
  std::string verdict;   // of the last rung tried: "answers as the cpu does (0.01 of ...)"
  std::string degraded;  // which rungs did not pass and why; empty: the first one did
};

// Each rung that does not pass is a line in the log. Errors, which say nothing of the answers: the
// device cannot be used, for a lack of memory, without cuBLAS, lost; or it fails on every rung.
Result<CheckedDevice> take_down_ladder(const ModelConfig& model, const ModelCard& card,
                                       const CudaDevice& device);

}  // namespace parkd
