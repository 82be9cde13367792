#include "tests/layers/tree.h"

#include <algorithm>
#include <fstream>
#include <regex>
#include <set>
#include <sstream>

namespace parkd::testing {

namespace fs = std::filesystem;

fs::path tree_root() {
  return PARKD_SOURCE_DIR;
}

std::string tree_text(const std::string& path) {
  std::ifstream file(tree_root() / path);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

std::vector<std::string> source_files(const std::vector<std::string>& tops) {
  static const std::set<std::string> kEndings = {".cc", ".h", ".cu", ".cuh"};
  std::vector<std::string> files;
  for (const std::string& top : tops) {
    for (const auto& entry : fs::recursive_directory_iterator(tree_root() / top)) {
      if (kEndings.count(entry.path().extension()) > 0) {
        files.push_back(fs::relative(entry.path(), tree_root()).string());
      }
    }
  }
  std::sort(files.begin(), files.end());
  return files;
}

std::vector<Include> includes_of(const std::vector<std::string>& files) {
  static const std::regex kInclude(R"(^\s*#\s*include\s*[<"]([^>"]+)[>"])");
  std::vector<Include> includes;
  for (const std::string& file : files) {
    std::stringstream text(tree_text(file));
    std::string line;
    while (std::getline(text, line)) {
      std::smatch match;
      if (std::regex_search(line, match, kInclude)) includes.push_back({file, match[1]});
    }
  }
  return includes;
}

}  // namespace parkd::testing
