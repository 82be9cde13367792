#include "lib/base/thread.h"

#include <sched.h>
#include <signal.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <utility>

#include "lib/base/check.h"

namespace parkd {
namespace {

struct Start {
  std::string name;
  std::function<void()> body;
};

void* run_thread(void* argument) {
  const std::unique_ptr<Start> start(static_cast<Start*>(argument));
  pthread_setname_np(pthread_self(), start->name.substr(0, 15).c_str());
  start->body();
  return nullptr;
}

// cgroup v2: "max 100000" or "150000 100000"; no file or "max" means no limit.
int cgroup_cores(int otherwise) {
  std::ifstream file("/sys/fs/cgroup/cpu.max");
  std::string quota;
  double period = 0;
  if (!(file >> quota >> period) || quota == "max" || period <= 0) return otherwise;
  return std::max(1, static_cast<int>(std::ceil(std::atof(quota.c_str()) / period)));
}

}  // namespace

Thread::Thread(Options options, std::function<void()> body) {
  pthread_attr_t attributes;
  PARKD_CHECK(pthread_attr_init(&attributes) == 0, "pthread_attr_init");
  if (options.stack_size_bytes > 0) {
    PARKD_CHECK(pthread_attr_setstacksize(&attributes, options.stack_size_bytes) == 0,
                "the stack size was validated by the config");
  }
  auto start = std::make_unique<Start>(Start{std::move(options.name), std::move(body)});
  const int failed = pthread_create(&thread_, &attributes, run_thread, start.get());
  pthread_attr_destroy(&attributes);
  PARKD_CHECK(failed == 0, "pthread_create failed: out of threads or memory");
  [[maybe_unused]] Start* handed_over = start.release();
  running_ = true;
}

Thread& Thread::operator=(Thread&& other) noexcept {
  if (this != &other) {
    join();
    thread_ = other.thread_;
    running_ = std::exchange(other.running_, false);
  }
  return *this;
}

void Thread::join() {
  if (!running_) return;
  pthread_join(thread_, nullptr);
  running_ = false;
}

namespace {

// Local to the thread it marks; a signal handler on that thread reads it.
thread_local volatile bool is_engine_thread = false;

constexpr size_t kSignalStackBytes = size_t{64}
                                     << 10;  // the frame of AVX-512 and AMX state is large

void use_signal_stack(void* memory, size_t size_bytes, int flags) {
  stack_t stack{};
  stack.ss_sp = memory;
  stack.ss_size = size_bytes;
  stack.ss_flags = flags;
  PARKD_CHECK(::sigaltstack(&stack, nullptr) == 0, "sigaltstack");
}

}  // namespace

EngineThread::EngineThread() : signal_stack_(std::make_unique<std::byte[]>(kSignalStackBytes)) {
  use_signal_stack(signal_stack_.get(), kSignalStackBytes, 0);
  is_engine_thread = true;
}

EngineThread::~EngineThread() {
  is_engine_thread = false;
  use_signal_stack(nullptr, 0, SS_DISABLE);
}

bool EngineThread::is_current() {
  return is_engine_thread;
}

int usable_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  const int allowed = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
  return std::clamp(cgroup_cores(allowed), 1, allowed);
}

}  // namespace parkd
