#include <array>
#include <charconv>
#include <string_view>
#include <system_error>

#include "lib/store/rocksdb/database.h"

namespace parkd {
namespace {

constexpr std::string_view kPeriodPrefix = "box_";

struct Stretch {
  char letter;
  int64_t hours;         // length of a period
  int64_t within_hours;  // for messages that expire within this
};
constexpr std::array<Stretch, 4> kStretches = {
    {{'h', 1, 6}, {'q', 6, 48}, {'d', 24, 32 * 24}, {'w', 7 * 24, int64_t{1} << 40}}};
constexpr int64_t kHourUs = int64_t{3600} * 1'000'000;

}  // namespace

std::optional<WallTime> end_of_period(std::string_view name) {
  if (name.substr(0, kPeriodPrefix.size()) != kPeriodPrefix) return std::nullopt;
  name.remove_prefix(kPeriodPrefix.size());
  for (const Stretch& stretch : kStretches) {
    if (name.empty() || name.front() != stretch.letter) continue;
    int64_t index = 0;
    const char* end = name.data() + name.size();
    const auto [stop, error] = std::from_chars(name.data() + 1, end, index);
    constexpr int64_t kIndexMax = 1'000'000'000;
    if (error != std::errc() || stop != end || index < 0 || index > kIndexMax) return std::nullopt;
    return from_unix_us((index + 1) * stretch.hours * kHourUs);
  }
  return std::nullopt;
}

std::string period_name(WallTime expires_at, WallTime now) {
  const int64_t left_us = (expires_at - now).count();
  for (const Stretch& stretch : kStretches) {
    if (left_us / kHourUs >= stretch.within_hours) continue;
    const int64_t index = to_unix_us(expires_at) / (stretch.hours * kHourUs);
    return std::string(kPeriodPrefix) + stretch.letter + std::to_string(index);
  }
  return {};  // not reached: the last stretch has no end
}

std::string period_count_key(const std::string& period_name) {
  return "count/" + period_name;
}

}  // namespace parkd
