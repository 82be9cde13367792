// main() of every test that needs a CUDA device, emulated or real: without one it is skipped, by
// ctest's skip code.
#include <cuda_runtime.h>
#include <gtest/gtest.h>

#include <iostream>

int main(int argc, char** argv) {
  ::testing::InitGoogleTest(&argc, argv);
  int n_devices = 0;
  const cudaError_t error = cudaGetDeviceCount(&n_devices);
  if (error != cudaSuccess || n_devices == 0) {
    std::cout << "SKIPPED: no CUDA device (" << cudaGetErrorString(error) << ")\n";
    return 77;
  }
  cudaDeviceProp device;
  if (cudaGetDeviceProperties(&device, 0) == cudaSuccess) {
    std::cout << "device: " << device.name << ", sm_" << device.major << device.minor << "\n";
  }
  return RUN_ALL_TESTS();
}
