// Facts about CUDA's headers, printed: sizes, alignments, values, and a checksum over conversions
// of every half and bfloat16 and of 2^24 floats. Compiled against the emulator's headers and, where
// the toolkit is, against NVIDIA's; the two outputs must be equal (ctest: cuda_facts).
#include <cublasLt.h>
#include <cublas_v2.h>
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>
#include <library_types.h>

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>

namespace {

uint64_t hash = 14695981039346656037ULL;

void add(uint64_t value) {  // FNV-1a, a word at a time
  hash = (hash ^ value) * 1099511628211ULL;
}

template <class To, class From>
To bits_of(From from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  std::memcpy(static_cast<void*>(&to), &from, sizeof(to));
  return to;
}

// A NaN's payload may differ: which operation made it is not specified.
uint32_t float_bits(float x) {
  return std::isnan(x) ? 0x7FC00000U : bits_of<uint32_t>(x);
}

void print_hash(const char* name) {
  std::printf("%s %016llx\n", name, static_cast<unsigned long long>(hash));
  hash = 14695981039346656037ULL;
}

void print_layouts() {
#define FACT_LAYOUT(T) std::printf("%s %zu %zu\n", #T, sizeof(T), alignof(T));
  FACT_LAYOUT(char4)
  FACT_LAYOUT(uchar4)
  FACT_LAYOUT(short2)
  FACT_LAYOUT(ushort2)
  FACT_LAYOUT(ushort4)
  FACT_LAYOUT(int2)
  FACT_LAYOUT(int3)
  FACT_LAYOUT(int4)
  FACT_LAYOUT(uint2)
  FACT_LAYOUT(uint3)
  FACT_LAYOUT(uint4)
  FACT_LAYOUT(float2)
  FACT_LAYOUT(float3)
  FACT_LAYOUT(float4)
  FACT_LAYOUT(longlong2)
  FACT_LAYOUT(ulonglong2)
  FACT_LAYOUT(double2)
  FACT_LAYOUT(dim3)
  FACT_LAYOUT(__half)
  FACT_LAYOUT(__half2)
  FACT_LAYOUT(__nv_bfloat16)
  FACT_LAYOUT(__nv_bfloat162)
  FACT_LAYOUT(cudaLaunchConfig_t)
  FACT_LAYOUT(cublasLtMatmulAlgo_t)
  FACT_LAYOUT(cublasLtMatmulHeuristicResult_t)
#undef FACT_LAYOUT
}

void print_values() {
#define FACT_VALUE(name) std::printf("%s %lld\n", #name, static_cast<long long>(name));
  FACT_VALUE(cudaSuccess)
  FACT_VALUE(cudaErrorInvalidValue)
  FACT_VALUE(cudaErrorMemoryAllocation)
  FACT_VALUE(cudaErrorInitializationError)
  FACT_VALUE(cudaErrorInvalidConfiguration)
  FACT_VALUE(cudaErrorInvalidDevicePointer)
  FACT_VALUE(cudaErrorInvalidMemcpyDirection)
  FACT_VALUE(cudaErrorInsufficientDriver)
  FACT_VALUE(cudaErrorInvalidDeviceFunction)
  FACT_VALUE(cudaErrorNoDevice)
  FACT_VALUE(cudaErrorInvalidDevice)
  FACT_VALUE(cudaErrorECCUncorrectable)
  FACT_VALUE(cudaErrorInvalidResourceHandle)
  FACT_VALUE(cudaErrorNotReady)
  FACT_VALUE(cudaErrorIllegalAddress)
  FACT_VALUE(cudaErrorLaunchOutOfResources)
  FACT_VALUE(cudaErrorAssert)
  FACT_VALUE(cudaErrorMisalignedAddress)
  FACT_VALUE(cudaErrorLaunchFailure)
  FACT_VALUE(cudaErrorNotPermitted)
  FACT_VALUE(cudaErrorNotSupported)
  FACT_VALUE(cudaErrorStreamCaptureUnsupported)
  FACT_VALUE(cudaErrorStreamCaptureInvalidated)
  FACT_VALUE(cudaErrorStreamCaptureUnmatched)
  FACT_VALUE(cudaErrorStreamCaptureIsolation)
  FACT_VALUE(cudaErrorStreamCaptureWrongThread)
  FACT_VALUE(cudaErrorGraphExecUpdateFailure)
  FACT_VALUE(cudaErrorNvlinkUncorrectable)
  FACT_VALUE(cudaErrorContained)
  FACT_VALUE(cudaErrorLaunchTimeout)
  FACT_VALUE(cudaErrorHardwareStackError)
  FACT_VALUE(cudaErrorIllegalInstruction)
  FACT_VALUE(cudaErrorInvalidAddressSpace)
  FACT_VALUE(cudaErrorInvalidPc)
  FACT_VALUE(cudaErrorTensorMemoryLeak)
  FACT_VALUE(cudaErrorMpsClientTerminated)
  FACT_VALUE(cudaErrorExternalDevice)
  FACT_VALUE(cudaErrorUnknown)
  FACT_VALUE(cudaMemcpyHostToHost)
  FACT_VALUE(cudaMemcpyHostToDevice)
  FACT_VALUE(cudaMemcpyDeviceToHost)
  FACT_VALUE(cudaMemcpyDeviceToDevice)
  FACT_VALUE(cudaMemcpyDefault)
  FACT_VALUE(cudaDevAttrMaxThreadsPerBlock)
  FACT_VALUE(cudaDevAttrMaxSharedMemoryPerBlock)
  FACT_VALUE(cudaDevAttrWarpSize)
  FACT_VALUE(cudaDevAttrMultiProcessorCount)
  FACT_VALUE(cudaDevAttrComputeCapabilityMajor)
  FACT_VALUE(cudaDevAttrComputeCapabilityMinor)
  FACT_VALUE(cudaDevAttrMaxSharedMemoryPerMultiprocessor)
  FACT_VALUE(cudaDevAttrMaxSharedMemoryPerBlockOptin)
  FACT_VALUE(cudaDevAttrMemoryPoolsSupported)
  FACT_VALUE(cudaMemPoolAttrReleaseThreshold)
  FACT_VALUE(cudaMemPoolAttrReservedMemCurrent)
  FACT_VALUE(cudaMemPoolAttrUsedMemCurrent)
  FACT_VALUE(cudaMemPoolAttrUsedMemHigh)
  FACT_VALUE(cudaStreamNonBlocking)
  FACT_VALUE(cudaEventDisableTiming)
  FACT_VALUE(cudaEventBlockingSync)
  FACT_VALUE(cudaHostAllocPortable)
  FACT_VALUE(cudaStreamCaptureModeGlobal)
  FACT_VALUE(cudaStreamCaptureModeThreadLocal)
  FACT_VALUE(cudaStreamCaptureModeRelaxed)
  FACT_VALUE(cudaStreamCaptureStatusNone)
  FACT_VALUE(cudaStreamCaptureStatusActive)
  FACT_VALUE(cudaStreamCaptureStatusInvalidated)
  FACT_VALUE(cudaGraphExecUpdateSuccess)
  FACT_VALUE(cudaGraphExecUpdateError)
  FACT_VALUE(cudaGraphExecUpdateErrorTopologyChanged)
  FACT_VALUE(cudaGraphExecUpdateErrorNodeTypeChanged)
  FACT_VALUE(cudaFuncAttributeMaxDynamicSharedMemorySize)
  FACT_VALUE(CUDA_R_32F)
  FACT_VALUE(CUDA_R_64F)
  FACT_VALUE(CUDA_R_16F)
  FACT_VALUE(CUDA_R_16BF)
  FACT_VALUE(CUDA_R_8I)
  FACT_VALUE(CUDA_R_32I)
  FACT_VALUE(CUBLAS_STATUS_SUCCESS)
  FACT_VALUE(CUBLAS_STATUS_NOT_INITIALIZED)
  FACT_VALUE(CUBLAS_STATUS_ALLOC_FAILED)
  FACT_VALUE(CUBLAS_STATUS_INVALID_VALUE)
  FACT_VALUE(CUBLAS_STATUS_ARCH_MISMATCH)
  FACT_VALUE(CUBLAS_STATUS_MAPPING_ERROR)
  FACT_VALUE(CUBLAS_STATUS_EXECUTION_FAILED)
  FACT_VALUE(CUBLAS_STATUS_INTERNAL_ERROR)
  FACT_VALUE(CUBLAS_STATUS_NOT_SUPPORTED)
  FACT_VALUE(CUBLAS_STATUS_LICENSE_ERROR)
  FACT_VALUE(CUBLAS_OP_N)
  FACT_VALUE(CUBLAS_OP_T)
  FACT_VALUE(CUBLAS_OP_C)
  FACT_VALUE(CUBLAS_COMPUTE_16F)
  FACT_VALUE(CUBLAS_COMPUTE_32F)
  FACT_VALUE(CUBLAS_COMPUTE_32F_PEDANTIC)
  FACT_VALUE(CUBLAS_COMPUTE_32F_FAST_TF32)
  FACT_VALUE(CUBLAS_GEMM_DEFAULT)
  FACT_VALUE(CUBLAS_DEFAULT_MATH)
  FACT_VALUE(CUBLAS_PEDANTIC_MATH)
  FACT_VALUE(CUBLAS_TF32_TENSOR_OP_MATH)
  FACT_VALUE(CUBLAS_MATH_DISALLOW_REDUCED_PRECISION_REDUCTION)
  FACT_VALUE(CUBLASLT_MATMUL_DESC_TRANSA)
  FACT_VALUE(CUBLASLT_MATMUL_DESC_TRANSB)
  FACT_VALUE(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES)
#undef FACT_VALUE
}

void print_conversions() {
  for (uint32_t i = 0; i < 65536; ++i) {
    const auto bits = static_cast<unsigned short>(i);
    add(float_bits(__half2float(bits_of<__half>(bits))));
  }
  print_hash("every half to float");
  for (uint32_t i = 0; i < 65536; ++i) {
    const auto bits = static_cast<unsigned short>(i);
    add(float_bits(__bfloat162float(bits_of<__nv_bfloat16>(bits))));
  }
  print_hash("every bfloat16 to float");
  // Every exponent and sign, and ties among the fractions.
  for (uint32_t i = 0; i < 1U << 24; ++i) {
    const auto x = bits_of<float>(i * 256 + ((i >> 3) & 1) * 128 + (i % 5 == 0 ? 1 : 0));
    add(bits_of<unsigned short>(__float2half_rn(x)));
    add(bits_of<unsigned short>(__float2bfloat16_rn(x)));
  }
  print_hash("floats to half and bfloat16");
}

}  // namespace

int main() {
  print_layouts();
  print_values();
  print_conversions();
  return 0;
}
