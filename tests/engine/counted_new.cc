// A file of its own: seen together, new and its callers look mismatched to the compiler.
#include "tests/engine/counted_new.h"

#include <cstdlib>
#include <new>

namespace {
thread_local int64_t n_allocations = 0;
}  // namespace

namespace parkd::testing {
int64_t allocations_of_this_thread() {
  return n_allocations;
}
}  // namespace parkd::testing

void* operator new(size_t size, const std::nothrow_t&) noexcept {
  ++n_allocations;
  return std::malloc(size);
}
void* operator new(size_t size) {
  void* memory = operator new(size, std::nothrow);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}
void operator delete(void* memory) noexcept {
  std::free(memory);
}
void operator delete(void* memory, size_t) noexcept {
  std::free(memory);
}
