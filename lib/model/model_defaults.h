// ModelDefaults: the sampling that a model's own files recommend. It holds where neither the
// request nor the configuration (models[].params) says anything; what no one says is OpenAI's.
//
// Values and pure functions, any thread.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "lib/base/status.h"
#include "lib/weights/gguf.h"

namespace parkd {

// What is not recommended is not there.
struct ModelDefaults {
  std::map<std::string_view, double> sampling;  // of kSamplingFields, by name
  std::optional<int32_t> top_k;                 // 0 = off
};

// general.sampling.temp, top_p, min_p, top_k and penalty_repeat, as llama.cpp writes them. Errors:
// invalid, naming file, key, value and range.
Result<ModelDefaults> read_gguf_defaults(const GgufFile& file);

// temperature, top_p, min_p, top_k and repetition_penalty of a generation_config.json; do_sample is
// passed over, as vLLM does. `name` stands in errors. Errors: corrupt (it is not JSON), or invalid,
// naming field, value and range.
Result<ModelDefaults> read_generation_config(std::string_view text, const std::string& name);

}  // namespace parkd
