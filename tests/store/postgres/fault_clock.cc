#include "tests/store/postgres/fault_clock.h"

#include <signal.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include <atomic>

namespace {

std::atomic<int64_t> offset_s{0};

}  // namespace

// The C library's own, overridden for the whole process; async-signal-safe as they are.
extern "C" int clock_gettime(clockid_t clock, struct timespec* now) noexcept {
  const int failed = static_cast<int>(::syscall(SYS_clock_gettime, clock, now));
  if (failed == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) {
    now->tv_sec += offset_s.load(std::memory_order_relaxed);
  }
  return failed;
}

extern "C" int gettimeofday(struct timeval* now, void*) noexcept {
  struct timespec precise = {};
  const int failed = clock_gettime(CLOCK_REALTIME, &precise);
  now->tv_sec = precise.tv_sec;
  now->tv_usec = precise.tv_nsec / 1000;
  return failed;
}

extern "C" time_t time(time_t* now) noexcept {
  struct timespec precise = {};
  clock_gettime(CLOCK_REALTIME, &precise);
  if (now != nullptr) *now = precise.tv_sec;
  return precise.tv_sec;
}

namespace parkd {

void jump_clock_on_signals() {
  struct sigaction action = {};
  action.sa_flags = SA_RESTART;
  action.sa_handler = [](int number) { offset_s += number == SIGUSR1 ? 7200 : -3600; };
  ::sigaction(SIGUSR1, &action, nullptr);
  ::sigaction(SIGUSR2, &action, nullptr);
}

int64_t true_unix_us() {
  struct timespec now = {};
  clock_gettime(CLOCK_REALTIME, &now);
  return (int64_t{now.tv_sec} - offset_s) * 1'000'000 + now.tv_nsec / 1000;
}

}  // namespace parkd
