#include "lib/engine/model_file.h"

#include <filesystem>
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

}  // namespace parkd
