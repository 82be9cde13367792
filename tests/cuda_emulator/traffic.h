// TrafficCounter: what kernels ask of device memory, warp by warp, from the accesses that the race
// build's hooks report. One an OS thread, which runs whole blocks.
//
// Accesses of a warp's lanes at one place of the code are one access of the warp when each lane
// came there for the n-th time since the lanes last met (a collective of all of them, or the
// block's barrier). What is no allocation of a device does not count: shared arrays, locals and
// parameters.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "block.h"
#include "testing.h"

namespace cuda_emulator {

class TrafficCounter {
 public:
  void start();
  // One entry a launch since start(), in the order in which they ran.
  std::vector<Traffic> stop();
  bool is_on() const { return is_on_; }

  // --- of a launch
  void start_launch();
  void access(unsigned thread, const void* address, size_t bytes, bool write, const void* code);
  void converge(unsigned warp);
  void converge_block();
  void end_launch();

 private:
  struct Access {
    const void* code;
    unsigned lane;
    unsigned turn;  // of this lane at this place
    bool write;
    uintptr_t address;
    size_t bytes;
  };
  // An allocation, and which of its sectors were touched in this launch.
  struct Allocation {
    uintptr_t first;
    size_t bytes;
    std::vector<bool> read;
    std::vector<bool> written;
  };

  Allocation* allocation_of(uintptr_t address);
  void add(const std::vector<Access>& accesses, size_t first, size_t last);

  bool is_on_ = false;
  std::vector<Traffic> launches_;
  std::vector<Allocation> allocations_;  // by address
  Allocation* last_ = nullptr;
  std::array<std::vector<Access>, kMaxThreads / 32> pending_;  // of each warp since its lanes met
};

}  // namespace cuda_emulator
