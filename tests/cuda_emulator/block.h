// BlockRunner: runs the blocks of a grid on the calling OS thread, each CUDA thread of a block on a
// fiber of its own, one at a time.
//
// A fiber runs until a collective makes it wait; then the next runnable thread goes on. The order
// (forward, reverse, seeded random) is the caller's, so that what only works by luck fails. A
// thread that ends hands its fiber to the next one that has not started: kernels without
// collectives never switch. One BlockRunner an OS thread; all its state belongs to that thread.
#pragma once

#include <array>
#include <boost/context/detail/fcontext.hpp>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "cuda_emulator/execution.h"
#include "shared_memory.h"
#include "testing.h"

namespace cuda_emulator {

inline constexpr unsigned kMaxThreads = 1024;

struct Grid {
  dim3 blocks;
  dim3 threads;
  size_t dynamic_shared_bytes = 0;
  Location launched_at;
};

// A stack with a guard page below it, and where its code stopped.
class Fiber {
 public:
  Fiber() = default;  // the OS thread's own stack
  explicit Fiber(size_t stack_bytes);
  ~Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  bool has_stack() const { return stack_ != nullptr; }
  const char* stack() const { return stack_; }
  size_t stack_bytes() const { return stack_bytes_; }
  // Makes the next switch to it call `entry` on an empty stack.
  void restart(void (*entry)(boost::context::detail::transfer_t));

  boost::context::detail::fcontext_t context = nullptr;
  void* asan_fake_stack = nullptr;

 private:
  char* stack_ = nullptr;
  size_t stack_bytes_ = 0;
};

class BlockRunner {
 public:
  // The calling OS thread's.
  static BlockRunner& current();
  // Whether a kernel is running on this OS thread now.
  static bool is_running();

  BlockRunner();

  // Runs every block. Answers what is wrong with the kernel, or nothing.
  std::string run(const Grid& grid, const std::function<void()>& body, const Schedule& schedule);

  // --- for the kernel's threads, through cuda_emulator/execution.h
  void join_block(void* payload, void (*combine)(void* const*, int), const Location& where);
  void join_warp(const char* name, unsigned mask, void* payload,
                 void (*combine)(void* const*, unsigned), MemoryOrder order, const Location& where);
  SharedMemory& shared_memory() { return shared_memory_; }
  unsigned thread() const { return current_; }
  [[noreturn]] void fail(const char* message);

 private:
  enum class State : uint8_t { not_started, runnable, in_barrier, in_warp_collective, ended };

  struct Thread {
    State state = State::not_started;
    uint3 index = {};
    Fiber* fiber = nullptr;  // from its start to its end
    const char* waits_in = "";
    Location where;
  };

  // A warp collective that some of its lanes have reached.
  struct WarpMeeting {
    const char* name = "";
    unsigned mask = 0;
    unsigned arrived = 0;  // 0: this entry is free
    Location where;
    std::array<void*, 32> payloads = {};
  };

  // Threads that can go on, each at most once.
  class RunQueue {
   public:
    bool empty() const { return size_ == 0; }
    void clear() { first_ = size_ = 0; }
    void push(unsigned thread) { slots_[(first_ + size_++) % kMaxThreads] = thread; }
    unsigned pop();
    unsigned pop_random(std::mt19937_64& random);

   private:
    std::array<unsigned, kMaxThreads> slots_ = {};
    unsigned first_ = 0;
    unsigned size_ = 0;
  };

  void start_block(const Grid& grid);
  void run_block(const Grid& grid);
  void drop_fibers();

  static void fiber_main(boost::context::detail::transfer_t from);
  void switch_fiber(Fiber& from, Fiber& to, bool from_is_dead);
  void make_current(unsigned thread);
  void make_runnable(unsigned thread);
  // Gives the processor to the next runnable thread. `self_is_free`: the thread on `self` ended,
  // and another may start on its stack; then this returns at once.
  void run_next(Fiber& self, bool self_is_free);
  Fiber& idle_fiber();
  void end_thread(Fiber& self);
  [[noreturn]] void fail_deadlock();

  void check_barrier(const Location& where);
  void check_mask(const char* name, unsigned mask, const Location& where);
  WarpMeeting& meeting_for(const char* name, unsigned mask, const Location& where);
  unsigned lanes_of_warp(unsigned warp) const;

  // --- of the grid
  const std::function<void()>* body_ = nullptr;
  Location launched_at_;
  Schedule schedule_;
  std::mt19937_64 random_;
  std::string failure_;

  // --- of the block
  unsigned n_threads_ = 0;
  unsigned n_ended_ = 0;
  unsigned current_ = 0;
  std::array<Thread, kMaxThreads> threads_;
  RunQueue runnable_;
  unsigned n_in_barrier_ = 0;
  Location barrier_;
  std::array<void*, kMaxThreads> barrier_payloads_ = {};
  std::array<unsigned, kMaxThreads / 32> ended_lanes_ = {};
  std::array<std::vector<WarpMeeting>, kMaxThreads / 32> meetings_;
  SharedMemory shared_memory_;

  // --- of the OS thread
  Fiber main_;
  Fiber abandoned_;  // takes the context of a thread that failed
  std::vector<std::unique_ptr<Fiber>> fibers_;
  std::vector<Fiber*> idle_;
  const void* main_stack_ = nullptr;
  size_t main_stack_bytes_ = 0;
};

}  // namespace cuda_emulator
