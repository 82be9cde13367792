// The self-check of a backend whose hardware its authors have never met: before the first job, a
// short text runs on it and on the CPU's float path, and a backend whose log-probabilities disagree
// is refused. Code that was never run on a device must not answer wrongly in silence.
//
// The text is two sequences: prompts whole and in chunks over a block's edge,
// then steps that decode both, three times, so that captured graphs are replayed. Of a large model
// the first two layers are taken, which have every shape the rest has. What a wrong answer would
// look like is measured beside it, as the difference between answers to different texts, and the
// limit is a part of that: so the check can fail with any model.
//
// Runs on one thread, takes seconds, and keeps nothing.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "lib/base/dtype.h"
#include "lib/base/status.h"
#include "lib/engine/backend.h"
#include "lib/engine/model_card.h"

namespace parkd {

struct SelfCheckReport {
  double worst = 0;      // greatest difference of a log-probability among the five best, in nat
  double contrast = 0;   // the same measure between different texts, their mean
  double limit = 0;      // what `worst` may be
  int32_t n_layers = 0;  // that were run
};

// What part of the contrast a right backend of this type may differ by, with room: bf16 rounds
// activations to 8 bits some 200 times on the way.
double self_check_limit(Dtype dtype);

// Makes a backend of the given shape: the one to check.
using MakeBackend = std::function<Result<std::unique_ptr<Backend>>(const ModelShape& shape)>;

// Runs the check against the CPU's float path. Errors: unavailable with both figures when they
// disagree, or whatever `make_candidate` and its backend answer.
Result<SelfCheckReport> check_against_cpu(const ModelCard& card, Dtype dtype,
                                          const MakeBackend& make_candidate);

}  // namespace parkd
