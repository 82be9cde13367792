// AddressSanitizer's interface, or nothing in builds without it.
#pragma once

#include <cstddef>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

namespace cuda_emulator::asan {

#if defined(__SANITIZE_ADDRESS__)
inline constexpr bool kOn = true;
inline void poison(const void* memory, size_t bytes) {
  __asan_poison_memory_region(memory, bytes);
}
inline void unpoison(const void* memory, size_t bytes) {
  __asan_unpoison_memory_region(memory, bytes);
}
// Around a switch of stacks; `fake_stack` nullptr: the stack we leave will not be resumed.
inline void before_switch(void** fake_stack, const void* stack, size_t bytes) {
  __sanitizer_start_switch_fiber(fake_stack, stack, bytes);
}
inline void after_switch(void* fake_stack, const void** old_stack, size_t* old_bytes) {
  __sanitizer_finish_switch_fiber(fake_stack, old_stack, old_bytes);
}
#else
inline constexpr bool kOn = false;
inline void poison(const void* /*memory*/, size_t /*bytes*/) {}
inline void unpoison(const void* /*memory*/, size_t /*bytes*/) {}
inline void before_switch(void** /*fake_stack*/, const void* /*stack*/, size_t /*bytes*/) {}
inline void after_switch(void* /*fake_stack*/, const void** /*old_stack*/, size_t* /*old_bytes*/) {}
#endif

}  // namespace cuda_emulator::asan
