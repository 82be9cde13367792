// DeviceMemory: what cudaMalloc and its kin gave out, so that copies can be checked. It is the
// host's memory; under AddressSanitizer kernels are checked too, elsewhere a guard behind every
// allocation is looked at when it is freed. New memory is full of NaN.
#pragma once

#include <cstddef>
#include <map>
#include <string>

namespace cuda_emulator {

class DeviceMemory {
 public:
  enum class Kind { device, pinned };

  ~DeviceMemory() { free_all(); }

  // nullptr: more than there is. `is_ready` false: from the device's pool, and until set_ready()
  // nobody may touch it.
  void* allocate(Kind kind, int device, size_t bytes, bool is_ready);
  void set_ready(void* memory);
  // What is wrong with freeing it, or nothing.
  std::string free(Kind kind, void* memory);
  void free_all();
  bool has(Kind kind, const void* memory) const;

  // What is wrong with `what` touching these bytes as device or as host memory, or nothing.
  std::string check_device(const char* what, const void* memory, size_t bytes) const;
  std::string check_host(const char* what, const void* memory) const;

  // visit(first byte, bytes), by address.
  template <class Visit>
  void for_each_device_allocation(Visit visit) const {
    for (const auto& [memory, allocation] : allocations_) {
      if (allocation.kind == Kind::device) visit(memory, allocation.bytes);
    }
  }
  size_t used(int device) const;
  // What a device's pool has of freed memory: not free for others, the first to be given out again
  // by the pool.
  size_t kept(int device) const;
  void keep(int device, size_t bytes) { kept_[device] += bytes; }
  void trim(int device) { kept_[device] = 0; }
  size_t bytes_of(const void* memory) const;  // 0: not allocated
  size_t limit() const { return limit_; }
  void set_limit(size_t bytes) { limit_ = bytes; }

 private:
  struct Allocation {
    Kind kind;
    int device;
    size_t bytes;
    bool is_ready;
  };
  using Allocations = std::map<const char*, Allocation>;

  Allocations::const_iterator containing(const void* memory) const;

  Allocations allocations_;
  std::map<int, size_t> kept_;
  size_t limit_ = size_t{8} << 30;
};

}  // namespace cuda_emulator
