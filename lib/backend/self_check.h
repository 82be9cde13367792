// The self-check of a backend whose hardware its authors have never met: before the first job, a
// short text runs on it and on the CPU's float path, and a backend whose log-probabilities disagree
// is refused, as is one whose choices do not follow from its own logits. Code that was never run on
// a device must not answer wrongly in silence.
//
// What is run: lib/backend/self_check_probe.h. Of a large model the first two layers are taken,
// which have every shape the rest has. Two measures stand beside the difference, both of the model
// at hand: what rounding to the backend's type does on the CPU, of which the limit is a multiple,
// and the difference between answers to different texts, of which the limit is a small part: so the
// check can fail with any model.
//
// It does not show: more than two sequences beside each other, contexts of more than some 300
// tokens, the layers left out of a large model, log-probabilities below the 20 best.
//
// Runs on one thread, takes seconds, and keeps nothing.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "lib/base/dtype.h"
#include "lib/base/status.h"
#include "lib/model/backend.h"
#include "lib/model/model_card.h"

namespace parkd {

// Differences are root mean squares over the 20 best tokens of a row, in nat.
struct SelfCheckReport {
  double worst = 0;      // of a row from the CPU's float path
  double rounding = 0;   // the same of the CPU's path of the backend's type
  double contrast = 0;   // between neighbouring rows, their mean
  double limit = 0;      // what `worst` may be
  int32_t n_layers = 0;  // that were run
  std::string refusal;   // empty: the backend answers as the CPU does; else why not, with figures
};

struct SelfCheckOptions {
  Dtype dtype = Dtype::bf16;
  int32_t block_size = 32;
};

// Makes a backend of the given shape: the one to check.
using MakeBackend = std::function<Result<std::unique_ptr<Backend>>(const ModelShape& shape)>;

// Errors: that the check could not be made (no memory, no cuBLAS, a device lost), which says
// nothing of the backend's answers.
Result<SelfCheckReport> check_against_cpu(const ModelCard& card, const SelfCheckOptions& options,
                                          const MakeBackend& make_candidate);

}  // namespace parkd
