#include "lib/base/clock.h"

#include <array>
#include <cstdio>
#include <ctime>
#include <fstream>
#include <utility>

namespace parkd {

WallTime WallKeeper::keep(WallTime wall, SteadyTime steady) {
  if (wall >= held_) {
    behind_since_.reset();
    skew_.behind = Micros(0);
    return held_ = wall;
  }
  if (!behind_since_) behind_since_ = steady;
  skew_.behind = held_ - wall;
  if (steady - *behind_since_ <= kHeldMax) return held_;
  ++skew_.n_followed;
  skew_.last_followed = std::exchange(skew_.behind, Micros(0));
  behind_since_.reset();
  return held_ = wall;
}

WallTime SystemClock::now() {
  const std::lock_guard lock(mutex_);
  // Read under the lock: of two threads, the one that read first must not come second.
  const auto wall = std::chrono::time_point_cast<Micros>(std::chrono::system_clock::now());
  return keeper_.keep(wall, std::chrono::time_point_cast<Micros>(std::chrono::steady_clock::now()));
}

SteadyTime SystemClock::steady_now() {
  return std::chrono::time_point_cast<Micros>(std::chrono::steady_clock::now());
}

SteadyTime SystemClock::boot_now() {
  timespec since_boot{};
  ::clock_gettime(CLOCK_BOOTTIME, &since_boot);  // cannot fail: Linux has it since 2.6.39
  return SteadyTime(Micros(int64_t{since_boot.tv_sec} * 1'000'000 + since_boot.tv_nsec / 1000));
}

// Empty where /proc is not there: then no two processes are known to be of one boot.
std::string SystemClock::boot_id() {
  std::ifstream file("/proc/sys/kernel/random/boot_id");
  std::string id;
  std::getline(file, id);
  return id;
}

ClockSkew SystemClock::skew() {
  const std::lock_guard lock(mutex_);
  return keeper_.skew();
}

std::string to_rfc3339(WallTime time) {
  const int64_t us = to_unix_us(time);
  int64_t seconds = us / 1'000'000;
  int64_t fraction_us = us % 1'000'000;
  if (fraction_us < 0) {
    fraction_us += 1'000'000;
    --seconds;
  }
  const auto unix_seconds = static_cast<time_t>(seconds);
  std::tm parts{};
  gmtime_r(&unix_seconds, &parts);
  std::array<char, 64> text{};
  const int length =
      std::snprintf(text.data(), text.size(), "%04d-%02d-%02dT%02d:%02d:%02d.%06dZ",
                    parts.tm_year + 1900, parts.tm_mon + 1, parts.tm_mday, parts.tm_hour,
                    parts.tm_min, parts.tm_sec, static_cast<int>(fraction_us));
  return {text.data(), static_cast<size_t>(length)};
}

}  // namespace parkd
