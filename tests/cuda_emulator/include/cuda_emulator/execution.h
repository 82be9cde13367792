// What a kernel sees of its block: the built-in variables, and the four doors into the scheduler
// (tests/cuda_emulator/block.h) that every collective and every shared array goes through.
#pragma once

#include <cstddef>
#include <type_traits>

#include "cuda_emulator/vector_types.h"
#if defined(__clang__)
namespace cuda_emulator {
// clang 14 does not know libstdc++ 12's std::source_location.
class Location {
 public:
  static constexpr Location current(const char* file = __builtin_FILE(),
                                    unsigned line = __builtin_LINE(),
                                    unsigned column = __builtin_COLUMN()) {
    Location here;
    here.file_ = file;
    here.line_ = line;
    here.column_ = column;
    return here;
  }
  constexpr const char* file_name() const { return file_; }
  constexpr unsigned line() const { return line_; }
  constexpr unsigned column() const { return column_; }

 private:
  const char* file_ = "";
  unsigned line_ = 0;
  unsigned column_ = 0;
};
}  // namespace cuda_emulator
#else
#include <source_location>
namespace cuda_emulator {
using Location = std::source_location;
}
#endif

// As in CUDA; one OS thread runs a whole block, and they are rewritten when it switches threads.
inline constexpr int warpSize = 32;
inline constinit thread_local uint3 threadIdx = {};
inline constinit thread_local uint3 blockIdx = {};
inline constinit thread_local dim3 blockDim = {};
inline constinit thread_local dim3 gridDim = {};

namespace cuda_emulator {

// Ends the launch with this message, which names block and thread: the stream's error is
// cudaErrorLaunchFailure from then on, as on a device.
[[noreturn]] void fail(const char* format, ...) __attribute__((format(printf, 1, 2)));

// A shared array of this block: the same for equal keys, full of NaN when new, with red zones.
void* shared_slot(const void* key, size_t bytes, size_t alignment);
void* dynamic_shared(size_t alignment);

int lane();

// Whether a collective also orders its lanes' memory accesses. Shuffles and votes do not.
enum class MemoryOrder { none, fence };

// Waits for every thread of the block; the last one calls combine(payloads, n) for all.
void join_block(void* payload, void (*combine)(void* const* payloads, int n_threads),
                const Location& where);
// Waits for the lanes of `mask`; the last one calls combine(payloads by lane, mask) for all.
void join_warp(const char* name, unsigned mask, void* payload,
               void (*combine)(void* const* payloads, unsigned mask), MemoryOrder order,
               const Location& where);

// What the lanes of a mask brought to a collective.
template <class T>
class Lanes {
 public:
  Lanes(void* const* payloads, unsigned mask) : payloads_(payloads), mask_(mask) {}

  unsigned mask() const { return mask_; }
  bool has(int lane) const { return lane >= 0 && lane < warpSize && (mask_ >> lane & 1U) != 0; }
  T& operator[](int lane) const { return *static_cast<T*>(payloads_[lane]); }
  template <class F>
  void for_each(F f) const {
    for (int lane = 0; lane < warpSize; ++lane) {
      if (has(lane)) f(lane, (*this)[lane]);
    }
  }

 private:
  void* const* payloads_;
  unsigned mask_;
};

// join_warp() with typed payloads; Combine is a lambda without captures on Lanes<T>.
template <class T, class Combine>
void warp_collective(const char* name, unsigned mask, T& payload, Combine /*combine*/,
                     MemoryOrder order, const Location& where) {
  static_assert(std::is_empty_v<Combine>);
  join_warp(
      name, mask, &payload,
      [](void* const* payloads, unsigned lanes) { Combine{}(Lanes<T>(payloads, lanes)); }, order,
      where);
}

}  // namespace cuda_emulator
