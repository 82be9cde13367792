// Where cuBLAS is looked for.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>

#include "lib/backend/cuda/cuda_backend.h"
#include "lib/backend/cuda/cuda_libraries.h"
#include "tests/support/temp_dir.h"

namespace parkd {
namespace {

namespace fs = std::filesystem;

std::string package_under(const std::string& prefix, const std::string& below) {
  const std::string folder = prefix + "/lib/python3.11/" + below;
  fs::create_directories(folder);
  return folder + "/";
}

TEST(CudaLibraries, a_configured_folder_is_the_only_one) {
  EXPECT_EQ(cuda::library_folders("/opt/x", {}), std::vector<std::string>{"/opt/x/"});
  EXPECT_EQ(cuda::library_folders("/opt/x/", {}), std::vector<std::string>{"/opt/x/"});
}

TEST(CudaLibraries, else_the_loaders_the_toolkits_and_pythons_packages_the_environments_first) {
  const TempDir directory;
  const std::string root = directory.path();
  cuda::PythonPlaces python;
  python.home = root + "/home";
  python.environment = root + "/venv";
  python.prefixes = {root + "/usr"};
  const std::string of_home = package_under(root + "/home/.local", "site-packages/nvidia/cu13/lib");
  const std::string of_environment = package_under(root + "/venv", "site-packages/nvidia/cu13/lib");
  const std::string of_debian = package_under(root + "/usr", "dist-packages/nvidia/cublas/lib");
  EXPECT_EQ(
      cuda::library_folders("", python),
      (std::vector<std::string>{"", "/usr/local/cuda/lib64/", of_environment, of_home, of_debian}));
}

// Each in a process of its own: cuBLAS is opened once.
[[noreturn]] void look_in(const std::string& folder) {
  set_cuda_libraries(folder);
  const auto found = find_cublas();
  std::fprintf(stderr, "%s\n", found.ok() ? found->c_str() : found.status().message().c_str());
  std::exit(found.ok() ? 0 : 1);
}

TEST(CudaLibraries, what_is_not_there_is_said_with_the_way_out) {
#ifdef PARKD_HAVE_CUDA
  const TempDir directory;
  EXPECT_EXIT(look_in(directory.path()), ::testing::ExitedWithCode(1),
              "cuBLAS 1[0-9] was not found: install the CUDA 1[0-9] toolkit or `pip install "
              "nvidia-cublas`, or say its folder in daemon.cuda_libraries \\(cannot open " +
                  directory.path() + "/libcublas.so.1[0-9]: ");
#else
  EXPECT_EXIT(look_in(""), ::testing::ExitedWithCode(1), "built without CUDA");
#endif
}

#ifdef PARKD_HAVE_CUDA
// nvcc is there, so its toolkit is too: the library opens, though no device does.
TEST(CudaLibraries, the_toolkits_is_found) {
  EXPECT_EXIT(look_in(""), ::testing::ExitedWithCode(0), "libcublas.so.1");
}
#endif

}  // namespace
}  // namespace parkd
