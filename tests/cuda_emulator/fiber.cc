#include <sys/mman.h>
#include <unistd.h>

#include <new>

#include "block.h"
#include "sanitizer.h"

namespace cuda_emulator {

Fiber::Fiber(size_t stack_bytes) : stack_bytes_(stack_bytes) {
  const auto guard_bytes = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  void* memory = ::mmap(nullptr, guard_bytes + stack_bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  ::mprotect(memory, guard_bytes, PROT_NONE);
  stack_ = static_cast<char*>(memory) + guard_bytes;
}

Fiber::~Fiber() {
  if (stack_ == nullptr) return;
  asan::unpoison(stack_, stack_bytes_);
  const auto guard_bytes = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  ::munmap(stack_ - guard_bytes, guard_bytes + stack_bytes_);
}

void Fiber::restart(void (*entry)(boost::context::detail::transfer_t)) {
  asan::unpoison(stack_, stack_bytes_);  // frames that were abandoned
  asan_fake_stack = nullptr;
  context = boost::context::detail::make_fcontext(stack_ + stack_bytes_, stack_bytes_, entry);
}

}  // namespace cuda_emulator
