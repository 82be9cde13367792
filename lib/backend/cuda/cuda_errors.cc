#include "lib/backend/cuda/cuda_errors.h"

#include <algorithm>
#include <string>

namespace parkd::cuda {
namespace {

using enum ErrorKind;

constexpr SortedError kCudaErrors[] = {
    {1, "cudaErrorInvalidValue", recoverable},
    {2, "cudaErrorMemoryAllocation", short_of_memory},
    {3, "cudaErrorInitializationError", sticky},
    {4, "cudaErrorCudartUnloading", sticky},
    {5, "cudaErrorProfilerDisabled", recoverable},
    {6, "cudaErrorProfilerNotInitialized", recoverable},
    {7, "cudaErrorProfilerAlreadyStarted", recoverable},
    {8, "cudaErrorProfilerAlreadyStopped", recoverable},
    {9, "cudaErrorInvalidConfiguration", recoverable},
    {12, "cudaErrorInvalidPitchValue", recoverable},
    {13, "cudaErrorInvalidSymbol", recoverable},
    {16, "cudaErrorInvalidHostPointer", recoverable},
    {17, "cudaErrorInvalidDevicePointer", recoverable},
    {18, "cudaErrorInvalidTexture", recoverable},
    {19, "cudaErrorInvalidTextureBinding", recoverable},
    {20, "cudaErrorInvalidChannelDescriptor", recoverable},
    {21, "cudaErrorInvalidMemcpyDirection", recoverable},
    {22, "cudaErrorAddressOfConstant", recoverable},
    {23, "cudaErrorTextureFetchFailed", sticky},
    {24, "cudaErrorTextureNotBound", recoverable},
    {25, "cudaErrorSynchronizationError", sticky},
    {26, "cudaErrorInvalidFilterSetting", recoverable},
    {27, "cudaErrorInvalidNormSetting", recoverable},
    {28, "cudaErrorMixedDeviceExecution", recoverable},
    {31, "cudaErrorNotYetImplemented", recoverable},
    {32, "cudaErrorMemoryValueTooLarge", recoverable},
    {34, "cudaErrorStubLibrary", sticky},
    {35, "cudaErrorInsufficientDriver", sticky},
    {36, "cudaErrorCallRequiresNewerDriver", recoverable},
    {37, "cudaErrorInvalidSurface", recoverable},
    {43, "cudaErrorDuplicateVariableName", recoverable},
    {44, "cudaErrorDuplicateTextureName", recoverable},
    {45, "cudaErrorDuplicateSurfaceName", recoverable},
    {46, "cudaErrorDevicesUnavailable", sticky},
    {49, "cudaErrorIncompatibleDriverContext", sticky},
    {52, "cudaErrorMissingConfiguration", recoverable},
    {53, "cudaErrorPriorLaunchFailure", sticky},
    {65, "cudaErrorLaunchMaxDepthExceeded", recoverable},
    {66, "cudaErrorLaunchFileScopedTex", recoverable},
    {67, "cudaErrorLaunchFileScopedSurf", recoverable},
    {68, "cudaErrorSyncDepthExceeded", recoverable},
    {69, "cudaErrorLaunchPendingCountExceeded", recoverable},
    {98, "cudaErrorInvalidDeviceFunction", recoverable},
    {100, "cudaErrorNoDevice", sticky},
    {101, "cudaErrorInvalidDevice", sticky},
    {102, "cudaErrorDeviceNotLicensed", sticky},
    {103, "cudaErrorSoftwareValidityNotEstablished", sticky},
    {127, "cudaErrorStartupFailure", sticky},
    {200, "cudaErrorInvalidKernelImage", recoverable},
    {201, "cudaErrorDeviceUninitialized", sticky},
    {205, "cudaErrorMapBufferObjectFailed", recoverable},
    {206, "cudaErrorUnmapBufferObjectFailed", recoverable},
    {207, "cudaErrorArrayIsMapped", recoverable},
    {208, "cudaErrorAlreadyMapped", recoverable},
    {209, "cudaErrorNoKernelImageForDevice", recoverable},
    {210, "cudaErrorAlreadyAcquired", recoverable},
    {211, "cudaErrorNotMapped", recoverable},
    {212, "cudaErrorNotMappedAsArray", recoverable},
    {213, "cudaErrorNotMappedAsPointer", recoverable},
    {214, "cudaErrorECCUncorrectable", sticky},
    {215, "cudaErrorUnsupportedLimit", recoverable},
    {216, "cudaErrorDeviceAlreadyInUse", sticky},
    {217, "cudaErrorPeerAccessUnsupported", recoverable},
    {218, "cudaErrorInvalidPtx", recoverable},
    {219, "cudaErrorInvalidGraphicsContext", recoverable},
    {220, "cudaErrorNvlinkUncorrectable", sticky},
    {221, "cudaErrorJitCompilerNotFound", recoverable},
    {222, "cudaErrorUnsupportedPtxVersion", recoverable},
    {223, "cudaErrorJitCompilationDisabled", recoverable},
    {224, "cudaErrorUnsupportedExecAffinity", recoverable},
    {225, "cudaErrorUnsupportedDevSideSync", recoverable},
    {226, "cudaErrorContained", sticky},
    {300, "cudaErrorInvalidSource", recoverable},
    {301, "cudaErrorFileNotFound", recoverable},
    {302, "cudaErrorSharedObjectSymbolNotFound", recoverable},
    {303, "cudaErrorSharedObjectInitFailed", recoverable},
    {304, "cudaErrorOperatingSystem", sticky},
    {400, "cudaErrorInvalidResourceHandle", recoverable},
    {401, "cudaErrorIllegalState", recoverable},
    {402, "cudaErrorLossyQuery", recoverable},
    {500, "cudaErrorSymbolNotFound", recoverable},
    {600, "cudaErrorNotReady", recoverable},
    {700, "cudaErrorIllegalAddress", sticky},
    {701, "cudaErrorLaunchOutOfResources", recoverable},
    {702, "cudaErrorLaunchTimeout", sticky},
    {703, "cudaErrorLaunchIncompatibleTexturing", recoverable},
    {704, "cudaErrorPeerAccessAlreadyEnabled", recoverable},
    {705, "cudaErrorPeerAccessNotEnabled", recoverable},
    {708, "cudaErrorSetOnActiveProcess", recoverable},
    {709, "cudaErrorContextIsDestroyed", sticky},
    {710, "cudaErrorAssert", sticky},
    {711, "cudaErrorTooManyPeers", recoverable},
    {712, "cudaErrorHostMemoryAlreadyRegistered", recoverable},
    {713, "cudaErrorHostMemoryNotRegistered", recoverable},
    {714, "cudaErrorHardwareStackError", sticky},
    {715, "cudaErrorIllegalInstruction", sticky},
    {716, "cudaErrorMisalignedAddress", sticky},
    {717, "cudaErrorInvalidAddressSpace", sticky},
    {718, "cudaErrorInvalidPc", sticky},
    {719, "cudaErrorLaunchFailure", sticky},
    {720, "cudaErrorCooperativeLaunchTooLarge", recoverable},
    {721, "cudaErrorTensorMemoryLeak", sticky},
    {800, "cudaErrorNotPermitted", recoverable},
    {801, "cudaErrorNotSupported", recoverable},
    {802, "cudaErrorSystemNotReady", sticky},
    {803, "cudaErrorSystemDriverMismatch", sticky},
    {804, "cudaErrorCompatNotSupportedOnDevice", sticky},
    {805, "cudaErrorMpsConnectionFailed", sticky},
    {806, "cudaErrorMpsRpcFailure", sticky},
    {807, "cudaErrorMpsServerNotReady", sticky},
    {808, "cudaErrorMpsMaxClientsReached", sticky},
    {809, "cudaErrorMpsMaxConnectionsReached", sticky},
    {810, "cudaErrorMpsClientTerminated", sticky},
    {811, "cudaErrorCdpNotSupported", recoverable},
    {812, "cudaErrorCdpVersionMismatch", recoverable},
    {900, "cudaErrorStreamCaptureUnsupported", recoverable},
    {901, "cudaErrorStreamCaptureInvalidated", recoverable},
    {902, "cudaErrorStreamCaptureMerge", recoverable},
    {903, "cudaErrorStreamCaptureUnmatched", recoverable},
    {904, "cudaErrorStreamCaptureUnjoined", recoverable},
    {905, "cudaErrorStreamCaptureIsolation", recoverable},
    {906, "cudaErrorStreamCaptureImplicit", recoverable},
    {907, "cudaErrorCapturedEvent", recoverable},
    {908, "cudaErrorStreamCaptureWrongThread", recoverable},
    {909, "cudaErrorTimeout", sticky},
    {910, "cudaErrorGraphExecUpdateFailure", recoverable},
    {911, "cudaErrorExternalDevice", sticky},
    {912, "cudaErrorInvalidClusterSize", recoverable},
    {913, "cudaErrorFunctionNotLoaded", recoverable},
    {914, "cudaErrorInvalidResourceType", recoverable},
    {915, "cudaErrorInvalidResourceConfiguration", recoverable},
    {999, "cudaErrorUnknown", sticky},
    {10000, "cudaErrorApiFailureBase", sticky},
};

// EXECUTION_FAILED and MAPPING_ERROR are what a dead context makes cuBLAS answer, and also what a
// launch that was refused does.
constexpr SortedError kCublasErrors[] = {
    {1, "CUBLAS_STATUS_NOT_INITIALIZED", recoverable},
    {3, "CUBLAS_STATUS_ALLOC_FAILED", short_of_memory},
    {7, "CUBLAS_STATUS_INVALID_VALUE", recoverable},
    {8, "CUBLAS_STATUS_ARCH_MISMATCH", recoverable},
    {11, "CUBLAS_STATUS_MAPPING_ERROR", recoverable},
    {13, "CUBLAS_STATUS_EXECUTION_FAILED", recoverable},
    {14, "CUBLAS_STATUS_INTERNAL_ERROR", recoverable},
    {15, "CUBLAS_STATUS_NOT_SUPPORTED", recoverable},
    {16, "CUBLAS_STATUS_LICENSE_ERROR", recoverable},
};

StatusCode code_of(ErrorKind kind) {
  switch (kind) {
    case short_of_memory:
      return StatusCode::exhausted;
    case recoverable:
      return StatusCode::internal;
    case sticky:
      return StatusCode::unavailable;
  }
  return StatusCode::unavailable;
}

Status failure_of(std::span<const SortedError> table, int32_t code, std::string_view what) {
  const auto found = std::find_if(table.begin(), table.end(),
                                  [code](const SortedError& error) { return error.code == code; });
  const bool known = found != table.end();
  std::string message(what);
  message += ": ";
  message += known ? std::string(found->name) : "unknown code " + std::to_string(code);
  return {code_of(known ? found->kind : sticky), std::move(message)};
}

}  // namespace

std::span<const SortedError> cuda_errors() {
  return kCudaErrors;
}

std::span<const SortedError> cublas_errors() {
  return kCublasErrors;
}

Status cuda_failure(int32_t code, std::string_view what, std::string_view text) {
  Status failure = failure_of(kCudaErrors, code, what);
  if (!text.empty()) failure.with_message(failure.message() + ", " + std::string(text));
  return failure;
}

Status cublas_failure(int32_t code, std::string_view what) {
  return failure_of(kCublasErrors, code, what);
}

}  // namespace parkd::cuda
