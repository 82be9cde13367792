// SharedMemory: the shared arrays of the block that runs. Each lies between red zones and is full
// of NaN when first asked for in a block, so that reading what was not written shows.
#pragma once

#include <cstddef>
#include <unordered_map>

namespace cuda_emulator {

class SharedMemory {
 public:
  // What sm_90 has for a block, and room for red zones.
  static constexpr size_t kBytesMax = 227 << 10;
  static constexpr size_t kArenaBytes = 320 << 10;

  SharedMemory();
  ~SharedMemory();
  SharedMemory(const SharedMemory&) = delete;
  SharedMemory& operator=(const SharedMemory&) = delete;

  void start_block(size_t dynamic_bytes);
  // The array of `key`, the same for every thread of the block.
  void* slot(const void* key, size_t bytes, size_t alignment);
  void* dynamic(size_t alignment);

 private:
  struct Slot {
    char* data;
    size_t bytes;
  };
  char* take(size_t bytes, size_t alignment);

  char* arena_ = nullptr;
  size_t used_ = 0;
  size_t array_bytes_ = 0;
  std::unordered_map<const void*, Slot> slots_;
  size_t dynamic_bytes_ = 0;
  char* dynamic_ = nullptr;
};

}  // namespace cuda_emulator
