// A model as `jobctl models` is given it: a path, or an hf_id.
#pragma once

#include <string>

#include "lib/base/dtype.h"
#include "lib/base/status.h"
#include "lib/weights/model_file.h"

namespace parkd::jobctl {

// What is a file or folder here is a path; anything else must be an hf_id. Errors: not_found, those
// of find_model_file.
Result<ModelFile> find_given_model(const std::string& model);

// --dtype. Errors: invalid.
Result<Dtype> parse_dtype(const std::string& word);

}  // namespace parkd::jobctl
