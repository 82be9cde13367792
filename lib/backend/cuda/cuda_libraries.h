// Where the libraries are that parkd opens when it needs them: cuBLAS, half a gigabyte that no
// binary carries. Pure but for looking at directories; any thread.
#pragma once

#include <string>
#include <vector>

namespace parkd::cuda {

// What decides where Python's packages lie. Empty: not there.
struct PythonPlaces {
  std::string home;         // $HOME: packages of one user
  std::string environment;  // $VIRTUAL_ENV or $CONDA_PREFIX
  std::vector<std::string> prefixes = {"/usr/local", "/usr"};
};
PythonPlaces python_places();

// Folders to look in, one after the other, each with a slash at its end; "" is wherever the loader
// looks by itself (LD_LIBRARY_PATH, ldconfig). `configured` alone where it is not empty; else the
// loader's, the toolkit's, and those of the package that `pip install nvidia-cublas` gives
// (nvidia/cu13/lib, or nvidia/cublas/lib as it was before CUDA 13).
std::vector<std::string> library_folders(const std::string& configured, const PythonPlaces& python);

}  // namespace parkd::cuda
