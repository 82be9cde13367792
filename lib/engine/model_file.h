// Where a model lies.
#pragma once

#include <string>

#include "lib/base/status.h"

namespace parkd {

// `path` itself, or the one GGUF file in that folder. Errors: invalid, when there is none or more.
Result<std::string> find_model_file(const std::string& path);

}  // namespace parkd
