// The race detector: kernels are compiled with -fsanitize=thread, but instead of that library its
// hooks are answered here, by CUDA's rules.
//
// Every byte of shared memory remembers its last write and the reads since. Two accesses of one
// block, one a write, are ordered by a __syncthreads between them (the block's epoch), or, inside a
// warp, by __syncwarp (a vector clock of the lanes). A shuffle orders no memory. Accesses that are
// not ordered are a race in every run, whichever way it went. Atomics do not race among themselves.
// Only shared memory is watched: races in device memory, between blocks or within one, are not
// seen. What goes there is counted (traffic.h) while a test asks for it; then nothing is watched.
#include "race.h"

#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>
#include <new>
#include <vector>

#include "block.h"
#include "cuda_emulator/atomics.h"
#include "traffic.h"

namespace cuda_emulator::race {
namespace {

constexpr unsigned kLanes = 32;
constexpr unsigned kWarps = kMaxThreads / kLanes;

struct Access {
  bool write;
  bool atomic;
  const void* code;
};

// What happened to one byte of shared memory. Epochs never repeat, so nothing needs to be cleared.
struct Cell {
  uint32_t write_epoch;
  uint32_t write_clock;  // the writing lane's own time
  uint16_t write_thread;
  bool write_was_atomic;
  bool reads_were_atomic;  // all of them
  uint32_t read_epoch;
  uint32_t read_warps;
  uint32_t read_lanes;  // of the one warp, while it is one
  std::array<uint32_t, kLanes> read_clocks;
};

class Detector {
 public:
  void watch(const char* arena, size_t bytes) {
    arena_ = arena;
    bytes_ = bytes;
    void* memory = ::mmap(nullptr, bytes * sizeof(Cell), PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) throw std::bad_alloc();
    cells_ = static_cast<Cell*>(memory);
    block_of_byte_.assign(bytes, 0);
  }
  void allow(const char* array, size_t bytes) {
    std::fill_n(block_of_byte_.begin() + (array - arena_), bytes, block_);
  }

  TrafficCounter& traffic() { return traffic_; }

  void start_block() {
    ++epoch_;
    ++block_;
    if (traffic_.is_on()) {
      traffic_.converge_block();  // of the block before
      return;
    }
    for (auto& warp : clocks_) warp = {};
    for (auto& warp : clocks_) {
      for (unsigned lane = 0; lane < kLanes; ++lane) warp[lane][lane] = 1;
    }
  }
  void switch_to(unsigned thread) { thread_ = thread; }
  void block_barrier() {
    ++epoch_;
    if (traffic_.is_on()) traffic_.converge_block();
  }

  // All lanes learn what any of them knew, and start a time of their own.
  void warp_fence(unsigned warp, unsigned lane_mask) {
    Clock joined = {};
    for_lanes(lane_mask, [&](unsigned lane) {
      const Clock& clock = clocks_[warp][lane];
      for (unsigned i = 0; i < kLanes; ++i) joined[i] = std::max(joined[i], clock[i]);
    });
    for_lanes(lane_mask, [&](unsigned lane) {
      clocks_[warp][lane] = joined;
      ++clocks_[warp][lane][lane];
    });
  }

  void access(const void* address, size_t bytes, const Access& access) {
    if (!BlockRunner::is_running()) return;
    if (traffic_.is_on()) {
      traffic_.access(thread_, address, bytes, access.write, access.code);
      return;
    }
    const auto first = static_cast<size_t>(static_cast<const char*>(address) - arena_);
    if (first >= bytes_) return;
    for (size_t i = first; i < first + bytes && i < bytes_; ++i) {
      if (block_of_byte_[i] != block_) {
        fail(
            "access outside of the block's shared arrays, at byte %zu (addr2line -e PROGRAM 0x%zx)",
            i, code_offset(access.code));
      }
      if (access.write) {
        write(cells_[i], i, access);
      } else {
        read(cells_[i], i, access);
      }
    }
  }

 private:
  using Clock = std::array<uint32_t, kLanes>;

  template <class F>
  static void for_lanes(unsigned mask, F f) {
    for (unsigned lane = 0; lane < kLanes; ++lane) {
      if ((mask >> lane & 1U) != 0) f(lane);
    }
  }

  unsigned warp() const { return thread_ / kLanes; }
  unsigned lane() const { return thread_ % kLanes; }
  uint32_t now() const { return clocks_[warp()][lane()][lane()]; }

  bool write_is_ordered(const Cell& cell) const {
    if (cell.write_epoch != epoch_ || cell.write_thread == thread_) return true;
    if (cell.write_thread / kLanes != warp()) return false;
    return clocks_[warp()][lane()][cell.write_thread % kLanes] >= cell.write_clock;
  }

  // A thread whose read of this byte is not ordered before now; kMaxThreads: there is none.
  unsigned unordered_reader(const Cell& cell) const {
    if (cell.read_epoch != epoch_ || cell.read_warps == 0) return kMaxThreads;
    const unsigned others = cell.read_warps & ~(1U << warp());
    if (others != 0) return static_cast<unsigned>(__builtin_ctz(others)) * kLanes;
    for (unsigned other = 0; other < kLanes; ++other) {
      if (other == lane() || (cell.read_lanes >> other & 1U) == 0) continue;
      if (clocks_[warp()][lane()][other] < cell.read_clocks[other]) return warp() * kLanes + other;
    }
    return kMaxThreads;
  }

  void write(Cell& cell, size_t offset, const Access& access) {
    if (!write_is_ordered(cell) && !(cell.write_was_atomic && access.atomic)) {
      report("two writes", cell.write_thread, offset, access.code);
    }
    const unsigned reader = unordered_reader(cell);
    if (reader != kMaxThreads && !(cell.reads_were_atomic && access.atomic)) {
      report("a write after a read", reader, offset, access.code);
    }
    cell.write_epoch = epoch_;
    cell.write_thread = static_cast<uint16_t>(thread_);
    cell.write_clock = now();
    cell.write_was_atomic = access.atomic;
    cell.read_warps = 0;
  }

  void read(Cell& cell, size_t offset, const Access& access) {
    if (!write_is_ordered(cell) && !(cell.write_was_atomic && access.atomic)) {
      report("a read after a write", cell.write_thread, offset, access.code);
    }
    if (cell.read_epoch != epoch_ || cell.read_warps == 0) {
      cell.read_epoch = epoch_;
      cell.read_warps = 0;
      cell.read_lanes = 0;
      cell.reads_were_atomic = true;
    }
    if (cell.read_warps != 1U << warp()) cell.read_lanes = 0;
    cell.read_warps |= 1U << warp();
    cell.read_lanes |= 1U << lane();
    cell.read_clocks[lane()] = now();
    cell.reads_were_atomic = cell.reads_were_atomic && access.atomic;
  }

  [[gnu::noinline]] void report(const char* what, unsigned other, size_t offset,
                                const void* code) const {
    fail(
        "race in shared memory: %s of threads %u and %u with no barrier between them, at byte %zu "
        "of the block's arrays (addr2line -e PROGRAM 0x%zx)",
        what, other, thread_, offset, code_offset(code));
  }

  // What addr2line takes, wherever the program was loaded.
  static size_t code_offset(const void* code) {
    extern const char image_start __asm__("__executable_start");
    return static_cast<size_t>(static_cast<const char*>(code) - &image_start);
  }

  const char* arena_ = nullptr;
  size_t bytes_ = 0;
  Cell* cells_ = nullptr;
  std::vector<uint32_t> block_of_byte_;  // the block whose array it is part of
  uint32_t block_ = 0;
  uint32_t epoch_ = 1;
  unsigned thread_ = 0;
  TrafficCounter traffic_;
  // What lane i of a warp knows of lane j's time.
  std::array<std::array<Clock, kLanes>, kWarps> clocks_ = {};
};

Detector& detector() {
  static thread_local auto instance = std::make_unique<Detector>();
  return *instance;
}

}  // namespace

void watch(const char* arena, size_t bytes) {
  detector().watch(arena, bytes);
}
void allow(const char* array, size_t bytes) {
  detector().allow(array, bytes);
}
void start_launch() {
  TrafficCounter& traffic = detector().traffic();
  if (traffic.is_on()) traffic.start_launch();
}
void end_launch() {
  TrafficCounter& traffic = detector().traffic();
  if (traffic.is_on()) traffic.end_launch();
}
void start_block() {
  detector().start_block();
}
void switch_to(unsigned thread) {
  detector().switch_to(thread);
}
void block_barrier() {
  detector().block_barrier();
}
void warp_fence(unsigned warp, unsigned lane_mask) {
  detector().warp_fence(warp, lane_mask);
}
void converge(unsigned warp) {
  TrafficCounter& traffic = detector().traffic();
  if (traffic.is_on()) traffic.converge(warp);
}

}  // namespace cuda_emulator::race

namespace cuda_emulator {

void start_traffic() {
  race::detector().traffic().start();
}
std::vector<Traffic> stop_traffic() {
  return race::detector().traffic().stop();
}

void note_atomic(const void* address, size_t bytes) {
  race::detector().access(address, bytes, {true, true, __builtin_return_address(0)});
}

}  // namespace cuda_emulator

// What the compiler calls. The names are those of LLVM's tsan_interface.h.
namespace {

void touch(const void* address, size_t bytes, bool write, const void* code) {
  cuda_emulator::race::detector().access(address, bytes, {write, false, code});
}

}  // namespace

// NOLINTBEGIN(bugprone-reserved-identifier)
#define CUDA_EMULATOR_HOOKS(bytes)                             \
  void __tsan_read##bytes(void* address) {                     \
    touch(address, bytes, false, __builtin_return_address(0)); \
  }                                                            \
  void __tsan_write##bytes(void* address) {                    \
    touch(address, bytes, true, __builtin_return_address(0));  \
  }                                                            \
  void __tsan_unaligned_read##bytes(void* address) {           \
    touch(address, bytes, false, __builtin_return_address(0)); \
  }                                                            \
  void __tsan_unaligned_write##bytes(void* address) {          \
    touch(address, bytes, true, __builtin_return_address(0));  \
  }

extern "C" {
void __tsan_init() {}
void __tsan_func_entry(void* /*caller*/) {}
void __tsan_func_exit() {}
void __tsan_vptr_update(void** /*at*/, void* /*value*/) {}
void __tsan_vptr_read(void** /*at*/) {}
CUDA_EMULATOR_HOOKS(1)
CUDA_EMULATOR_HOOKS(2)
CUDA_EMULATOR_HOOKS(4)
CUDA_EMULATOR_HOOKS(8)
CUDA_EMULATOR_HOOKS(16)
void __tsan_read_range(void* address, size_t bytes) {
  touch(address, bytes, false, __builtin_return_address(0));
}
void __tsan_write_range(void* address, size_t bytes) {
  touch(address, bytes, true, __builtin_return_address(0));
}
// Guards of function-local statics (PARKD_SHARED's keys have none, launchers may).
unsigned char __tsan_atomic8_load(const volatile unsigned char* address, int /*order*/) {
  return __atomic_load_n(address, __ATOMIC_SEQ_CST);
}
void __tsan_atomic_thread_fence(int /*order*/) {}
}
// NOLINTEND(bugprone-reserved-identifier)
