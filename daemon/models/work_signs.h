// WorkSigns: whether a model has work, from three signs that come at different times: that a job
// came (at once), how many the store counted in the queue (up to seconds old), and what the
// dispatcher claimed and holds. A value without a clock; its owner tells it all.
#pragma once

#include <cstdint>

#include "lib/base/clock.h"

namespace parkd {

class WorkSigns {
 public:
  // For so long a job that came counts more than a queue that was counted before it.
  static constexpr Micros kCameLasts{10'000'000};

  // A job came that can be claimed. Returns whether that was not known.
  bool came(SteadyTime now);
  // The store counted so many in the queue.
  void counted(int64_t queued);
  // The dispatcher has claimed so many since the start, and holds so many.
  void claimed(int64_t claimed, int64_t held);

  void load_began() { claimed_before_ = claimed_; }
  void loaded();
  void unloaded();

  // Of a model that is loaded: the dispatcher holds or claims jobs. Of one that is not: jobs wait
  // that it was not loaded for in vain.
  bool has_work(SteadyTime now) const;

 private:
  bool is_loaded_ = false;
  SteadyTime came_until_{};
  int64_t queued_ = 0;
  int64_t claimed_ = 0;
  int64_t claimed_before_ = 0;  // when its load began
  bool claims_ = false;         // since the look before
  int64_t held_ = 0;
  // It was loaded for so many jobs and could claim none of them (they are held back, or another
  // daemon's by now): for as long as there are so many, they are not work. 0: none.
  int64_t in_vain_ = 0;
};

}  // namespace parkd
