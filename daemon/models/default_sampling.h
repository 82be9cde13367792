// What a request samples by that does not say. Pure, any thread.
#pragma once

#include "lib/base/sampling.h"
#include "lib/config/config.h"
#include "lib/model/model_defaults.h"

namespace parkd {

// The configuration's (models[].params), else the model's own, else OpenAI's.
SamplingParams default_sampling(const ModelParams& configured, const ModelDefaults& own);

}  // namespace parkd
