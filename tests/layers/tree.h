// The source tree as the tests of this folder read it. Paths are relative to the repository's root.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace parkd::testing {

std::filesystem::path tree_root();

// The whole text; empty where there is no such file.
std::string tree_text(const std::string& path);

// .h, .cc, .cu and .cuh under these folders, sorted.
std::vector<std::string> source_files(const std::vector<std::string>& tops);

struct Include {
  std::string file;
  std::string header;  // as it is written
};
std::vector<Include> includes_of(const std::vector<std::string>& files);

}  // namespace parkd::testing
