// MappedMemory: page-aligned, zero-filled memory straight from the kernel, which gives a page only
// when it is first written, in huge pages where it can. For weights, KV and activations. Move-only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

#include "lib/base/status.h"

namespace parkd {

class MappedMemory {
 public:
  // Errors: exhausted when the kernel refuses the address space.
  static Result<MappedMemory> make(size_t bytes);

  MappedMemory() = default;
  ~MappedMemory();
  MappedMemory(MappedMemory&& other) noexcept { *this = std::move(other); }
  MappedMemory& operator=(MappedMemory&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }

  uint8_t* data() const { return data_; }
  size_t bytes() const { return bytes_; }

 private:
  uint8_t* data_ = nullptr;
  size_t bytes_ = 0;
};

}  // namespace parkd
