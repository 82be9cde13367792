#include "lib/weights/model_file.h"

#include <filesystem>
#include <utility>
#include <vector>

#include "lib/weights/gguf_split.h"
#include "lib/weights/model_folder.h"

namespace parkd {

Result<std::string> find_model_file(const std::string& path) {
  namespace fs = std::filesystem;
  std::error_code error;
  if (!fs::is_directory(path, error) || is_model_folder(path)) return path;
  std::vector<std::string> files;
  for (const auto& entry : fs::directory_iterator(path, error)) {
    if (entry.path().extension() == ".gguf") files.push_back(entry.path().string());
  }
  if (files.size() == 1) return files.front();
  if (const auto first = first_of_gguf_parts(files)) return *first;
  if (const std::string else_there = what_else_is_in(path); files.empty() && !else_there.empty()) {
    return invalid(path + " holds " + else_there);
  }
  if (files.empty()) {
    return invalid(path + " holds no GGUF file, and no config.json with model.safetensors");
  }
  return invalid(path + " holds " + std::to_string(files.size()) + " GGUF files; name one");
}

Result<ModelFile> find_model_file(const std::string& local_path, const std::string& hf_id) {
  if (!local_path.empty()) {
    PARKD_ASSIGN_OR_RETURN(std::string path, find_model_file(local_path));
    return ModelFile{std::move(path), std::nullopt};
  }
  PARKD_ASSIGN_OR_RETURN(const HubCache cache, find_hub_cache());
  PARKD_ASSIGN_OR_RETURN(HubFile file, find_hub_file(cache, hf_id));
  return ModelFile{file.path, std::move(file)};
}

}  // namespace parkd
