#include "tools/jobctl/given_model.h"

#include <filesystem>

#include "lib/config/config.h"

namespace parkd::jobctl {

namespace fs = std::filesystem;

Result<ModelFile> find_given_model(const std::string& model) {
  std::error_code error;
  if (fs::exists(model, error)) {
    PARKD_ASSIGN_OR_RETURN(const std::string found, find_model_file(model));
    return ModelFile{fs::canonical(found, error).string(), std::nullopt};
  }
  if (const auto id = parse_hub_id(model); !id.ok()) {
    return not_found("there is no file or folder " + model + ", and " + id.status().message());
  }
  return find_model_file("", model);
}

Result<Dtype> parse_dtype(const std::string& word) {
  for (const Dtype dtype : {Dtype::bf16, Dtype::f16, Dtype::f32}) {
    if (to_string(dtype) == word) return dtype;
  }
  return invalid("--dtype is \"" + word + "\", it must be bf16, f16 or f32");
}

}  // namespace parkd::jobctl
