#include "lib/base/clock.h"

#include <array>
#include <cstdio>
#include <ctime>

namespace parkd {

WallTime SystemClock::now() {
  const int64_t now_us =
      std::chrono::duration_cast<Micros>(std::chrono::system_clock::now().time_since_epoch())
          .count();
  int64_t last_us = last_us_.load(std::memory_order_relaxed);
  while (now_us > last_us && !last_us_.compare_exchange_weak(last_us, now_us)) {
  }
  return from_unix_us(std::max(now_us, last_us));
}

SteadyTime SystemClock::steady_now() {
  return std::chrono::time_point_cast<Micros>(std::chrono::steady_clock::now());
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
