// What an error of the CUDA runtime, or of cuBLAS, leaves: the table that says after which of them
// a device can go on. Every code that NVIDIA's headers define is in it (tests/cuda_backend/
// cuda_errors_test.cc reads them); one that is not counts as sticky, so that what nobody has
// thought about is never tried again.
//
// Sources: CUDA Runtime API, "CUDA Error types" (the comments of driver_types.h): a code is sticky
// where it says that the process must be relaunched, that work of the device failed, or that
// driver, device or MPS are not there; it is recoverable where it refuses one call, one module or
// one capture. cuBLAS Library, "cublasStatus_t". No CUDA header is needed here. Pure; any thread.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "lib/base/status.h"

namespace parkd::cuda {

enum class ErrorKind {
  short_of_memory,  // the call got none; later it may. Status: exhausted
  recoverable,      // the call or its capture is void, all else is as it was. Status: internal
  sticky,           // the context is dead, every later call answers the same. Status: unavailable
};

struct SortedError {
  int32_t code = 0;
  std::string_view name;  // the header's
  ErrorKind kind = ErrorKind::sticky;
};

// Of cudaError_t and cublasStatus_t, all but success. A cuBLAS status says little of the context,
// so none is sticky: who goes on after one asks the runtime first (CudaLane::come_to_rest).
std::span<const SortedError> cuda_errors();
std::span<const SortedError> cublas_errors();

// What `code`, which is not success, means for who made the call: "WHAT: cudaErrorLaunchFailure,
// TEXT"; `text` may be empty.
Status cuda_failure(int32_t code, std::string_view what, std::string_view text);
Status cublas_failure(int32_t code, std::string_view what);

}  // namespace parkd::cuda
