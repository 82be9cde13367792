// Where a model lies: the one rule of daemon and tools.
#pragma once

#include <optional>
#include <string>

#include "lib/base/status.h"
#include "lib/weights/hub_cache.h"

namespace parkd {

// `path` itself where it is a file, or a directory of safetensors (model_folder.h); of another
// directory, the one GGUF file in it, or the first of the parts of one. Errors: invalid, when there
// is none or more.
Result<std::string> find_model_file(const std::string& path);

struct ModelFile {
  std::string path;            // a file, or a directory of safetensors
  std::optional<HubFile> hub;  // where it is an hf_id's
};

// `local_path` where it is set; else what the local Hugging Face cache of this process's
// environment has of `hf_id`. Errors: those of find_model_file, find_hub_cache, find_hub_file.
Result<ModelFile> find_model_file(const std::string& local_path, const std::string& hf_id);

}  // namespace parkd
