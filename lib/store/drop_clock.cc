#include "lib/store/drop_clock.h"

#include <algorithm>
#include <charconv>
#include <utility>

#include "lib/base/log.h"

namespace parkd {
namespace {

int64_t seconds(Micros time) {
  return std::chrono::duration_cast<std::chrono::seconds>(time).count();
}

}  // namespace

std::string ClockMark::encode() const {
  return std::to_string(to_unix_us(wall)) + " " + std::to_string(boot.time_since_epoch().count()) +
         " " + boot_id;
}

Result<ClockMark> ClockMark::decode(std::string_view text) {
  int64_t wall_us = 0;
  int64_t boot_us = 0;
  const char* end = text.data() + text.size();
  std::from_chars_result read = std::from_chars(text.data(), end, wall_us);
  const auto another_follows = [&] {
    return read.ec == std::errc() && read.ptr != end && *read.ptr == ' ';
  };
  if (another_follows()) {
    read = std::from_chars(read.ptr + 1, end, boot_us);
    if (another_follows()) {
      return ClockMark{from_unix_us(wall_us), SteadyTime(Micros(boot_us)),
                       std::string(read.ptr + 1, end)};
    }
  }
  return Status(StatusCode::corrupt, "the store's mark of the last time is not one");
}

DropClock::DropClock(Clock& clock, const std::optional<ClockMark>& last) : clock_(clock) {
  const WallTime wall = clock.now();
  const SteadyTime boot = clock.boot_now();
  believe(wall, boot);
  if (!last) return;
  const bool same_boot = !last->boot_id.empty() && last->boot_id == clock.boot_id();
  const WallTime expected = last->wall + (same_boot ? boot - last->boot : Micros(0));
  if (wall - expected <= kGapMax) return;
  believe(expected, boot);
  grace_ends_ = boot + kGrace;
  log_warn("clock.gap", {{"seconds", seconds(wall - expected)},
                         {"last", to_rfc3339(expected)},
                         {"now", to_rfc3339(wall)},
                         {"nothing_is_deleted_for_s", seconds(kGrace)}});
}

void DropClock::believe(WallTime wall, SteadyTime boot) {
  believed_ = wall;
  at_ = boot;
  leapt_ = false;
}

WallTime DropClock::now() {
  const WallTime wall = clock_.now();
  const SteadyTime boot = clock_.boot_now();
  if (grace_ends_ && boot >= *grace_ends_) {
    grace_ends_.reset();
    believe(wall, boot);
    log_info("clock.gap_believed", {{"now", to_rfc3339(wall)}});
  }
  const WallTime passed = believed_ + (boot - at_);
  if (grace_ends_) return std::min(wall, passed);
  if (wall - passed <= kLeapMin) {
    believe(wall, boot);
    return wall;
  }
  if (!std::exchange(leapt_, true)) {
    log_warn("clock.leapt", {{"seconds", seconds(wall - passed)}, {"now", to_rfc3339(wall)}});
  }
  return passed;
}

ClockMark DropClock::mark() {
  return {now(), clock_.boot_now(), clock_.boot_id()};
}

std::optional<HealthNotice> DropClock::gap_notice() {
  (void)now();
  if (!grace_ends_) return std::nullopt;
  return HealthNotice{"clock_gap",
                      "the wall clock is more than a day further than when this store was last "
                      "open: what has expired meanwhile cannot be read, and is deleted in " +
                          std::to_string(seconds(*grace_ends_ - clock_.boot_now())) +
                          " s. If the clock is wrong, set it right before then"};
}

std::optional<HealthNotice> DropClock::leap_notice() {
  const Micros lag = clock_.now() - now();
  if (grace_ends_ || lag <= kLeapMin) return std::nullopt;
  return HealthNotice{
      "clock_leapt",
      "the wall clock leapt forward by " + std::to_string(seconds(lag)) +
          " s: what has expired by it cannot be read, but is not deleted until so much time has "
          "passed. If the clock is wrong, set it right and nothing is lost; if it is right, "
          "restart "
          "parkd to have it believed"};
}

}  // namespace parkd
