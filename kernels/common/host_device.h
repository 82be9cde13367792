// PARKD_HOST_DEVICE: before a function that nvcc compiles for both sides.
#pragma once

#if defined(__CUDACC__)
#define PARKD_HOST_DEVICE __host__ __device__
#else
#define PARKD_HOST_DEVICE
#endif
