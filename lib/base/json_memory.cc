#include "lib/base/json_memory.h"

#include <algorithm>
#include <new>
#include <string>

#include "lib/base/check.h"

namespace parkd {

namespace {

constexpr size_t kStepBytes = 256 << 10;  // so that a shared budget is asked rarely

}  // namespace

size_t json_memory_bytes_max(size_t text_bytes) {
  return std::max(kJsonMemoryFloorBytes, kJsonMemoryFactor * text_bytes);
}

void* JsonMemory::do_allocate(size_t bytes, size_t alignment) {
  if (bytes > bytes_max_ - std::min(bytes_max_, held_bytes_)) {
    refusal_ = invalid("the JSON takes more than " + std::to_string(bytes_max_) +
                       " bytes of memory to read, " + std::to_string(kJsonMemoryFactor) +
                       " times its own size: it has too many small values");
    throw std::bad_alloc();
  }
  if (held_bytes_ + bytes > granted_bytes_ && grow_) {
    const size_t step = std::min(std::max(kStepBytes, held_bytes_ + bytes - granted_bytes_),
                                 bytes_max_ - granted_bytes_);
    if (Status status = grow_(step); !status.ok()) {
      refusal_ = std::move(status);
      throw std::bad_alloc();
    }
    granted_bytes_ += step;
  }
  // Boost.JSON frees keys with another alignment than it asked for: none is above the default.
  PARKD_CHECK(alignment <= __STDCPP_DEFAULT_NEW_ALIGNMENT__, "JSON of an uncommon alignment");
  void* const memory = ::operator new(bytes);
  held_bytes_ += bytes;
  peak_bytes_ = std::max(peak_bytes_, held_bytes_);
  return memory;
}

void JsonMemory::do_deallocate(void* memory, size_t bytes, size_t) {
  ::operator delete(memory);
  held_bytes_ -= bytes;
}

}  // namespace parkd
