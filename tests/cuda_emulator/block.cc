#include "block.h"

#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <numeric>
#include <utility>

#include "race.h"
#include "sanitizer.h"

namespace cuda_emulator {
namespace {

// AddressSanitizer's frames are several times larger.
constexpr size_t kStackBytes = asan::kOn ? 512 << 10 : 128 << 10;

thread_local bool running = false;

bool same_place(const Location& a, const Location& b) {
  return a.line() == b.line() && a.column() == b.column() &&
         std::string_view(a.file_name()) == b.file_name();
}

unsigned line_of(const Location& where) {
  return static_cast<unsigned>(where.line());
}

uint3 index_of(uint64_t i, const dim3& extent) {
  return {static_cast<unsigned>(i % extent.x), static_cast<unsigned>(i / extent.x % extent.y),
          static_cast<unsigned>(i / (uint64_t{extent.x} * extent.y))};
}

// The order in which n blocks or threads start.
std::vector<unsigned> starting_order(uint64_t n, Order order, std::mt19937_64& random) {
  std::vector<unsigned> ids(n);
  std::iota(ids.begin(), ids.end(), 0U);
  if (order == Order::reverse) std::reverse(ids.begin(), ids.end());
  if (order == Order::random) std::shuffle(ids.begin(), ids.end(), random);
  return ids;
}

}  // namespace

unsigned BlockRunner::RunQueue::pop() {
  const unsigned thread = slots_[first_];
  first_ = (first_ + 1) % kMaxThreads;
  --size_;
  return thread;
}

unsigned BlockRunner::RunQueue::pop_random(std::mt19937_64& random) {
  const auto chosen = static_cast<unsigned>((first_ + random() % size_) % kMaxThreads);
  std::swap(slots_[chosen], slots_[first_]);
  return pop();
}

BlockRunner& BlockRunner::current() {
  static thread_local auto runner = std::make_unique<BlockRunner>();
  return *runner;
}

bool BlockRunner::is_running() {
  return running;
}

BlockRunner::BlockRunner() = default;

std::string BlockRunner::run(const Grid& grid, const std::function<void()>& body,
                             const Schedule& schedule) {
  body_ = &body;
  launched_at_ = grid.launched_at;
  schedule_ = schedule;
  random_.seed(schedule.seed);
  failure_.clear();
  blockDim = grid.threads;
  gridDim = grid.blocks;
  running = true;
  race::start_launch();
  const uint64_t n_blocks = uint64_t{grid.blocks.x} * grid.blocks.y * grid.blocks.z;
  for (const unsigned block : starting_order(n_blocks, schedule.order, random_)) {
    blockIdx = index_of(block, grid.blocks);
    run_block(grid);
    if (!failure_.empty()) break;
  }
  if (failure_.empty()) race::end_launch();
  running = false;
  return std::move(failure_);
}

void BlockRunner::start_block(const Grid& grid) {
  n_threads_ = grid.threads.x * grid.threads.y * grid.threads.z;
  n_ended_ = 0;
  n_in_barrier_ = 0;
  ended_lanes_.fill(0);
  runnable_.clear();
  for (unsigned i = 0; i < n_threads_; ++i) {
    threads_[i] = Thread();
    threads_[i].index = index_of(i, grid.threads);
  }
  for (const unsigned thread : starting_order(n_threads_, schedule_.order, random_)) {
    runnable_.push(thread);
  }
  shared_memory_.start_block(grid.dynamic_shared_bytes);
  race::start_block();
}

void BlockRunner::run_block(const Grid& grid) {
  start_block(grid);
  run_next(main_, false);
  if (!failure_.empty()) drop_fibers();
}

// After a failure: the block's threads stand somewhere in the kernel and never go on.
void BlockRunner::drop_fibers() {
  idle_.clear();
  for (const auto& fiber : fibers_) {
    fiber->restart(fiber_main);
    idle_.push_back(fiber.get());
  }
  for (auto& meetings : meetings_) meetings.clear();
}

// --- switching

void BlockRunner::switch_fiber(Fiber& from, Fiber& to, bool from_is_dead) {
  const void* stack = to.has_stack() ? to.stack() : main_stack_;
  const size_t stack_bytes = to.has_stack() ? to.stack_bytes() : main_stack_bytes_;
  asan::before_switch(from_is_dead ? nullptr : &from.asan_fake_stack, stack, stack_bytes);
  const auto back = boost::context::detail::jump_fcontext(to.context, &from);
  const void* old_stack = nullptr;
  size_t old_bytes = 0;
  asan::after_switch(from.asan_fake_stack, &old_stack, &old_bytes);
  // Who switched to us left us a record to keep its context in.
  static_cast<Fiber*>(back.data)->context = back.fctx;
}

void BlockRunner::fiber_main(boost::context::detail::transfer_t from) {
  BlockRunner& runner = current();
  const void* old_stack = nullptr;
  size_t old_bytes = 0;
  asan::after_switch(nullptr, &old_stack, &old_bytes);
  if (from.data == &runner.main_) {
    runner.main_stack_ = old_stack;
    runner.main_stack_bytes_ = old_bytes;
  }
  static_cast<Fiber*>(from.data)->context = from.fctx;
  for (;;) {
    Fiber& self = *runner.threads_[runner.current_].fiber;
    (*runner.body_)();
    runner.end_thread(self);
  }
}

void BlockRunner::make_current(unsigned thread) {
  current_ = thread;
  threadIdx = threads_[thread].index;
  race::switch_to(thread);
}

void BlockRunner::make_runnable(unsigned thread) {
  threads_[thread].state = State::runnable;
  runnable_.push(thread);
}

Fiber& BlockRunner::idle_fiber() {
  if (idle_.empty()) {
    fibers_.push_back(std::make_unique<Fiber>(kStackBytes));
    fibers_.back()->restart(fiber_main);
    idle_.push_back(fibers_.back().get());
  }
  Fiber& fiber = *idle_.back();
  idle_.pop_back();
  return fiber;
}

void BlockRunner::run_next(Fiber& self, bool self_is_free) {
  if (runnable_.empty()) {
    if (n_ended_ < n_threads_) fail_deadlock();
    if (self_is_free) idle_.push_back(&self);
    switch_fiber(self, main_, false);
    return;
  }
  const unsigned next =
      schedule_.order == Order::random ? runnable_.pop_random(random_) : runnable_.pop();
  Thread& thread = threads_[next];
  thread.state = State::runnable;
  if (thread.fiber == nullptr) thread.fiber = self_is_free ? &self : &idle_fiber();
  make_current(next);
  if (thread.fiber == &self) return;
  if (self_is_free) idle_.push_back(&self);
  switch_fiber(self, *thread.fiber, false);
}

void BlockRunner::end_thread(Fiber& self) {
  Thread& thread = threads_[current_];
  const unsigned warp = current_ / 32;
  const unsigned lane_bit = 1U << current_ % 32;
  if (n_in_barrier_ > 0) {
    cuda_emulator::fail("the thread ends while %u threads wait at __syncthreads (%s:%u)",
                        n_in_barrier_, barrier_.file_name(), line_of(barrier_));
  }
  for (const WarpMeeting& meeting : meetings_[warp]) {
    if (meeting.arrived != 0 && (meeting.mask & lane_bit) != 0) {
      cuda_emulator::fail("the thread ends while its warp waits for it in %s (%s:%u)", meeting.name,
                          meeting.where.file_name(), line_of(meeting.where));
    }
  }
  thread.state = State::ended;
  thread.fiber = nullptr;
  ended_lanes_[warp] |= lane_bit;
  ++n_ended_;
  run_next(self, true);
}

// --- failing

void BlockRunner::fail(const char* message) {
  if (failure_.empty()) {
    char where[512];
    std::snprintf(where, sizeof(where),
                  "kernel launched at %s:%u, block (%u,%u,%u), thread (%u,%u,%u): ",
                  launched_at_.file_name(), line_of(launched_at_), blockIdx.x, blockIdx.y,
                  blockIdx.z, threadIdx.x, threadIdx.y, threadIdx.z);
    failure_ = where;
    failure_ += message;
  }
  switch_fiber(abandoned_, main_, true);
  __builtin_unreachable();
}

void fail(const char* format, ...) {
  char message[512];
  std::va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(message, sizeof(message), format, arguments);
  va_end(arguments);
  BlockRunner::current().fail(message);
}

void BlockRunner::fail_deadlock() {
  unsigned n_in_warps = 0;
  const Thread* in_warp = nullptr;
  for (unsigned i = 0; i < n_threads_; ++i) {
    if (threads_[i].state != State::in_warp_collective) continue;
    in_warp = &threads_[i];
    ++n_in_warps;
  }
  if (in_warp == nullptr) {
    cuda_emulator::fail("deadlock: %u threads wait at __syncthreads (%s:%u), %u ended",
                        n_in_barrier_, barrier_.file_name(), line_of(barrier_), n_ended_);
  }
  cuda_emulator::fail(
      "deadlock: %u threads wait in %s (%s:%u) for lanes that do not come, %u at __syncthreads, "
      "%u ended",
      n_in_warps, in_warp->waits_in, in_warp->where.file_name(), line_of(in_warp->where),
      n_in_barrier_, n_ended_);
}

// --- collectives

void BlockRunner::check_barrier(const Location& where) {
  if (n_in_barrier_ > 0 && !same_place(barrier_, where)) {
    cuda_emulator::fail("divergent barrier: this thread is at %s:%u, %u others wait at %s:%u",
                        where.file_name(), line_of(where), n_in_barrier_, barrier_.file_name(),
                        line_of(barrier_));
  }
  if (n_ended_ > 0) {
    cuda_emulator::fail("divergent barrier: __syncthreads (%s:%u) after %u threads ended",
                        where.file_name(), line_of(where), n_ended_);
  }
}

void BlockRunner::join_block(void* payload, void (*combine)(void* const*, int),
                             const Location& where) {
  check_barrier(where);
  barrier_ = where;
  barrier_payloads_[current_] = payload;
  Thread& thread = threads_[current_];
  if (++n_in_barrier_ < n_threads_) {
    thread.state = State::in_barrier;
    thread.where = where;
    run_next(*thread.fiber, false);
    return;
  }
  if (combine != nullptr) combine(barrier_payloads_.data(), static_cast<int>(n_threads_));
  n_in_barrier_ = 0;
  race::block_barrier();
  const unsigned last = current_;
  for (unsigned i = 0; i < n_threads_; ++i) {
    const unsigned id = schedule_.order == Order::reverse ? n_threads_ - 1 - i : i;
    if (id != last) make_runnable(id);
  }
  if (schedule_.order == Order::random) {  // the last to come has no privilege either
    make_runnable(last);
    run_next(*thread.fiber, false);
  }
}

unsigned BlockRunner::lanes_of_warp(unsigned warp) const {
  const unsigned n = std::min(32U, n_threads_ - warp * 32);
  return n == 32 ? 0xFFFFFFFFU : (1U << n) - 1;
}

void BlockRunner::check_mask(const char* name, unsigned mask, const Location& where) {
  const unsigned warp = current_ / 32;
  const unsigned lane = current_ % 32;
  const char* file = where.file_name();
  const unsigned line = line_of(where);
  if ((mask >> lane & 1U) == 0) {
    cuda_emulator::fail("%s (%s:%u): the calling lane %u is not in mask %08x", name, file, line,
                        lane, mask);
  }
  if ((mask & ~lanes_of_warp(warp)) != 0) {
    cuda_emulator::fail("%s (%s:%u): mask %08x names lanes that the block does not have", name,
                        file, line, mask);
  }
  if ((mask & ended_lanes_[warp]) != 0) {
    cuda_emulator::fail("%s (%s:%u): lanes %08x of mask %08x have ended", name, file, line,
                        mask & ended_lanes_[warp], mask);
  }
}

BlockRunner::WarpMeeting& BlockRunner::meeting_for(const char* name, unsigned mask,
                                                   const Location& where) {
  auto& meetings = meetings_[current_ / 32];
  WarpMeeting* free = nullptr;
  for (WarpMeeting& meeting : meetings) {
    if (meeting.arrived == 0) {
      free = &meeting;
      continue;
    }
    if (meeting.mask == mask) {
      if (std::string_view(meeting.name) == name && same_place(meeting.where, where)) {
        return meeting;
      }
      cuda_emulator::fail("divergent warp: this lane is in %s (%s:%u), others in %s (%s:%u)", name,
                          where.file_name(), line_of(where), meeting.name,
                          meeting.where.file_name(), line_of(meeting.where));
    }
    if ((meeting.mask & mask) != 0) {
      cuda_emulator::fail("%s (%s:%u): mask %08x overlaps mask %08x, for which lanes wait", name,
                          where.file_name(), line_of(where), mask, meeting.mask);
    }
  }
  if (free == nullptr) free = &meetings.emplace_back();
  free->name = name;
  free->mask = mask;
  free->where = where;
  return *free;
}

void BlockRunner::join_warp(const char* name, unsigned mask, void* payload,
                            void (*combine)(void* const*, unsigned), MemoryOrder order,
                            const Location& where) {
  check_mask(name, mask, where);
  const unsigned warp = current_ / 32;
  const unsigned lane = current_ % 32;
  WarpMeeting& meeting = meeting_for(name, mask, where);
  meeting.arrived |= 1U << lane;
  meeting.payloads[lane] = payload;
  Thread& thread = threads_[current_];
  if (meeting.arrived != mask) {
    thread.state = State::in_warp_collective;
    thread.waits_in = name;
    thread.where = where;
    run_next(*thread.fiber, false);
    return;
  }
  if (combine != nullptr) combine(meeting.payloads.data(), mask);
  if (order == MemoryOrder::fence) race::warp_fence(warp, mask);
  if (mask == lanes_of_warp(warp)) race::converge(warp);
  meeting.arrived = 0;
  const bool random = schedule_.order == Order::random;
  for (unsigned i = 0; i < 32; ++i) {
    const unsigned id = schedule_.order == Order::reverse ? 31 - i : i;
    if ((mask >> id & 1U) != 0 && (id != lane || random)) make_runnable(warp * 32 + id);
  }
  if (random) run_next(*thread.fiber, false);
}

// --- what kernels call

int lane() {
  return static_cast<int>(BlockRunner::current().thread() % 32);
}

void* shared_slot(const void* key, size_t bytes, size_t alignment) {
  return BlockRunner::current().shared_memory().slot(key, bytes, alignment);
}

void* dynamic_shared(size_t alignment) {
  return BlockRunner::current().shared_memory().dynamic(alignment);
}

void join_block(void* payload, void (*combine)(void* const*, int), const Location& where) {
  BlockRunner::current().join_block(payload, combine, where);
}

void join_warp(const char* name, unsigned mask, void* payload,
               void (*combine)(void* const*, unsigned), MemoryOrder order, const Location& where) {
  BlockRunner::current().join_warp(name, mask, payload, combine, order, where);
}

}  // namespace cuda_emulator
