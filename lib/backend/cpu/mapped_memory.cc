#include "lib/backend/cpu/mapped_memory.h"

#include <sys/mman.h>

#include <cerrno>
#include <cstring>
#include <string>

namespace parkd {

Result<MappedMemory> MappedMemory::make(size_t bytes) {
  MappedMemory memory;
  if (bytes == 0) return memory;
  void* data = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (data == MAP_FAILED) {
    return exhausted("cannot map " + std::to_string(bytes) + " bytes: " + std::strerror(errno));
  }
  madvise(data, bytes, MADV_HUGEPAGE);  // a wish: without it everything works, a little slower
  memory.data_ = static_cast<uint8_t*>(data);
  memory.bytes_ = bytes;
  return memory;
}

MappedMemory::~MappedMemory() {
  if (data_ != nullptr) munmap(data_, bytes_);
}

}  // namespace parkd
