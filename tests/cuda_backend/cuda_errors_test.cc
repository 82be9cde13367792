// The table of errors against the headers that define them: NVIDIA's where the toolkit is, the
// emulator's everywhere. A code that a new toolkit brings is a failure here until it is sorted.
#include "lib/backend/cuda/cuda_errors.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <iostream>
#include <map>
#include <regex>
#include <sstream>
#include <string>

namespace parkd::cuda {
namespace {

using Codes = std::map<int32_t, std::string>;

std::string read_header(const std::string& path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

// What looks like `NAME = number` for a name that begins with `prefix`; success is left out.
Codes codes_in(const std::string& header, const std::string& prefix) {
  Codes codes;
  const std::regex entry("\\b(" + prefix + "\\w+)\\s*=\\s*(\\d+)");
  for (std::sregex_iterator it(header.begin(), header.end(), entry), end; it != end; ++it) {
    const int32_t code = std::stoi((*it)[2]);
    if (code != 0) codes[code] = (*it)[1];
  }
  return codes;
}

Codes codes_of(std::span<const SortedError> table) {
  Codes codes;
  for (const SortedError& error : table) {
    EXPECT_TRUE(codes.emplace(error.code, error.name).second) << error.name << " stands twice";
  }
  return codes;
}

// All of `header` stand in `table`, by the same names.
void expect_sorted(const Codes& header, std::span<const SortedError> table) {
  const Codes sorted = codes_of(table);
  for (const auto& [code, name] : header) {
    const auto found = sorted.find(code);
    if (found == sorted.end()) {
      ADD_FAILURE() << name << " = " << code << " is not sorted: lib/backend/cuda/cuda_errors.cc";
    } else {
      EXPECT_EQ(found->second, name);
    }
  }
}

ErrorKind kind_of(std::span<const SortedError> table, const std::string& name) {
  for (const SortedError& error : table) {
    if (error.name == name) return error.kind;
  }
  ADD_FAILURE() << name;
  return ErrorKind::sticky;
}

// Returns from the test where there is no toolkit, loudly.
#define PARKD_NEEDS_TOOLKIT()                                                     \
  do {                                                                            \
    if (std::string(PARKD_CUDA_HEADERS).empty()) {                                \
      const char* strict = std::getenv("PARKD_CI_STRICT");                        \
      if (strict != nullptr && std::string(strict) == "1") {                      \
        FAIL() << "no CUDA toolkit's headers were found and PARKD_CI_STRICT=1";   \
      }                                                                           \
      GTEST_SKIP() << "no CUDA toolkit's headers were found when this was built"; \
    }                                                                             \
  } while (false)

const std::string kToolkit = PARKD_CUDA_HEADERS;
const std::string kEmulator = PARKD_EMULATOR_HEADERS;

TEST(CudaErrors, every_code_of_the_toolkit_is_sorted) {
  PARKD_NEEDS_TOOLKIT();
  const Codes runtime = codes_in(read_header(kToolkit + "/driver_types.h"), "cudaError");
  const Codes cublas = codes_in(read_header(kToolkit + "/cublas_api.h"), "CUBLAS_STATUS_");
  std::cout << runtime.size() << " codes of the runtime, " << cublas.size() << " of cuBLAS\n";
  EXPECT_GE(runtime.size(), 100U) << "the header is read as it is written";
  EXPECT_GE(cublas.size(), 9U);
  expect_sorted(runtime, cuda_errors());
  expect_sorted(cublas, cublas_errors());
}

TEST(CudaErrors, every_code_of_the_emulator_is_sorted) {
  const Codes runtime = codes_in(read_header(kEmulator + "/cuda_runtime_api.h"), "cudaError");
  const Codes cublas = codes_in(read_header(kEmulator + "/cublas_v2.h"), "CUBLAS_STATUS_");
  EXPECT_GE(runtime.size(), 30U);
  EXPECT_GE(cublas.size(), 9U);
  expect_sorted(runtime, cuda_errors());
  expect_sorted(cublas, cublas_errors());
}

// NVIDIA's own words stand above each code.
TEST(CudaErrors, what_the_toolkit_says_ends_the_process_is_sticky) {
  PARKD_NEEDS_TOOLKIT();
  const std::string header = read_header(kToolkit + "/driver_types.h");
  const std::regex entry("\\b(cudaError\\w+)\\s*=\\s*\\d+");
  int n_ending = 0;
  size_t begin = 0;
  for (std::sregex_iterator it(header.begin(), header.end(), entry), end; it != end; ++it) {
    const auto at = static_cast<size_t>(it->position());
    const std::string comment =
        std::regex_replace(header.substr(begin, at - begin), std::regex("[\\s*]+"), " ");
    begin = at;
    if (comment.find("process must be terminated") == std::string::npos) continue;
    ++n_ending;
    EXPECT_EQ(kind_of(cuda_errors(), (*it)[1]), ErrorKind::sticky) << (*it)[1];
  }
  EXPECT_GE(n_ending, 12);
}

TEST(CudaErrors, a_code_that_nobody_sorted_is_sticky) {
  EXPECT_EQ(cuda_failure(31999, "a call", "").code(), StatusCode::unavailable);
  EXPECT_EQ(cuda_failure(31999, "a call", "").message(), "a call: unknown code 31999");
  EXPECT_EQ(cublas_failure(4711, "a call").code(), StatusCode::unavailable);
}

TEST(CudaErrors, a_failure_says_what_its_kind_means_and_its_name) {
  const Status lost = cuda_failure(719, "cudaStreamSynchronize", "unspecified launch failure");
  EXPECT_EQ(lost.code(), StatusCode::unavailable);
  EXPECT_EQ(lost.message(),
            "cudaStreamSynchronize: cudaErrorLaunchFailure, unspecified launch failure");
  EXPECT_EQ(cuda_failure(2, "cudaMallocAsync", "").code(), StatusCode::exhausted);
  EXPECT_EQ(cuda_failure(901, "cudaStreamEndCapture", "").code(), StatusCode::internal);
  EXPECT_EQ(cublas_failure(3, "cublasCreate").code(), StatusCode::exhausted);
  EXPECT_EQ(cublas_failure(15, "cublasGemmEx").code(), StatusCode::internal);
  EXPECT_EQ(cublas_failure(15, "cublasGemmEx").message(),
            "cublasGemmEx: CUBLAS_STATUS_NOT_SUPPORTED");
}

// Those that the issue names.
TEST(CudaErrors, what_refuses_a_capture_or_a_launch_leaves_the_device) {
  for (const char* name :
       {"cudaErrorInvalidValue", "cudaErrorInvalidConfiguration", "cudaErrorLaunchOutOfResources",
        "cudaErrorNotSupported", "cudaErrorStreamCaptureUnsupported",
        "cudaErrorStreamCaptureInvalidated", "cudaErrorGraphExecUpdateFailure"}) {
    EXPECT_EQ(kind_of(cuda_errors(), name), ErrorKind::recoverable) << name;
  }
  for (const char* name : {"cudaErrorLaunchFailure", "cudaErrorUnknown", "cudaErrorNoDevice",
                           "cudaErrorECCUncorrectable", "cudaErrorLaunchTimeout"}) {
    EXPECT_EQ(kind_of(cuda_errors(), name), ErrorKind::sticky) << name;
  }
}

}  // namespace
}  // namespace parkd::cuda
