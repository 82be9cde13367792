// Device atomics and fences. They are sequentially consistent here and relaxed on a device: a
// missing __threadfence is not found.
#pragma once

#include <cstddef>
#include <cstring>
#include <type_traits>

namespace cuda_emulator {

// For the race build: the access counts as atomic.
void note_atomic(const void* address, size_t bytes);

#define CUDA_EMULATOR_UNWATCHED __attribute__((no_sanitize("thread")))

// *address = update(*address) as one; returns what was there.
template <class T, class Update>
CUDA_EMULATOR_UNWATCHED T atomic_update(T* address, Update update) {
  note_atomic(address, sizeof(T));
  T old;
  __atomic_load(address, &old, __ATOMIC_SEQ_CST);
  T next = update(old);
  while (
      !__atomic_compare_exchange(address, &old, &next, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) {
    next = update(old);
  }
  return old;
}

}  // namespace cuda_emulator

#define CUDA_EMULATOR_ATOMIC(name, expression)                                            \
  template <class T>                                                                      \
  T name(T* address, std::type_identity_t<T> value) {                                     \
    return cuda_emulator::atomic_update(                                                  \
        address, [value]([[maybe_unused]] T old) { return static_cast<T>(expression); }); \
  }
CUDA_EMULATOR_ATOMIC(atomicAdd, old + value)
CUDA_EMULATOR_ATOMIC(atomicSub, old - value)
CUDA_EMULATOR_ATOMIC(atomicMin, old < value ? old : value)
CUDA_EMULATOR_ATOMIC(atomicMax, old > value ? old : value)
CUDA_EMULATOR_ATOMIC(atomicAnd, old& value)
CUDA_EMULATOR_ATOMIC(atomicOr, old | value)
CUDA_EMULATOR_ATOMIC(atomicXor, old ^ value)
CUDA_EMULATOR_ATOMIC(atomicExch, value)
CUDA_EMULATOR_ATOMIC(atomicInc, old >= value ? T{0} : old + 1)
CUDA_EMULATOR_ATOMIC(atomicDec, old == 0 || old > value ? value : old - 1)
#undef CUDA_EMULATOR_ATOMIC

template <class T>
T atomicCAS(T* address, std::type_identity_t<T> compare, std::type_identity_t<T> value) {
  return cuda_emulator::atomic_update(
      address, [compare, value](T old) { return old == compare ? value : old; });
}

inline void __threadfence() {
  __atomic_thread_fence(__ATOMIC_SEQ_CST);
}
inline void __threadfence_block() {
  __atomic_thread_fence(__ATOMIC_SEQ_CST);
}
