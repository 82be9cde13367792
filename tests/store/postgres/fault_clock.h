// A wall clock that jumps: a program that links fault_clock.cc has its own clock_gettime,
// gettimeofday and time, so that the jump is seen by every library in it. Steady time does not
// jump.
#pragma once

#include <cstdint>

namespace parkd {

// From now on SIGUSR1 puts this process's wall clock two hours ahead of what it shows, SIGUSR2 an
// hour back.
void jump_clock_on_signals();

// The wall clock without jumps, in microseconds since 1970.
int64_t true_unix_us();

}  // namespace parkd
