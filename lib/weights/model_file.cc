#include "lib/weights/model_file.h"

#include <filesystem>
#include <utility>
#include <vector>

namespace parkd {

Result<std::string> find_model_file(const std::string& path) {
  namespace fs = std::filesystem;
  std::error_code error;
  if (!fs::is_directory(path, error)) return path;
  std::vector<std::string> files;
  for (const auto& entry : fs::directory_iterator(path, error)) {
    if (entry.path().extension() == ".gguf") files.push_back(entry.path().string());
  }
  if (files.size() == 1) return files.front();
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
