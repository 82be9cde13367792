// DropClock: the time by which a store deletes what has expired.
//
// What is deleted cannot be had back, and a wall clock can be wrong: one that is set a month ahead
// by mistake would take every mailbox with it. Expired messages are unreadable at once, by the wall
// clock; they are deleted by a time that only passes: the wall clock, but never further than the
// machine's boot time has gone since the wall clock was last believed. So a leap forward deletes
// nothing, for as long as the process lives. Across a restart the store keeps a ClockMark; a clock
// that comes back more than a day ahead of it is believed after kGrace. Owned by one thread.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "lib/base/clock.h"
#include "lib/base/health.h"
#include "lib/base/status.h"

namespace parkd {

// What a store remembers of the time over a restart.
struct ClockMark {
  WallTime wall{};  // DropClock::now()
  SteadyTime boot{};
  std::string boot_id;

  std::string encode() const;
  static Result<ClockMark> decode(std::string_view text);
};

class DropClock {
 public:
  static constexpr std::chrono::seconds kLeapMin{60};  // less is believed at once
  static constexpr std::chrono::hours kGapMax{24};     // while no process ran; more is waited for
  static constexpr std::chrono::hours kGrace{1};

  // `clock` outlives it. `last`: the mark that the last process left, if there was one.
  DropClock(Clock& clock, const std::optional<ClockMark>& last);

  // What expired by then may be deleted.
  WallTime now();
  ClockMark mark();
  // While the wall clock is not believed because of the mark, and because it leapt: by how much,
  // and what to do about it.
  std::optional<HealthNotice> gap_notice();
  std::optional<HealthNotice> leap_notice();

 private:
  void believe(WallTime wall, SteadyTime boot);

  Clock& clock_;
  WallTime believed_{};  // the wall clock when it was last believed,
  SteadyTime at_{};      // and the boot time then
  std::optional<SteadyTime> grace_ends_;
  bool leapt_ = false;  // logged
};

}  // namespace parkd
