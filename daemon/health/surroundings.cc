#include "daemon/health/surroundings.h"

#include "daemon/health/disk_room.h"
#include "lib/base/log.h"

namespace parkd {
namespace {

std::string seconds(Micros time) {
  return std::to_string(std::chrono::duration_cast<std::chrono::seconds>(time).count());
}

}  // namespace

void Surroundings::look() {
  look_at_clock();
  look_at_state_directory();
  look_at_disk();
}

void Surroundings::look_at_clock() {
  (void)clock_.now();  // the keeper sees the clock even where nothing else asks
  const ClockSkew skew = clock_.skew();
  if (skew.n_followed != n_followed_) {
    n_followed_ = skew.n_followed;
    log_warn("clock.followed_back", {{"seconds", seconds(skew.last_followed)}});
  }
  if (skew.behind >= std::chrono::seconds(1)) {
    health_.raise({"clock_went_back",
                   "the wall clock is " + seconds(skew.behind) +
                       " s behind the time it showed before: parkd's time stands still until it "
                       "has caught up, for " +
                       seconds(WallKeeper::kHeldMax) + " s at most, and then follows it back",
                   false});
  } else {
    health_.clear("clock_went_back");
  }
  if (auto leap = drop_clock_.leap_notice()) {
    health_.raise(std::move(*leap));
  } else {
    health_.clear("clock_leapt");
  }
}

void Surroundings::look_at_state_directory() {
  if (lock_.is_in_place()) return health_.clear("state_dir_gone");
  health_.raise({"state_dir_gone",
                 lock_.path() +
                     " is gone or is not the file that this daemon holds: its state directory was "
                     "removed, moved or replaced, so what is accepted now would be lost. Put it "
                     "back in its place, or stop parkd and start it again",
                 true});
}

// It comes at the limit and goes a little above it: what the store itself writes and deletes must
// not make it come and go.
void Surroundings::look_at_disk() {
  constexpr int kMorePercent = 10;
  const Status room = check_disk_room(config_, disk_is_low_ ? kMorePercent : 0);
  disk_is_low_ = !room.ok();
  if (room.ok()) return health_.clear("disk_low");
  health_.raise({"disk_low", room.message() + "; until then nothing is accepted", true});
}

}  // namespace parkd
