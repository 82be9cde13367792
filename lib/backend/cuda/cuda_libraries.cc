#include "lib/backend/cuda/cuda_libraries.h"

#include <glob.h>

#include <cstdlib>

namespace parkd::cuda {
namespace {

// Where NVIDIA's installers put the toolkit, which the loader need not know.
constexpr char kToolkitFolder[] = "/usr/local/cuda/lib64/";

std::string environment_value(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr ? value : "";
}

void add_matches(const std::string& pattern, std::vector<std::string>& folders) {
  ::glob_t found = {};
  if (::glob(pattern.c_str(), GLOB_ONLYDIR | GLOB_MARK, nullptr, &found) == 0) {
    for (size_t i = 0; i < found.gl_pathc; ++i) folders.emplace_back(found.gl_pathv[i]);
  }
  ::globfree(&found);
}

}  // namespace

PythonPlaces python_places() {
  PythonPlaces places;
  places.home = environment_value("HOME");
  places.environment = environment_value("VIRTUAL_ENV");
  if (places.environment.empty()) places.environment = environment_value("CONDA_PREFIX");
  return places;
}

std::vector<std::string> library_folders(const std::string& configured,
                                         const PythonPlaces& python) {
  if (!configured.empty()) return {configured.back() == '/' ? configured : configured + '/'};
  std::vector<std::string> folders = {"", kToolkitFolder};
  std::vector<std::string> prefixes;
  if (!python.environment.empty()) prefixes.push_back(python.environment);
  if (!python.home.empty()) prefixes.push_back(python.home + "/.local");
  prefixes.insert(prefixes.end(), python.prefixes.begin(), python.prefixes.end());
  for (const std::string& prefix : prefixes) {
    for (const char* package : {"cu13", "cublas"}) {
      add_matches(prefix + "/lib/python3*/*-packages/nvidia/" + package + "/lib", folders);
    }
  }
  return folders;
}

}  // namespace parkd::cuda
