// Clock: where "now" comes from, so that a test can move time by hand.
//
// Wall time is UTC microseconds since 1970 and is what is stored and sent. A small step backwards
// of the machine's clock is not seen: time stands still until the clock has caught up. A clock that
// stays behind for more than kHeldMax was ahead before, and is followed back (WallKeeper).
// Durations of running work are measured with SteadyTime, which no wall-clock change touches. Every
// method is thread-safe.
#pragma once

#include <chrono>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string>

namespace parkd {

using Micros = std::chrono::microseconds;
using WallTime = std::chrono::time_point<std::chrono::system_clock, Micros>;
using SteadyTime = std::chrono::time_point<std::chrono::steady_clock, Micros>;

// What happened to the machine's wall clock, for people.
struct ClockSkew {
  Micros behind{0};         // the machine's clock is so far behind the time that now() gives
  int64_t n_followed = 0;   // how often it was followed back
  Micros last_followed{0};  // by how much the last time
};

class Clock {
 public:
  virtual ~Clock() = default;
  virtual WallTime now() = 0;
  virtual SteadyTime steady_now() = 0;
  // Since the machine's start, suspended time included; comparable between processes of one
  // boot_id().
  virtual SteadyTime boot_now() = 0;
  virtual std::string boot_id() = 0;
  virtual ClockSkew skew() = 0;
};

// The rule of now(), as a value: not thread-safe, reads no clock.
class WallKeeper {
 public:
  static constexpr std::chrono::seconds kHeldMax{60};

  // What to call the time when the machine's clock says `wall`. `steady` never goes back.
  WallTime keep(WallTime wall, SteadyTime steady);
  const ClockSkew& skew() const { return skew_; }

 private:
  WallTime held_{};                         // the last answer
  std::optional<SteadyTime> behind_since_;  // the machine's clock is behind held_
  ClockSkew skew_;
};

class SystemClock final : public Clock {
 public:
  WallTime now() override;
  SteadyTime steady_now() override;
  SteadyTime boot_now() override;
  std::string boot_id() override;
  ClockSkew skew() override;

 private:
  std::mutex mutex_;  // a few instructions a call; nothing is called under it
  WallKeeper keeper_;
};

// For tests: time stands still until advance() moves it.
class ManualClock final : public Clock {
 public:
  explicit ManualClock(WallTime start) : wall_(start) { (void)now(); }
  WallTime now() override {
    const std::lock_guard lock(mutex_);
    return keeper_.keep(wall_, steady_);
  }
  SteadyTime steady_now() override {
    const std::lock_guard lock(mutex_);
    return steady_;
  }
  SteadyTime boot_now() override { return steady_now(); }
  std::string boot_id() override { return "manual"; }
  ClockSkew skew() override {
    const std::lock_guard lock(mutex_);
    return keeper_.skew();
  }
  void advance(Micros by) {
    const std::lock_guard lock(mutex_);
    wall_ += by;
    steady_ += by;
  }
  // The machine's clock is set forward or, negative, back.
  void step_wall(Micros by) {
    const std::lock_guard lock(mutex_);
    wall_ += by;
    (void)keeper_.keep(wall_, steady_);
  }

 private:
  std::mutex mutex_;
  WallTime wall_;
  SteadyTime steady_{};
  WallKeeper keeper_;
};

inline int64_t to_unix_us(WallTime time) {
  return time.time_since_epoch().count();
}
// Rounded down to seconds, as OpenAI's API has its times.
inline int64_t unix_seconds(WallTime time) {
  return to_unix_us(time) / 1'000'000;
}
inline WallTime from_unix_us(int64_t us) {
  return WallTime(Micros(us));
}

// "2026-11-23T11:44:00.123456Z" (RFC 3339, UTC).
std::string to_rfc3339(WallTime time);

}  // namespace parkd
