// What the emulated device is: an sm_80 with few multiprocessors, so that work is really split.
// Limits of the CUDA C++ Programming Guide, "Compute capabilities".
#pragma once

#include <cstddef>

namespace cuda_emulator::limits {

inline constexpr int kMultiprocessors = 4;
inline constexpr int kThreadsBlock = 1024;
inline constexpr int kThreadsMultiprocessor = 2048;
inline constexpr int kBlocksMultiprocessor = 32;
inline constexpr size_t kSharedBytesStatic = 48 << 10;
inline constexpr size_t kSharedBytesOptin = 163 << 10;
inline constexpr size_t kSharedBytesMultiprocessor = 164 << 10;

}  // namespace cuda_emulator::limits
