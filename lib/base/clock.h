// Clock: where "now" comes from, so that a test can move time by hand.
//
// Wall time is UTC microseconds since 1970 and is what is stored and sent. It never steps backwards
// within a process: SystemClock holds the largest value it ever gave. Durations of running work are
// measured with SteadyTime, which no wall-clock change touches. Every method is thread-safe.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <string>

namespace parkd {

using Micros = std::chrono::microseconds;
using WallTime = std::chrono::time_point<std::chrono::system_clock, Micros>;
using SteadyTime = std::chrono::time_point<std::chrono::steady_clock, Micros>;

class Clock {
 public:
  virtual ~Clock() = default;
  virtual WallTime now() = 0;
  virtual SteadyTime steady_now() = 0;
};

class SystemClock final : public Clock {
 public:
  WallTime now() override;
  SteadyTime steady_now() override;

 private:
  std::atomic<int64_t> last_us_{0};
};

// For tests: time stands still until advance() moves it.
class ManualClock final : public Clock {
 public:
  explicit ManualClock(WallTime start) : wall_us_(start.time_since_epoch().count()) {}
  WallTime now() override { return WallTime(Micros(wall_us_.load())); }
  SteadyTime steady_now() override { return SteadyTime(Micros(steady_us_.load())); }
  void advance(Micros by) {
    wall_us_ += by.count();
    steady_us_ += by.count();
  }

 private:
  std::atomic<int64_t> wall_us_;
  std::atomic<int64_t> steady_us_{0};
};

inline int64_t to_unix_us(WallTime time) {
  return time.time_since_epoch().count();
}
inline WallTime from_unix_us(int64_t us) {
  return WallTime(Micros(us));
}

// "2026-11-23T11:44:00.123456Z" (RFC 3339, UTC).
std::string to_rfc3339(WallTime time);

}  // namespace parkd
