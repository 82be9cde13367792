// Thread: a named, joined thread with a chosen stack size (std::thread cannot set one).
// The owner joins it; destroying a Thread that was not joined joins it.
#pragma once

#include <pthread.h>

#include <cstddef>
#include <functional>
#include <memory>
#include <string>

namespace parkd {

class Thread {
 public:
  struct Options {
    std::string name;             // at most 15 characters are shown by the kernel
    size_t stack_size_bytes = 0;  // 0 = the system's default
  };

  Thread() = default;
  Thread(Options options, std::function<void()> body);
  ~Thread() { join(); }
  Thread(Thread&& other) noexcept { *this = std::move(other); }
  Thread& operator=(Thread&& other) noexcept;
  Thread(const Thread&) = delete;
  Thread& operator=(const Thread&) = delete;

  // Waits for the body to end; a second call does nothing.
  void join();

 private:
  pthread_t thread_{};
  bool running_ = false;
};

// Marks the calling thread, while it lives, as one that computes for an engine: if it crashes, the
// jobs in the engine are suspect (lib/ipc/crash_handler.h). Made first thing in the thread's body.
// Gives the thread a signal stack of its own, so that a handler still runs when its stack is full.
class EngineThread {
 public:
  EngineThread();
  ~EngineThread();
  EngineThread(const EngineThread&) = delete;
  EngineThread& operator=(const EngineThread&) = delete;

  // Async-signal-safe.
  static bool is_current();

 private:
  std::unique_ptr<std::byte[]> signal_stack_;
};

// Cores this process may use: its affinity mask, cut to its cgroup's CPU quota. At least 1.
int usable_cores();

}  // namespace parkd
