// Block and warp collectives of the CUDA C++ Programming Guide (sections "Synchronization
// functions", "Warp vote", "Warp shuffle" and "Warp reduce functions").
#pragma once

#include "cuda_emulator/execution.h"

namespace cuda_emulator {

enum class Shuffle { index, up, down, exclusive_or };

// The lane that `lane` reads, inside its section of `width` lanes.
constexpr int shuffle_source(Shuffle kind, int lane, int argument, int width) {
  const int first = lane & ~(width - 1);
  int source = lane;
  switch (kind) {
    case Shuffle::index:
      return first + (argument & (width - 1));
    case Shuffle::up:
      source = lane - argument;
      break;
    case Shuffle::down:
      source = lane + argument;
      break;
    case Shuffle::exclusive_or:
      source = lane ^ argument;
      // Lanes of earlier sections may be read, later ones not.
      return source < first + width ? source : lane;
  }
  return source >= first && source < first + width ? source : lane;
}

template <Shuffle kind, class T>
T shuffle(const char* name, unsigned mask, T value, int argument, int width,
          const Location& where) {
  static_assert(sizeof(T) == 2 || sizeof(T) == 4 || sizeof(T) == 8);
  struct Payload {
    T in;
    T out;
    int argument;
    int width;
  } payload{value, value, argument, width};
  if (width <= 0 || width > 32 || (width & (width - 1)) != 0) {
    fail("%s (%s:%u): width %d is no power of two up to 32", name, where.file_name(),
         static_cast<unsigned>(where.line()), width);
  }
  warp_collective(
      name, mask, payload,
      [](const Lanes<Payload>& lanes) {
        lanes.for_each([&](int reader, Payload& mine) {
          const int source = shuffle_source(kind, reader, mine.argument, mine.width);
          if (!lanes.has(source)) {
            fail("shuffle: lane %d reads lane %d, which is not in mask %08x", reader, source,
                 lanes.mask());
          }
          mine.out = lanes[source].in;
        });
      },
      MemoryOrder::none, where);
  return payload.out;
}

// All lanes of the mask get Fold of their values, in the order of the lanes.
template <class T, class Fold>
T warp_fold(const char* name, unsigned mask, T value, Fold /*fold*/, const Location& where) {
  warp_collective(
      name, mask, value,
      [](const Lanes<T>& lanes) {
        bool first = true;
        T result{};
        lanes.for_each([&](int, T& mine) {
          result = first ? mine : Fold{}(result, mine);
          first = false;
        });
        lanes.for_each([&](int, T& mine) { mine = result; });
      },
      MemoryOrder::none, where);
  return value;
}

template <class Fold>
int block_fold(int value, Fold /*fold*/, const Location& where) {
  join_block(
      &value,
      [](void* const* values, int n_threads) {
        int result = *static_cast<int*>(values[0]);
        for (int i = 1; i < n_threads; ++i) {
          result = Fold{}(result, *static_cast<int*>(values[i]));
        }
        for (int i = 0; i < n_threads; ++i) *static_cast<int*>(values[i]) = result;
      },
      where);
  return value;
}

}  // namespace cuda_emulator

// The call's place tells whether lanes meet in the same statement.
#define CUDA_EMULATOR_WHERE \
  const cuda_emulator::Location& where = cuda_emulator::Location::current()

inline void __syncthreads(CUDA_EMULATOR_WHERE) {
  cuda_emulator::join_block(nullptr, nullptr, where);
}
inline int __syncthreads_or(int predicate, CUDA_EMULATOR_WHERE) {
  return cuda_emulator::block_fold(
      predicate != 0 ? 1 : 0, [](int a, int b) { return a | b; }, where);
}
inline int __syncthreads_and(int predicate, CUDA_EMULATOR_WHERE) {
  return cuda_emulator::block_fold(
      predicate != 0 ? 1 : 0, [](int a, int b) { return a & b; }, where);
}
inline int __syncthreads_count(int predicate, CUDA_EMULATOR_WHERE) {
  return cuda_emulator::block_fold(
      predicate != 0 ? 1 : 0, [](int a, int b) { return a + b; }, where);
}
inline void __syncwarp(unsigned mask = 0xFFFFFFFFU, CUDA_EMULATOR_WHERE) {
  cuda_emulator::join_warp("__syncwarp", mask, nullptr, nullptr, cuda_emulator::MemoryOrder::fence,
                           where);
}

#define CUDA_EMULATOR_SHUFFLE(name, kind, Argument)                                        \
  template <class T>                                                                       \
  T name(unsigned mask, T value, Argument argument, int width = 32, CUDA_EMULATOR_WHERE) { \
    return cuda_emulator::shuffle<cuda_emulator::Shuffle::kind>(                           \
        #name, mask, value, static_cast<int>(argument), width, where);                     \
  }
CUDA_EMULATOR_SHUFFLE(__shfl_sync, index, int)
CUDA_EMULATOR_SHUFFLE(__shfl_up_sync, up, unsigned)
CUDA_EMULATOR_SHUFFLE(__shfl_down_sync, down, unsigned)
CUDA_EMULATOR_SHUFFLE(__shfl_xor_sync, exclusive_or, int)
#undef CUDA_EMULATOR_SHUFFLE

inline unsigned __ballot_sync(unsigned mask, int predicate, CUDA_EMULATOR_WHERE) {
  const unsigned mine = predicate != 0 ? 1U << cuda_emulator::lane() : 0U;
  return cuda_emulator::warp_fold(
      "__ballot_sync", mask, mine, [](unsigned a, unsigned b) { return a | b; }, where);
}
inline int __any_sync(unsigned mask, int predicate, CUDA_EMULATOR_WHERE) {
  return cuda_emulator::warp_fold(
      "__any_sync", mask, predicate != 0 ? 1 : 0, [](int a, int b) { return a | b; }, where);
}
inline int __all_sync(unsigned mask, int predicate, CUDA_EMULATOR_WHERE) {
  return cuda_emulator::warp_fold(
      "__all_sync", mask, predicate != 0 ? 1 : 0, [](int a, int b) { return a & b; }, where);
}
// The lanes of `mask` whose value equals this lane's.
template <class T>
unsigned __match_any_sync(unsigned mask, T value, CUDA_EMULATOR_WHERE) {
  struct Payload {
    T value;
    unsigned equal;
  } payload{value, 0};
  cuda_emulator::warp_collective(
      "__match_any_sync", mask, payload,
      [](const cuda_emulator::Lanes<Payload>& lanes) {
        lanes.for_each([&](int, Payload& mine) {
          lanes.for_each([&](int other, const Payload& its) {
            if (its.value == mine.value) mine.equal |= 1U << other;
          });
        });
      },
      cuda_emulator::MemoryOrder::none, where);
  return payload.equal;
}

#define CUDA_EMULATOR_REDUCE(name, T, expression)                                        \
  inline T name(unsigned mask, T value, CUDA_EMULATOR_WHERE) {                           \
    return cuda_emulator::warp_fold(                                                     \
        #name, mask, value, [](T a, T b) { return static_cast<T>(expression); }, where); \
  }
CUDA_EMULATOR_REDUCE(__reduce_add_sync, unsigned, a + b)
CUDA_EMULATOR_REDUCE(__reduce_min_sync, unsigned, a < b ? a : b)
CUDA_EMULATOR_REDUCE(__reduce_max_sync, unsigned, a > b ? a : b)
CUDA_EMULATOR_REDUCE(__reduce_and_sync, unsigned, a& b)
CUDA_EMULATOR_REDUCE(__reduce_or_sync, unsigned, a | b)
CUDA_EMULATOR_REDUCE(__reduce_xor_sync, unsigned, a ^ b)
CUDA_EMULATOR_REDUCE(__reduce_add_sync, int, a + b)
CUDA_EMULATOR_REDUCE(__reduce_min_sync, int, a < b ? a : b)
CUDA_EMULATOR_REDUCE(__reduce_max_sync, int, a > b ? a : b)
#undef CUDA_EMULATOR_REDUCE
