#include "shared_memory.h"

#include <sys/mman.h>

#include <cstring>
#include <new>

#include "block.h"
#include "race.h"
#include "sanitizer.h"

namespace cuda_emulator {
namespace {

constexpr size_t kRedZoneBytes = 64;

size_t round_up(size_t n, size_t to) {
  return (n + to - 1) / to * to;
}

}  // namespace

SharedMemory::SharedMemory() {
  void* memory = ::mmap(nullptr, kArenaBytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  arena_ = static_cast<char*>(memory);
  race::watch(arena_, kArenaBytes);
}

SharedMemory::~SharedMemory() {
  asan::unpoison(arena_, kArenaBytes);
  ::munmap(arena_, kArenaBytes);
}

void SharedMemory::start_block(size_t dynamic_bytes) {
  asan::poison(arena_, kArenaBytes);
  used_ = 0;
  array_bytes_ = 0;
  slots_.clear();
  dynamic_bytes_ = dynamic_bytes;
  dynamic_ = nullptr;
}

void* SharedMemory::slot(const void* key, size_t bytes, size_t alignment) {
  const auto found = slots_.find(key);
  if (found != slots_.end()) return found->second.data;
  char* data = take(bytes, alignment);
  slots_.emplace(key, Slot{data, bytes});
  return data;
}

void* SharedMemory::dynamic(size_t alignment) {
  if (dynamic_ == nullptr) dynamic_ = take(dynamic_bytes_, alignment);
  return dynamic_;
}

char* SharedMemory::take(size_t bytes, size_t alignment) {
  const size_t first = round_up(used_ + kRedZoneBytes, alignment);
  array_bytes_ += bytes;
  if (array_bytes_ > kBytesMax || first + bytes + kRedZoneBytes > kArenaBytes) {
    fail("%zu bytes of shared memory are more than the %zu that a block can have", array_bytes_,
         kBytesMax);
  }
  used_ = first + bytes;
  char* data = arena_ + first;
  asan::unpoison(data, bytes);
  race::allow(data, bytes);
  std::memset(data, 0xFF, bytes);  // NaN in every type of float
  return data;
}

}  // namespace cuda_emulator
