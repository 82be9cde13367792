// SharedDevice: how long steps take that run at once on one device. Two streams do not double the
// hardware: they share its memory and its multiprocessors, as one of two bounds says.
//
//   in_turn: kernels of two streams share the device in time, as if one ran after the other; only
//     gaps between kernels overlap. What full kernels do: their blocks fill the multiprocessors.
//   perfect: memory of one step overlaps arithmetic of another as far as both have some left. No
//     hardware does better; a step alone overlaps nothing of its own parts.
//
// What a device does lies between the two. A step is taken to be the same mixture from its
// beginning to its end: its kernels are short and many. A step that goes first takes what it can
// use; equals slow down by the same factor, until one of them is bound by what it shares with
// nobody.
//
// Owned by one simulation; knows seconds and no jobs.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "tools/simulate/step_cost.h"

namespace parkd::simulate {

enum class Overlap { in_turn, perfect };

class SharedDevice {
 public:
  SharedDevice(Overlap overlap, int32_t n_lanes);

  // Requires a lane that is not busy. A step that goes `first` has priority over those that do not.
  void begin(int32_t lane, const StepCost& cost, bool first);
  bool is_busy(int32_t lane) const { return steps_[size_t(lane)].left_s > 0; }

  // Seconds until the next step ends, if one runs.
  std::optional<double> next_end() const;
  // Lets time pass, at most until the next end. Returns the lanes whose steps ended.
  std::vector<int32_t> advance(double seconds);

  // How fast each lane's step runs, 1 as if alone; 0 where none runs.
  std::vector<double> speeds() const;

 private:
  struct Running {
    double left_s = 0;  // of the time that it takes alone
    double alone_s = 0;
    // Shares of memory and multiprocessors that it uses when it runs as if alone.
    double uses[2] = {};
    bool first = false;
  };
  void share(bool first, std::vector<double>& speeds, double (&left)[2]) const;

  const Overlap overlap_;
  std::vector<Running> steps_;  // by lane
};

}  // namespace parkd::simulate
